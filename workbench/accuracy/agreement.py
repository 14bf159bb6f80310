"""Agreement of an engine's outputs with the source model's: samples with the same answer, and differences of values.

Every output is compared, and the agreement of an engine is that of the output that agrees least. Outputs that the model itself does
not repeat are left out, with the reason. At least one compared output must depend on weights: an output that does not, such as a
copied input, agrees whatever the engine computes.

The same answer means, for each output:

* where there are labels, for the scored output, the answer that their kind defines: the class of each position along its own axis, yes
  or no for each of several labels, and no class for real values;
* the same class for each of its positions, where the last axis has at least two entries (the largest of them), or where single values
  are probabilities (above 0.5); all positions of a sample must be equal. All values within 0.1 % of the sample's own largest count as
  the same answer too, so that ties may be broken either way;
* the same integers, truth values or text at every position: class numbers, tokens, indices. Integers of 8 or 16 bits with at least two
  entries along the last axis are scores of a quantized file without a scale, and the largest of them is the answer;
* or all values within 0.1 % of the source's largest value: boxes, maps and regressions have no class;
* detections and other outputs whose number of rows follows the data are compared in any order: :mod:`workbench.accuracy.matching`.

Values that are not finite: a sample in which the source gives NaN, or infinities only, is left out and counted, because equal NaN do
not show agreement. Infinities together with finite values count as values, such as the logarithm of a probability of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.accuracy.by_sample import is_ragged
from workbench.accuracy.differences import largest_value, max_abs_diff, pairs, relative
from workbench.accuracy.matching import Detections, detections, same_detections, same_rows
from workbench.accuracy.outputs import by_row, threshold_of
from workbench.errors import InputError, RunError

if TYPE_CHECKING:
    from workbench.records import Model, TensorSpec

CLOSE = 1e-3
"""Share of the source's largest value within which values are the same."""
ROUNDING = 1e-6
"""Share of the source's largest value that the rounding of float32 explains in a sample whose own values are close to 0."""

Answers = Callable[["np.ndarray"], "np.ndarray | None"]
"""The answers of one output for every sample: class numbers, (n, ...), or ``None`` where it does not give classes."""

NARROW = ("int8", "uint8", "int16", "uint16")


@dataclass(frozen=True)
class Comparable:
    """Facts about a model's outputs that are known before outputs are compared."""

    # outputs that the model itself does not repeat, and how that was observed
    varying: Mapping[str, str] = field(default_factory=dict)
    unreached: Mapping[str, str] = field(default_factory=dict)  # outputs that do not depend on weights, and why
    scores: frozenset[str] = frozenset()  # outputs with integer scores, of which the largest is the answer

    @classmethod
    def of(cls, outputs: Iterable[TensorSpec], model: Model | None = None) -> Comparable:
        """The facts that were found when the model was opened."""
        outputs = tuple(outputs)
        return cls(
            dict(model.varying) if model else {},
            {spec.name: spec.unreached for spec in outputs if spec.unreached},
            frozenset(spec.name for spec in outputs if spec.dtype in NARROW),
        )


EVERY = Comparable()


@dataclass(frozen=True)
class Agreement:
    """Agreement of an engine's outputs with the source model's on the same samples."""

    samples: int
    output: str  # the output that agrees least, which the fields below describe
    agreeing: int
    compared: int  # samples in which the source's values are finite
    shares: dict[str, float]  # by output: share of the compared samples that agree
    left_out: dict[str, str]  # by output: why it was not compared
    relative_diffs: dict[str, float]  # by output: largest difference divided by the source's largest value
    max_abs_diff: float
    several: bool = False  # a sample has several answers in that output, such as one at each position or step

    @property
    def share(self) -> float:
        return self.agreeing / self.compared


