"""What is left to do of a plan: the steps that the store has, that must be made, and that are not needed.

The store is only looked at: no file is hashed, nothing is set aside, and no folder is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from workbench import backends
from workbench.errors.printable import one_line
from workbench.models.describe import counted
from workbench.plan.forms import examined_key
from workbench.plan.groups import Group, groups_of, resolved
from workbench.plan.step import Kind, Plan, Step
from workbench.plan.subject import Subject
from workbench.records import EngineRecord, Region, Status, TimingPlan, from_json
from workbench.runs import cohorts, conformance
from workbench.runs.history import History
from workbench.settings.experiment import Experiment
from workbench.store import Entry, Store, key_of


class StepState(StrEnum):
    """Whether the store has the result of a step."""

    THERE = "in the store"
    OPEN = "to make"
    UNKNOWN = "not known yet"  # its key depends on results of other steps
    NOT_NEEDED = "not needed"  # the store lacks it, and has all that would be made from it


MEANS = (Kind.TRAIN, Kind.COPY, Kind.READ, Kind.SAMPLES, Kind.SAVED_MODEL, Kind.REWRITE, Kind.FIX, Kind.EVALUATE)
"""Kinds of steps that are made for others only: not where the store has all of those."""
MEASURED = (Kind.MEASURE, Kind.LOAD)
HOST = Region.HOST_TO_HOST


@dataclass(frozen=True)
class Outlook:
    """A plan with the state of each step, and what steps of its kind took before, in seconds (``None``: not known).

    The steps are in the order of the plan, and all have the keys that they have if every engine can be built.
    """

    plan: Plan
    states: tuple[StepState, ...]
    seconds: tuple[float | None, ...]
    note: str = ""  # further information, as text
    measure_s: float = (
        0.0  # seconds that measuring takes at most by the plan of timing, warming up included; 0: nothing is measured
    )
    limit_s: float | None = None  # the time limit of the run

    @cached_property
    def state(self) -> dict[str, StepState]:
        """The state by the id of the step."""
        return {step.id: state for step, state in zip(self.plan.steps, self.states, strict=True)}

    def open(self, *kinds: Kind) -> tuple[Step, ...]:
        """The steps of these kinds (of all where none is named) that must be made; each result once."""
        found = (step for step in self.plan.steps if self.state[step.id] == StepState.OPEN)
        chosen = [step for step in found if not kinds or step.kind in kinds]
        return tuple({(step.artefact, step.key or step.id): step for step in chosen}.values())

    def count(self, kind: Kind) -> tuple[int, int]:
        """How many results of a kind must be made, of how many: "3 of 12 to build"."""
        of = {(step.key or step.id) for step in self.plan.of(kind) if self.state[step.id] != StepState.NOT_NEEDED}
        return len(self.open(kind)), len(of)

    def expected_s(self, *kinds: Kind) -> tuple[float, int]:
        """The earlier durations of the steps that must be made, in seconds, and how many of them were never made in this store."""
        took = dict(zip((step.id for step in self.plan.steps), self.seconds, strict=True))
        each = [took[step.id] for step in self.open(*kinds)]
        return sum(seconds or 0.0 for seconds in each), each.count(None)

    def __str__(self) -> str:
        return table(self)


def outlook(plan: Plan, experiment: Experiment, subject: Subject, store: Store, *, remeasure: bool = False) -> Outlook:
    """The state of every step of a plan in a store. With ``remeasure`` rows are timed again even where it has their timings."""
    records = built(plan, store)
    groups = groups_of(plan, experiment, subject, records)
    plan = _examined(resolved(plan, experiment, subject, records), subject, store)
    there = {step.id for step in plan.steps if step.kind not in MEASURED and _is_there(step, store)}
    if not remeasure:
        there |= measured_steps(plan, experiment, groups, store)
    wanted = _wanted(plan, there)
    history = History(store)
    states = [_state(step, there, wanted) for step in plan.steps]
    found = Outlook(plan, tuple(states), tuple(map(history.seconds, plan.steps)))
    return replace(found, measure_s=len(found.open(Kind.MEASURE)) * longest_s(experiment.plan))


def longest_s(plan: TimingPlan) -> float:
    """Seconds that timing one row takes at most by its plan: every launch, and warming up before each."""
    return plan.launch_s(0) + (plan.launches - 1) * plan.launch_s(1)


def _state(step: Step, there: set[str], wanted: set[str]) -> StepState:
    if step.id in there:
        return StepState.THERE
    if step.id not in wanted:
        return StepState.NOT_NEEDED
    return StepState.OPEN if step.key else StepState.UNKNOWN


def _is_there(step: Step, store: Store) -> bool:
    """Whether the store has the result of a step. Peaks that were measured beside other programs are measured again."""
    found = store.peek(step.artefact, step.key)
    if found and step.kind == Kind.PEAKS:
        return isinstance(found.facts, dict) and not found.facts.get("disturbed")
    return found is not None


def _wanted(plan: Plan, there: set[str]) -> set[str]:
    """The steps that must be made, or would be if the store lacked them: the requested ones, and those that they need."""
    needed_by_none = {step.id for step in plan.steps} - {each for step in plan.steps for each in step.needs}
    wanted = {step.id for step in plan.steps if step.kind not in MEANS or step.id in needed_by_none}
    for step in reversed(plan.steps):  # each follows what it needs
        if step.id in wanted and step.id not in there:
            wanted.update(step.needs)
    return wanted


def _examined(plan: Plan, subject: Subject, store: Store) -> Plan:
    """The plan with the key of the examination, which depends on the results of ONNX's own cases in the store."""
    if not plan.of(Kind.EXAMINE):
        return plan
    key = examined_key(subject, conformance.known_files(store))
    steps = (replace(step, key=key, unknown="") if step.kind == Kind.EXAMINE else step for step in plan.steps)
    return replace(plan, steps=tuple(steps))


