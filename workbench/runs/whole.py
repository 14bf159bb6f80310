"""The results of a run in the history: records from its artefact, and the durations of its calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.records import Result, Results, Status, Timing, from_json, to_json
from workbench.runs.timings import KIND as TIMING
from workbench.runs.timings import read_together, recall_timing
from workbench.store import Store

KIND = "results"
KEPT = (Status.DONE, Status.FAILED, Status.BUILT)
"""Rows that count as results in the history."""
SAMPLES = "samples.npy"
"""The durations of an imported run, beside its facts; as in :data:`workbench.runs.timings.SAMPLES`, one timing after another."""
GONE = "they were measured again, removed, or signed by another user or machine (option --trust-store uses those)"
"""Why durations are not found in the store."""
Timings = Mapping[tuple[str, int, str], Timing]
"""By engine, batch and session of measuring."""


def identity(timing: Timing) -> tuple[str, int, str]:
    return timing.engine_key, timing.batch, timing.group


def bare(row: Result) -> Result:
    """A row without the durations of calls and without its further timings."""
    timing = replace(row.timing, blocks=(), warm_up_ns=()) if row.timing else None
    return replace(row, timing=timing, also=())


def timings_in(results: Results) -> list[Timing]:
    """Every timing of these results, in the order of the rows."""
    return [timing for row in results.rows for timing in (row.timing, *row.also) if timing]


def whole_of(results: Results) -> dict[str, Any]:
    """Results as JSON, without what a run's list of rows in the history holds already: of those only the number is kept."""
    rows, number = [], 0
    for row in results.rows:
        also = [to_json(replace(timing, blocks=(), warm_up_ns=())) for timing in row.also]
        if row.status in KEPT:
            rows.append({"row": number, "also": also})
            number += 1
        else:
            rows.append({"result": to_json(bare(row)), "also": also})
    return {**to_json(replace(results, rows=())), "rows": rows}


def results_from(facts: Any, timings: Timings) -> Results:
    """The inverse of :func:`whole_of`, for the facts of a run in the history. A row whose durations are not in ``timings`` has no timing,
    and a warning says so.

    Raises:
        InputError: the run was kept by an earlier version.
        Exception: the facts are not those of a run; the converter raises errors of many kinds.
    """
    whole = facts.get("whole")
    about = facts.get("about", {})
    if whole is None:
        raise InputError(
            "This run was kept by an earlier version, which did not keep all that a report needs. Run it again with the same settings: "
            "what is in the store is not measured again."
        )
    rows = []
    for each in whole["rows"]:
        found = facts["rows"][each["row"]]["result"] if "row" in each else each["result"]
        rows.append(replace(from_json(Result, found), also=tuple(from_json(Timing, one) for one in each["also"])))
    plain = replace(from_json(Results, {**whole, "rows": []}), rows=tuple(rows))
    results, lost = with_durations(plain, timings)
    warnings = list(results.warnings)
    if lost:
        what = "row" if len(lost) == 1 else "rows"
        warnings.insert(
            0,
            f"The durations of {len(lost)} {what} cannot be shown: {GONE} ({', '.join(lost)}).",
        )
    imported = imported_text(results) if about.get("imported") else ""
    if imported:
        warnings.insert(0, f"This run was {imported}, and not on this machine.")
    return replace(results, imported=imported, warnings=tuple(warnings))


def with_durations(plain: Results, timings: Timings) -> tuple[Results, list[str]]:
    """Results whose timings have no durations, with those of ``timings``; and the rows whose timing is not there, which have none then."""
    rows, lost = [], []
    for row in plain.rows:
        also = (timings.get(identity(timing)) for timing in row.also)
        timing = timings.get(identity(row.timing)) if row.timing else None
        lost += [row.row] if row.timing and not timing else []
        status = Status.BUILT if row.timing and not timing else row.status
        rows.append(replace(row, timing=timing, status=status, also=tuple(one for one in also if one)))
    return replace(plain, rows=tuple(rows)), lost


def imported_text(results: Results) -> str:
    """Where an imported run was measured: ``imported: measured on NVIDIA H200, ..., 2026-11-30``."""
    days = sorted({timing.measured_at[:10] for timing in timings_in(results) if timing.measured_at})
    when = f", {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "") if days else ""
    return f"imported: measured on {results.machine.label}{when}"


def timings_of(run: str, facts: Any, store: Store) -> Timings:
    """The timings of a run with their durations: beside its facts where it was imported, else those in the store."""
    if "timings" in facts:
        return taken(facts["timings"], store.path(KIND, run) / SAMPLES)
    used: Iterable[str] = facts.get("about", {}).get("used", ())
    keys = [name.partition("/")[2] for name in used if name.startswith(f"{TIMING}/")]
    return {identity(timing): timing for key in keys if (timing := recall_timing(store, key))}


def taken(facts: Any, samples: Path) -> Timings:
    """Timings from their records and the file of their durations.

    Raises:
        ValueError: the file holds another number of durations.
    """
    return {identity(timing): timing for timing in read_together(facts, samples)}
