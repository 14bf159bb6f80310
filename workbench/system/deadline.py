"""When a run is to end with what it has: after some time, or as soon as a user asks for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Deadline:
    """The time that is left of a run; without :meth:`begin` and :meth:`finish` it is unlimited.

    It cancels nothing. What may be left out begins only where :meth:`allows` says so. ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._limit_s = self._end = math.inf
        self._asked = False

    def begin(self, limit_s: float | None, left_s: float | None = None) -> None:
        """Limit the time from now on, of which ``left_s`` are left where it began earlier; ``None`` leaves it as it is."""
        if limit_s is not None:
            self._limit_s = limit_s
            self._end = self.clock() + (limit_s if left_s is None else left_s)

    def finish(self) -> None:
        """End the time now; may be called from any thread, and by a handler of a signal."""
        self._asked = True

    @property
    def limit_s(self) -> float | None:
        """The limit in seconds; ``None`` where there is none."""
        return None if self._limit_s == math.inf else self._limit_s

    @property
    def asked(self) -> bool:
        """Whether a user has asked for the end."""
        return self._asked

    @property
    def left_s(self) -> float:
        """Seconds that are left, 0 at least; infinite without a limit."""
        return 0.0 if self._asked else max(0.0, self._end - self.clock())

    @property
    def over(self) -> bool:
        return self.left_s <= 0

    def allows(self, seconds: float) -> bool:
        """Whether what takes so many seconds would end in time."""
        left_s = self.left_s
        return left_s > 0 and seconds <= left_s

    @property
    def why(self) -> str:
        """What limits the time, as a part of a sentence.

        >>> deadline = Deadline()
        >>> deadline.begin(300)
        >>> deadline.why
        'the time limit of 5 minutes'
        """
        if self._asked or self._limit_s == math.inf:
            return "the request to finish"
        minutes = self._limit_s / 60
        return f"the time limit of {minutes:.4g} minute{'s' * (minutes != 1)}"
