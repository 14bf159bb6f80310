"""What this machine can do at most, in fresh workers again and again: how far the roofline's own figures can be trusted.

``python benchmarks/peaks.py [--record]``; about a minute. Run it on a quiet machine: a worker whose loops did not
reach their best three times is counted and left out.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import record

from workbench.plan.measuring import PEAK_LIBRARIES
from workbench.records import Peaks
from workbench.runs.peaks import machine_peaks
from workbench.store import Store
from workbench.system.machine import caches, usable_cores

REPETITIONS = 5


class Found(NamedTuple):
    """The peaks of one thread count: from undisturbed workers, and how many others there were."""

    threads: int
    peaks: list[Peaks]
    disturbed: int


def measured(threads: int, store: Store) -> Found:
    every = [machine_peaks(store, threads, again=True) for _ in range(REPETITIONS)]
    quiet = [peaks for peaks in every if not peaks.disturbed]
    return Found(threads, quiet, len(every) - len(quiet))


def rows(found: Found) -> list[list[str]]:
    reported = []
    for what in dict.fromkeys(peak.what for peaks in found.peaks for peak in (*peaks.compute, *peaks.transfer)):
        best = [peak for peaks in found.peaks if (peak := peaks.best(what))]
        values = [peak.per_s / 1e9 for peak in best]
        unit = "GB/s" if best[0].reach_bytes or what == "memory" else "10⁹ operations/s"
        bases = dict.fromkeys(peak.basis.replace(",", ":", 1) for peak in best)
        spread = f"{min(values):.1f} to {max(values):.1f}"
        reported.append([str(found.threads), what, f"{statistics.median(values):.1f} {unit}", spread, "; ".join(bases)])
    return reported


def main() -> None:
    options = record.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store").prepare()
        every = [measured(threads, store) for threads in sorted({1, usable_cores()})]
    left_out = sum(found.disturbed for found in every)
    sizes = ", ".join(f"L{cache.level} {cache.instances} × {cache.size_bytes // 2**10:,} KiB" for cache in caches())
    section = record.Section(
        title="Peaks of this machine",
        script="peaks.py",
        method=(
            f"The fastest repetition of short loops, median and range over {REPETITIONS} fresh workers per number of threads; "
            f"{left_out} of {REPETITIONS * len(every)} workers were disturbed and are left out. A multiply-add counts as "
            f"two operations. Caches: {sizes}."
        ),
        columns=("threads", "what", "peak", "range", "loop"),
        rows=[row for found in every for row in rows(found)],
        libraries=PEAK_LIBRARIES,
    )
    record.tell(section, record=options.record)


if __name__ == "__main__":
    main()
