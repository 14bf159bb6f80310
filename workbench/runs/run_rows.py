"""The rows of a running experiment: their state, the events about it, and the journal on disk."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import Cancelled, WorkbenchError, writing
from workbench.records import FINAL, ClusterState, EngineSpec, Event, Failure, Progress, Result, Status, Tally, to_json
from workbench.system.stop import Stop

OnEvent = Callable[[Event], None]
LOG = logging.getLogger(__name__)


def log_event(event: Event, level: int | None = None) -> None:
    """Log an event: failures as warnings, details other than waits and running rows for debugging, all others as information."""
    result = event.result
    if level is None:
        goes_on = result is not None and result.status not in FINAL - {Status.UNSUPPORTED}
        failed = result is not None and result.status == Status.FAILED
        level = (
            logging.WARNING
            if failed
            else logging.DEBUG
            if goes_on or (event.detail and not event.wait)
            else logging.INFO
        )
    LOG.log(level, "%s", event.text)


class RunRows:
    """Holds one :class:`Result` per row; every change goes to the listener and to the run's journal."""

    def __init__(
        self,
        rows: tuple[Result, ...],
        journal: Path,
        on_event: OnEvent,
        repro: Callable[[Result], str],
        stop: Stop | None = None,
    ) -> None:
        self._rows = {row.row: row for row in rows}
        self._journal = journal
        self._on_event = on_event
        self._repro = repro
        self._began = time.monotonic()
        self.tally = Tally()
        self.stop = stop or Stop()
        self._current: tuple[str, ...] = ()  # the rows that are being worked on
        self._logs: dict[str, str] = {}
        self._progress: Progress | None = None
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @property
    def run(self) -> str:
        """What the run is called in the store."""
        return self._journal.stem

    @property
    def rows(self) -> tuple[Result, ...]:
        return tuple(self._rows.values())

    def row(self, name: str) -> Result:
        """The row of this name as it is now."""
        return self._rows[name]

    def open_rows(self, spec: EngineSpec | None = None) -> tuple[Result, ...]:
        """Unfinished rows, of one variant or of all."""
        return tuple(
            row for row in self._rows.values() if row.status not in FINAL and (spec is None or row.spec == spec)
        )

    @contextmanager
    def working_on(self, rows: tuple[Result, ...], *, together: bool = True) -> Iterator[None]:
        """Events inside are about these rows. With ``together`` it is done for them alone, and ends when all of them
        are to stop.
        """
        before, self._current = self._current, tuple(row.row for row in rows)
        try:
            with self.stop.working_on(self._current if together else ()):
                yield
        finally:
            self._current = before

    def logs_to(self, log: Path, rows: tuple[Result, ...] | None = None) -> None:
        """Which file the worker prints to that serves these rows, or those that are being worked on."""
        names = self._current if rows is None else [row.row for row in rows]
        self._logs |= dict.fromkeys(names, str(log))

    def drop_cancelled(self) -> None:
        """End the unfinished rows that were cancelled one by one."""
        over = FINAL - {Status.BUILT}
        asked = (row for row in self.rows if row.status not in over and self.stop.has(row.row))
        self.update_all(tuple(asked), status=Status.CANCELLED)

    def say(self, text: str, *, detail: bool = False, wait: bool = False, level: int | None = None) -> None:
        log = self._logs.get(self._current[0], "") if self._current else ""
        warning = level == logging.WARNING
        event = Event(text, None, detail, wait, self._current, log=log, progress=self._progress, warning=warning)
        self._tell(event, level)

    def report_medians(self, text: str, medians_s: dict[str, float]) -> None:
        """Tell of a round with the medians so far, in seconds by row."""
        rows = self._current
        self._tell(Event(text, detail=True, rows=rows, medians_s=medians_s, progress=self._progress))

    def phase(self, name: str, total: int = 0, unit: str = "", remaining_s: float | None = None) -> None:
        """Begin a phase of the run, with the number of units in it (0: not known) and the seconds it will take, where known."""
        self._progress = Progress(name, 0, total, unit, remaining_s)
        self._report_phase()

    def advance(self, done: int, remaining_s: float | None = None, *, at_most: bool = False) -> None:
        """So many units of the phase have ended; ``remaining_s`` and ``at_most`` as in :class:`workbench.records.Progress`."""
        if self._progress is not None:
            self._progress = replace(self._progress, done=done, remaining_s=remaining_s, at_most=at_most)
            self._report_phase()

    def _report_phase(self) -> None:
        self._tell(Event(str(self._progress), detail=True, progress=self._progress))

    def note(self, text: str) -> None:
        """Tell of something that belongs into the results' notes too."""
        self.notes.append(text)
        self.say(text)

    def warn(self, text: str) -> None:
        """Tell of something that a reader of the results must know before the numbers."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.warn_now(text)

    def warn_now(self, text: str) -> None:
        """Tell of something that the results say themselves when the run has ended."""
        self.say(text, level=logging.WARNING)

    def report_progress(self, text: str) -> None:
        """Tell of a step within a step."""
        self.say(text, detail=True)

    def report_cluster(self, state: ClusterState) -> None:
        """Tell what the workers of a cluster do now."""
        self._tell(Event(str(state), detail=True, progress=self._progress, cluster=state))

    def report_wait(self, text: str) -> None:
        """Tell for which other process the run waits."""
        self.say(text, detail=True, wait=True)

    def update(self, row: Result, text: str = "", **changes: Any) -> Result:
        """Change one row and report it."""
        new = replace(self._rows[row.row], **changes)
        self._rows[new.row] = new
        log = self._logs.get(new.row, "")
        self._tell(Event(text or f"{new.row}: {new.status}", new, log=log, progress=self._progress))
        return new

    def update_all(self, rows: tuple[Result, ...], text: str = "", **changes: Any) -> None:
        for row in rows:
            self.update(row, text, **changes)

    def fail(self, rows: tuple[Result, ...], step: str, error: Exception) -> None:
        """End these rows as failed (or as cancelled, if that is what the error says)."""
        if isinstance(error, Cancelled):
            self.update_all(rows, status=Status.CANCELLED)
            return
        message = error.message if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"
        log = error.log if isinstance(error, WorkbenchError) else ""
        for row in rows:
            failure = Failure(step=step, message=message, log=log, repro=self._repro(row))
            self.update(row, f"{row.row}: failed to {step}: {message}", status=Status.FAILED, failure=failure)

    def count(self, **amounts: float) -> None:
        self.tally = self.tally.plus(**amounts)

    def note_in_journal(self, text: str, at: float = 0.0, **more: Any) -> None:
        """Write a line that no listener sees: the settings of the run at its beginning, or how it ended."""
        line = {"s": round(time.monotonic() - self._began, 3), "at": round(at or time.time(), 3), "text": text} | more
        with writing(self._journal), self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _tell(self, event: Event, level: int | None = None) -> None:
        result = event.result
        # timings have separate files; the journal holds events, not every sample again
        more = {"row": result.row, "status": result.status, "failure": to_json(result.failure)} if result else {}
        self.note_in_journal(event.text, event.at, **more)
        log_event(event, level)
        self._on_event(event)
