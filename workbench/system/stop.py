"""Cancel a whole run, or single rows of it; or end it soon with what it has."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from workbench.system.deadline import Deadline


class Stop(threading.Event):
    """An event that can be set in two ways: :meth:`set` stops everything, :meth:`stop_row` one row.

    While work is done for certain rows (:meth:`working_on`), the event counts as set once all of these rows are stopped. A
    worker that waits on it then ends, and the run continues with the next rows. ``outer`` is an event of the caller that
    stops everything too. ``deadline`` does not stop anything: it says when the run is to begin nothing more.
    """

    def __init__(self, outer: threading.Event | None = None) -> None:
        super().__init__()
        self._outer = outer
        self._rows: set[str] = set()
        self._current: frozenset[str] = frozenset()
        self.deadline = Deadline()

    @classmethod
    def of(cls, event: threading.Event | None) -> Stop:
        """Return the event itself if it is a :class:`Stop`, otherwise a new one around it."""
        return event if isinstance(event, cls) else cls(event)

    @property
    def everything(self) -> bool:
        return super().is_set() or (self._outer is not None and self._outer.is_set())

    def is_set(self) -> bool:
        """Whether the current work should stop."""
        return self.everything or (bool(self._current) and self._current <= self._rows)

    def stop_row(self, row: str) -> None:
        self._rows.add(row)

    def has(self, row: str) -> bool:
        """Whether this row should stop."""
        return row in self._rows

    @contextmanager
    def working_on(self, rows: Iterable[str]) -> Iterator[None]:
        """Mark the work inside the block as done only for these rows."""
        before, self._current = self._current, frozenset(rows)
        try:
            yield
        finally:
            self._current = before
