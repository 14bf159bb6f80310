"""How a run is divided into parts, each of which one worker carries out.

The division depends on the experiment alone and not on the workers, so that a later run finds the parts that have ended.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from workbench.records import EngineSpec, Result, Status
from workbench.runs.cohorts import default_baseline


class Division(NamedTuple):
    """The names of the rows of one part, and which of them are the baseline's."""

    rows: tuple[str, ...]
    anchors: tuple[str, ...] = ()

    def again(self, left: Collection[str], able: Collection[str]) -> tuple[str, ...]:
        """The rows that are carried out for those that are left, of those that can be: in turn with the baseline.

        Where the baseline is left, nothing that has been measured can be compared with it, and all are carried out.
        """
        if not left:
            return ()
        again = bool(set(left) & set(self.anchors))
        return tuple(row for row in self.rows if row in able and (again or row in left or row in self.anchors))


def builds(rows: Sequence[Result]) -> list[Division]:
    """The parts of building: the rows of one engine each."""
    by_variant: dict[EngineSpec, list[str]] = {}
    for row in _possible(rows):
        by_variant.setdefault(row.spec, []).append(row.row)
    return [Division(tuple(names)) for names in by_variant.values()]


def cohorts(rows: Sequence[Result], baseline: str, size: int) -> list[Division]:
    """The parts of measuring: ``size`` rows of one batch size each, and the rows of the baseline in each."""
    possible = _possible(rows)
    base = {row.spec.label: row.spec.variant for row in possible}.get(baseline, baseline) or default_baseline(possible)
    found = []
    for batch in dict.fromkeys(row.batch for row in possible):
        here = [row for row in possible if row.batch == batch]
        anchors = tuple(row.row for row in here if row.spec.variant == base)
        others = [row.row for row in here if row.spec.variant != base]
        shares = [tuple(others[place : place + size]) for place in range(0, len(others), size)] or [()]
        found += [Division((*anchors, *share), anchors) for share in shares]
    return found


def _possible(rows: Sequence[Result]) -> list[Result]:
    return [row for row in rows if row.status == Status.PLANNED]
