"""Scoring: every test sample through every engine, compared with the source model's answers."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from workbench.accuracy.by_sample import load_outputs
from workbench.accuracy.class_order import order_setting
from workbench.accuracy.finite import not_finite, not_finite_remarks
from workbench.accuracy.score import doubts, score, score_text, usable_labels
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.errors import Cancelled, InputError, WorkbenchError, writing
from workbench.plan.scoring import accuracy_key, batch_in_key, outputs_key, scoring_batch
from workbench.records import Accuracy, EngineRecord, Status, to_json
from workbench.runs.context import RunContext
from workbench.runs.open_engines import OpenEngines
from workbench.runs.run_rows import RunRows
from workbench.store import Draft, Made, Store
from workbench.workers.pool import once_more

FILE = "outputs.npz"
NO_ACCURACY = "No accuracy"
"""How the warning begins that a run with labels has no score."""


class Outputs(NamedTuple):
    """What an engine gave for every test sample."""

    arrays: dict[str, Any]  # by name, first axis = sample
    calls: dict[str, int]  # outputs whose first axis is the call instead, with the samples in a call


def scored_on(context: RunContext, test: Samples, key: str, outputs: Outputs, expected: Outputs) -> Accuracy:
    """The score of an engine on these samples, with what their labels are.

    Labels of samples say nothing of outputs whose entries are calls: these are compared with the source model's only.
    """
    scoring, comparable = context.scoring, context.comparable
    labels = test.labels if test.truth is None else test.truth
    described = "" if test.truth is None else str(test.truth)
    metric = scoring.metric
    suits = usable_labels(expected.arrays, test.count, metric, scoring.output, comparable.varying)
    if not suits and (labels is not None or metric is not None):
        name, batch = next(iter(outputs.calls.items()))
        labels, metric = None, None
        described = (
            f"not used: which rows of the output '{name}' belong to which sample is not known, and the model runs in batches of "
            f"{batch} only"
        )
    found = score(
        key,
        outputs.arrays,
        expected.arrays,
        labels,
        metric,
        scoring.output,
        groups=None if test.groups is None else (scoring.column, test.groups),
        comparable=comparable,
    )
    return replace(found, labels=described, together=outputs.calls.get(found.agreement_output, 1))


def runnable_engines(run_rows: RunRows) -> dict[str, EngineRecord]:
    """Engines that can run here, by key."""
    return {
        row.engine.key: row.engine
        for row in run_rows.rows
        if row.engine and row.engine.runnable and row.status in (Status.BUILT, Status.DONE)
    }


def outputs_of(store: Store, engine: EngineRecord, data: Dataset, batch: int = 0) -> Path | None:
    """The file with an engine's outputs on the test samples, if the store has it; ``batch`` is :func:`batch_in_key`."""
    folder = store.find("outputs", outputs_key(engine.key, data.test.digest, batch))
    return folder / FILE if folder else None


def has_outputs(context: RunContext, engine: EngineRecord) -> bool:
    """Whether the store has the engine's outputs on the test samples of this run."""
    batch = batch_in_key(context.model, engine.spec, context.experiment.batches)
    return outputs_of(context.store, engine, context.data, batch) is not None


def scored_from_store(context: RunContext, engine: EngineRecord, reference: EngineRecord) -> bool:
    """Whether the store has the outputs of both, from calls of the same size, so that nothing has to run to score the engine."""
    calls = []
    for each in (engine, reference):
        key = outputs_key(
            each.key, context.data.test.digest, batch_in_key(context.model, each.spec, context.experiment.batches)
        )
        calls.append(context.store.facts("outputs", key, lambda facts: dict(facts["calls"])))
    return calls[0] is not None and calls[0] == calls[1]


def _accuracy_key(context: RunContext, engine: EngineRecord, reference: EngineRecord) -> str:
    test = context.data.test
    batch = batch_in_key(context.model, engine.spec, context.experiment.batches)
    return accuracy_key(engine.key, reference.key, test.digest, test.truth_digest, context.scoring, batch)


