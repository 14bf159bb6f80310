"""The page Run: one line per row with its phase, its time, its worker's log, and a button to end it or to try it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path

from workbench.display.table import Span
from workbench.panel import tables, widgets
from workbench.records import FINAL, Event, Result, Status

LOG_TAIL = 6000  # characters
AGAIN = frozenset({Status.FAILED, Status.CANCELLED})
IDLE = FINAL | {Status.PLANNED}
WAITS = Span("waiting", "status wb-idle", "for another process", "…")
TIMED = Span("timed", "status wb-idle", "It is scored when all rows have their times", "…")
"""In place of a row's status: while it waits, and between its times and its score."""


class RowLine:
    """One row of the experiment."""

    def __init__(self, result: Result, on_button: Callable[[str], None]) -> None:
        self.result = result
        self.phase, self.log = "", ""
        self.since = 0.0
        self.waits = False  # for another process
        self.median_s: float | None = None  # so far, while it is measured
        self.ending = False  # it was asked to end, and has not yet
        self._text = widgets.HTML(css="wb-row-text")
        name = escape(result.row)
        self.button = widgets.Button(description="Cancel", css="wb-row-button")
        self.show_log = widgets.ToggleButton(
            description="Log", tooltip=f"What the worker of {name} prints", css="wb-row-button"
        )
        self._log = widgets.HTML(layout={"display": "none"})
        line = widgets.Box([self._text, self.button, self.show_log], css="wb-row-line")
        self.widget = widgets.VBox([line, self._log], css="wb-row")
        self.button.on_click(lambda _: on_button(result.row))
        self.show_log.observe(lambda _: self._show_log(), "value")

    def draw(self, *, running: bool, measures: bool) -> None:
        """Bring the line up to date; nothing is sent where nothing has changed. ``measures``: what is built is still to be measured."""
        result = self.result
        again = result.status in AGAIN
        active = running and result.status not in IDLE
        phase = ("cancelling" if self.ending else self.phase) if active else ""
        elapsed = f"{max(0.0, time.time() - self.since):.0f} s" if active and self.since else ""
        waits = running and self.waits and unfinished(result, measures=measures)  # a built one waits to be measured
        stands = WAITS if waits else TIMED if running and measures and _unscored(result) else None
        self._text.value = tables.run_row(
            result, "" if self.waits else phase, elapsed, stands=stands, median_s=self.median_s
        )
        self.button.description = "Retry" if again else "Cancel"
        self.button.icon = "repeat" if again else "stop"
        off = running if again else not running or self.ending or not unfinished(result, measures=measures)
        self.button.tooltip = f"{self.button.description} {result.row}"
        self.button.disabled = off
        widgets.keep_place(self.button, not off)
        if self.show_log.value:
            self._show_log()

    def _show_log(self) -> None:
        widgets.show(self._log, self.show_log.value)
        if self.show_log.value:
            failed = self.result.failure.log if self.result.failure else ""
            self._log.value = tables.log_text(tail(self.log) or failed)


def _unscored(result: Result) -> bool:
    return result.status == Status.DONE and result.timing is not None and result.accuracy is None


def unfinished(result: Result, *, measures: bool) -> bool:
    """Whether something is left to do for a row of a running run. A built one is finished where its engine cannot run on this machine,
    or where the run does not measure.
    """
    if result.status == Status.BUILT:
        return measures and result.engine is not None and result.engine.runnable
    return result.status not in FINAL


class Lines:
    """All rows of a run that are possible here, in the order of their first events."""

    def __init__(self, on_button: Callable[[str], None]) -> None:
        self.widget = widgets.VBox(css="wb-rows")
        self.results: dict[str, Result] = {}
        self.measures = False  # the run that goes on measures what it builds
        self._lines: dict[str, RowLine] = {}
        self._on_button = on_button
        self._touched: set[str] = set()

    def clear(self) -> None:
        lines = self._lines.values()
        self.results, self._lines, self._touched = {}, {}, set()
        self.widget.children = ()
        for line in lines:
            widgets.close(line.widget)

    def apply(self, event: Event) -> None:
        """Take in what happened; :meth:`draw` shows it."""
        if event.result is not None:
            self.put(event.result, at=event.at, log=event.log)
        for name in event.rows if event.detail else ():
            if line := self._lines.get(name):
                line.phase, line.log, line.waits = event.text, event.log or line.log, event.wait
                line.median_s = event.medians_s.get(name, line.median_s)
                self._touched.add(name)

    def put(self, result: Result, *, at: float = 0.0, log: str = "") -> None:
        name = result.row
        self.results[name] = result
        if result.status == Status.UNSUPPORTED:
            return
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = RowLine(result, self._on_button)
        if line.result.status != result.status or not line.since:
            line.since, line.phase, line.waits = at, "", False
        line.result, line.log = result, log or line.log
        self._touched.add(name)

    def end(self, name: str) -> None:
        """Say at once that this row was asked to end."""
        if line := self._lines.get(name):
            line.ending = True
            line.draw(running=True, measures=self.measures)

    def draw(self, *, running: bool) -> None:
        """Show what has changed, and the elapsed time of active rows."""
        shown = tuple(line.widget for line in self._lines.values())
        if shown != self.widget.children:
            self.widget.children = shown
        for name, line in self._lines.items():
            if name in self._touched or line.result.status not in IDLE or line.show_log.value:
                line.draw(running=running, measures=self.measures)
        self._touched.clear()

    def touch(self) -> None:
        """Draw every line again at the next :meth:`draw`, because the run began or ended."""
        self._touched.update(self._lines)


def tail(log: str) -> str:
    """The end of a worker's log; bytes that are not UTF-8 are replaced."""
    try:
        with Path(log).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_TAIL))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
