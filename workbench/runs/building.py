"""Prepares and builds the engines of a run, variant by variant; one that fails costs its own rows only."""

from __future__ import annotations

import time
from typing import Any

from workbench.conformance.examination import Examination
from workbench.conformance.warnings import of_engine
from workbench.errors import Cancelled, WorkbenchError
from workbench.models.describe import counted
from workbench.plan.engines import reference_spec
from workbench.plan.step import Kind, Step
from workbench.records import EngineRecord, EngineSpec, Result, Status, from_json
from workbench.runs.context import RunContext
from workbench.runs.history import History
from workbench.runs.layer_pass import can_profile, known
from workbench.runs.scoring import NO_ACCURACY
from workbench.runs.time_limit import baseline_first, leave_out


def build_all(context: RunContext) -> None:
    """Build every variant that the plan has a step for, or take it from the store.

    Where the time of the run is limited, those are left out for which it leaves no time; what the store has is taken all the same.
    """
    run_rows = context.run_rows
    scored = reference_spec(context.experiment, context.executor.subject) if context.plan.of(Kind.SCORE) else None
    rows = baseline_first(run_rows.open_rows(), context.experiment.baseline, scored)
    specs = dict.fromkeys(row.spec for row in rows)
    every = {context.plan.engines[spec].key: context.plan.engines[spec] for spec in specs}
    left = [step for step in every.values() if not context.store.has(step.artefact, step.key)]
    run_rows.say(f"{len(left)} of {counted(len(every), 'engine')} to build")
    history = History(context.store)
    total = len(left)
    run_rows.phase("build engines", total, "engines", history.sum_s(left))
    for spec in specs:
        run_rows.drop_cancelled()
        if not (open_rows := run_rows.open_rows(spec)):
            continue
        step = context.plan.engines[spec]
        if step not in left or _time_to_build(context, step, open_rows, history, needed=spec == scored):
            _build(context, spec, open_rows)
        else:
            leave_out(run_rows, open_rows)
        if step in left:
            left.remove(step)
            run_rows.advance(total - len(left), history.sum_s(left))
    run_rows.drop_cancelled()


def _time_to_build(
    context: RunContext, step: Step, rows: tuple[Result, ...], history: History, *, needed: bool
) -> bool:
    """Whether the engine of these rows can be built, and all that is built be timed once, before the time of the run is over.

    The first one is built unless it is over already: nothing else could be measured. One that is ``needed`` to score the others is
    built with them.
    """
    run_rows, deadline = context.run_rows, context.stop.deadline
    built = sum(row.status == Status.BUILT for row in run_rows.rows)
    if not built:
        return not deadline.over
    if needed:
        return True
    measured = built + len(rows) if context.plan.of(Kind.MEASURE) else 0
    return deadline.allows((history.seconds(step) or 0.0) + measured * context.experiment.plan.launch_s(0))


def _build(context: RunContext, spec: EngineSpec, rows: tuple[Result, ...]) -> None:
    run_rows, doing, step = context.run_rows, "prepare", context.plan.engines[spec]
    try:
        with run_rows.working_on(rows):
            run_rows.update_all(rows, status=Status.PREPARING)
            began = time.monotonic()
            context.executor.prepare(step)
            doing = "build"
            run_rows.update_all(rows, status=Status.BUILDING)
            record, reused = context.executor.engine(step)
            run_rows.count(build_s=time.monotonic() - began)
    except Cancelled:
        if run_rows.stop.everything:
            raise
        return  # only these rows were to stop
    except WorkbenchError as error:
        run_rows.fail(rows, doing, error)
        return
    run_rows.count(**{"reused_builds" if reused else "built": 1})
    note = "reused" if reused else f"built in {record.build_s:.2f} s"
    text = f"{spec.label}: {note}, {record.realized.label}"
    run_rows.update_all(rows, text, status=Status.BUILT, engine=record)


def build_reference(context: RunContext) -> EngineRecord | None:
    """The engine that stands for the source model when others are scored; ``None`` where nothing runs here or it cannot be built."""
    if not any(row.engine and row.engine.runnable for row in context.run_rows.rows):
        return None
    spec = reference_spec(context.experiment, context.executor.subject)
    if spec is None:
        context.run_rows.say("no accuracy: no backend runs the source model as it is")
        return None
    try:
        return context.executor.engine_of(spec)[0]
    except Cancelled:
        raise
    except WorkbenchError as error:
        warning = f"{NO_ACCURACY}: the source model could not be prepared as a reference ({error.message})"
        context.run_rows.warn(warning)
        return None


def examine(context: RunContext) -> Any:
    """The examination of the ONNX form, if there is one; a failure is reported and does not end the run."""
    if context.executor.check is None:
        return None
    try:
        return context.executor.examination()
    except Cancelled:
        raise
    except WorkbenchError:
        return None


def warn_of_differences(context: RunContext, examination: Any) -> None:
    """Warn where a built engine's library computes a form in the model differently from ONNX's definition."""
    if examination is None:
        return
    differences = from_json(Examination, examination).differences
    for row in context.run_rows.rows:
        if row.engine:
            for text in of_engine(differences, row.spec):
                context.run_rows.warn(f"{text}.")


def prepare_layers(context: RunContext) -> None:
    """Make the prepared models after which the layers of engines are named, where layers are to be timed and the store lacks them."""
    for row in context.run_rows.rows:
        if row.timing and can_profile(row) and known(row, context.store) is None:
            try:
                context.executor.make_needs(context.plan.engines[row.spec])
            except Cancelled:
                raise
            except WorkbenchError as error:  # then fewer layers have names
                context.run_rows.say(f"{row.row}: its prepared model could not be made again ({error.message})")
