"""The results of a whole run from those of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from workbench.errors.printable import one_line
from workbench.models.describe import counted
from workbench.records import ClusterWorker, Ended, Failure, Result, Results, Status, Tally
from workbench.runs.cohorts import cohorts_text, default_baseline


@dataclass(frozen=True)
class EndedPart:
    """A part that has ended: its rows, what measured them, and their results, or why there are none."""

    rows: tuple[str, ...]
    worker: ClusterWorker
    results: Results | None = None
    failure: str = ""
    reused: bool = False  # by an earlier run
    only: str = "all"  # as in :class:`workbench.runs.parts.Part`

    def result(self, row: Result) -> Result | None:
        """The result of a row in this part; ``None`` where it has none."""
        if row.row not in self.rows:
            return None
        if self.results is None:
            failure = Failure(step="run on a worker", message=self.failure)
            # without what the row has from other parts
            bare = Result(row.spec, row.batch, Status.FAILED, row.engine, failure=failure)
            return replace(bare, worker=self.worker)
        found = next((one for one in self.results.rows if one.row == row.row), None)
        if found is None:
            return None
        return replace(found, worker=self.worker, reused=found.reused or (self.reused and found.timing is not None))


def cut_short(row: Result) -> bool:
    """Whether the time of its run was up before it was measured as long as planned."""
    return row.timing is not None and row.timing.ended == Ended.TIME


def _longest_first(timed: list[Result]) -> list[Result]:
    """In the order in which they were measured, but those that were cut short at the end, the latest of them first."""
    short = [one for one in timed if cut_short(one)]
    return [one for one in timed if not cut_short(one)] + short[::-1]


def merged_row(row: Result, parts: Sequence[EndedPart]) -> Result | None:
    """The result of a row from the parts that it took part in, which are in the order in which they were planned and repeated; ``None``
    where it took part in none. The first timing of the baseline is its own, the others stand in ``also``. One that was cut short comes
    after all others.
    """
    found = [one for part in parts if (one := part.result(row))]
    timed = _longest_first([one for one in found if one.timing])
    if not timed:
        ended = [one for one in found if one.status != Status.CANCELLED] or found
        return ended[-1] if ended else None
    first, rest = timed[0], timed[1:]
    later = [timing for one in rest for timing in (one.timing, *one.also) if timing]
    also = [
        timing for timing in later if not first.timing or timing.group != first.timing.group
    ]  # it went on in that session
    accuracy = first.accuracy or next((one.accuracy for one in rest if one.accuracy), None)
    return replace(first, also=(*first.also, *also), accuracy=accuracy)


def merged(planned: Results, rows: tuple[Result, ...], parts: Sequence[EndedPart], baseline: str) -> Results:
    """The results of the whole run. ``planned`` are those of the part that read the model, ``rows`` the merged rows."""
    whole = [part.results for part in parts if part.results]
    every = [planned, *whole]
    notes = [note for results in every for note in results.notes]
    notes += filter(None, [cohorts_text(rows), workers_text(rows)])
    warnings = [text for results in every for text in results.warnings]
    profiles = {(each.engine_key, each.batch): each for one in whole for each in one.layer_profiles}
    return replace(
        planned,
        rows=rows,
        baseline=baseline or default_baseline(row for row in rows if row.timing),
        tally=_tally(rows, parts),
        notes=tuple(dict.fromkeys(map(one_line, notes))),
        warnings=tuple(dict.fromkeys(map(one_line, warnings))),
        export=next((one.export for one in whole if one.export), planned.export),
        examination=next((one.examination for one in whole if one.examination), None),
        peaks=next((one.peaks for one in whole if one.peaks), None),
        layer_profiles=tuple(profiles.values()),
    )


def _tally(rows: Sequence[Result], parts: Sequence[EndedPart]) -> Tally:
    """What workers did for this run, and what was there: from an earlier run, or in a worker's store."""
    done = [part.results.tally for part in parts if part.results and not part.reused]
    total = Tally(**{each.name: sum(getattr(tally, each.name) for tally in done) for each in fields(Tally)})
    engines = {row.engine.key for row in rows if row.engine}
    before = [row for part in parts if part.reused and part.results for row in part.results.rows]
    return replace(
        total,
        reused_builds=max(0, len(engines) - total.built),
        reused_timings=total.reused_timings + sum(1 for row in before if row.timing),
        reused_scores=total.reused_scores + len({row.engine.key for row in before if row.engine and row.accuracy}),
    )


def workers_text(rows: Sequence[Result]) -> str:
    """A sentence that says which workers measured how many rows; "" where no worker of a cluster did."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.worker and row.timing:
            counts[row.worker.label] = counts.get(row.worker.label, 0) + 1
    each = ", ".join(f"{counted(number, 'row')} by {label}" for label, number in sorted(counts.items()))
    return f"Measured on a cluster, on machines of one kind: {each}." if each else ""
