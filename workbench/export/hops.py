"""Compare one hop of a conversion: two consecutive forms of a model, on several inputs.

The inputs are real samples if there are some, random ones, and structured ones, at two batch sizes and two lengths if axes are
dynamic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from workbench.accuracy.matching import in_order
from workbench.data.samples import Samples
from workbench.data.synthetic import STRUCTURED, generated
from workbench.errors import ExportError, InputError
from workbench.export.agreement import ROUNDING, HopAgreement, OutputRange, compare
from workbench.models.formats import Runner
from workbench.records import Hop, Model, Probe

Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-3
QUANTIZED_TOLERANCE = 0.1
QUANTIZED_ROUNDING = 0.02
"""8-bit layers round, and two libraries round differently: a quantized model agrees less closely, and a difference of a few of
its 255 steps is not an error."""

NUDGE = 5e-7  # relative: a few units in the last place of a 32-bit float
NUDGES, MORE_NUDGES = 3, 16
OWN_CHANGES = 4.0
ILL_CONDITIONED_LIMIT = 0.05
"""A difference between the tolerance and this limit passes if perturbing the source's inputs by a few units in the last place
changes its own outputs by at least a quarter as much; other inputs must then agree strictly."""

COMPARED_BATCHES = (1, 7)
NEITHER_RAN = "Neither the given data nor generated inputs could be run."


class ComparedInput(NamedTuple):
    """The inputs of one comparison."""

    kind: str  # "real", "random", or one of the structured kinds
    length: str  # "opt" or "max": the size of free axes; "" without such axes
    feeds: Arrays
    batch: int


def compared_inputs(model: Model, samples: Samples | None, requested: Sequence[int] = ()) -> Iterator[ComparedInput]:
    """The inputs on which every hop is compared.

    ``requested`` are the batch sizes of the run, which are used if inspection found no batch size at which the model runs.
    """
    free = any(spec.free_axes for spec in model.inputs)
    for batch in _batches(model, requested):
        if samples is not None:
            yield ComparedInput("real", "", samples.feeds(0, batch), batch)
        for kind in ("random", *STRUCTURED):
            for length in ("opt", "max") if free else ("opt",):
                feeds = generated(model.inputs, kind, batch, which=length).feeds(0, batch)
                yield ComparedInput(kind, length if free else "", feeds, batch)


def _batches(model: Model, requested: Sequence[int]) -> tuple[int, ...]:
    """Batch sizes to compare: those at which the model ran if it does not run at every size, or the requested ones."""
    probe = model.probe or Probe()
    if not model.dynamic_batch:
        return (model.fixed_batch or 1,)
    if probe.failed and probe.worked:
        return tuple(dict.fromkeys((min(probe.worked), max(probe.worked))))
    if probe.failed and requested:
        return tuple(dict.fromkeys((min(requested), max(requested))))
    return COMPARED_BATCHES


def tolerance(model: Model) -> float:
    """The largest difference of outputs, relative to their size or span, at which two forms of the model agree."""
    return QUANTIZED_TOLERANCE if model.quantized == "int8" else TOLERANCE


@dataclass
class OutputFacts:
    """Facts of the source's outputs over all compared inputs."""

    model: Model
    spans: dict[str, OutputRange] = field(default_factory=dict)
    compared: set[str] = field(default_factory=set)  # had a finite value
    not_finite: set[str] = field(default_factory=set)  # had NaN or infinity

    def add(self, outputs: Arrays) -> None:
        ragged = {spec.name for spec in self.model.outputs if spec.ragged_axis is not None}
        axes = {spec.name: spec.batch_axis for spec in self.model.outputs}
        for name, array in outputs.items():
            if name not in ragged:  # the size of a ragged output depends on the input
                self.spans.setdefault(name, OutputRange(axes.get(name, 0))).add(array)
            finite = np.isfinite(array) if array.dtype.kind in "fc" else np.ones(array.shape, bool)
            self.compared |= {name} if finite.any() or not array.size else set()
            self.not_finite |= set() if finite.all() else {name}

    @property
    def constant(self) -> tuple[str, ...]:
        """Outputs that did not depend on the inputs."""
        return tuple(name for name, span in self.spans.items() if span.constant and name in self.compared)


