"""The wall time of a grid of engines that sleep, on one worker of a cluster and on four: how much of four machines a run uses.

The workers are processes of this machine with locks of their own, which is fair because the engines sleep and compute nothing. Engines are
built before the clock starts. The end of the queue is the time for which workers wait until the last one has ended its last cohort, as a share of the time of
all; it becomes smaller with more cohorts for each worker.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import scipy.stats  # noqa: F401 - the first of the two runs would import it otherwise
from record import Section, parser, tell

from workbench.cluster.running import run_on_cluster
from workbench.records import Event, Results, Status
from workbench.settings.experiment import Experiment

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts" / "trials"), str(ROOT / "tests")]

import clusters  # noqa: E402
import sleeping_backend  # noqa: E402
from small_runs import write_dense  # noqa: E402

WORKERS, COHORT, SHARE = 4, 3, 0.9


def experiment(place: Path, batches: int, seconds: float) -> Experiment:
    """A baseline and nine others at each batch size: three cohorts each."""
    return Experiment(
        model=str(place / "dense.onnx"),
        data="random",
        backends="sleeping",
        precisions="fp32",
        optimization_level="0,1,2,3,4,5,6,7,8,9",
        batches=tuple(range(1, batches + 1)),
        measure_s=seconds,
        max_measure_s=seconds,
        rounds=6,
    )


class Ends:
    """When each worker ended its last cohort, as the run reports it."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if event.result and event.result.status == Status.DONE and event.result.worker:
            self._at[event.result.worker.name] = time.monotonic()

    def waited_s(self) -> float:
        """Seconds that the workers waited for the last one, all together."""
        return sum(max(self._at.values()) - at for at in self._at.values())


def timed(place: Path, workers: int, asked: Experiment) -> tuple[float, float, Results]:
    """Seconds of measuring on so many workers, after the engines were built, those of waiting at the end of the queue, and the results."""
    path = sleeping_backend.install(place / "path")
    with clusters.Cluster(place / f"machines-{workers}", workers, path=path) as cluster:
        store = place / f"store-{workers}"
        run_on_cluster(asked, cluster.address, cohort=COHORT, store=store, only="build")
        began, ends = time.monotonic(), Ends()
        found = run_on_cluster(asked, cluster.address, cohort=COHORT, store=store, only="time", on_event=ends)
        return time.monotonic() - began, ends.waited_s(), found


def main() -> int:
    """Print the wall times, and write them into RESULTS.md with ``--record``."""
    arguments = parser(__doc__)
    arguments.add_argument("--batches", type=int, default=14, help="batch sizes, of three cohorts each (default: 14)")
    arguments.add_argument("--seconds", type=float, default=1.0, help="timed seconds of each row (default: 1)")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = write_dense(Path(folder))
        what = experiment(place, asked.batches, asked.seconds)
        one_s, _, one = timed(place, 1, what)
        four_s, waited_s, four = timed(place, WORKERS, what)
    for found in (one, four):
        assert {row.status for row in found.rows} == {Status.DONE}, [row.failure for row in found.rows if row.failure]
    used = one_s / four_s / WORKERS
    counts = sorted(sum(row.worker.name == name for row in four.rows if row.worker) for name in names(four))
    section = Section(
        title="A run on four workers of a cluster",
        script="cluster.py",
        method=(
            f"{3 * asked.batches} cohorts of {COHORT + 1} engines that sleep, {asked.seconds:g} s timed for each row, engines built before; "
            "the wall time of the measuring run, from the call to its results."
        ),
        columns=("workers", "wall time", "share of the workers used"),
        rows=[("1", f"{one_s:.1f} s", "1"), (str(WORKERS), f"{four_s:.1f} s", f"{used:.3f}")],
        libraries=("distributed",),
        notes=[
            (
                f"Rows per worker of the four: {', '.join(map(str, counts))}. Wanted: a share of at least {SHARE}, that is a wall time of at most "
                f"{one_s / SHARE / WORKERS:.1f} s. The end of the queue: {waited_s / four_s / WORKERS:.1%} of the workers' time, with "
                f"{3 * asked.batches / WORKERS:g} cohorts for each worker. The four share the machine's cores with each other for all that is not sleeping, as machines of their own would not."
            )
        ],
    )
    tell(section, record=asked.record)
    return 0 if used >= SHARE else 1


def names(results: Results) -> set[str]:
    """The names of the workers that measured."""
    return {row.worker.name for row in results.rows if row.worker}


if __name__ == "__main__":
    sys.exit(main())
