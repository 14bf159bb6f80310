"""The clock under load: callers in threads of their own, calling at once (closed loop) or at arrivals (open loop).

Both run in the worker that holds the engine and time every call by the clock of :mod:`workbench.timing.benchmark`. Python threads do:
every engine library gives the interpreter's lock away while it computes.
"""

from __future__ import annotations

import gc
import itertools
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from workbench.timing.benchmark import REHEAT_S, settle

if TYPE_CHECKING:
    from workbench.protocols import Caller

Call = Callable[[], object]

CALLS_EACH = 2
"""A stretch lasts as long as so many calls of every caller at least, by the calls before it."""
SPIN_NS = 100_000
"""A sleeping thread is woken this late at most, nearly always; the rest of the time to an arrival is waited for awake."""
HOPELESS, AT_LEAST = 3.0, 10
"""An open loop ends early once this many times the queries that may be beyond the limit are, and a few more: for percentiles
up to the 99th of 700 queries that settles it even where queries depend on each other fivefold."""


class ClosedTimes(NamedTuple):
    """What one stretch of a closed loop gave; fields as in :class:`workbench.records.LoadBlock`."""

    latencies_ns: list[int]
    calls: float
    wall_s: float
    cpu_s: float
    quiet: bool


class OpenTimes(NamedTuple):
    """What one stretch of an open loop gave; fields as in :class:`workbench.records.OpenStretch`."""

    latencies_ns: list[int]
    over: int
    busy: float
    late_ns: int
    wall_s: float
    ended_early: bool


def closed_block(callers: Sequence[Caller], calls: Sequence[Call], seconds: float) -> ClosedTimes:
    """Every caller makes call after call, all of them at once, for ``seconds`` and a little before; each call is timed.

    Throughput is counted over exactly that stretch: a call that one of its ends cuts counts by the part of its duration that
    lies inside, so slow calls are not rounded to whole ones. Nobody stops before everyone has had an answer after the end:
    whatever is counted ran with all callers busy. Latencies are those of the calls that began within the stretch.

    Raises:
        BaseException: what the first failing call raised.
    """
    clock = time.perf_counter_ns
    size = len(calls)
    starts: list[list[int]] = [[] for _ in calls]
    ends: list[list[int]] = [[] for _ in calls]
    over = [False] * size
    begin = end = 0

    def work(place: int) -> None:
        call, began, ended = calls[place], starts[place].append, ends[place].append
        while True:
            start = clock()
            call()
            now = clock()
            began(start)
            ended(now)
            if now >= end:
                over[place] = True
                if all(over):
                    return

    with _crew(callers, work, give_up=lambda: over.__setitem__(slice(None), [True] * size)) as go:
        begin = clock() + int(REHEAT_S * 1e9)
        end = begin + int(seconds * 1e9)
        go()
        _sleep_until(begin)
        cpu = time.process_time()
        _sleep_until(end)
        cpu_s = time.process_time() - cpu
    timed = [pair for place in range(size) for pair in zip(starts[place], ends[place], strict=True)]
    inside = sum(max(0, min(last, end) - max(first, begin)) / max(1, last - first) for first, last in timed)
    latencies = [last - first for first, last in sorted(timed) if begin <= first < end]
    return ClosedTimes(latencies, inside, (end - begin) * 1e-9, cpu_s, settle())


def open_stretch(
    callers: Sequence[Caller],
    calls: Sequence[Call],
    due_ns: Sequence[int],
    limit_ns: int,
    may_be_over: float,
    skipped: int = 0,
) -> OpenTimes:
    """Answer queries that arrive at ``due_ns`` (ascending, from the start), first come first served, each caller one at a time.

    A query's latency runs from its scheduled arrival to its answer, whatever it waited for: a slow answer that holds up those
    behind it is not left out of their times (no coordinated omission). The first ``skipped`` are answered and not counted. Once
    :data:`HOPELESS` times ``may_be_over`` queries, and :data:`AT_LEAST` more, were beyond ``limit_ns`` the rest is given up.

    Raises:
        BaseException: what the first failing call raised.
    """
    clock = time.perf_counter_ns
    stop_at = HOPELESS * may_be_over + AT_LEAST
    numbers = itertools.count()  # each next() is one step of the interpreter: no query is taken twice
    found: list[tuple[int, int, int, int]] = []  # number, when its caller was free, start, end
    late = itertools.count(1)
    gone = [False]
    begin = 0

    def work(place: int) -> None:
        call = calls[place]
        while not gone[0]:
            number = next(numbers)
            if number >= len(due_ns):
                return
            due = begin + due_ns[number]
            free = clock()
            while (left := due - clock()) > 0:
                if left > SPIN_NS:
                    time.sleep((left - SPIN_NS) * 1e-9)
                else:
                    # lets the other threads run; Linux rounds a sleep of no length up to 50 microseconds
                    select.select((), (), (), 0)
            start = clock()
            call()
            end = clock()
            found.append((number, free, start, end))
            if number >= skipped and end - due > limit_ns and next(late) > stop_at:
                gone[0] = True

    with _crew(callers, work, give_up=lambda: gone.__setitem__(0, True)) as go:
        begin = clock() + int(REHEAT_S * 1e9)
        go()
    found.sort()
    counted = [(end - begin - due_ns[number]) for number, _, _, end in found if number >= skipped]
    waited = [start - begin - due_ns[number] for number, free, start, _ in found if free <= begin + due_ns[number]]
    wall_ns = max(end for *_, end in found) - begin
    first = begin + due_ns[skipped]
    idle = sum(max(0, start - max(free, first)) for number, free, start, _ in found if free < begin + due_ns[number])
    busy = 1 - idle / (len(calls) * max(1, begin + wall_ns - first))
    over = sum(latency > limit_ns for latency in counted)
    lateness = sorted(waited)[len(waited) // 2] if waited else 0
    settle()
    return OpenTimes(counted, over, busy, lateness, wall_ns * 1e-9, gone[0])


def arrivals(rate: float, count: int, seed: int) -> list[int]:
    """Nanoseconds of ``count`` arrivals of a Poisson process with this mean rate per second: gaps are exponential."""
    import numpy as np

    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [int(when) for when in np.cumsum(gaps) * 1e9]


@contextmanager
def _crew(callers: Sequence[Caller], work: Callable[[int], None], *, give_up: Call) -> Iterator[Call]:
    """A thread for each caller, held until what is given is called; at the end all are waited for.

    The garbage collector is off meanwhile. What a thread raises first is raised here, after ``give_up`` has told the others.
    """
    gate = threading.Barrier(len(callers) + 1)
    errors: list[BaseException] = []

    def opened() -> bool:
        """Wait for all; False where one of them could not enter, whose error is told at the end."""
        try:
            gate.wait()
        except threading.BrokenBarrierError:
            return False
        return True

    def run(place: int) -> None:
        try:
            callers[place].enter()
            try:
                if opened():
                    work(place)
            finally:
                callers[place].leave()
        except BaseException as cause:
            errors.append(cause)
            give_up()
            gate.abort()

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(callers))]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for thread in threads:
            thread.start()
        yield opened
        for thread in threads:
            thread.join()
    finally:
        if collecting:
            gc.enable()
    if errors:
        raise errors[0]


def _sleep_until(when_ns: int) -> None:
    left = when_ns - time.perf_counter_ns()
    if left > 0:
        time.sleep(left * 1e-9)
