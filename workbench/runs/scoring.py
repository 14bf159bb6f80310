"""Scoring: every test sample through every engine, compared with the source model's answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.accuracy.agreement import EVERY, Comparable, not_finite, not_finite_told
from workbench.accuracy.by_sample import load_outputs
from workbench.accuracy.label_settings import AUTO
from workbench.accuracy.metrics import Metric, metric_of
from workbench.accuracy.score import score, told
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.errors import Cancelled, InputError, WorkbenchError, writing
from workbench.experiment import Experiment
from workbench.records import Accuracy, EngineRecord, Status, to_json
from workbench.runs.bench import Bench
from workbench.runs.board import Board
from workbench.runs.sources import Sources
from workbench.store import Draft, Store, key_of

FILE = "outputs.npz"
OUTPUTS = 2
"""Of what the file of an engine's outputs holds: raise it when earlier ones would differ."""


def scored_on(
    test: Samples,
    key: str,
    outputs: Mapping[str, Any],
    expected: Mapping[str, Any],
    way: Way,
    comparable: Comparable = EVERY,
) -> Accuracy:
    """The score of an engine on these samples, with what their labels are."""
    labels = test.labels if test.truth is None else test.truth
    found = score(
        key,
        outputs,
        expected,
        labels,
        way.metric,
        way.output,
        groups=test.groups,
        column=way.column,
        comparable=comparable,
    )
    return replace(found, labels="" if test.truth is None else str(test.truth))


def runnable_engines(board: Board) -> dict[str, EngineRecord]:
    """Engines that can run here, by key."""
    return {
        row.engine.key: row.engine
        for row in board.rows
        if row.engine and row.engine.runnable and row.status in (Status.BUILT, Status.DONE)
    }


def _output_key(engine: EngineRecord, data: Dataset) -> str:
    return key_of(engine=engine.key, samples=data.test.digest, rules=OUTPUTS)


def outputs_of(store: Store, engine: EngineRecord, data: Dataset) -> Path | None:
    folder = store.find("outputs", _output_key(engine, data))
    return folder / FILE if folder else None


@dataclass(frozen=True)
class Way:
    """How engines are scored: by which metric, on which output; both found where nothing is said."""

    metric: Metric | None = None
    output: str = ""
    column: str = ""  # names the groups of samples
    key: str = AUTO  # of scores in the store; a function's is new each time, because it cannot be told what it reads

    @classmethod
    def of(cls, experiment: Experiment, given: Any = None) -> Way:
        """That of an experiment, or by the metric that is given: a name, a function or a :class:`Metric`.

        Raises:
            InputError: no metric.
        """
        chosen = experiment.metric if given is None else given
        key = chosen if isinstance(chosen, str) else uuid.uuid4().hex
        return cls(metric_of(chosen), experiment.score_output, experiment.group_column, key)


PLAIN = Way()
RULES = 7
"""Of how scores are made: raise it when earlier ones would differ."""


def _accuracy_key(engine: EngineRecord, reference: EngineRecord, data: Dataset, way: Way) -> str:
    return key_of(
        engine=engine.key,
        reference=reference.key,
        samples=data.test.digest,
        metric=way.key,
        output=way.output,
        truth=data.test.truth_digest,
        column=way.column,
        rules=RULES,
    )


def comparable_of(sources: Sources) -> Comparable:
    """What opening the model, and its way to ONNX, have shown of its outputs."""
    found = Comparable.of(sources.model.outputs, sources.model)
    return replace(found, unreached=(dict(sources.check.unreached) if sources.check else {}) | dict(found.unreached))


def unscored_engines(
    board: Board, store: Store, data: Dataset, reference: EngineRecord | None, way: Way = PLAIN
) -> list[EngineRecord]:
    """Engines without a score; scores that the store has are put into their rows."""
    if reference is None:
        return []
    missing = []
    for engine in runnable_engines(board).values():
        known = store.record("accuracy", _accuracy_key(engine, reference, data, way), Accuracy)
        if known is None:
            missing.append(engine)
        else:
            _show(board, engine, known)
            board.count(reused_scores=1)
    return missing


def _show(board: Board, engine: EngineRecord, accuracy: Accuracy) -> None:
    text = f"{engine.spec.label}: {told(accuracy)}"
    for row in board.rows:
        if row.engine and row.engine.key == engine.key:
            status = Status.DONE if row.status == Status.SCORING else row.status
            board.update(row, text, status=status, accuracy=accuracy)


def score_all(
    bench: Bench,
    data: Dataset,
    samples: str,
    reference: EngineRecord | None,
    unscored: list[EngineRecord],
    way: Way = PLAIN,
) -> None:
    if reference is None or not unscored:
        return
    try:
        expected = _evaluate(bench, reference, data, samples)
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.board.say(f"no accuracy: the source model could not be run ({error.message})")
        return
    for text in not_finite_told(not_finite(expected)):
        bench.board.warn(text)
    try:
        scored_on(data.test, reference.key, expected, expected, way, bench.comparable)
    except InputError as error:  # what does not suit the source model's own outputs suits nobody's
        bench.board.note(f"No accuracy: {error.message}")
        return
    for engine in unscored:
        if bench.get(engine.key) is None:
            continue
        try:
            _score_one(bench, engine, reference, expected, data, samples, way)
        except Cancelled:
            raise
        except WorkbenchError as error:
            bench.drop(engine.key, "score", error)


def _score_one(
    bench: Bench,
    engine: EngineRecord,
    reference: EngineRecord,
    expected: dict[str, Any],
    data: Dataset,
    samples: str,
    way: Way,
) -> None:
    for row in bench.board.rows:
        if row.engine and row.engine.key == engine.key and row.status != Status.CANCELLED:
            text = f"{row.spec.label}: scoring {data.test.count} samples"
            bench.board.update(row, text, status=Status.SCORING)
    outputs = _evaluate(bench, engine, data, samples)
    accuracy = scored_on(data.test, engine.key, outputs, expected, way, bench.comparable)
    bench.store.put("accuracy", _accuracy_key(engine, reference, data, way), to_json(accuracy))
    bench.board.count(scored=1)
    _show(bench.board, engine, accuracy)


def _evaluate(bench: Bench, engine: EngineRecord, data: Dataset, samples: str) -> dict[str, Any]:
    """Outputs of an engine on every test sample, by name; from the store if they are there."""

    def fill(draft: Draft) -> None:
        opened = bench.get(engine.key)
        if opened is None:
            raise WorkbenchError("its worker has ended")
        batch = engine.spec.batch or max(bench.experiment.batches)
        outputs = to_json(bench.outputs)
        answer = bench.outbox / f"{uuid.uuid4().hex}.npz"
        opened[0].call("evaluate", samples=samples, batch=batch, outputs=outputs, into=str(answer))
        with writing(draft.folder):
            answer.rename(draft.folder / FILE)

    folder = bench.store.make("outputs", _output_key(engine, data), fill).folder
    return load_outputs(folder / FILE)
