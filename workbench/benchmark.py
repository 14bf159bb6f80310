"""The only clock: warm-up, blocks of timed calls, and the random order in which variants take turns.

``warm_up`` and ``timed_block`` run in the worker that holds the engine; ``order`` is drawn by the parent, which
drives the workers of all variants in turn, one at a time, so that a drift of the machine touches all of them alike.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SETTLE_LIMIT_S = 0.5
SETTLE_STEP_S = 0.003
SETTLE_STEPS = 3
STABLE_WINDOW = 5
STABLE_SHARE = 0.05
WARM_UP_LIMIT_S = 5.0
SLOW_S = 1.0
REHEAT_S = 0.01
MIN_CALLS = 1


class BlockTimes(NamedTuple):
    """What one block gave."""

    samples_ns: list[int]
    cpu_s: float
    wall_s: float
    quiet: bool
    after: Any  # what ``after`` returned


def warm_up(call: Callable[[], object], at_least_s: float) -> list[int]:
    """Call until ``at_least_s`` seconds have passed and the calls are stable; all durations in ns.

    Stable: the median of the last five calls is within 5 % of that of the five before, or the limit of 5 s is reached.
    At least two calls are made, however slow.
    """
    import statistics

    durations: list[int] = []
    clock = time.perf_counter_ns
    began = clock()
    while True:
        start = clock()
        call()
        end = clock()
        durations.append(end - start)
        spent = (end - began) * 1e-9
        if len(durations) < 2 or spent < at_least_s:
            continue
        if spent > WARM_UP_LIMIT_S:
            return durations
        if len(durations) < 2 * STABLE_WINDOW:
            # a slow model need not make ten calls once two in a row agree
            if spent > SLOW_S and _near(durations[-1], durations[-2]):
                return durations
            continue
        last = statistics.median(durations[-STABLE_WINDOW:])
        before = statistics.median(durations[-2 * STABLE_WINDOW : -STABLE_WINDOW])
        if _near(last, before):
            return durations


def timed_block(
    call: Callable[[], Any],
    seconds: float,
    *,
    min_calls: int = MIN_CALLS,
    device: bool = False,
    after: Callable[[], Any] = lambda: None,
) -> BlockTimes:
    """Time call after call for ``seconds``, at least ``min_calls``; then wait until the library's own threads sleep.

    With ``device`` a call returns the nanoseconds that a GPU counted, and those are kept instead of this clock's.
    ``after`` is called as soon as the last call was timed.

    A few untimed calls come first, because another variant has just used the caches. The garbage collector is off
    while the clock runs. CPU time is the whole process's, so it shows how many threads were really at work.
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
    try:
        cpu = time.process_time()
        began = end = clock()
        until = began + int(seconds * 1e9)
        while end < until or len(samples) < min_calls:
            start = clock()
            told = call()
            end = clock()
            keep(told if device else end - start)
        wall_s = (end - began) * 1e-9
        cpu_s = time.process_time() - cpu
    finally:
        if collecting:
            gc.enable()
    found = after()
    return BlockTimes(samples, cpu_s, wall_s, settle(), found)


def settle(limit_s: float = SETTLE_LIMIT_S) -> bool:
    """Wait until this process uses no CPU, so that no spinning thread pool robs the next variant; False if it never rests."""
    deadline = time.perf_counter() + limit_s
    used = time.process_time()
    rests = 0
    while time.perf_counter() < deadline:
        time.sleep(SETTLE_STEP_S)
        now = time.process_time()
        # one quiet step may only mean that a spinning thread had no core to spin on
        rests = rests + 1 if now - used < 0.1 * SETTLE_STEP_S else 0
        if rests == SETTLE_STEPS:
            return True
        used = now
    return False


def order(variants: int, rounds: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """For every round, the variants in a fresh random order: (round, [variant, ...])."""
    draw = random.Random(seed)  # noqa: S311 - an order of measuring, not a secret
    for number in range(rounds):
        yield number, draw.sample(range(variants), variants)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= STABLE_SHARE * max(one, other)