def agreement(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    comparable: Comparable = EVERY,
    only: str = "",
    scored: str = "",
    answers: Answers | None = None,
) -> Agreement:
    """Compare an engine's outputs with the source model's on the same samples.

    Args:
        outputs: by name, shape (n, ...), or ragged.
        reference: the source model's, same names.
        comparable: facts about the outputs.
        only: the only output to compare; "" compares all.
        scored: the output that is scored; the result names it where the others agree as well.
        answers: function that returns the answers of that output, by the kind of labels; it returns ``None`` for no classes.

    Raises:
        RunError: names or shapes differ, or a value is not finite where the source's is.
        InputError: no output can be compared.
    """
    check_outputs(outputs, reference, comparable.varying)
    left_out = _left_out(reference, comparable, only)
    rest = {name: array for name, array in reference.items() if name not in left_out}
    group = detections(rest)
    found: dict[str, tuple[int, int]] = {}
    known = {scored: answers} if answers else {}
    for name, (same, usable) in _compared(outputs, rest, group, known, comparable.scores).items():
        if usable.any():
            found[name] = (int((same & usable).sum()), int(usable.sum()))
        else:
            left_out[name] = f"the source model gives no finite value in it for any of {len(usable)} samples"
    _check_any(found, reference, comparable, only, left_out)
    worst = min(found, key=lambda name: (found[name][0] / found[name][1], name in comparable.unreached, name != scored))
    turned = set(group.names) if group else set()  # their rows may be in any order
    both = pairs(outputs, reference, comparable.varying, turned)
    return Agreement(
        samples=len(reference[worst]),
        output=worst,
        agreeing=found[worst][0],
        compared=found[worst][1],
        shares={name: same / count for name, (same, count) in found.items()},
        left_out=left_out,
        relative_diffs={name: relative(*pair) for name, pair in both.items()},
        max_abs_diff=max((max_abs_diff(*pair) for pair in both.values()), default=0.0),
        several=worst not in turned
        and _several(reference[worst], answers if worst == scored else None, scores=worst in comparable.scores),
    )


def _several(reference: np.ndarray, answers: Answers | None, *, scores: bool) -> bool:
    """Whether a sample has several answers that must all be equal: at each position or step, or for each of several labels."""
    if is_ragged(reference) or not len(reference):
        return False
    if answers is not None:
        found = answers(reference)
        return found is not None and found.size > len(found)
    if reference.dtype.kind != "f" and not scores:
        return reference.size > len(reference)
    return holds_classes(reference) and classes_of(reference, 0.0).size > len(reference)


def _left_out(reference: Mapping[str, np.ndarray], comparable: Comparable, only: str) -> dict[str, str]:
    """Outputs that are left out of agreement, and why."""
    found = {name: why for name, why in comparable.varying.items() if name in reference}
    return found | {name: f"'score_output' is '{only}'" for name in reference if only and name != only}


def _check_any(
    found: Collection[str],
    reference: Collection[str],
    comparable: Comparable,
    only: str,
    left_out: Mapping[str, str],
) -> None:
    """Refuse a comparison without a meaning.

    Raises:
        InputError: no output remains, or only outputs that do not depend on weights, although the model has others.
    """
    reached = {name for name in reference if name not in comparable.unreached}
    if found and (only or not reached or reached & set(found)):
        return
    reasons = dict(left_out) | {name: comparable.unreached[name] for name in found}
    listed = "; ".join(f"'{name}': {why}" for name, why in reasons.items())
    raise InputError(
        f"No output can be compared with the source model's ({listed}). Check the model, or choose another 'score_output'."
    )


def _compared(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    group: Detections | None,
    answers: Mapping[str, Answers],
    scores: Collection[str],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By output: the samples that agree, and the samples whose source values can be compared; both bool, shape (n,)."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if group is not None:
        usable = np.logical_and.reduce([usable_samples(reference[name]) for name in group.names])
        found |= dict.fromkeys(group.names, (_detected(group, outputs, reference, usable), usable))
    for name, theirs in reference.items():
        if name not in found:
            found[name] = (_same(outputs[name], theirs, answers.get(name), name in scores), usable_samples(theirs))
    return {name: found[name] for name in reference}


def _detected(
    group: Detections, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], usable: np.ndarray
) -> np.ndarray:
    """Samples whose detections agree; samples that cannot be compared are skipped."""
    same = np.zeros(len(usable), bool)
    rows = np.flatnonzero(usable)
    ours, theirs = ({name: side[name][rows] for name in group.names} for side in (outputs, reference))
    same[rows] = same_detections(group, ours, theirs) if len(rows) else False
    return same


