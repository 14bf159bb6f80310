"""The part of a run that measures: under the measuring lock, and repeated if the lock was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from workbench.runs.run_rows import RunRows
from workbench.system.measuring_lock import MeasuringLock, hold_lock

T = TypeVar("T")


class Exclusive:
    """Holds the measuring lock of a run while it measures."""

    run_rows: RunRows
    cancel: threading.Event
    lock: MeasuringLock | None = None

    @contextmanager
    def measuring(self, what: str, expected_s: float | None = None) -> Iterator[None]:
        """Wait until no other process on this machine measures or builds, and hold the measuring lock inside the block.

        ``expected_s`` is how many seconds that is expected to take; waiting processes see it.

        Raises:
            Cancelled: while waiting.
        """
        with hold_lock(
            what, alone=True, cancel=self.cancel, waiting=self.run_rows.report_wait, expected_s=expected_s
        ) as lock:
            self.lock = lock
            try:
                yield
            finally:
                self.lock = None

    def expect(self, seconds: float) -> None:
        """Tell waiting processes how many seconds the block is expected to take from now on."""
        if self.lock is not None:
            self.lock.expect(seconds)

    def undisturbed(self, work: Callable[[], T]) -> T:
        """Return what ``work`` measures; repeat it if this process was stopped for so long that others may have measured at the same time.

        Raises:
            Cancelled: while waiting for the lock again.
        """
        return work() if self.lock is None else self.lock.undisturbed(work)