class HopComparison:
    """Compares the outputs of a form of the model with those of the form before it, one input after another."""

    def __init__(self, model: Model, source: Runner, result: Runner) -> None:
        self._model, self._source, self._result = model, source, result
        self._tolerance = tolerance(model)
        self._rounding = QUANTIZED_ROUNDING if model.quantized == "int8" else ROUNDING
        self._outputs = OutputFacts(model)
        self._compared: list[ComparedInput] = []
        self._ill_conditioned: list[str] = []  # the kinds of such inputs
        self._strict = 0  # inputs that agreed within the tolerance
        self._max_abs = self._max_rel = 0.0
        self._refused: dict[str, str] = {}  # by kind of input that the source did not accept: its error

    def add(self, given: ComparedInput) -> HopAgreement | None:
        """Compare both forms on one input; return the difference if they disagree, else ``None``.

        Raises:
            ExportError: an output is missing or has another shape.
        """
        try:
            wanted = self._source(given.feeds)
        except InputError as error:
            self._refused.setdefault(given.kind, error.message)
            return None
        _check_rows(self._model, wanted, given.batch)
        wanted = {name: array for name, array in wanted.items() if name not in self._model.varying}
        self._outputs.add(wanted)
        found = _in_source_order(self._model, wanted, self._result(given.feeds))
        if self._row_count_is_unstable(given.feeds, wanted, found):
            self._compared.append(ComparedInput(given.kind, "", {}, 0))
            self._ill_conditioned.append(given.kind)
            return None
        agreement = compare(wanted, found, self._rounding)
        self._max_abs, self._max_rel = max(self._max_abs, agreement.max_abs), max(self._max_rel, agreement.max_rel)
        self._compared.append(given._replace(feeds={}))
        if agreement.largest <= self._tolerance:
            self._strict += 1
        elif self._is_ill_conditioned(given.feeds, wanted, agreement):
            self._ill_conditioned.append(given.kind)
        else:
            return agreement
        return None

    def hop(self, step: str) -> Hop:
        """The record of the comparison of all inputs.

        Raises:
            ExportError: no input could be compared, or none agreed within the tolerance.
        """
        kinds = tuple(dict.fromkeys(each.kind for each in self._compared))
        name = f"'{self._model.name}'"
        if not kinds:
            fix = NEITHER_RAN if "real" in self._refused else "Give data that the model accepts, as an .npz file."
            reason = next(iter(self._refused.values()), "").rstrip(".")
            raise ExportError(f"{name} could not be compared with its conversion: {reason}. {fix}")
        if not self._strict:
            fix = (
                "Give other data, such as samples that the model was trained on."
                if "real" in kinds
                else "Give real data, as an .npz file."
            )
            raise ExportError(
                f"{name} is so sensitive to the last digits of its inputs that a comparison is not possible. {fix}"
            )
        return Hop(
            step=step,
            inputs=kinds,
            batches=tuple(sorted({each.batch for each in self._compared if each.batch})),
            lengths=tuple(sorted({each.length for each in self._compared if each.length})),
            max_abs_diff=self._max_abs,
            max_rel_diff=self._max_rel,
            ill_conditioned=tuple(dict.fromkeys(self._ill_conditioned)),
            constant=self._outputs.constant,
            compared=tuple(sorted(self._outputs.compared)),
            not_finite=tuple(sorted(self._outputs.not_finite)),
            uncompared=tuple(self._model.varying),
        )

    def _row_count_is_unstable(self, feeds: Arrays, wanted: Arrays, outputs: Arrays) -> bool:
        """Whether the number of rows of an output differs, and differs in the source too when inputs change in their last digits.

        A value at the threshold of a NonMaxSuppression is above or below it depending on rounding.
        """
        axes = {spec.name: spec.ragged_axis for spec in self._model.outputs}
        other = [
            name for name, array in wanted.items() if axes[name] is not None and outputs[name].shape != array.shape
        ]
        return bool(other) and any(
            self._source(_nudged(feeds, seed))[name].shape != wanted[name].shape
            for name in other
            for seed in range(NUDGES)
        )

    def _is_ill_conditioned(self, feeds: Arrays, wanted: Arrays, agreement: HopAgreement) -> bool:
        """Whether the source's own outputs change as much when its inputs change in their last digits.

        The logarithm of a value near zero, for example, amplifies rounding: no two libraries agree there, and neither is wrong.
        """
        found = agreement.largest
        if not found <= ILL_CONDITIONED_LIMIT:
            return False
        return any(
            found <= OWN_CHANGES * compare(wanted, self._source(_nudged(feeds, seed)), self._rounding).largest
            for seed in range(MORE_NUDGES)  # one draw may happen to change a tenth of what another changes
        )


def _in_source_order(model: Model, wanted: Arrays, outputs: Arrays) -> Arrays:
    """The outputs to compare; the rows of ragged outputs are put into the source's order."""
    axes = {spec.name: spec.ragged_axis for spec in model.outputs}
    ordered = {name: outputs[name] for name in wanted}
    for name, axis in axes.items():
        if axis is not None and name in wanted:
            rows = in_order(np.moveaxis(wanted[name], axis, 0), np.moveaxis(outputs[name], axis, 0))
            ordered[name] = np.moveaxis(rows, 0, axis)
    return ordered


def _nudged(feeds: Arrays, seed: int) -> Arrays:
    """The inputs with their floating-point numbers perturbed in the last digits."""
    draw = np.random.default_rng(seed)
    return {
        name: (array * (1 + NUDGE * draw.standard_normal(array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feeds.items()
    }


def _check_rows(model: Model, outputs: Arrays, batch: int) -> None:
    """Check that outputs have the batch axis that inspection found. A single sample may have any number of rows."""
    for spec in model.outputs:
        shape, rows = outputs[spec.name].shape, batch * spec.rows // spec.samples_per_row
        if batch == 1 or spec.batch_axis is None or spec.ragged_axis is not None:
            continue
        if len(shape) <= spec.batch_axis or shape[spec.batch_axis] != rows:
            raise ExportError(
                f"For a batch of {batch} the output '{spec.name}' has the shape {list(shape)}, but {rows} "
                f"entries were expected along axis {spec.batch_axis}. Export the model with one row for each sample."
            )
