"""Runs on a cluster of four workers, one of which is killed at a random moment: no row is lost but those that it held, nothing is measured again
without a report, and no row is compared with one of another worker.

The workers stay for all cases; Dask starts the killed process again. Then the same run repeats the failed rows and no others.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import recording
import sleeping_backend
import trial_model
from clusters import Cluster
from recording import One, Outcome, Trial

from workbench.cluster.running import run_on_cluster
from workbench.records import Event, Results, Status
from workbench.settings.experiment import Experiment
from workbench.store import Store

WORKERS, COHORT, LATEST_S, ONLY = 4, 2, 6.0, "time"


class Parts:
    """The parts that were begun, as the run reports them: the worker's name and the rows."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, tuple[str, ...]]] = []
        self.measuring = threading.Event()

    def __call__(self, event: Event) -> None:
        worker, _, rest = event.text.partition(" on ")
        if event.result is None and f": {ONLY} " in rest:
            self.begun.append((worker, tuple(rest.partition(f": {ONLY} ")[2].split(", "))))
            self.measuring.set()


def _asked(place: Path, seed: int) -> Experiment:
    """A baseline and nine others at two batch sizes; with another seed nothing of an earlier case can be used again."""
    return Experiment(
        model=str(place / "small.onnx"),
        data="random",
        backends="sleeping",
        precisions="fp32",
        optimization_level="0,1,2,3,4,5,6,7,8,9",
        batches="1,2",
        measure_s=0.4,
        max_measure_s=0.4,
        rounds=6,
        seed=seed,
    )


def _faults(first: Results, last: Results, parts: Parts) -> list[str]:
    """What was lost, repeated or mixed against the promise."""
    found = []
    base = {row.row for row in first.rows if "level 0" in row.row}
    failed = {row.row for row in first.rows if row.status == Status.FAILED}
    lost = {row for row in failed - base if first_worker(parts, row) not in _died(first)}
    why = {row.row: row.failure.message for row in first.rows if row.failure and row.row in lost}
    found += [f"lost without having been on the worker that died: {why}"] if lost else []
    open_rows = {row.row for row in first.rows if row.status not in (Status.DONE, Status.FAILED)}
    found += [f"neither done nor failed: {sorted(open_rows)}"] if open_rows else []
    before = {row.row: row.timing for row in first.rows if row.timing and row.row not in base}
    changed = [row.row for row in last.rows if row.row in before and row.timing != before[row.row]]
    found += [f"measured again: {changed}"] if changed else []
    left = [row.row for row in last.rows if row.status != Status.DONE]
    found += [f"not done in the end: {left}"] if left else []
    return found + [f"not compared: {each}" for results in (first, last) for each in results.compare().refused]


def _died(results: Results) -> set[str]:
    """The workers that ended, by the failures of their rows."""
    return {
        row.worker.name for row in results.rows if row.worker and row.failure and "ended while" in row.failure.message
    }


def first_worker(parts: Parts, row: str) -> str:
    """The worker that was given a row last in the first run."""
    return next((worker for worker, rows in reversed(parts.begun) if row in rows), "")


@contextmanager
def session() -> Iterator[One]:
    """A cluster that stays for all cases."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trial_model.write_model(place / "small.onnx")
        path = sleeping_backend.install(place / "path")
        with Cluster(place / "machines", WORKERS, path=path) as cluster:
            run_on_cluster(_asked(place, 0), cluster.address, only="build", store=place / "built")
            yield lambda number, rng, scratch: _case(cluster, place, (number, rng), scratch)


def _case(cluster: Cluster, place: Path, case: tuple[int, random.Random], scratch: Path) -> Outcome:
    number, rng = case
    cluster.wait_for(WORKERS)
    name, moment = f"w{rng.randrange(WORKERS)}", rng.uniform(0, LATEST_S)
    store, parts, asked = Store(scratch / "store"), Parts(), _asked(place, 1000 + number)

    def kill() -> None:
        parts.measuring.wait(300)
        if not over.wait(moment):
            with contextlib.suppress(LookupError):
                cluster.kill(name)

    over = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    first = run_on_cluster(asked, cluster.address, cohort=COHORT, store=store, only=ONLY, on_event=parts)
    over.set()
    killer.join()
    given = Parts()
    last = run_on_cluster(
        asked, cluster.address, cohort=COHORT, store=store, only=ONLY, on_event=given, retry_failed=True
    )
    failed = {row.row for row in first.rows if row.status == Status.FAILED}
    faults = _faults(first, last, parts)
    repeated = {row for _, rows in given.begun for row in rows if "level 0" not in row} - failed
    faults += [f"repeated although they had not failed: {sorted(repeated)}"] if repeated else []
    figures = {
        "moment_s": round(moment, 2),
        "failed": len(failed),
        "rows": len(first.rows),
        "repeated": last.tally.measured,
    }
    what = "rows were lost" if failed else "no row was lost"
    return Outcome(f"a worker killed, {what}", not faults, "; ".join(faults), figures)


TRIAL = Trial(
    "worker_deaths",
    session,
    50,
    "The death of a worker costs the rows that it held; nothing is repeated without a report, and nothing is mixed.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
