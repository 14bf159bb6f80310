"""The rows of a running experiment: their state, the events that tell of it, and the journal on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import Cancelled, WorkbenchError, writing
from workbench.records import FINAL, EngineSpec, Event, Failure, Result, Status, Tally, to_json

OnEvent = Callable[[Event], None]


class Board:
    """Holds one :class:`Result` per row; every change goes to the listener and to the run's journal."""

    def __init__(
        self, rows: tuple[Result, ...], journal: Path, on_event: OnEvent, repro: Callable[[Result], str]
    ) -> None:
        self._rows = {row.row: row for row in rows}
        self._journal = journal
        self._on_event = on_event
        self._repro = repro
        self._began = time.monotonic()
        self.tally = Tally()
        self.notes: list[str] = []

    @property
    def rows(self) -> tuple[Result, ...]:
        return tuple(self._rows.values())

    def open_rows(self, spec: EngineSpec | None = None) -> tuple[Result, ...]:
        """Rows that have not come to an end, of one variant or of all."""
        return tuple(
            row for row in self._rows.values() if row.status not in FINAL and (spec is None or row.spec == spec)
        )

    def say(self, text: str, *, detail: bool = False) -> None:
        self._tell(Event(text, detail=detail))

    def note(self, text: str) -> None:
        """Tell of something that belongs into the results' notes too."""
        self.notes.append(text)
        self.say(text)

    def whisper(self, text: str) -> None:
        """Tell of a step within a step."""
        self.say(text, detail=True)

    def update(self, row: Result, text: str = "", **changes: Any) -> Result:
        """Change one row and tell of it."""
        new = replace(self._rows[row.row], **changes)
        self._rows[new.row] = new
        self._tell(Event(text or f"{new.row}: {new.status}", new))
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
