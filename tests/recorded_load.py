"""Builders of records of load for tests: real records, drawn from a seeded generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import recorded

from workbench.records import ClosedLoop, Load, LoadBlock, LoadGenRun, LoadPlan, OpenLoop, OpenStretch, Result, Results

SUMMARY = "MLPerf Results Summary\nScenario : Offline\nSamples per second: 812.5\nResult is : VALID\n"


def closed(callers: int, queries_per_s: float, *, rounds: int = 12, seed: int = 0, **changes: Any) -> ClosedLoop:
    """A closed loop in which Little's law holds: mean latency is callers / throughput."""
    draw = np.random.default_rng(seed)
    blocks = []
    for number in range(rounds):
        speed = queries_per_s * (1 + 0.04 * np.sin(number)) * draw.lognormal(0, 0.004)
        latencies = callers / speed * draw.lognormal(0, 0.05, 40)
        latencies_ns = tuple(int(each * 1e9) for each in latencies)
        blocks.append(LoadBlock(number, 0, latencies_ns, speed * 0.1, 0.1, min(2, callers) * 0.1, quiet=True))
    return replace(ClosedLoop(callers, tuple(blocks), "one session"), **changes)


def opened(rate: float, ms: float, *, limit_ms: float = 20.0, **changes: Any) -> OpenLoop:
    """An open loop whose latencies lie around ``ms``, with a 99th percentile of about 1.3 times that."""
    draw = np.random.default_rng(int(rate))
    stretches = []
    for _ in range(6):
        latencies = tuple(int(each * 1e6) for each in ms * draw.lognormal(0, 0.1, 200))
        over = sum(each > limit_ms * 1e6 for each in latencies)
        stretches.append(OpenStretch(latencies, over, busy=0.5, late_ns=4000, wall_s=200 / rate))
    return replace(OpenLoop(rate, 2, limit_ms * 1e-3, 99.0, 0, 1200, tuple(stretches)), **changes)


def run(**changes: Any) -> LoadGenRun:
    figures = {"Result is": "VALID", "Samples per second": "812.5", "90.00 percentile latency (ns)": "1000000"}
    return replace(
        LoadGenRun("Offline", "6.0.17", True, figures, (), "at least 3 s; shortened", SUMMARY, "2 at once"), **changes
    )


def load(batch: int = 1, speeds: Sequence[tuple[int, float]] = (), **changes: Any) -> Load:
    """``speeds``: pairs of callers and calls per second."""
    loops = tuple(closed(callers, speed, seed=callers) for callers, speed in speeds)
    plan = LoadPlan(concurrency=tuple(callers for callers, _ in speeds))
    return replace(Load("key", batch, "one", plan, "2026-11-24T10:00:00+00:00", loops), **changes)


def loaded(label: str, batch: int = 1, speeds: Sequence[tuple[int, float]] = (), **changes: Any) -> Result:
    """A finished row with a load; ``changes`` are fields of :class:`Load`."""
    row = recorded.measured(label, batch, median_ms=1e3 / speeds[0][1] if speeds else 1.0)
    return replace(row, load=load(batch, speeds, **changes))


def sweep(batches: Sequence[int] = (1, 8), labels: Sequence[str] = ("tensorflow fp32", "onnxruntime fp32")) -> Results:
    """Variants that scale to two callers and no further, the second twice as fast as the first and so on."""
    rows = [
        loaded(
            label,
            batch,
            [(1, 100 * (place + 1) / batch), (2, 195 * (place + 1) / batch), (4, 200 * (place + 1) / batch)],
            open=(opened(50, 10), opened(90, 30)),
            loadgen=run(),
        )
        for place, label in enumerate(labels)
        for batch in batches
    ]
    return recorded.results(rows)
