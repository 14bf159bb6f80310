"""Timing and scoring: what the store does not know yet is measured in interleaved rounds, cohort by cohort, and scored."""

from __future__ import annotations

from workbench import backends
from workbench.errors import Cancelled, WorkbenchError
from workbench.plan.measuring import group_key
from workbench.records import CPU, EngineRecord, Peaks, Result, Status
from workbench.runs import checkpoints
from workbench.runs.cohorts import anchors, engines_of, recall, timeable
from workbench.runs.context import RunContext
from workbench.runs.ending import timing_text
from workbench.runs.load_rounds import measure_load
from workbench.runs.open_engines import OpenEngines
from workbench.runs.peaks import machine_peaks
from workbench.runs.rounds import measure_groups
from workbench.runs.scoring import (
    has_outputs,
    look_at_source,
    runnable_engines,
    score_all,
    scored_from_store,
    unscored_engines,
)
from workbench.runs.time_limit import time_for
from workbench.system.measuring_lock import hold_lock

Groups = dict[int, tuple[str, tuple[Result, ...]]]
"""By batch size: the key of the group of rows that are measured interleaved, and those rows."""


def measure_and_score(context: RunContext, reference: EngineRecord | None) -> None:
    """Time every built row and score every built engine, except what the store already knows.

    ``reference`` is the engine that stands for the source model; without it nothing can be scored. Where there are several launches,
    engines are scored after the first: by then something is known of each row, and the workers are started again anyway.
    """
    run_rows, experiment = context.run_rows, context.experiment
    region, samples = experiment.plan.region, context.samples
    groups = _groups(context)
    for group, members in groups.values():
        if context.remeasure:
            checkpoints.begin_anew(context.store, group)
        else:
            checkpoints.finish(context.store, group)
            _recall(context, group, members)
    unscored = unscored_engines(context, reference)
    opened = OpenEngines(run_rows, experiment, context.store, samples)

    def score_open(phase: str = "score") -> None:
        here = [
            engine for engine in unscored if opened.get(engine.key) or _needs_no_process(context, engine, reference)
        ]
        if here:
            with hold_lock("scoring engines", alone=False, cancel=context.stop, waiting=run_rows.report_wait):
                score_all(context, opened, reference, here, phase)
        unscored[:] = [engine for engine in unscored if engine not in here]

    try:
        score_open()  # those whose outputs an earlier run has left, as where only the labels are read otherwise now
        waiting, looked = _needed(context, groups, reference, unscored), False
        while waiting:
            with hold_lock("opening engines", alone=False, cancel=context.stop, waiting=run_rows.report_wait):
                waiting = opened.open_cohort(waiting, _beside(context, groups))
                looked = looked or not unscored or look_at_source(context, opened, reference)
            measure_groups(
                opened,
                {batch: group for batch, (group, _) in sorted(groups.items())},
                samples,
                region,
                between_launches=lambda: score_open("measure, scoring between launches"),
                resumable=True,
            )
            score_open()
            opened.clear()
    finally:
        opened.close()
    measure_load(context)


def _needs_no_process(context: RunContext, engine: EngineRecord, reference: EngineRecord | None) -> bool:
    """Whether the engine can be scored without running it: it was timed, and the store has its outputs."""
    rows = [row for row in context.run_rows.rows if row.engine and row.engine.key == engine.key]
    timed = all(row.status == Status.DONE for row in rows)
    return timed and reference is not None and scored_from_store(context, engine, reference)


def _needed(
    context: RunContext, groups: Groups, reference: EngineRecord | None, unscored: list[EngineRecord]
) -> list[EngineRecord]:
    """The engines to open: those of rows without a timing, and those without a score."""
    untimed = [row for row in context.run_rows.rows if row.status == Status.BUILT and row.batch in groups]
    engines = runnable_engines(context.run_rows)
    needed = engines_of(row for row in untimed if row.engine and row.engine.runnable)
    needed |= {engine.key: engine for engine in unscored}
    if reference and unscored and not has_outputs(context, reference):
        needed = {reference.key: reference} | needed  # first: without its answers nothing can be scored
    return [engines.get(key, engine) for key, engine in needed.items()]


def _beside(context: RunContext, groups: Groups) -> dict[str, tuple[EngineRecord, ...]]:
    """By engine key: the engines of the baseline at the batch sizes at which that engine has not been timed."""
    found: dict[str, tuple[EngineRecord, ...]] = {}
    base = anchors(timeable(context.run_rows.rows), context.experiment.baseline)
    for row in context.run_rows.rows:
        anchor = base.get(row.batch)
        if row.engine and row.status == Status.BUILT and row.batch in groups and anchor and anchor.engine:
            found[row.engine.key] = (*found.get(row.engine.key, ()), anchor.engine)
    return found


def _groups(context: RunContext) -> Groups:
    """The rows of each batch size. Rows that cannot be timed over the region fail here."""
    run_rows, experiment = context.run_rows, context.experiment
    groups: Groups = {}
    for row in run_rows.rows:
        if row.engine and row.engine.runnable and row.status == Status.BUILT:
            able = backends.of(row.spec).measures(row.spec, experiment.plan.region)
            if not able:
                run_rows.fail((row,), "measure", WorkbenchError(f"{able.reason}; {able.fix}."))
    machine, samples = context.executor.subject.platform.machine, context.data.test.digest
    for batch in experiment.batches:
        rows = tuple(
            row
            for row in run_rows.rows
            if row.batch == batch and row.status == Status.BUILT and row.engine and row.engine.runnable
        )
        if rows:
            members = [(row.spec, row.engine.key) for row in rows if row.engine]
            groups[batch] = (group_key(members, batch, experiment.plan, samples, machine), rows)
    return groups


def _recall(context: RunContext, group: str, rows: tuple[Result, ...]) -> None:
    run_rows = context.run_rows
    found = recall(context.store, group, rows, anchors(rows, context.experiment.baseline).get(rows[0].batch))
    for row in rows:
        if row.row in found:
            timing, also = found[row.row]
            text = f"{timing_text(row, timing)} (from the store)"
            run_rows.update(row, text, status=Status.DONE, timing=timing, also=also, reused=True)
    run_rows.count(reused_timings=len(found))


def peaks_of(context: RunContext) -> Peaks | None:
    """The peaks of this machine, if they were requested and a variant ran on its CPU."""
    experiment, run_rows = context.experiment, context.run_rows
    if not experiment.roofline or not any(row.timing and row.device == CPU for row in run_rows.rows):
        return None
    if not time_for(run_rows, "the peak rates of this machine"):
        return None
    try:
        return machine_peaks(
            context.store, experiment.threads, cores=experiment.plan.cores, cancel=context.stop, say=context.say
        )
    except Cancelled:
        raise
    except WorkbenchError as error:
        run_rows.say(f"no roofline: the machine's peaks could not be measured ({error.message})")
        return None
