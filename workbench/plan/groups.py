"""Which rows are measured interleaved, and so the keys of measurements: they depend on which engines run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from workbench.plan.measuring import group_key, load_group_key, load_key, timing_key
from workbench.plan.rows import usable
from workbench.plan.step import Kind, Plan, Step
from workbench.plan.subject import Subject
from workbench.records import EngineRecord
from workbench.settings.experiment import Experiment

Engines = Mapping[str, EngineRecord]
"""Records of the engines that were built, by the id of the step."""


class Group(NamedTuple):
    """The rows of one batch size."""

    key: str
    load_key: str
    engines: dict[str, str]  # by row the key of its engine, without rows whose engine was built and does not run here


def groups_of(plan: Plan, experiment: Experiment, subject: Subject, engines: Engines) -> dict[int, Group]:
    """The groups of a plan by batch size; none where a key is not known.

    An engine without a record is taken for one that will be built and will run.
    """
    steps: dict[int, list[Step]] = {}
    for step in plan.of(Kind.MEASURE):
        steps.setdefault(step.arguments["batch"], []).append(step)
    return {
        batch: group
        for batch in usable(experiment, subject.model).batches
        if batch in steps and (group := _group(plan, experiment, subject, engines, steps[batch]))
    }


def _group(plan: Plan, experiment: Experiment, subject: Subject, engines: Engines, steps: list[Step]) -> Group | None:
    here = {}
    for step in steps:
        record = engines.get(step.arguments["engine"])
        if not record or record.runnable:
            here[step.arguments["row"]] = plan.by_id[step.arguments["engine"]]
    digest, batch, machine = subject.samples.test, steps[0].arguments["batch"], subject.platform.machine
    if not digest or not all(one.key for one in here.values()):
        return None
    members = [(one.spec, one.key) for one in here.values()]
    return Group(
        group_key(members, batch, experiment.plan, digest, machine),
        load_group_key(members, batch, experiment.load_plan, digest, machine),
        {row: one.key for row, one in here.items()},
    )


def resolved(plan: Plan, experiment: Experiment, subject: Subject, engines: Engines) -> Plan:
    """The plan with the keys of measurements, as they are if every engine that has no record can be built and runs here.

    Rows whose engine does not run here have no step.
    """
    groups = groups_of(plan, experiment, subject, engines)
    kept: dict[str, Step] = {}
    for step in plan.steps:
        if any(each not in kept for each in step.needs):
            continue  # it needs a measurement that is left out
        group = groups.get(step.arguments.get("batch", 0))
        if group is None or step.kind not in (Kind.MEASURE, Kind.LOAD):
            kept[step.id] = step
        elif step.arguments["row"] in group.engines:
            engine = group.engines[step.arguments["row"]]
            load = step.kind == Kind.LOAD
            key = load_key(group.load_key, engine) if load else timing_key(group.key, engine)
            kept[step.id] = replace(step, key=key, unknown="")
    return replace(plan, steps=tuple(kept.values()))