def unscored_engines(context: RunContext, reference: EngineRecord | None) -> list[EngineRecord]:
    """Engines without a score; scores that the store has are put into their rows."""
    if reference is None:
        return []
    missing, run_rows = [], context.run_rows
    for engine in runnable_engines(run_rows).values():
        known = context.store.record("accuracy", _accuracy_key(context, engine, reference), Accuracy)
        if known is None:
            missing.append(engine)
        else:
            _show(context, run_rows, engine, known)
            run_rows.count(reused_scores=1)
    return missing


def _show(
    context: RunContext,
    run_rows: RunRows,
    engine: EngineRecord,
    accuracy: Accuracy,
    measured_on: Collection[str] = (),
) -> None:
    """Give the score to the engine's rows that were not cancelled; where samples depend on their batch, to the row of the batch that
    was scored only. The rows ``measured_on`` are not done with it.
    """
    run_rows.drop_cancelled()
    scored = batch_in_key(context.model, engine.spec, context.experiment.batches)
    accuracy = _with_names(accuracy, context.data)
    text = f"{engine.spec.label}: {score_text(accuracy)}"
    for row in run_rows.rows:
        if row.engine and row.engine.key == engine.key and row.status != Status.CANCELLED:
            status = row.status
            if status == Status.SCORING:
                status = Status.MEASURING if row.row in measured_on else Status.DONE
            holds = scored in (0, row.batch)
            run_rows.update(row, text, status=status, accuracy=accuracy if holds else None)


def _with_names(accuracy: Accuracy, data: Dataset) -> Accuracy:
    """The score with the names of the classes; the store keeps scores with their numbers, because a folder can be renamed."""
    names = {str(number): name for number, name in data.class_names.items()}
    by = (replace(part, name=names.get(part.name, part.name)) if part.by == "class" else part for part in accuracy.by)
    return replace(accuracy, by=tuple(by), class_order=order_setting(accuracy.order, data.class_names))


def score_all(
    context: RunContext,
    opened: OpenEngines,
    reference: EngineRecord | None,
    unscored: list[EngineRecord],
    phase: str = "score",
) -> None:
    """Score the engines that are open, against the outputs of ``reference``; ``phase`` is what the run's progress calls that."""
    if reference is None or not unscored:
        return
    expected = _expected(context, opened, reference)
    if expected is None:
        return
    run_rows = opened.run_rows
    run_rows.phase(phase, len(unscored), "engines")
    for number, engine in enumerate(unscored):
        run_rows.advance(number)
        rows = [row for row in run_rows.rows if row.engine and row.engine.key == engine.key]
        rows = [row for row in rows if row.status != Status.CANCELLED]
        runs = opened.get(engine.key) is not None
        if not rows or not (runs or scored_from_store(context, engine, reference)):
            continue
        try:
            with run_rows.working_on(tuple(rows)):
                _score_one(context, opened, engine, (reference, expected))
        except Cancelled:
            if run_rows.stop.everything:
                raise
            run_rows.drop_cancelled()  # only these rows were to stop
        except WorkbenchError as error:
            if opened.get(engine.key):  # where it could not be started again, its rows say why already
                opened.drop(engine.key, "score", error)


def look_at_source(context: RunContext, opened: OpenEngines, reference: EngineRecord | None) -> bool:
    """Warn before anything is timed where the source model's own answers are not better than a guess; for one class per sample.

    False: the engine that stands for the source model is not open yet.
    """
    truth = context.data.test.truth
    if reference is None or truth is None or not truth.class_per_sample:
        return True
    if opened.get(reference.key) is None:
        return False
    with suppress(InputError):  # what cannot be scored is reported where the engines are scored
        if (expected := _expected(context, opened, reference)) is not None:
            found = scored_on(context, context.data.test, reference.key, expected, expected)
            for text in doubts([_with_names(found, context.data)]):
                opened.run_rows.warn_now(text)
    return True


def _expected(context: RunContext, opened: OpenEngines, reference: EngineRecord) -> Outputs | None:
    """The source model's outputs; ``None``, with a warning that has the reason, if they do not exist or cannot be scored."""
    try:
        expected = _evaluate(context, opened, reference)
    except Cancelled:
        raise
    except WorkbenchError as error:
        opened.run_rows.warn(f"{NO_ACCURACY}: the source model could not be run ({error.message})")
        return None
    for text in not_finite_remarks(not_finite(expected.arrays)):
        opened.run_rows.warn(text)
    try:
        scored_on(context, context.data.test, reference.key, expected, expected)
    except InputError as error:  # a metric that does not fit the source model's outputs fits no engine's
        opened.run_rows.warn(f"{NO_ACCURACY}: {error.message}")
        return None
    return expected


