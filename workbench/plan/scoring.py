"""How engines are scored, and the keys of their outputs and scores."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

from workbench import backends
from workbench.accuracy.label_settings import AUTO
from workbench.accuracy.metrics import Metric, metric_of
from workbench.plan.subject import known_key
from workbench.records import EngineSpec, Model
from workbench.records.methods import DYNAMIC
from workbench.records.model import TEXT
from workbench.settings.experiment import Experiment

OUTPUTS = 3
"""Of what the file of an engine's outputs holds: raise it when earlier ones would differ."""
RULES = 10
"""Of how scores are made: raise it when earlier ones would differ."""

ITEM_BYTES = 8  # of an output at most
TOGETHER, CALL_BYTES = 32, 2**23
"""Samples in a call of :func:`scoring_batch`, and the size of their inputs and outputs, at most: activations need memory too."""


@dataclass(frozen=True)
class Scoring:
    """The metric and the output by which engines are scored; both are determined from the model and the labels if they are not set."""

    metric: Metric | None = None
    output: str = ""
    column: str = ""  # names the groups of samples
    key: str = AUTO  # of scores in the store; that of a function is new each time, because what the function reads is not known

    @classmethod
    def of(cls, experiment: Experiment, given: Any = None) -> Scoring:
        """That of an experiment, or by the metric that is given: a name, a function or a :class:`Metric`.

        Raises:
            InputError: no metric.
        """
        chosen = experiment.metric if given is None else given
        key = chosen if isinstance(chosen, str) else uuid.uuid4().hex
        return cls(metric_of(chosen), experiment.score_output, experiment.group_column, key)


PLAIN = Scoring()


def batch_in_key(model: Model, spec: EngineSpec, batches: Collection[int]) -> int:
    """The batch that an engine is scored at, where the result of a sample depends on the others of its batch: by the model, or because
    ranges are computed in every call. Else 0.
    """
    depends = spec.method == DYNAMIC or (model.probe is not None and model.probe.mixed)
    return (spec.batch or max(batches)) if depends else 0


def scoring_batch(model: Model, spec: EngineSpec, batches: Collection[int], sample_bytes: int) -> int:
    """Samples in a call when an engine is scored: the largest requested batch, or up to :data:`TOGETHER` where that is more.

    Scoring is not timed, and calls of one sample can take many times as long: ``model.predict`` spends tens of milliseconds on
    each call. More samples than requested are run together only where this cannot change an answer, which is where the source
    model gave the same at every batch size tried, the engine takes any batch, and no range is computed in each call.

    Args:
        model: the source model, with what opening it has shown.
        spec: the variant of the engine.
        batches: the requested batch sizes.
        sample_bytes: size of the inputs of one sample.
    """
    largest, probe = spec.batch or max(batches), model.probe
    independent = probe is not None and probe.free and not batch_in_key(model, spec, batches)
    any_batch = spec.batch is None and model.dynamic_batch and "batches" not in backends.get(spec.backend).settings
    known = all(out.ragged_axis is None and not out.free_axes and out.dtype != TEXT for out in model.outputs)
    if not (independent and any_batch and known):
        return largest
    each = sample_bytes + sum(ITEM_BYTES * prod(out.sized(1)) for out in model.outputs)
    return max(largest, min(TOGETHER, CALL_BYTES // max(1, each)))


def outputs_key(engine: str, samples: str, together: int = 0) -> str:
    """The key of an engine's outputs on the test samples; "" where one of the two keys is not known.

    ``together`` is the batch that the samples are run at even where each could be run alone; 0 for none.
    """
    forced = {"together": together} if together else {}
    return known_key(engine, samples, engine=engine, samples=samples, rules=OUTPUTS, **forced)


def file_outputs_key(file: str, samples: str) -> str:
    """The key of the outputs of a prepared ONNX file that is run as it is written; ``file`` is the key of the file."""
    return known_key(file, samples, file=file, samples=samples, how="as it is written", rules=OUTPUTS)


def accuracy_key(engine: str, reference: str, samples: str, truth: str, scoring: Scoring, batch: int = 0) -> str:
    """The key of an engine's score.

    ``samples`` and ``truth`` are the digests of the test samples and of their labels, ``batch`` is :func:`batch_in_key`.
    """
    return known_key(
        engine,
        reference,
        samples,
        engine=engine,
        reference=reference,
        samples=samples,
        metric=scoring.key,
        output=scoring.output,
        truth=truth,
        column=scoring.column,
        rules=RULES,
        **({"batch": batch} if batch else {}),
    )