def _same(ours: np.ndarray, theirs: np.ndarray, answers: Answers | None, scores: bool) -> np.ndarray:
    """The samples that agree in one output, bool, shape (n,)."""
    if is_ragged(ours) or is_ragged(theirs):
        tolerance = CLOSE * largest_value(theirs)
        if (theirs[0] if len(theirs) else theirs).dtype.kind != "f":
            tolerance = 0.0
        return np.array([same_rows(one, other, tolerance) for one, other in zip(ours, theirs, strict=True)], bool)
    if not theirs.size:
        return np.ones(len(theirs), bool)
    if answers is not None:
        found, wanted = answers(ours), answers(theirs)
        both = found is not None and wanted is not None
        same = close(ours, theirs, each=both) if theirs.dtype.kind == "f" else by_row(ours == theirs).all(axis=1)
        if found is not None and wanted is not None:
            same = same | by_row(found == wanted).all(axis=1)
        return np.asarray(same)
    if theirs.dtype.kind != "f" and not scores:
        return np.asarray(by_row(ours == theirs).all(axis=1))
    classes = holds_classes(theirs)
    same = close(ours, theirs, each=classes)
    if classes:
        threshold = threshold_of(theirs)
        same |= by_row(classes_of(ours, threshold) == classes_of(theirs, threshold)).all(axis=1)
    return same


def check_outputs(
    outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], varying: Collection[str] = ()
) -> None:
    """Refuse outputs that cannot come from the same model.

    Raises:
        RunError: names or shapes differ, or a value is not finite where the source's is.
    """
    if set(outputs) != set(reference):
        raise RunError(f"The engine's outputs are {sorted(outputs)}; the source model's are {sorted(reference)}.")
    for name, array in outputs.items():
        wanted = reference[name]
        if name in varying:
            continue
        either = is_ragged(array) or is_ragged(wanted)
        if len(array) != len(wanted) if either else array.shape != wanted.shape:
            raise RunError(f"Output '{name}' has the shape {array.shape}; the source model's has {wanted.shape}.")
        if either:
            broken = [_holds_nan(one) and not _holds_nan(other) for one, other in zip(array, wanted, strict=True)]
        elif array.dtype.kind == "f" and wanted.dtype.kind == "f":
            broken = [bool(each) for each in np.asarray(by_row(~np.isfinite(array) & np.isfinite(wanted)).any(axis=1))]
        else:
            continue
        if any(broken):
            raise RunError(
                f"Output '{name}' holds NaN or infinity for {sum(broken):,} of {len(array):,} samples where the source model's does "
                "not: the engine's range overflowed."
            )


def _holds_nan(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and not bool(np.isfinite(array).all())


def usable_samples(reference: np.ndarray) -> np.ndarray:
    """Samples that can be compared: the source gives no NaN in them, and a finite value. Bool, shape (n,)."""
    if is_ragged(reference):
        return np.array([each.dtype.kind != "f" or not np.isnan(each).any() for each in reference], bool)
    if reference.dtype.kind != "f" or not reference.size:
        return np.ones(len(reference), bool)
    flat = by_row(reference)
    return np.asarray(~np.isnan(flat).any(axis=1) & np.isfinite(flat).any(axis=1))


def holds_classes(reference: np.ndarray) -> bool:
    """Whether this output gives classes: by the largest of several values, or by one value above a threshold."""
    single = reference.ndim < 2 or reference.shape[-1] == 1
    return not single or reference.dtype.kind != "f" or threshold_of(reference) > 0


def close(outputs: np.ndarray, reference: np.ndarray, *, each: bool = False) -> np.ndarray:
    """The samples with the source's values within :data:`CLOSE` of the largest, bool, shape (n,).

    With ``each`` it is the largest of each sample, but not less than :data:`ROUNDING` of the largest of all: one sample with large
    values does not excuse another class in the others.
    """
    if reference.dtype.kind != "f":
        return np.zeros(len(reference), bool)
    ours, theirs = (by_row(array).astype(np.float64) for array in (outputs, reference))
    tolerance: Any = CLOSE * largest_value(reference)
    if each and theirs.size:
        own = np.abs(np.where(np.isfinite(theirs), theirs, 0.0)).max(axis=1, keepdims=True)
        tolerance = np.maximum(CLOSE * own, ROUNDING * largest_value(reference))
    with np.errstate(invalid="ignore"):
        near = (np.abs(ours - theirs) <= tolerance) | (ours == theirs)
    return np.asarray(near.all(axis=1))


def classes_of(array: np.ndarray, threshold: float) -> np.ndarray:
    """Predicted class of each sample, shape (n,), or of each of its positions, shape (n, ...)."""
    if array.ndim >= 2 and array.shape[-1] > 1:
        classes: np.ndarray = array.argmax(axis=-1)
        return classes
    single = by_row(array)
    single = single[:, 0] if single.shape[1] == 1 else single
    return single > threshold if single.dtype.kind == "f" else single
