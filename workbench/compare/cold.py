"""What comes before the steady state: importing the library, opening the engine, the first call. Kept apart from all else."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.records import Results


def cold_rows(results: Results) -> list[dict[str, Any]]:
    """One row per measured row; medians over the launches of its process.

    ``import s``: importing the library, while those of the other variants did the same. ``open s``: opening the engine
    afterwards, alone. ``first call ms``: the first call of this process at this batch size; the engine may have run other
    batch sizes before. ``steady ms``: the median of the timed calls. Missing where a timing does not have it.
    """
    lines: list[dict[str, Any]] = []
    for row in results.measured:
        if row.timing is None:
            continue
        starts = row.timing.launches
        firsts = [start.first_s for start in starts if start.first_s is not None]
        steady = row.timing.median_s
        line = {"variant": row.spec.label, "batch": row.batch, "steady ms": steady * 1e3, "launches": len(starts)}
        if starts:
            line["import s"] = statistics.median(start.import_s for start in starts)
            line["open s"] = statistics.median(start.load_s for start in starts)
        if firsts:
            first = statistics.median(firsts)
            line |= {"first call ms": first * 1e3, "first / steady": first / steady}
        lines.append(line)
    return lines
