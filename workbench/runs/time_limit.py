"""What a run leaves out where its time is limited, and how its results say so."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.models.describe import counted
from workbench.records import NOT_BUILT, Ended, EngineSpec, Failure, Precision, Result, Status
from workbench.runs.cohorts import default_baseline
from workbench.runs.run_rows import RunRows
from workbench.system.deadline import Deadline

NAMED = 6
"""So many rows are named in a sentence; of more the number is said."""


def baseline_first(rows: Iterable[Result], asked: str, source: EngineSpec | None = None) -> list[Result]:
    """The rows in the order of building: those of the baseline, of the engine that stands for the source model, in FP32, and the rest.

    Where the time is over before all are built, there is then something to compare with. ``asked`` is the experiment's baseline.
    """
    rows = list(rows)
    name = {row.spec.label: row.spec.variant for row in rows}.get(asked, asked) or default_baseline(rows)
    return sorted(
        rows, key=lambda row: (row.spec.variant != name, row.spec != source, row.spec.precision != Precision.FP32)
    )


def leave_out(run_rows: RunRows, rows: tuple[Result, ...]) -> None:
    """End rows whose engine is not built any more."""
    why = f"{run_rows.stop.deadline.why} left no time to build it"
    for row in rows:
        text = f"{row.row}: not measured, because {why}"
        run_rows.update(row, text, status=Status.CANCELLED, failure=Failure(NOT_BUILT, why))


def time_for(run_rows: RunRows, what: str, seconds: float = 0.0) -> bool:
    """Whether there is time for something besides the rows that takes so many seconds; where there is none, the results say so."""
    deadline = run_rows.stop.deadline
    if deadline.allows(seconds):
        return True
    run_rows.warn(f"Not measured: {what}, for which {deadline.why} left no time.")
    return False


def remark(rows: Iterable[Result], baseline: str, deadline: Deadline) -> str:
    """What a reader must know of a run whose time was over; "" where it left nothing out."""
    rows = tuple(rows)
    name = {row.spec.label: row.spec.variant for row in rows}.get(baseline, baseline)
    name = name or default_baseline(row for row in rows if row.timing)
    short = [row for row in rows if row.timing and row.timing.ended == Ended.TIME and not row.reused]
    others = [row for row in short if row.spec.variant != name]
    built = [row for row in rows if row.status == Status.BUILT and row.engine and row.engine.runnable]
    found = [
        _named("was not built", "were not built", [row for row in rows if row.left_out]),
        _named("was built and not measured", "were built and not measured", built),
        _named(
            "was measured for less time than planned, and is not known to be faster or slower than the baseline",
            "were measured for less time than planned, and are not known to be faster or slower than the baseline",
            others,
        ),
    ]
    if short and not others:
        found.append("the baseline was measured for less time than planned")
    parts = "; ".join(filter(None, found))
    how = (
        "The same run without the limit goes on from there"
        if deadline.limit_s and not deadline.asked
        else "Run it again to go on"
    )
    return f"{deadline.why.capitalize()} ended the run: {parts}. {how}." if parts else ""


def _named(one: str, several: str, rows: list[Result]) -> str:
    if not rows:
        return ""
    names = [row.row for row in rows[:NAMED]]
    more = [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
    return f"{counted(len(rows), 'row')} {one if len(rows) == 1 else several} ({', '.join([*names, *more])})"
