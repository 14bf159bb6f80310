"""What a search has found as tables and sentences, from its document (``workbench.search.under_limits.document``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.compare.formats import ABSENT
from workbench.display.table import NUMBER, WHOLE, Column, Row, Table

Document = Mapping[str, Any]
UNSURE = "not shown to be within the budget"
ESTIMATE = "The model of speed and the scatter of its fit give this estimate; it is not a proof."


WANTED = {
    "throughput": "highest throughput",
    "latency": "least time of a call",
    "energy": "least energy of a sample",
}


def call_time(step: Row) -> str:
    """The median time of a call with its interval, in milliseconds."""
    if step["call_s"] is None:
        return ABSENT
    known = step["low_s"] is not None and step["high_s"] is not None
    ends = f" [{step['low_s'] * 1e3:.3f}, {step['high_s'] * 1e3:.3f}]" if known else ""
    return f"{step['call_s'] * 1e3:.3f} ms{ends}"


def call_energy(step: Row) -> str:
    """The energy of a sample in millijoules; "" where it was not counted."""
    return "" if step["joules"] is None else f"{step['joules'] / step['batch'] * 1e3:.4g} mJ a sample"


def call_cost(step: Row, found: Document) -> str:
    """What the objective counts of a call: its time, or the energy of a sample."""
    return call_energy(step) if found["objective"] == "energy" else call_time(step)


def outcome(finalist: Row, objective: str) -> str:
    """The verdict of a finalist with its ratio, above 1 where it is better; "" where there is none."""
    if finalist["verdict"] is None:
        return ""
    if finalist["speedup"] is None:
        return f"{finalist['verdict']}: {finalist['why']}"
    value, low, high, said = (finalist[name] for name in ("speedup", "low", "high", "verdict"))
    if objective == "energy":  # the ratio of energies, whose reciprocal the race compares
        value, low, high = 1 / value, 1 / high, 1 / low
        said = {"faster": "less energy", "slower": "more energy"}.get(said, said)
        return f"{value:.3f} times the energy [{low:.3f}, {high:.3f}] of the best single measurement, in turn with it: {said}"
    return f"×{value:.3f} [{low:.3f}, {high:.3f}] {said} against the best single measurement"


def chance(found: Document) -> str:
    """How likely it is that a better point was missed, as a sentence; "" where it is not known."""
    if found["missed"] is None:
        return ""
    if len(found["steps"]) == found["points"]:
        return "All points were measured"
    share = f"{found['missed']:.0%}".replace("%", " %")
    return f"The chance that a point that was not measured is better by more than 2 %: about {share}"


def doubt(found: Document) -> str:
    """That the best point is not shown to be within the accuracy budget, and the best that is, as sentences; "" where it is."""
    if found["best"] is None:
        return ""
    best, shown = step_of(found, found["best"]), found.get("shown_within_budget")
    pair = (best["backend"], best["precision"])
    why = next((each["why"] for each in found.get("unsure", ()) if (each["backend"], each["precision"]) == pair), None)
    if why is None:
        return ""
    other = (
        f"The best that is: {shown}, {call_cost(step_of(found, shown), found)}." if shown else "No measured point is."
    )
    return f"{' '.join(pair)} is not shown to be within the accuracy budget: {why}. {other}"


def counts(found: Document) -> str:
    """How many points were measured, and for what."""
    wanted = WANTED[found["objective"]]
    return f"{len(found['steps'])} of {found['points']} points were measured to find the {wanted}"


def faster(found: Document) -> str:
    """The points within the limits that were faster than the answer and are not shown to be within the accuracy budget, as a sentence; "" where there are none."""
    unsure = {(each["backend"], each["precision"]) for each in found.get("unsure", ())}
    energy = found["objective"] == "energy"
    if found["best"] is None or not unsure or found.get("shown_within_budget") is None:
        return ""
    cost, best = COSTS[found["objective"]], step_of(found, found["best"])
    steps = [step for step in found["steps"] if step["holds"] and (step["backend"], step["precision"]) in unsure]
    ahead = sorted((step for step in steps if cost(step) < cost(best)), key=cost)
    if not ahead:
        return ""
    names = "; ".join(f"{step['point']}, {call_cost(step, found)}" for step in ahead)
    return f"{'Less energy' if energy else 'Faster'} in a single measurement, but not shown to be within the accuracy budget: {names}."


def step_of(found: Document, point: str) -> Row:
    """The measurement of a point."""
    step: Row = next(step for step in found["steps"] if step["point"] == point)
    return step


def tried(found: Document) -> Table:
    """Every point that was measured, in order, with why it was chosen."""
    columns = (
        Column("Order", WHOLE),
        *MEASURED,
        Column("Limits", format=_limits),
        Column("From the store", format=lambda row: "yes" if row["reused"] else "", silent=("",)),
        Column("why", format=lambda row: row["why"] + (f". {row['problem']}" if row["problem"] else ""), note=True),
    )
    about = f"{counts(found)}; below each point is why it was chosen."
    rows = tuple({"Order": place, **step} for place, step in enumerate(found["steps"], 1))
    return Table(columns, rows, title="What was tried", about=about, empty="No point was measured yet.")


def front(found: Document) -> Table:
    """The Pareto front of latency and throughput or energy, with intervals."""
    rows = tuple(step_of(found, point) for point in found["front"])
    about = "Of the measured points within the limits, those that no other one beats in both."
    title = f"The Pareto front of latency and {'energy' if found['objective'] == 'energy' else 'throughput'}"
    return Table(MEASURED, rows, title=title, about=about, empty="No measured point is within the limits.")


def race(found: Document) -> Table:
    """The best points: with verdicts after the last race, or in the order of single measurements."""
    columns = (
        Column("Point", format=lambda row: row["point"]),
        Column("Single measurement", format=lambda row: call_cost(step_of(found, row["point"]), found)),
        Column("Verdict in turn", format=lambda row: outcome(row, found["objective"])),
    )
    notes = tuple(
        filter(None, (doubt(found), faster(found), f"No last race: {found['note']}." if found["note"] else ""))
    )
    empty = "No measured point is within the limits."
    about = "Measured in turn, in processes that were started again several times."
    raced = any(each["verdict"] for each in found["finalists"])
    return Table(
        columns, tuple(found["finalists"]), title="The best", about=about if raced else "", notes=notes, empty=empty
    )


def scores(found: Document, budget: str = "") -> Table:
    """The accuracy of each backend and precision, and why it must not be taken; ``budget`` is what one may lose."""
    judged = {(each["backend"], each["precision"]): each["score"] for each in found["accuracy"]}
    refused = {(each["backend"], each["precision"]): each["why"] for each in found["refused"]}
    if found.get("shown_within_budget"):  # others remain, so that these are not taken
        unsure = {(each["backend"], each["precision"]): UNSURE for each in found.get("unsure", ())}
        refused = {**unsure, **refused}
    rows = tuple(
        {
            "Backend": pair[0],
            "Precision": pair[1],
            "Accuracy": judged.get(pair, ""),
            "Not taken": refused.get(pair, ""),
        }
        for pair in dict.fromkeys((*judged, *refused))
    )
    columns = tuple(map(Column, ("Backend", "Precision", "Accuracy", "Not taken")))
    about = f"The budget is {budget}." if budget else ""
    title = "Accuracy of each backend and precision"
    return Table(columns, rows, title=title, about=about, empty="Nothing was scored yet.")


def _limits(step: Row) -> str:
    if step["call_s"] is None:
        return "not measured"
    return "within" if step["holds"] else "over"


def _memory(step: Row) -> str:
    return ABSENT if step["memory_bytes"] is None else f"{step['memory_bytes'] / 2**20:,.0f}"


def _rate(step: Row) -> str:
    return ABSENT if step["samples_per_s"] is None else f"{step['samples_per_s']:,.0f}"


MEASURED = (
    Column("Point", format=lambda row: row["point"]),
    Column("Time of a call", format=call_time, help="Median with its 95 % interval"),
    Column("Samples", NUMBER, "per s", format=_rate),
    Column(
        "Energy",
        format=call_energy,
        silent=("",),
        help="By a counter of the whole processor or board, idle power included",
    ),
    Column("Memory", WHOLE, "MiB", format=_memory, help="Highest resident memory of the engine's process"),
)
"""Columns of a measured point."""
COSTS: dict[str, Callable[[Row], float]] = {
    "throughput": lambda step: -step["samples_per_s"],
    "latency": lambda step: step["call_s"],
    "energy": lambda step: step["joules"] / step["batch"],
}
"""What is least at the best point, by objective."""
