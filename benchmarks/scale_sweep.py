"""What does a large sweep cost beyond its measuring, and is a worker that was forked as fast as one that was started?

Method. *Sweep*: one ``workbench.run`` of a small network by ONNX Runtime with fixed shapes, so that every precision at every
batch size is an engine of its own with a worker of its own: 100 batch sizes in FP32 and INT8 are 200 rows. Pure measuring is
every call of an engine: the warm-up, the timed blocks, and the 10 ms of untimed calls with which each block begins (taken as
10 ms, not measured). Everything after building counts: starting workers, opening engines, pauses until thread pools sleep,
storing, scoring. *Forks*: the demo by TensorFlow, its worker started in the ordinary way, and forked from a process that had
imported TensorFlow; both and a second one of the first kind take turns after each of several fresh starts. Ratios within rounds,
the median of each start, 95 % interval over starts.

Targets: at most 1.3 times pure measuring; the interval of the ratio forked to started includes 1.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from models import benchmark_store, chain
from record import Section, parser, tell

from workbench import Experiment, backends, run
from workbench.data.dataset import dataset
from workbench.data.samples import save_samples
from workbench.records import EngineRecord, Event, Results, Status, TimingPlan, to_json
from workbench.stats.estimates import ratio_interval
from workbench.store import Store
from workbench.timing.benchmark import REHEAT_S
from workbench.workers.fork_server import ForkServer
from workbench.workers.worker import NO_GPU, QUIET_ENV, Worker, thread_env

TARGET = 1.3
PLAN = TimingPlan()
BATCH = 8
WAYS = ("started", "started again (control)", "forked")


def sweep_rows(batches: int, measure_s: float) -> tuple[list[tuple[str, ...]], str]:
    seen: list[tuple[float, Event]] = []
    with tempfile.TemporaryDirectory() as folder:
        model, data = chain(Path(folder) / "net.onnx", 4, 160), Path(folder) / "data.npz"
        x = np.random.default_rng(0).standard_normal((batches + 50, 160), dtype=np.float32)
        np.savez(data, x0=x)
        asked = Experiment(
            model=str(model),
            data=str(data),
            backends=("onnxruntime",),
            precisions=("fp32", "int8"),
            batches=tuple(range(1, batches + 1)),
            shapes="fixed",
            calibration="minmax",
            calibration_samples=50,
            measure_s=measure_s,
        )
        results = run(asked, store=Store(folder), on_event=lambda event: seen.append((time.perf_counter(), event)))
    begun = next(at for at, event in seen if event.text.startswith("starting "))
    after_building = seen[-1][0] - begun
    cohorts = sum(event.text.startswith("starting ") for _, event in seen)
    warm, timed, again = _pure(results)
    pure = warm + timed + again
    ratio = after_building / pure
    failed = sum(row.status == Status.FAILED for row in results.rows)
    answer = f"within target: {'yes' if ratio <= TARGET else 'no'}"
    rows = [
        ("building, not counted", f"{results.tally.build_s:.1f} s", "", ""),
        ("warming up", f"{warm:.1f} s", "", ""),
        ("timed blocks", f"{timed:.1f} s", "", ""),
        ("untimed calls before each block", f"{again:.1f} s", "", ""),
        ("rounds, with pauses and storing", f"{results.tally.measure_s:.1f} s", "", ""),
        ("everything after building", f"{after_building:.1f} s", "", ""),
        ("everything / pure measuring", f"{ratio:.2f}", f"at most {TARGET}", answer),
        ("everything / timed blocks alone", f"{after_building / timed:.2f}", "", ""),
    ]
    return rows, (
        f"{len(results.measured)} rows, each an engine and a worker of its own, in {cohorts} cohorts, {measure_s} s of timed "
        f"blocks for each row; {failed} failed. {results.tally}."
    )


def _pure(results: Results) -> tuple[float, float, float]:
    """Seconds of warming up, of timed blocks, and of the untimed calls before each."""
    timings = [timing for row in results.rows for timing in (row.timing, *row.also) if timing]
    warm = sum(sum(timing.warm_up_ns) for timing in timings) * 1e-9
    blocks = [block for timing in timings for block in timing.blocks]
    return warm, sum(block.wall_s for block in blocks), REHEAT_S * len(blocks)


def fork_rows(starts: int, rounds: int) -> list[tuple[str, ...]]:
    store = benchmark_store()
    asked = Experiment(backends=("tensorflow",), precisions=("fp32",), batches=(BATCH,))
    results = run(asked, store=store, only="build")
    engine = results.rows[0].engine
    if engine is None:
        raise SystemExit(f"The demo was not built: {results.rows[0].failure}")
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    modules = list(backends.get("tensorflow").imports)
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npz"
        save_samples(dataset("auto", results.model, 0, 0, demo=True).test, samples)
        env = QUIET_ENV | NO_GPU | thread_env(1)
        for number in range(starts):
            with ForkServer(Path(folder) / "fork_server.log", modules, env) as fork_server:
                if not fork_server.wait():
                    raise SystemExit("TensorFlow cannot be forked here: its import has started threads.")
                for way, facts in one_start(store, engine, samples, fork_server, rounds).items():
                    found[way].append(facts)
            print(f"start {number + 1} of {starts}", flush=True)
    return [_fork_row(way, found) for way in WAYS]


def one_start(
    store: Store, engine: EngineRecord, samples: Path, fork_server: ForkServer, rounds: int
) -> dict[str, dict[str, Any]]:
    modules = list(backends.get("tensorflow").imports)
    workers: dict[str, Worker] = {}
    facts: dict[str, dict[str, Any]] = {}
    try:
        for way in random.sample(WAYS, len(WAYS)):
            began = time.perf_counter()
            inherited = fork_server if way == "forked" else None
            workers[way] = Worker(store.log_path("forks"), env=NO_GPU | thread_env(1), fork_server=inherited)
            workers[way].call("hello", modules=modules)
            ready = time.perf_counter() - began
            opened = workers[way].call(
                "open_engine", engine=str(store.path("engine", engine.key)), record=to_json(engine)
            )
            facts[way] = {"start_s": ready, "load_s": opened["load_s"], "medians": []}
            workers[way].call(
                "prepare_timing", samples=str(samples), batch=BATCH, region=PLAN.region, warm_up_s=PLAN.warm_up_s
            )
        for _ in range(rounds):
            for way in random.sample(WAYS, len(WAYS)):
                answer = workers[way].call("block", seconds=PLAN.block_s)
                facts[way]["medians"].append(float(np.median(answer["samples_ns"])))
        for way in WAYS:
            facts[way]["peak"] = workers[way].call("peak")["peak_rss_bytes"]
    finally:
        for worker in workers.values():
            worker.kill()
    return facts


def _fork_row(way: str, found: dict[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    def middle(name: str) -> float:
        return float(np.median([start[name] for start in found[way]]))

    reported, answer = "", ""
    if way != WAYS[0]:
        low_high = ratio_interval(
            [_ratio(a["medians"], b["medians"]) for a, b in zip(found[way], found[WAYS[0]], strict=True)]
        )
        if low_high is None:
            raise SystemExit("Too few starts for an interval; give at least 6.")
        reported = f"{low_high[0]:.3f} ({low_high[1]:.3f} to {low_high[2]:.3f})"
        answer = f"includes 1: {'yes' if low_high[1] <= 1 <= low_high[2] else 'no'}"
    call_us = float(np.median([median for start in found[way] for median in start["medians"]])) * 1e-3
    return (
        way,
        f"{middle('start_s'):.3f} s",
        f"{middle('load_s'):.3f} s",
        f"{call_us:,.1f} µs",
        reported,
        answer,
        f"{middle('peak') / 2**20:,.0f} MiB",
    )


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return float(np.median([a / b for a, b in zip(above, below, strict=True)]))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--batches", type=int, default=100, help="batch sizes of the sweep, each in two precisions")
    options.add_argument("--measure-s", type=float, default=1.0, help="seconds of timed blocks for each row")
    options.add_argument("--starts", type=int, default=8, help="of the forked and the started workers; at least 6")
    options.add_argument("--rounds", type=int, default=5, help="after every start")
    options.add_argument("--only", choices=("sweep", "forks"), help="this part only")
    asked = options.parse_args()
    if asked.only in (None, "sweep"):
        rows, method = sweep_rows(asked.batches, asked.measure_s)
        section = Section(
            title="Scale: a sweep of ONNX Runtime engines",
            script="scale_sweep.py --only sweep",
            method=method,
            columns=("part", "time", "target", ""),
            rows=rows,
            libraries=("onnxruntime", "onnx", "numpy"),
        )
        tell(section, record=asked.record)
    if asked.only in (None, "forks"):
        section = Section(
            title="Scale: workers that are forked",
            script="scale_sweep.py --only forks",
            method=f"The demo by TensorFlow, batch {BATCH}, one thread: {asked.rounds} rounds after each of {asked.starts} fresh "
            "starts of every kind. Medians; the ratio is within rounds, its interval over starts. Peak memory of a forked "
            "worker counts the library's code as far as the process that it was forked from had it in memory.",
            columns=("worker", "until imported", "opening", "a call", "ratio to started", "", "peak memory"),
            rows=fork_rows(asked.starts, asked.rounds),
            libraries=("tensorflow-cpu", "tensorflow"),
        )
        tell(section, record=asked.record)


if __name__ == "__main__":
    main()
