"""A file of a run is read without a store: all of its results in memory."""

from __future__ import annotations

import array
import tempfile
from dataclasses import replace
from pathlib import Path

from workbench.records import Results, Timing
from workbench.runs import run_file
from workbench.runs.timings import emptied, filled
from workbench.runs.travel import checked_results
from workbench.runs.whole import imported_text
from workbench.system.machine import this_machine


def read_run_file(file: Path) -> Results:
    """The results in a file of a run, with every duration in memory; checked as when a store takes it in.

    Raises:
        InputError: it is damaged, or not a file of a run.
    """
    with run_file.opened(file) as archive, tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / run_file.SAMPLES
        archive.extract(Path(folder), samples_as=run_file.SAMPLES)
        results = checked_results(archive.run, samples, file)
        rows = tuple(
            replace(
                row,
                timing=_in_memory(row.timing) if row.timing else None,
                also=tuple(_in_memory(timing) for timing in row.also),
            )
            for row in results.rows
        )
    elsewhere = results.machine != this_machine()
    return replace(results, rows=rows, imported=imported_text(results) if elsewhere else "")


def _in_memory(timing: Timing) -> Timing:
    return filled(timing, [array.array("q", map(int, part)) for part in emptied(timing)[1]])
