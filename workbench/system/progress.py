"""How far a run is, shown while it lasts: a bar in a terminal or a notebook, lines where there is neither."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TextIO

from workbench.errors.printable import one_line, tell
from workbench.records import Event, Progress
from workbench.system.interactive import is_interactive

SILENT_S = 9.0
"""Without a terminal a line is written when nothing was written for this long, so that even on a busy machine 10 s do not pass."""
TICK_S = 0.5
TEXT = 60  # characters of the step beside the bar
BAR, WIDGET = " |{bar:24}| ", "{bar}"
"""As tqdm takes them: in a terminal 24 columns, and the rest of the line is text; in a notebook a widget."""


class ProgressBar:
    """Shows the events of one run; give it to :func:`workbench.run` as ``on_event``, and close it at the end.

    Where a function is given no ``on_event``, it shows such a bar itself in a terminal and in an open notebook, and nothing elsewhere.
    In a terminal and in a notebook it is one bar with phase, count and remaining time, which goes when it is closed. Elsewhere (a
    log file, a build server) it writes at least one line of plain text every ten seconds.

    Args:
        out: where to write, by default standard error.
        show: False shows no progress, only messages.

    Example:
        >>> with ProgressBar() as bar:
        ...     bar(Event("batch 1: round 5 of 12", progress=Progress("measure", 4, 12, "rounds")))

    """

    def __init__(self, out: TextIO | None = None, *, show: bool = True) -> None:
        self._out = sys.stderr if out is None else out
        self._shown: Any = None
        self._began, self._phase_began = time.monotonic(), time.monotonic()
        self._wrote = self._began
        self._progress: Progress | None = None
        self._text = ""
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._bar = show and _can_draw(self._out)
        if show:
            threading.Thread(target=self._tick, daemon=True, name="workbench progress").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Take in an event. It is shown at the next refresh."""
        with self._lock:
            before = self._progress.phase if self._progress else ""
            if event.progress is not None and event.progress.phase != before:
                self._phase_began, self._text = time.monotonic(), ""
            self._progress = event.progress or self._progress
            if event.text != str(event.progress):
                self._text = event.text

    def update(self, progress: Progress) -> None:
        """The same for work that has no events."""
        self(Event(str(progress), progress=progress))

    def write(self, text: str) -> None:
        """Write a message above the bar, or as a line."""
        with self._lock:
            self._wrote = time.monotonic()
            if self._shown is not None:
                self._shown.clear()
            tell(text, file=self._out, flush=True)
            if self._shown is not None:
                self._shown.refresh()

    def close(self) -> None:
        """Remove the bar. Nothing is written after this but messages."""
        self._closed.set()
        with self._lock:
            if self._shown is not None:
                self._shown.close()
                self._shown = None

    def line(self) -> str:
        """The state as one line: phase, count, remaining time, seconds of this phase, and the step."""
        progress = self._progress or Progress("working")
        seconds = f"{time.monotonic() - self._phase_began:.0f} s so far"
        return one_line(f"… {progress} ({', '.join(part for part in (seconds, self._text) if part)})")

    def _tick(self) -> None:
        """In a thread: refresh the bar, or write a line after a silence."""
        while not self._closed.wait(TICK_S):
            with self._lock:
                if self._closed.is_set():
                    return
                if self._bar:
                    self._draw()
                elif time.monotonic() - self._wrote >= SILENT_S - TICK_S:
                    self.write(self.line())

    def _draw(self) -> None:
        progress = self._progress
        if progress is None:
            return
        if self._shown is None:
            self._shown = _new_bar(self._out)
        shown = self._shown
        in_notebook = hasattr(shown, "container")
        if in_notebook and shown.total != progress.total:
            shown.reset(progress.total or None)  # which gives the widget its largest value
        shown.total, shown.n = progress.total or None, progress.done
        step = one_line(self._text)
        step = step if len(step) <= TEXT else step[: TEXT - 1] + "…"
        elapsed = f"{time.monotonic() - self._phase_began:.0f} s"
        text = ", ".join(part for part in (progress.count, elapsed, progress.left, step) if part)
        plain = [part.replace("{", "{{").replace("}", "}}") for part in (progress.phase, text)]
        shown.bar_format = ((WIDGET if in_notebook else BAR) if progress.total else ": ").join(plain)
        shown.refresh()


@contextmanager
def followed(on_event: Callable[[Event], None] | None) -> Iterator[Callable[[Event], None]]:
    """What is to be called for each event: ``on_event``, or where there is none a bar, in a terminal and in a notebook that a person has
    open. Elsewhere (a pipe, a log file, a test, a worker) nothing is shown.
    """
    if on_event is not None:
        yield on_event
    elif sys.stderr is not None and _can_draw(sys.stderr):
        with ProgressBar() as bar:
            yield bar
    else:
        yield lambda _: None


def _can_draw(out: TextIO) -> bool:
    """Whether a line that was written can be written over: in a terminal, or in a notebook that a person has open."""
    return out.isatty() or (out is sys.stderr and "ipykernel" in sys.modules and is_interactive())


def _new_bar(out: TextIO) -> Any:
    if out.isatty():
        from tqdm import tqdm

        ascii_only = not (getattr(out, "encoding", "") or "").lower().startswith("utf")
        return tqdm(file=out, leave=False, dynamic_ncols=True, mininterval=0, ascii=ascii_only, bar_format=" ")
    from tqdm.notebook import tqdm as tqdm_in_notebook

    return tqdm_in_notebook(leave=False, mininterval=0, bar_format=" ")
