"""Does the workbench hold up where there are many results?

Method. *History*: a store with 100,000 results of 1,000 runs, written as a run writes them; queries in a process that has just
started, the index being up to date; then the index is thrown away and made again. *Memory*: ``workbench.runs.measure`` drives workers
that are made up, a thousand rows of 100,000 calls each; what it measures, stores and shows is real, the calls are not. *Overhead*:
the same with 200 rows and workers that sleep for as long as a block should take, so that everything beyond that is the
workbench's own; what starting and opening real workers adds is measured by ``scale_sweep.py``.

Targets: a query under a second; the parent's memory flat: under 64 MiB more from the 100th to the 1,000th row; at most 1.3 times
the pure measuring time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from record import Section, parser, tell

from workbench import Experiment, history
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.plan.step import Plan
from workbench.records import (
    Block,
    EngineRecord,
    EngineSpec,
    Model,
    Precision,
    RealizedPrecision,
    Region,
    Result,
    Results,
    Status,
    TensorSpec,
    Timing,
)
from workbench.runs import measure
from workbench.runs.archive import remember
from workbench.runs.context import RunContext
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.runs.index import rebuild
from workbench.runs.open_engines import OpenEngines
from workbench.runs.run_rows import RunRows
from workbench.store import Store
from workbench.system.machine import this_machine
from workbench.system.memory import status
from workbench.timing.benchmark import SETTLE_STEP_S, SETTLE_STEPS
from workbench.workers.pool import Pool

SPEC = TensorSpec("x", "float32", (None, 4))
BLOCK = Block(0, 0, tuple(range(1000, 1100)), 0.0, 1e-4, quiet=True)
CALLS = 100_000
QUERY_S, MEMORY_MIB, OVERHEAD = 1.0, 64, 1.3


def model_named(name: str) -> Model:
    return Model(
        path=f"{name}.onnx",
        name=name,
        format="onnx",
        inputs=(SPEC,),
        outputs=(SPEC,),
        parameters=1,
        size_bytes=1,
        digest=name,
    )


def engines(count: int, batches: tuple[int, ...]) -> list[EngineRecord]:
    """Records of engines that do not exist, each with a label of its own."""
    found = []
    for number in range(count):
        spec = EngineSpec("onnxruntime", Precision.FP32, batches=batches, mode=f"made-up-{number:04}" if number else "")
        realized = RealizedPrecision({"fp32": 1}, "made up")
        found.append(EngineRecord(spec, f"engine-{number:04}", "none", "0", realized, 1, 0.0))
    return found


class MadeUp:
    """Stands for a worker: it answers as one would, and sleeps for the time that it is to measure."""

    def __init__(self, calls: int, *, sleep: bool) -> None:
        self.process = SimpleNamespace(pid=0, kill=lambda: None)
        self._calls, self._sleep = calls, sleep
        self._draw = np.random.default_rng(0)
        self.slept_s = 0.0

    def call(self, task: str, **given: Any) -> Any:
        if task == "prepare_timing":
            self._pass(given["warm_up_s"])
            return {"warm_up_ns": self._times(), "quiet": True}
        if task == "block":
            self._pass(given["seconds"])
            return {"samples_ns": self._times(), "cpu_s": 0.0, "wall_s": given["seconds"], "quiet": True, "gpu": None}
        return {"peak": {"peak_rss_bytes": 0}, "device": None, "in_effect": [], "clocks": None}[task]

    def _times(self) -> list[int]:
        found: list[int] = self._draw.integers(5_000, 50_000, self._calls).tolist()
        return found

    def _pass(self, seconds: float) -> None:
        if self._sleep:
            began = time.perf_counter()
            time.sleep(seconds + SETTLE_STEP_S * SETTLE_STEPS)
            self.slept_s += time.perf_counter() - began

    def kill(self) -> None:
        pass


def drive(
    rows: int, calls: int, experiment: Experiment, store: Store, look: Callable[[int], None], *, sleep: bool
) -> float:
    """Measure so many rows with workers that are made up, as a run does; the seconds that those slept."""
    workers: list[MadeUp] = []

    class MadeUpBench(OpenEngines):
        def _start(self, engines: Iterable[EngineRecord], *, forked: bool) -> list[Any]:  # noqa: ARG002 - as the real one
            started = [(engine, MadeUp(calls, sleep=sleep)) for engine in engines]
            workers.extend(worker for _, worker in started)
            return started

        def _open(self, engine: EngineRecord, worker: Any, crowded: bool) -> int:  # noqa: ARG002 - as the real one
            self._workers[engine.key] = (worker, {"import_s": 0.0, "load_s": 0.0, "rss_bytes": 0})
            return 0

        def _plant(self, engines: Any) -> None:
            pass

    batches = experiment.batches
    planned = tuple(
        Result(engine.spec, batch, Status.BUILT, engine)
        for engine in engines(rows // len(batches), batches)
        for batch in batches
    )
    done = 0

    def on_event(event: Any) -> None:
        nonlocal done
        if event.result and event.result.status == Status.DONE:
            done += 1
            look(done)

    run_rows = RunRows(planned, store.new_run(), on_event, lambda _: "")
    data = Dataset(None, Samples("x", {"x": np.zeros((4, 4), np.float32)}), "made up", real=False)
    means = Means(store, Pool(store.log_path), lambda _: None)
    executor = Executor.of(means, model_named("made up"), data)
    context = RunContext(experiment, data, Plan(planned, ()), executor, run_rows)
    original, measure.OpenEngines = measure.OpenEngines, MadeUpBench  # type: ignore[misc]
    try:
        measure.measure_and_score(context, None)
    finally:
        measure.OpenEngines = original  # type: ignore[misc]
    if done < len(planned):
        raise SystemExit(f"Only {done} of {len(planned)} rows were measured.")
    # a run's results live until its report is written
    kept = [row.timing.median_s for row in run_rows.rows if row.timing]
    look(len(kept))
    return sum(worker.slept_s for worker in workers)


def memory_rows(rows: int) -> list[tuple[str, ...]]:
    experiment = Experiment(backends=("onnxruntime",), precisions=("fp32",), batches=(1, 8, 32), rounds=12)
    seen: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:

        def look(done: int) -> None:
            seen[done] = status()["VmRSS"]

        store = Store(folder).prepare()
        drive(rows, CALLS // 13, experiment, store, look, sleep=False)  # twelve blocks and the warm-up
        written = sum(path.stat().st_size for path in Path(folder).rglob("samples.npy"))
    first, last = min(seen, key=lambda at: abs(at - rows // 10)), max(seen)
    more = (seen[last] - seen[first]) / 2**20
    answer = f"within target: {'yes' if more < MEMORY_MIB else 'no'}"
    return [
        (f"parent's memory after {first} rows", f"{seen[first] / 2**20:,.0f} MiB", "", ""),
        (f"parent's memory after {last} rows, results in hand", f"{seen[last] / 2**20:,.0f} MiB", "", ""),
        (
            f"more, for {written / 2**20:,.0f} MiB of durations in all",
            f"{more:+,.0f} MiB",
            f"under {MEMORY_MIB} MiB",
            answer,
        ),
    ]


def overhead_rows(rows: int) -> list[tuple[str, ...]]:
    experiment = Experiment(
        backends=("onnxruntime",), precisions=("fp32",), batches=(1, 8), measure_s=0.24, max_measure_s=0.24, rounds=12
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        slept = drive(rows, 200, experiment, Store(folder).prepare(), lambda _: None, sleep=True)
        wall = time.perf_counter() - began
    ratio = wall / slept
    answer = f"within target: {'yes' if ratio <= OVERHEAD else 'no'}"
    return [
        (f"{rows} rows of made-up workers: asleep, blocks of 20 ms", f"{slept:.1f} s", "", ""),
        ("the whole of it", f"{wall:.1f} s", "", ""),
        ("whole / asleep", f"{ratio:.3f}", f"at most {OVERHEAD}", answer),
    ]


def history_rows(results: int) -> list[tuple[str, ...]]:
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        store, per_run = Store(folder).prepare(), 100
        runs = results // per_run
        began = time.perf_counter()
        fill(store, runs, per_run)
        lines.append((f"writing {runs:,} runs of {per_run} results", f"{time.perf_counter() - began:.1f} s", "", ""))
        questions = {
            "the newest 40": {"limit": 40},
            "one model and backend, a month": {"model": "net-07", "backend": "onnxruntime*", "since": "2026-01-10", "until": "2026-02-10"},
            "one variant at one batch size": {"variant": "*made-up-0003*", "batch": 8},
            "all of them": {},
        }  # fmt: skip
        for what, asked in questions.items():
            seconds, found = asked_in_a_new_process(store, asked)
            answer = f"within target: {'yes' if seconds < QUERY_S else 'no'}"
            lines.append((f"{what}: {found:,} results", f"{seconds * 1e3:,.0f} ms", f"under {QUERY_S:.0f} s", answer))
        began = time.perf_counter()
        count = rebuild(store)
        lines.append((f"the index made again: {count:,} results", f"{time.perf_counter() - began:.1f} s", "", ""))
        began = time.perf_counter()
        remember(store, "one more", one_run(10**6, per_run, engines(per_run, (8,))))
        lines.append(("adding one more run", f"{(time.perf_counter() - began) * 1e3:.0f} ms", "", ""))
        if len(history(store)) != count + per_run:
            raise SystemExit("The new run is not in the history.")
    return lines


ASK = """
import json, sys, time
import pandas
from workbench.runs.archive import history
asked = json.loads(sys.argv[2])
began = time.perf_counter()
found = len(history(sys.argv[1], **asked))
print(time.perf_counter() - began, found)
"""


def asked_in_a_new_process(store: Store, asked: dict[str, Any]) -> tuple[float, int]:
    """Seconds of the query, pandas being imported, and how many results it gave."""
    command = [sys.executable, "-c", ASK, str(store.root), json.dumps(asked)]
    seconds, found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), int(found)


def fill(store: Store, runs: int, per_run: int) -> None:
    """As many runs, one each hour, of twenty models, each kept as a run keeps it."""
    made = engines(per_run, (8,))
    for number in range(runs):
        remember(store, f"run-{number:06}", one_run(number, per_run, made))


def one_run(number: int, per_run: int, made: list[EngineRecord]) -> Results:
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number % 8000)
    timing = Timing(
        "", 8, Region.HOST_TO_HOST, f"run {number}", (BLOCK,), (), 0.0, 0, 0, began.isoformat(timespec="seconds")
    )
    rows = tuple(Result(engine.spec, 8, Status.DONE, engine, timing) for engine in made[:per_run])
    return Results(model_named(f"net-{number % 20:02}"), this_machine(), rows, "", "made up")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--results", type=int, default=100_000, help="in the history")
    options.add_argument("--rows", type=int, default=1000, help="of the run whose memory is watched")
    options.add_argument("--slept-rows", type=int, default=200, help="of the run whose overhead is measured")
    options.add_argument("--only", choices=("history", "memory", "overhead"), help="this part only")
    asked = options.parse_args()
    sections = {
        "history": ("history", history_rows, asked.results, "A store with that many results, asked by a process that has just started."),
        "memory": ("the parent's memory", memory_rows, asked.rows, f"Made-up workers, {CALLS:,} calls for each row."),
        "overhead": ("overhead without engines", overhead_rows, asked.slept_rows, "Made-up workers that sleep for a block and its rest."),
    }  # fmt: skip
    for part, (title, make, count, method) in sections.items():
        if asked.only in (None, part):
            section = Section(
                title=f"Scale: {title}",
                script="scale.py",
                method=method,
                columns=("what", "found", "target", ""),
                rows=make(count),
                libraries=("pandas", "numpy", "cattrs"),
            )
            tell(section, record=asked.record)


if __name__ == "__main__":
    main()
