"""The clock under load: callers in separate threads that call continuously (closed loop) or at arrivals (open loop).

Both run in the worker that has the engine open, and time every call by the clock of :mod:`workbench.timing.benchmark`. Python
threads suffice, because every engine library releases the global interpreter lock while it computes.
"""

from __future__ import annotations

import gc
import itertools
import select
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from workbench.timing.benchmark import REHEAT_S, settle

if TYPE_CHECKING:
    from workbench.protocols import Caller

Call = Callable[[], object]

REFUSED = object()
"""What a call returns whose query was refused, as by a server whose queue is full. It has no latency, and it is counted."""
CALLS_EACH = 2
"""A stretch lasts at least as long as this many calls of every caller, estimated from earlier calls."""
SPIN_NS = 100_000
"""A sleeping thread is nearly always woken within this time; the rest of the time to an arrival is spent polling."""
HOPELESS, AT_LEAST = 3.0, 10
"""An open loop ends early after this many times the number of queries that may exceed the limit, and at least ``AT_LEAST`` more: for
percentiles up to the 99th of 700 queries the outcome is then certain, even with correlation between queries of a factor of five."""


class ClosedTimes(NamedTuple):
    """The times of one stretch of a closed loop; fields as in :class:`workbench.records.LoadBlock`."""

    latencies_ns: list[int]
    calls: float
    wall_s: float
    cpu_s: float
    quiet: bool
    refused: int = 0


class OpenTimes(NamedTuple):
    """The times of one stretch of an open loop; fields as in :class:`workbench.records.OpenStretch`."""

    latencies_ns: list[int]
    over: int
    busy: float
    late_ns: int
    wall_s: float
    ended_early: bool
    refused: int = 0


def closed_block(callers: Sequence[Caller], calls: Sequence[Call], seconds: float) -> ClosedTimes:
    """Let all callers call repeatedly at the same time for ``seconds``, after a short warm-up; time each call.

    Throughput is counted over exactly that stretch: a call that overlaps one of its ends counts by the part of its duration
    inside, so that slow calls are not rounded to whole ones. Refused calls are not part of it and are counted in the stretch. A caller stops only after every caller has had a result after the
    end, so that all counted calls ran with all callers busy. Latencies are those of the calls that began within the stretch.

    Raises:
        BaseException: the error of the first failing call.
    """
    clock = time.perf_counter_ns
    size = len(calls)
    starts: list[list[int]] = [[] for _ in calls]
    ends: list[list[int]] = [[] for _ in calls]
    over = [False] * size
    refused: list[int] = []  # when such calls began; appending is atomic
    begin = end = 0

    def work(place: int) -> None:
        call, began, ended = calls[place], starts[place].append, ends[place].append
        while True:
            start = clock()
            answer = call()
            now = clock()
            if answer is REFUSED:
                refused.append(start)
            else:
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
    lost = sum(begin <= start < end for start in refused)
    return ClosedTimes(latencies, inside, (end - begin) * 1e-9, cpu_s, settle(), lost)


def open_stretch(
    callers: Sequence[Caller],
    calls: Sequence[Call],
    due_ns: Sequence[int],
    limit_ns: int,
    may_be_over: float,
    skipped: int = 0,
) -> OpenTimes:
    """Serve queries that arrive at ``due_ns`` (ascending, relative to the start) in order of arrival, one at a time for each caller.

    A query's latency is from its scheduled arrival to its result, including all waiting, so that a slow result counts in the times
    of the queries behind it (no coordinated omission). A refused query has no latency and counts as one over the limit. The first ``skipped`` queries are served and not counted. After
    :data:`HOPELESS` times ``may_be_over`` queries, and :data:`AT_LEAST` more, exceeded ``limit_ns``, the rest is abandoned.

    Raises:
        BaseException: the error of the first failing call.
    """
    clock = time.perf_counter_ns
    stop_at = HOPELESS * may_be_over + AT_LEAST
    numbers = itertools.count()  # next() is atomic: no query is taken twice
    found: list[tuple[int, int, int, int]] = []  # number, when its caller was free, start, end
    refused: set[int] = set()
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
            _wait_for_arrival(due)
            start = clock()
            lost = call() is REFUSED
            end = clock()
            found.append((number, free, start, end))
            if lost:
                refused.add(number)
            if number >= skipped and (lost or end - due > limit_ns) and next(late) > stop_at:
                gone[0] = True

    with _crew(callers, work, give_up=lambda: gone.__setitem__(0, True)) as go:
        begin = clock() + int(REHEAT_S * 1e9)
        go()
    settle()
    relative = [Served(number, *(each - begin for each in times)) for number, *times in sorted(found)]
    return _open_times(relative, due_ns, len(calls), limit_ns, skipped, refused)._replace(ended_early=gone[0])


def _wait_for_arrival(due_ns: int) -> None:
    while (left := due_ns - time.perf_counter_ns()) > 0:
        if left > SPIN_NS:
            time.sleep((left - SPIN_NS) * 1e-9)
        else:
            # lets other threads run; Linux rounds a sleep of zero up to 50 microseconds
            select.select((), (), (), 0)


class Served(NamedTuple):
    """One query of an open loop, with times in nanoseconds from the start."""

    number: int
    free: int  # when its caller was free
    start: int
    end: int


def _open_times(
    served: list[Served], due_ns: Sequence[int], callers: int, limit_ns: int, skipped: int, refused: Collection[int]
) -> OpenTimes:
    """The figures of the queries, which are in order of arrival; ``refused`` are the numbers of those without an answer."""
    lost = sum(number >= skipped for number in refused)
    counted = [
        each.end - due_ns[each.number] for each in served if each.number >= skipped and each.number not in refused
    ]
    waited = sorted(each.start - due_ns[each.number] for each in served if each.free <= due_ns[each.number])
    wall_ns, first = max(each.end for each in served), due_ns[skipped]
    idle = sum(max(0, each.start - max(each.free, first)) for each in served if each.free < due_ns[each.number])
    busy = 1 - idle / (callers * max(1, wall_ns - first))
    over = sum(latency > limit_ns for latency in counted) + lost
    late = waited[len(waited) // 2] if waited else 0
    return OpenTimes(counted, over, busy, late, wall_ns * 1e-9, ended_early=False, refused=lost)


def arrivals(rate: float, count: int, seed: int) -> list[int]:
    """Arrival times in nanoseconds of ``count`` arrivals of a Poisson process with this mean rate per second."""
    import numpy as np

    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [int(when) for when in np.cumsum(gaps) * 1e9]


def periodic(rate: float, count: int) -> list[int]:
    """Arrival times in nanoseconds of ``count`` arrivals at a fixed period, ``rate`` of them per second.

    Example:
        >>> periodic(1000.0, 3)
        [0, 1000000, 2000000]

    """
    return [round(number * 1e9 / rate) for number in range(count)]


@contextmanager
def _crew(callers: Sequence[Caller], work: Callable[[int], None], *, give_up: Call) -> Iterator[Call]:
    """Start a thread for each caller; they begin when the yielded function is called, and are joined at the end.

    The garbage collector is off in the block. The first error of a thread is raised here, after ``give_up`` has stopped the others.
    """
    gate = threading.Barrier(len(callers) + 1)
    errors: list[BaseException] = []

    def opened() -> bool:
        """Wait for all threads; False if one failed in ``enter``, whose error is raised at the end."""
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
