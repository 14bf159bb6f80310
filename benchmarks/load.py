"""Does the closed loop of one caller agree with the latency loop, and LoadGen's SingleStream with both?

Method. Models become ONNX Runtime FP32 engines through ``workbench.run``. One worker opens an engine and in every round, in random
order, times a block of the latency loop, a block of a closed loop with one caller, and one SingleStream run of MLPerf LoadGen,
all at batch 1, with one thread, host to host. A ratio is taken within a round; its interval is
``workbench.stats.estimates.ratio_interval`` over the rounds. ``calls/s × median`` is the closed loop's throughput times the latency loop's
median: 1 where they agree and no call is held up. The same product of the latency loop with itself is the control: what it
differs from 1 by is the skew of the durations, which every throughput has against a median. Rounds in which either of the two
had less than 97 % of a core, because other programs took it, say nothing of a throughput: they are left out of these two
columns, and counted. ``calls/core second × median`` is the same with CPU time in the place of time, which a busy machine leaves
nearly as it is; its control is the latency loop's again.

The last table is an open loop whose calls sleep. From its arrivals and the durations of its calls follows what every latency must
have been (Lindley 1952, The theory of queues with a single server: a call begins at its arrival or when the one before it ends).
What the generator found is held against that.

Target: throughput and the closed loop's median within 3 %; LoadGen's median within 3 % where a call takes over 0.5 ms, within
20 microseconds where it takes less.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from models import chain, small_cnn
from record import Section, parser, tell, verdict
from turns import ENV, built

from workbench import backends
from workbench.data.samples import Samples, save_samples
from workbench.protocols import Caller
from workbench.records import EngineRecord, LoadPlan, Region, to_json
from workbench.stats.estimates import ratio_interval
from workbench.store import Store
from workbench.timing import load
from workbench.workers.worker import Worker

BLOCK_S, LOADGEN_S = 0.1, 0.3
UNDISTURBED = 0.97  # of a core
SMALL_NS, LIMIT_US, SHARE = 500_000, 20.0, 0.03
LIBRARIES = ("onnxruntime", "mlcommons-loadgen", "numpy")


class Round(NamedTuple):
    """One round; medians in nanoseconds, speeds in calls per second."""

    latency_ns: float
    latency_per_s: float
    closed_ns: float
    closed_per_s: float
    loadgen_ns: float
    cores: float  # of the loop that had less
    closed_per_core_s: float
    latency_per_core_s: float


def measured(engine: EngineRecord, samples: Samples, store: Store, scratch: Path, rounds: int) -> list[Round]:
    where = str(scratch / "samples.npz")
    save_samples(samples, scratch / "samples.npz")
    asked = {"samples": where, "batch": 1, "region": Region.HOST_TO_HOST, "warm_up_s": 0.3}
    plan = to_json(LoadPlan(scenario="SingleStream", loadgen_queries=10, loadgen_s=LOADGEN_S))
    found = []
    with Worker(store.log_path("load"), env=ENV) as worker:
        worker.call("hello", modules=list(backends.get("onnxruntime").imports))
        worker.call("open_engine", engine=str(store.path("engine", engine.key)), record=to_json(engine))
        worker.call("prepare_timing", **asked)
        worker.call("prepare_load", concurrency=1, **asked)
        turns = {
            "latency": lambda: worker.call("block", seconds=BLOCK_S),
            "closed": lambda: worker.call("load_block", seconds=BLOCK_S),
            "loadgen": lambda: worker.call("loadgen", samples=where, batch=1, plan=plan),
        }
        for _ in range(rounds):
            got = {name: turns[name]() for name in random.sample(list(turns), 3)}
            latency = np.asarray(got["latency"]["samples_ns"], dtype=float)
            found.append(
                Round(
                    float(np.median(latency)),
                    len(latency) / latency.sum() * 1e9,
                    float(np.median(got["closed"]["latencies_ns"])),
                    got["closed"]["calls"] / got["closed"]["wall_s"],
                    float(got["loadgen"]["figures"]["50.00 percentile latency (ns)"]),
                    min(got[name]["cpu_s"] / got[name]["wall_s"] for name in ("latency", "closed")),
                    got["closed"]["calls"] / got["closed"]["cpu_s"],
                    len(latency) / got["latency"]["cpu_s"],
                )
            )
    return found


def row(name: str, rounds: list[Round]) -> tuple[str, ...]:
    median = float(np.median([each.latency_ns for each in rounds]))
    calm = [each for each in rounds if each.cores >= UNDISTURBED]
    speed = ratio_interval([each.closed_per_s * each.latency_ns * 1e-9 for each in calm])
    control = ratio_interval([each.latency_per_s * each.latency_ns * 1e-9 for each in calm])
    core = _interval([each.closed_per_core_s * each.latency_ns * 1e-9 for each in rounds])
    core_control = _interval([each.latency_per_core_s * each.latency_ns * 1e-9 for each in rounds])
    closed = _interval([each.closed_ns / each.latency_ns for each in rounds])
    loadgen = _interval([each.loadgen_ns / each.latency_ns for each in rounds])
    more_us = float(np.median([each.loadgen_ns - each.latency_ns for each in rounds])) * 1e-3
    third = verdict(loadgen[0], 1 - SHARE, 1 + SHARE) if median > SMALL_NS else verdict(more_us, -LIMIT_US, LIMIT_US)
    answers = (verdict(each[0], 1 - SHARE, 1 + SHARE) if each else "cannot tell" for each in (speed, core, closed))
    short = (answer.removeprefix("within target: ") for answer in (*answers, third))
    ratios = (_told(each) for each in (speed, control, core, core_control, closed, loadgen))
    left = f"{len(calm)} of {len(rounds)}"
    return (name, f"{median * 1e-3:,.1f} µs", left, *ratios, f"{more_us:+.1f} µs", ", ".join(short))


def _interval(values: list[float]) -> tuple[float, float, float]:
    interval = ratio_interval(values)
    if interval is None:
        raise SystemExit("Too few rounds for an interval; give at least 6.")
    return interval


def _told(ratio: tuple[float, float, float] | None) -> str:
    if ratio is None:
        return "too few rounds"
    return f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f})"


def queue(rho: float, call_s: float, queries: int) -> tuple[str, ...]:
    """One open loop whose calls sleep, and the latencies that its arrivals and the durations of its calls must have given."""
    taken: list[float] = []

    def call() -> None:
        began = time.perf_counter()
        time.sleep(call_s)
        taken.append(time.perf_counter() - began)

    alone = Caller(dict, lambda feeds: lambda: feeds)
    rate = rho / call_s
    due = load.arrivals(rate, queries, 1)
    found = np.asarray(load.open_stretch([alone], [call], due, 10**12, queries).latencies_ns) * 1e-6
    free_ms, must = 0.0, []
    for arrival, length in zip(due, taken, strict=True):
        free_ms = max(arrival * 1e-6, free_ms) + length * 1e3
        must.append(free_ms - arrival * 1e-6)
    expected = np.asarray(must)
    cells = []
    for of in (np.mean, lambda values: np.percentile(values, 99)):
        cells += [f"{of(expected):.2f} ms", f"{of(found):.2f} ms", f"{of(found) / of(expected):.4f}"]
    return (f"{rate:.0f}/s", f"{rate * np.mean(taken):.2f}", *cells, f"{np.median(found - expected) * 1e3:.0f} µs")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=30, help="turns of each of the three loops, per model")
    asked = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        store = Store(scratch / "store")
        models = {
            "4 × MatMul 160": chain(scratch / "small.onnx", 4, 160),
            "6 × MatMul 384": chain(scratch / "middle.onnx", 6, 384),
            "10 × MatMul 1280": chain(scratch / "large.onnx", 10, 1280),
            "CNN on 28 × 28": small_cnn(scratch / "cnn.onnx"),
        }
        for name, model in models.items():
            engine, samples = built(str(model), store)
            rows.append(row(name, measured(engine, samples.take(slice(0, 16)), store, scratch, asked.rounds)))
    columns = ("engine", "median call", "undisturbed rounds", "calls/s × median", "control", "calls/core second × median",
               "control", "closed median / latency median", "LoadGen p50 / latency median", "LoadGen more", "within target")  # fmt: skip
    method = (
        "One caller in three ways, in turn, batch 1, one thread; medians of ratios with 95 % intervals over rounds."
    )
    tell(
        Section("Load: a closed loop of one caller, and LoadGen", "load.py", method, columns, rows, LIBRARIES),
        record=asked.record,
    )
    queues = [queue(rho, 0.004, 1200) for rho in (0.3, 0.6, 0.8)]
    columns = ("arrivals", "load", "mean must be", "found", "ratio", "p99 must be", "found", "ratio", "more (median)")
    method = "An open loop of one caller whose calls sleep 4 ms, 1,200 Poisson arrivals, beside Lindley's recursion."
    tell(
        Section("Load: an open loop beside what it must give", "load.py", method, columns, queues, LIBRARIES),
        record=asked.record,
    )


if __name__ == "__main__":
    main()