def built(plan: Plan, store: Store) -> dict[str, EngineRecord]:
    """The records of the engines that the store has, by the id of the step."""
    return {step.id: record for step in plan.of(Kind.BUILD) if (record := _record(step, store))}


def _record(step: Step, store: Store) -> EngineRecord | None:
    """The record of an engine; where the store has none, ``None``."""
    try:
        found = store.peek(step.artefact, step.key)
        return from_json(EngineRecord, found.facts) if found else None
    except Exception:  # whatever reading facts of another version raises: the engine will be built
        return None


def measured_steps(plan: Plan, experiment: Experiment, groups: Mapping[int, Group], store: Store) -> set[str]:
    """The steps whose timings the store has, and which count; a group under load is taken as a whole."""
    rows, found = {row.row: row for row in plan.rows}, set[str]()
    for batch, group in groups.items():
        base = cohorts.anchors([rows[name] for name in group.engines], experiment.baseline).get(batch)
        believed = cohorts.believed(
            group.key,
            group.engines,
            base.row if base else None,
            lambda key: _session(store.peek("timing", key)),
            lambda session: getattr(store.peek(cohorts.KIND, key_of(session=session)), "facts", None),
        )
        for step in plan.of(Kind.MEASURE):
            if step.arguments["batch"] == batch and step.arguments["row"] in believed:
                found.add(step.id)
        loads = [step for step in plan.of(Kind.LOAD) if step.arguments["batch"] == batch]
        if all(store.peek(step.artefact, step.key) is not None for step in loads):
            found.update(step.id for step in loads)
    return found


class _Session(NamedTuple):
    group: str


def _session(timing: Entry | None) -> _Session | None:
    try:
        return _Session(str(timing.facts["timing"]["group"])) if timing else None
    except (TypeError, KeyError):
        return None


HEADS = ("step", "what", "key", "state", "took before")


def table(outlook: Outlook) -> str:
    """The steps as text, one a line, without those that are not needed, and a summary."""
    lines = [HEADS]
    for step, state, seconds in zip(outlook.plan.steps, outlook.states, outlook.seconds, strict=True):
        if state != StepState.NOT_NEEDED:
            took = "" if state == StepState.THERE else "unknown" if seconds is None else f"{seconds:.1f} s"
            lines.append((str(step.kind), one_line(step.what), step.key[:12] or "not known yet", str(state), took))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, "", *filter(None, [_summed(outlook), *_impossible(outlook), outlook.note])])


def _summed(outlook: Outlook) -> str:
    counts = ((kind, *outlook.count(kind)) for kind in (Kind.BUILD, Kind.MEASURE, Kind.SCORE))
    words = {Kind.BUILD: "engines to build", Kind.MEASURE: "rows to measure", Kind.SCORE: "engines to score"}
    parts = [f"{left} of {total} {words[kind]}" for kind, left, total in counts if total]
    others = [kind for kind in Kind if kind != Kind.MEASURE]  # whose upper bound follows from its plan
    seconds, unknown = outlook.expected_s(*others)
    left, made = len(outlook.open()), len(outlook.open(*others))
    known = f"{made - unknown} of {made} steps to make took {seconds:.1f} s before" if made > unknown else ""
    rest = f"how long {counted(unknown, 'step')} will take is not known" if unknown else ""
    later = outlook.states.count(StepState.UNKNOWN)
    open_ = f"{counted(later, 'step')} cannot be looked up before the run" if later else ""
    return "; ".join(filter(None, [*parts, "" if left else "nothing to make", known, rest, open_, *_ends(outlook)]))


def _ends(outlook: Outlook) -> list[str]:
    """How long the run takes at most, as far as that is known, and when it ends with its time limit."""
    if not outlook.open():
        return []
    before_s, unknown = outlook.expected_s(*(kind for kind in Kind if kind not in MEASURED))
    most_s, found = before_s + outlook.measure_s, list[str]()
    if outlook.measure_s:
        found.append(f"measuring takes at most about {_about(outlook.measure_s)} by its plan")
    if not unknown and before_s and outlook.measure_s:
        found.append(f"the whole run at most about {_about(most_s)} if the other steps take as long as before")
    if outlook.limit_s is not None:
        sooner = not unknown and most_s <= outlook.limit_s
        found.append(f"it ends {'before the' if sooner else 'at about the'} time limit of {_about(outlook.limit_s)}")
    return found


def _about(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _impossible(outlook: Outlook) -> list[str]:
    """What will not be built, and what will be built and not measured, each reason once."""
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for row in outlook.plan.rows:
        if row.status == Status.UNSUPPORTED and row.failure:
            reasons.setdefault(("not possible", row.failure.message), {})[row.spec.label] = None
        elif row.spec in outlook.plan.engines and (why := backends.of(row.spec).measures(row.spec, HOST).reason):
            reasons.setdefault(("built, not measured", why), {})[row.spec.label] = None
    return [one_line(f"{what}: {', '.join(labels)}: {why}") for (what, why), labels in reasons.items()]