def _score_one(
    context: RunContext, opened: OpenEngines, engine: EngineRecord, source: tuple[EngineRecord, Outputs]
) -> None:
    """Score one engine; ``source`` is the engine that stands for the source model, and its outputs."""
    measured_on = {row.row for row in opened.run_rows.rows if row.status == Status.MEASURING}
    for row in opened.run_rows.rows:
        if row.engine and row.engine.key == engine.key and row.status != Status.CANCELLED:
            text = f"{row.spec.label}: scoring {context.data.test.count} samples"
            opened.run_rows.update(row, text, status=Status.SCORING)
    outputs = _evaluate(context, opened, engine)
    outputs, expected = _in_same_calls(context, opened, (engine, outputs), source)
    accuracy = scored_on(context, context.data.test, engine.key, outputs, expected)
    context.store.put("accuracy", _accuracy_key(context, engine, source[0]), to_json(accuracy))
    opened.run_rows.count(scored=1)
    _show(context, opened.run_rows, engine, accuracy, measured_on)


def _in_same_calls(
    context: RunContext,
    opened: OpenEngines,
    ours: tuple[EngineRecord, Outputs],
    theirs: tuple[EngineRecord, Outputs],
) -> tuple[Outputs, Outputs]:
    """The outputs of an engine and of the source model, by call only where both are, and with as many samples in a call.

    An engine that runs at one batch size only may give by call what the source model gives by sample, or the other way round.
    """
    (engine, found), (reference, expected) = ours, theirs
    if found.calls == expected.calls:
        return found, expected
    if found.calls:
        return found, _evaluate(context, opened, reference, max(found.calls.values()))
    return _evaluate(context, opened, engine, max(expected.calls.values())), expected


def _evaluate(context: RunContext, opened: OpenEngines, engine: EngineRecord, together: int = 0) -> Outputs:
    """Outputs of an engine on every test sample; from the store if they are there.

    ``together`` is the batch to run at even where each sample could be run alone; 0 for none.
    """
    mixed = batch_in_key(context.model, engine.spec, context.experiment.batches)
    key = outputs_key(engine.key, context.data.test.digest, together or mixed)
    requested = together or engine.spec.batch or max(context.experiment.batches)
    batch = together or _batch(context, engine)

    def evaluate() -> tuple[Path, Any]:
        held = opened.get(engine.key)
        if held is None:
            raise WorkbenchError("its worker has ended")
        asked = {
            "samples": context.samples,
            "batch": batch,
            "outputs": to_json(context.model.outputs),
            "together": bool(together) or not context.model.runs_alone,
        }
        answer = opened.outbox / f"{uuid.uuid4().hex}.npz"
        return answer, held[0].call("evaluate", into=str(answer), **asked)

    def again(error: WorkbenchError) -> None:
        nonlocal batch
        batch = requested
        opened.run_rows.say(f"{engine.spec.label} is scored once more: {error.message}")
        opened.relaunch([engine])

    def fill(draft: Draft) -> None:
        try:
            answer, draft.facts = once_more(evaluate, again)
        except Cancelled:
            raise
        except WorkbenchError as error:
            if batch == requested or opened.get(engine.key) is None:
                raise
            again(error)  # which may have been for more samples than were requested in a call
            answer, draft.facts = evaluate()
        with writing(draft.folder):
            answer.rename(draft.folder / FILE)

    return outputs_in(context.store.make("outputs", key, fill))


def _batch(context: RunContext, engine: EngineRecord) -> int:
    sample_bytes = sum(array.nbytes for array in context.data.test.feeds(0, 1).values())
    return scoring_batch(context.model, engine.spec, context.experiment.batches, sample_bytes)


def outputs_in(stored: Made) -> Outputs:
    """What the task ``evaluate`` left in the store."""
    return Outputs(load_outputs(stored.folder / FILE), dict(stored.facts["calls"]))
