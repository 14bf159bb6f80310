"""The only clock: warm-up and blocks of timed calls.

Both run in the process that has the engine open. :mod:`workbench.measure.interleave` determines the order of variants.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from workbench.records import Surroundings
from workbench.timing import guards

SETTLE_LIMIT_S = 0.5
SETTLE_STEP_S = 0.003
SETTLE_STEPS = 3
WINDOW_CALLS = 5
WINDOW_S = 0.05
FASTER_SHARE = 0.05
WARM_UP_LIMIT_S = 5.0
SLOW_S = 1.0
REHEAT_S = 0.01


class BlockTimes(NamedTuple):
    """The times of one block."""

    samples_ns: list[int]
    cpu_s: float
    wall_s: float
    quiet: bool
    after: Any  # what ``after`` returned
    around: Surroundings


def warm_up(call: Callable[[], object], at_least_s: float) -> list[int]:
    """Call until ``at_least_s`` seconds have passed and calls no longer get faster; return all durations in nanoseconds.

    Calls are grouped into windows of at least 50 ms and five calls. They no longer get faster once the median of a window is above
    95 % of that of the window before. (A stricter test may never succeed on a busy machine.) Warm-up ends after 5 s at the
    latest, and makes at least two calls.
    """
    durations: list[int] = []
    clock = time.perf_counter_ns
    began = clock()
    before = math.inf
    while True:
        first, opened = len(durations), clock()
        while True:
            start = clock()
            call()
            end = clock()
            durations.append(end - start)
            spent = (end - began) * 1e-9
            if spent > SLOW_S and _few_and_alike(durations):
                return durations  # for a slow model, two equal calls in a row are enough
            if len(durations) >= first + WINDOW_CALLS and end - opened >= WINDOW_S * 1e9:
                break
            if spent > WARM_UP_LIMIT_S and len(durations) > 1:
                return durations
        last = statistics.median(durations[first:])
        if spent >= at_least_s and last >= (1 - FASTER_SHARE) * before:
            return durations
        before = last


def timed_block(
    call: Callable[[], Any],
    seconds: float,
    *,
    min_calls: int = 1,
    own_clock: bool = False,
    after: Callable[[], Any] = lambda: None,
) -> BlockTimes:
    """Time calls for ``seconds``, at least ``min_calls``; then wait until the library's threads are idle.

    With ``own_clock`` a call may return nanoseconds that were counted elsewhere, which are kept instead of this clock's: those of
    a GPU, or the mean of several calls in flight.
    ``after`` is called right after the last timed call.

    A few untimed calls come first, because another variant has just used the caches. The garbage collector is off during
    timing. CPU time is that of the whole process, so it shows how many threads were active.
    """
    reheat_until = time.perf_counter() + min(REHEAT_S, seconds)
    while True:
        call()
        if time.perf_counter() >= reheat_until:
            break
    samples: list[int] = []
    keep = samples.append
    clock = time.perf_counter_ns
    collecting = gc.isenabled()
    gc.disable()
    before = guards.counters()
    try:
        cpu = time.process_time()
        began = end = clock()
        until = began + int(seconds * 1e9)
        while end < until or len(samples) < min_calls:
            start = clock()
            value = call()
            end = clock()
            keep(value if own_clock and value is not None else end - start)
        wall_s = (end - began) * 1e-9
        cpu_s = time.process_time() - cpu
        around = guards.between(before, guards.counters())
    finally:
        if collecting:
            gc.enable()
    found = after()
    return BlockTimes(samples, cpu_s, wall_s, settle(), found, around)


def settle(limit_s: float = SETTLE_LIMIT_S) -> bool:
    """Wait until this process uses no CPU, so that its threads do not disturb the next variant; False: it did not become idle."""
    deadline = time.perf_counter() + limit_s
    used = time.process_time()
    rests = 0
    while time.perf_counter() < deadline:
        time.sleep(SETTLE_STEP_S)
        now = time.process_time()
        # a single quiet step is not enough: a spinning thread may have had no core to run on
        rests = rests + 1 if now - used < 0.1 * SETTLE_STEP_S else 0
        if rests == SETTLE_STEPS:
            return True
        used = now
    return False


def _few_and_alike(durations: list[int]) -> bool:
    """Whether there are at least two calls but few, and the last two took the same time within 5 %."""
    if not 2 <= len(durations) < 2 * WINDOW_CALLS:
        return False
    one, other = durations[-2:]
    return abs(one - other) <= FASTER_SHARE * max(one, other)
