"""Runs that were recorded on a GPU, for lessons that are read on a machine without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.records import Result, Results
from workbench.runs.travel import import_run
from workbench.store import Store
from workbench.system.resources import data_file

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN = "lessons/data/tftrt_h200.wbrun"
"""The run of lesson 4; ``notebooks/lessons/data/README.md`` says what it holds."""
_SHARE = re.compile(r"(\d+) TensorRT engines? with (\d+) of (\d+) nodes")


class Converted(NamedTuple):
    """How much of a graph TF-TRT gave to TensorRT."""

    engines: int  # operations TRTEngineOp in the converted graph
    inside: int  # nodes in them
    nodes: int  # that compute, of the whole graph

    @property
    def percent(self) -> float:
        return 100 * self.inside / self.nodes if self.nodes else 0.0


def recorded_run(file: str = "") -> Results | None:
    """The results of a recorded run, imported into the default store; ``None`` if the file does not exist.

    ``file`` is the path of a run's file; by default the one that comes with the lessons.

    Raises:
        InputError: the file is damaged, or of a later version.
    """
    path = Path(file) if file else data_file(RUN)
    if path is None or not path.is_file():
        print(f"There is no recorded run ({file or RUN}): what needs one is left out below.")
        return None
    found = import_run(path, Store())
    print(f"{found.run}: {found.results.imported or 'measured on this machine'}")
    return found.results


def row_of(results: Results | None, backend: str, precision: str, batch: int | None = None) -> Result | None:
    """The measured row of a backend, whatever its mode and environment, at a batch size, by default the smallest."""
    rows: Sequence[Result] = results.measured if results else ()
    found = [row for row in rows if row.spec.backend == backend and row.spec.asked == precision]
    size = min((row.batch for row in found), default=0) if batch is None else batch
    return next((row for row in found if row.batch == size), None)


def converted(row: Result | None) -> Converted | None:
    """What TF-TRT converted, as the row's engine notes it; ``None`` of another engine."""
    found = _SHARE.search(row.engine.note) if row and row.engine else None
    return Converted(*map(int, found.groups())) if found else None
