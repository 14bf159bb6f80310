"""The rows of a running experiment: their state, the events that tell of it, and the journal on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import Cancelled, WorkbenchError, writing
from workbench.records import FINAL, EngineSpec, Event, Failure, Result, Status, Tally, to_json
from workbench.system.stop import Stop

OnEvent = Callable[[Event], None]


class Board:
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
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @property
    def run(self) -> str:
        """What the run is called in the store."""
        return self._journal.stem

    @property
    def rows(self) -> tuple[Result, ...]:
        return tuple(self._rows.values())

    def open_rows(self, spec: EngineSpec | None = None) -> tuple[Result, ...]:
        """Rows that have not come to an end, of one variant or of all."""
        return tuple(
            row for row in self._rows.values() if row.status not in FINAL and (spec is None or row.spec == spec)
        )

    @contextmanager
    def working_on(self, rows: tuple[Result, ...], *, together: bool = True) -> Iterator[None]:
        """What is told inside is about these rows. With ``together`` it is done for them alone, and ends when all of them
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

    def withdraw(self) -> None:
        """End the rows that were asked to stop one by one and have not come to their end."""
        over = FINAL - {Status.BUILT}
        asked = (row for row in self.rows if row.status not in over and self.stop.has(row.row))
        self.update_all(tuple(asked), status=Status.CANCELLED)

    def say(self, text: str, *, detail: bool = False) -> None:
        log = self._logs.get(self._current[0], "") if self._current else ""
        self._tell(Event(text, detail=detail, rows=self._current, log=log))

    def note(self, text: str) -> None:
        """Tell of something that belongs into the results' notes too."""
        self.notes.append(text)
        self.say(text)

    def warn(self, text: str) -> None:
        """Tell of something that a reader of the results must know before the numbers."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.say(text)

    def whisper(self, text: str) -> None:
        """Tell of a step within a step."""
        self.say(text, detail=True)

    def update(self, row: Result, text: str = "", **changes: Any) -> Result:
        """Change one row and tell of it."""
        new = replace(self._rows[row.row], **changes)
        self._rows[new.row] = new
        self._tell(Event(text or f"{new.row}: {new.status}", new, log=self._logs.get(new.row, "")))
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

    def _tell(self, event: Event) -> None:
        result = event.result
        line: dict[str, Any] = {"s": round(time.monotonic() - self._began, 3), "text": event.text}
        if result is not None:
            # timings have a file of their own; the journal holds what happened, not every sample again
            line |= {"row": result.row, "status": result.status, "failure": to_json(result.failure)}
        with writing(self._journal), self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._on_event(event)
