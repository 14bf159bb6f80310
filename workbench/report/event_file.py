"""How the kernel of a headless notebook reports to the process that runs the notebook: a file of JSON lines, beside what cells print.

What cells print is kept in the notebook, so progress does not belong there. Where the variable WORKBENCH_EVENTS names no file, as
under papermill alone, messages and a line after ten silent seconds are all there is, and they are printed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self

from workbench.errors.printable import tell
from workbench.records import Event, Progress, Results, from_json, to_json
from workbench.report.document import document
from workbench.system.progress import ProgressBar

VARIABLE = "WORKBENCH_EVENTS"
POLL_S = 0.2


class _ToFile:
    """Messages are printed; events and results go to the file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def message(self, text: str) -> None:
        tell(text, flush=True)

    def event(self, event: Event) -> None:
        self._write({"event": to_json(replace(event, result=None))})

    def end(self, results: Results) -> None:
        self._write({"results": document(results)})
        self.event(Event("", detail=True, progress=Progress("draw tables and figures")))

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class _ToCell:
    """Messages are printed into the cell, and at least one line every ten seconds."""

    def __init__(self, bar: ProgressBar) -> None:
        self.message, self.event = bar.write, bar

    def end(self, results: Results) -> None:
        """Nothing: the notebook has them."""


@contextmanager
def reporting() -> Iterator[_ToFile | _ToCell]:
    """In the kernel: where to report to."""
    if place := os.environ.get(VARIABLE):
        with Path(place).open("a", encoding="utf-8") as file:
            yield _ToFile(file)
    else:
        with ProgressBar(sys.stdout) as bar:
            yield _ToCell(bar)


class Follower:
    """In the process that runs the notebook: reads the file while it grows. ``results`` is the document of the run at its end."""

    def __init__(self, path: Path, on_event: Callable[[Event], None]) -> None:
        self.results: dict[str, Any] | None = None
        self.path, self._on_event = path, on_event
        self._offset = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="workbench events")

    def __enter__(self) -> Self:
        self.path.touch()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(POLL_S):
            self._read()
        self._read()

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            found = json.loads(line)
            if "event" in found:
                self._on_event(from_json(Event, found["event"]))
            else:
                self.results = found["results"]
