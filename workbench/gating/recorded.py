"""The new side against a recorded run of the same machine, where the old side cannot run any more.

The two were not measured in turn, so that intervals are wider (:func:`workbench.measure.verdict.between_sessions`) and small differences cannot
decided.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from workbench.compare.kept_runs import hardware
from workbench.errors import InputError
from workbench.gating.in_turn import GateContext, Pair, name_of, paired
from workbench.gating.judging import outcome_of
from workbench.gating.outcome import GateLimits, GateOutcome, GateRow
from workbench.measure.verdict import between_sessions
from workbench.records import Results, Until
from workbench.runs import pipeline
from workbench.runs.open_run import open_run
from workbench.runs.travel import import_run
from workbench.settings.experiment import Experiment
from workbench.store import Store


def recorded_run(name: str, store: Store) -> Results:
    """A run of the history by its name or the last letters of it, or a file of a run, which is taken into the store.

    Raises:
        InputError: there is no such run or file, or it cannot be read.
    """
    if Path(name).expanduser().is_file():
        return import_run(Path(name).expanduser(), store).results
    return open_run(name, store)


def rows_apart(old: Results, new: Experiment, limits: GateLimits, work: GateContext) -> tuple[GateRow, ...]:
    """Measure the new side, and judge it against the recorded run.

    Raises:
        InputError: the run is of another machine, or was measured in another way.
    """
    asked = replace(new, until=str(Until.NARROW), baseline="")
    found = pipeline.run(asked, store=work.store, on_event=work.on_event, cancel=work.stop, remeasure=True)
    _check_same(old, found)
    pairs, others = paired(old.rows, found.rows)
    return (*(_row(pair, limits) for pair in pairs), *others)


def _check_same(old: Results, new: Results) -> None:
    theirs, ours = hardware(old.machine), hardware(new.machine)
    differs = [f"{name} was '{theirs[name]}' and is '{ours[name]}'" for name in ours if theirs[name] != ours[name]]
    for name in ("region", "protocol", "cores"):
        before, now = getattr(old.plan, name), getattr(new.plan, name)
        differs += [f"{name} was '{before}' and is '{now}'"] if before != now else []
    if old.tested_digest and old.tested_digest != new.tested_digest:
        differs.append("the samples are others")
    if differs:
        raise InputError(
            f"The run {old.run} cannot be compared with what this machine measures: {'; '.join(differs)}. Record a run here, or measure old and "
            "new in turn (--old-model, --old-environment)."
        )


def _row(pair: Pair, limits: GateLimits) -> GateRow:
    old, new = pair
    name = name_of(new)
    if old.timing is None or new.timing is None:
        return GateRow(*name, GateOutcome.CANNOT_TELL, "the recorded run did not measure it", old=old, new=new)
    if old.spec.threads != new.spec.threads:
        why = f"threads were {old.spec.threads} and are {new.spec.threads}"
        return GateRow(*name, GateOutcome.CANNOT_TELL, why, old=old, new=new)
    found = outcome_of(between_sessions(new.timing, old.timing, 1 + limits.allowed), limits)
    return GateRow(*name, found.outcome, found.why, *found[1:4], old=old, new=new)
