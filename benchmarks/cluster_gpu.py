"""A run on the workers of a cluster that have a GPU each: wall time, agreement of the rows, and the death of a worker.

Engines of TensorRT and ONNX Runtime CUDA are built before the clock starts, and are sent to the workers as entries of the store. Each worker has a GPU of
this machine, a share of its cores, and a store and a measuring lock of its own. Parts (``--parts``), whose engines and results are kept in ``--store``:

* ``build``: the engines;
* ``one``: the cohorts on one worker;
* ``all``: on one worker for each GPU, where there are several;
* ``death``: on all of them, with fewer batch sizes, while a worker is killed; then the failed rows again;
* ``plain``: the run without a cluster.

No figures of it are recorded yet: RESULTS.md has none of several GPUs.

A row of two runs agrees where the 95 % intervals of its speed-up over the baseline overlap.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_tensorrt import ORT, TRT, model_path, samples_of
from models import KEPT
from record import ROOT, Section, parser, tell

import workbench
from workbench import Experiment
from workbench.cluster.running import run_on_cluster
from workbench.records import Event, Result, Results, Status
from workbench.store import Store
from workbench.system.machine import this_machine

sys.path[:0] = [str(ROOT / "scripts" / "trials")]

import clusters  # noqa: E402

COHORT, SHARE, KILL_AFTER_S, MODEL, BASELINE = 2, 0.9, 6.0, "mobilenetv2", f"{ORT} fp32"
PARTS = ("build", "one", "all", "death", "plain")


def experiment(folder: Path, batches: int, **more: Any) -> Experiment:
    """Four variants beside the baseline at each batch size: two cohorts each."""
    model = model_path(MODEL, folder)
    return Experiment(
        model=str(model), data=samples_of(MODEL, model), calibration_samples=32, backends=(TRT, ORT),
        precisions=("fp32", "fp16", "int8"), batches=tuple(range(1, batches + 1)), tf32=False, region="device",
        cuda_graph=True, measure_s=0.5, max_measure_s=0.5, rounds=6, baseline=BASELINE, **more,
    )  # fmt: skip


def devices() -> list[str]:
    """The GPUs that this process may use."""
    from pycuda import driver

    driver.init()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",") if named else [str(number) for number in range(driver.Device.count())]


@contextlib.contextmanager
def cluster(folder: Path, gpus: list[str], of: int) -> Iterator[clusters.Cluster]:
    """A scheduler and a worker for each of these GPUs, with the share of the cores that a worker has where all ``of`` GPUs have one."""
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // of)
    with clusters.Cluster(folder, workers=0) as made:
        for number, gpu in enumerate(gpus):
            made.add(f"gpu{gpu}", cores=cores[number * share :][:share], devices=gpu)
        made.wait_for(len(gpus))
        yield made


class Killer:
    """Kills the first worker a while after the first row was measured."""

    def __init__(self, made: clusters.Cluster, name: str) -> None:
        self._made, self._name, self._timer = made, name, threading.Timer(KILL_AFTER_S, self._kill)

    def __call__(self, event: Event) -> None:
        measured = event.result and event.result.status == Status.DONE
        if measured and not self._timer.is_alive() and not self._timer.finished.is_set():
            self._timer.start()

    def _kill(self) -> None:
        with contextlib.suppress(LookupError):  # the run has ended before
            self._made.kill(self._name)


def measured(place: Path, store: Store, asked: Experiment, gpus: list[str], of: int) -> dict[str, Any]:
    """A run on one worker for each of these GPUs."""
    with cluster(place, gpus, of) as made:
        began = time.monotonic()
        found = run_on_cluster(asked, made.address, cohort=COHORT, store=store, only="time", remeasure=True)
        return {"wall_s": time.monotonic() - began, **facts(found)}


def death(place: Path, store: Store, asked: Experiment, gpus: list[str]) -> dict[str, Any]:
    """A run in which a worker is killed, and the failed rows again."""
    with cluster(place, gpus, len(gpus)) as made:
        whole: dict[str, Any] = {"cohort": COHORT, "store": store, "only": "time"}
        killer = Killer(made, f"gpu{gpus[0]}")
        first = run_on_cluster(asked, made.address, remeasure=True, on_event=killer, **whole)
        last = run_on_cluster(asked, made.address, retry_failed=True, **whole)
    before = {row.row: row.timing for row in first.rows if row.status == Status.DONE and row.spec.label != BASELINE}
    return {
        "rows": len(possible(first)),
        "failed": sorted(row.row for row in first.rows if row.status == Status.FAILED),
        "why": sorted({row.failure.message for row in possible(first) if row.failure}),
        "left": sorted(row.row for row in possible(last) if row.status != Status.DONE),
        "again": sorted(row.row for row in last.rows if row.row in before and row.timing != before[row.row]),
    }


def possible(found: Results) -> list[Result]:
    """The rows without those that no library can build."""
    return [row for row in found.rows if row.status != Status.UNSUPPORTED]


def facts(found: Results) -> dict[str, Any]:
    """The rows of a run by name: milliseconds, the interval of the speed-up, and the worker."""
    judged = {id(one.result): one for one in found.compare(BASELINE).rows}
    rows = {}
    for row in possible(found):
        if row.timing is None:
            sys.exit(f"{row.row} was not measured: {row.failure.message if row.failure else row.status}")
        one = judged.get(id(row))
        rows[row.row] = {
            "ms": row.timing.median_s * 1e3,
            "interval": [one.low, one.high] if one and row.spec.label != BASELINE else None,
            "worker": row.worker.label if row.worker else "",
            "machine": row.worker.machine.label if row.worker else "",
            "fingerprint": row.worker.fingerprint if row.worker else "",
        }
    return {
        "rows": rows,
        "versions": sorted({f"{row.engine.library} {row.engine.library_version}" for row in found.rows if row.engine}),
    }


def agreement(one: dict[str, Any], other: dict[str, Any]) -> tuple[int, int, float]:
    """How many rows of two runs agree, of how many, and the median change of a row's time."""
    pairs = [(one["rows"][name], other["rows"][name]) for name in one["rows"] if one["rows"][name]["interval"]]
    both = [(a["interval"], b["interval"]) for a, b in pairs if None not in (*a["interval"], *b["interval"])]
    agree = sum(a[0] <= b[1] and b[0] <= a[1] for a, b in both)
    return agree, len(both), statistics.median(b["ms"] / a["ms"] for a, b in pairs)


