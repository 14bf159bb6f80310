"""The time that passes while this process runs, for limits of other processes that it watches."""

from __future__ import annotations

import time

STEP_S = 1.0


class RunningTime:
    """Seconds since it was made, without those in which this process was stopped (SIGSTOP, Ctrl-Z, a frozen container).

    :attr:`seconds` has to be read several times a second: between two reads one second counts at most.

    Example:
        >>> RunningTime().seconds < 1
        True

    """

    def __init__(self) -> None:
        self._looked, self._seconds = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        now = time.monotonic()
        self._seconds += min(now - self._looked, STEP_S)
        self._looked = now
        return self._seconds