def section(found: dict[str, Any]) -> Section:
    """The table and its notes."""
    rows, notes = [], []
    one, every, dead, plain = (found.get(part) for part in PARTS[1:])
    if one:
        rows.append(["1", f"{one['wall_s']:.1f} s", "1"])
    if one and plain:
        agree, of, change = agreement(plain, one)
        notes.append(
            f"Beside the run without a cluster, in which all variants of a batch size take turns, {agree} of {of} rows of the one worker agree; "
            f"the median time of a row is {change:.3f} times that."
        )
    if one and every:
        used = one["wall_s"] / every["wall_s"] / every["gpus"]
        rows.append([str(every["gpus"]), f"{every['wall_s']:.1f} s", f"{used:.3f}"])
        agree, of, change = agreement(one, every)
        notes.append(
            f"Of {every['gpus']} workers beside one, {agree} of {of} rows agree; the median time of a row is {change:.3f} times that. "
            f"Wanted: a share of at least {SHARE}."
        )
    for each in filter(None, (one, every)):
        seen = sorted({(row["worker"], row["fingerprint"]) for row in each["rows"].values()})
        notes.append("Workers of the rows: " + ", ".join(f"{name} (fingerprint {mark})" for name, mark in seen) + ".")
    if dead:
        notes.append(
            f"With a worker killed, {len(dead['failed'])} of {dead['rows']} rows failed ({'; '.join(dead['why'])}); repeated by `--retry-failed`, "
            f"{len(dead['left'])} were left, and {len(dead['again'])} that had been measured were measured again."
        )
    return Section(
        title="A run on workers with a GPU each",
        script="cluster_gpu.py",
        method=(
            f"MobileNetV2 (random weights), {found['cohorts']} cohorts of {COHORT} variants and the baseline: TensorRT in FP32, FP16 and INT8 and ONNX Runtime CUDA in "
            "FP32 and FP16, on the device with a CUDA graph, 0.5 s timed for each row; engines built before. Wall time of the measuring run, with sending the engines."
        ),
        columns=("workers", "wall time", "share of the workers used"),
        rows=rows,
        libraries=(),
        notes=notes,
        measured=(found["date"], found["machine"], ", ".join(one["versions"] if one else ())),
    )


def main() -> None:
    """Measure the parts and print the table; with ``--from`` the table of what was measured before."""
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--batches", type=int, default=20, help="batch sizes, of two cohorts each")
    options.add_argument("--folder", type=Path, default=KEPT, help="where the model is")
    options.add_argument("--store", type=Path, help="keep engines and results here, for the next call")
    options.add_argument("--facts", type=Path, default=Path("cluster_gpu.json"), help="what was measured")
    options.add_argument("--from", dest="recorded", action="store_true", help="only make the table of --facts")
    given = options.parse_args()
    found = json.loads(given.facts.read_text()) if given.facts.exists() else {}
    if not given.recorded:
        gpus, asked = devices(), experiment(given.folder, given.batches)
        with tempfile.TemporaryDirectory() as folder:
            place, store = Path(folder), Store(given.store or Path(folder) / "store").prepare()
            found |= {
                "machine": this_machine().label,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "cohorts": 2 * given.batches,
            }
            for part in given.parts:
                if part == "build":
                    with cluster(
                        place / part, gpus[:1], len(gpus)
                    ) as made:  # a run on a cluster takes its workers' builds
                        run_on_cluster(asked, made.address, cohort=COHORT, store=store, only="build")
                elif part == "plain":
                    found[part] = facts(workbench.run(asked, store=store, remeasure=True))
                elif part == "one":
                    found[part] = measured(place / part, store, asked, gpus[:1], len(gpus))
                elif part == "all" and len(gpus) > 1:
                    found[part] = {"gpus": len(gpus), **measured(place / part, store, asked, gpus, len(gpus))}
                elif part == "death":
                    found[part] = death(place / part, store, experiment(given.folder, max(2, given.batches // 4)), gpus)
                given.facts.write_text(json.dumps(found))
                print(part, "ended", flush=True)
    tell(section(found), record=given.record)


if __name__ == "__main__":
    main()
