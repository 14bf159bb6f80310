"""How far an engine's outputs are the source model's: which samples have the same answer, and how far values lie apart.

Every output is compared, and the agreement of an engine is that of the output that agrees least. Left out, with the reason, are
outputs that the model itself does not repeat. Agreement never rests on nothing but outputs that no weight has a part in, such as a
copied input: such an output agrees whatever the engine computes.

What counts as the same answer, for each output:

* where there are labels, of the scored output what these make of it: the class of each position along its own axis, yes or no for each
  of several labels, and for real values no class at all;
* the same class for each of its positions, where the last axis has at least two entries (the largest of them), or where single values
  are probabilities (above 0.5); all positions of a sample must be equal;
* the same integers, truth values or text in every place: class numbers, tokens, indices. Integers of 8 or 16 bits with at least two
  entries along the last axis are scores of a quantized file without a scale, and count by the largest of them;
* or all values within 0.1 % of the source's largest value: boxes, maps and regressions have no class;
* detections and other outputs whose number of rows follows the data are compared in any order: :mod:`workbench.accuracy.matching`.

Values that are not finite: a sample in which the source gives NaN, or nothing but infinities, is left out and counted, because equal
NaN prove nothing. Infinities beside finite values count as values, such as the logarithm of a probability of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.accuracy.by_sample import is_ragged, ragged
from workbench.accuracy.matching import Detections, detections, in_order, same_detections, same_rows
from workbench.accuracy.outputs import by_row, threshold_of
from workbench.errors import InputError, RunError

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import Model, TensorSpec

CLOSE = 1e-3
"""Share of the source's largest value within which values are the same."""

Answers = Callable[["np.ndarray"], "np.ndarray | None"]
"""What one output says of every sample: class numbers, (n, ...), or ``None`` where it says no classes."""

NARROW = ("int8", "uint8", "int16", "uint16")
TEXT_KINDS = "OUS"


@dataclass(frozen=True)
class Comparable:
    """What is known of a model's outputs before any two are compared."""

    varying: Mapping[str, str] = field(default_factory=dict)  # not repeated by the model itself: how that was seen
    unreached: Mapping[str, str] = field(default_factory=dict)  # no weight has a part in it: why
    scores: frozenset[str] = frozenset()  # integers that are scores, of which the largest is the answer

    @classmethod
    def of(cls, outputs: Iterable[TensorSpec], model: Model | None = None) -> Comparable:
        """What opening the model has shown of its outputs."""
        outputs = tuple(outputs)
        return cls(
            dict(model.varying) if model else {},
            {spec.name: spec.unreached for spec in outputs if spec.unreached},
            frozenset(spec.name for spec in outputs if spec.dtype in NARROW),
        )


EVERY = Comparable()


@dataclass(frozen=True)
class Agreement:
    """How an engine's outputs agree with the source's on the same samples."""

    samples: int
    output: str  # the one that agrees least; what follows is of it
    agreeing: int
    compared: int  # samples in which the source's values are finite
    shares: dict[str, float]  # by output: share of the compared samples that agree
    left_out: dict[str, str]  # by output: why it was not compared
    apart: dict[str, float]  # by output: largest difference divided by the source's largest value
    max_abs_diff: float

    @property
    def share(self) -> float:
        return self.agreeing / self.compared


def agreement(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    comparable: Comparable = EVERY,
    *,
    only: str = "",
    scored: str = "",
    answers: Answers | None = None,
) -> Agreement:
    """Compare an engine's outputs with the source model's on the same samples.

    Args:
        outputs: by name, shape (n, ...), or ragged.
        reference: the source model's, same names.
        comparable: what is known of the outputs.
        only: the one output to compare; "" compares all.
        scored: the output that answers the model's question; it is named where others agree no less.
        answers: what that output says of every sample, where the labels tell; it gives ``None`` where it says no classes.

    Raises:
        RunError: names or shapes differ, or a value is not finite where the source's is.
        InputError: there is no output that can be compared.
    """
    check_outputs(outputs, reference, comparable.varying)
    left_out = _left_out(reference, comparable, only)
    rest = {name: array for name, array in reference.items() if name not in left_out}
    group = detections(rest)
    found: dict[str, tuple[int, int]] = {}
    for name, (same, usable) in _compared(
        outputs, rest, group, {scored: answers} if answers else {}, comparable.scores
    ).items():
        if usable.any():
            found[name] = (int((same & usable).sum()), int(usable.sum()))
        else:
            left_out[name] = f"the source model gives no finite value in it, for all of {len(usable)} samples"
    _check_any(found, reference, comparable, only, left_out)
    worst = min(found, key=lambda name: (found[name][0] / found[name][1], name in comparable.unreached, name != scored))
    turned = set(group.names) if group else set()  # their rows may stand in any order
    both = {name: (outputs[name], reference[name]) for name in reference if name not in comparable.varying}
    both |= {name: (_separate(ours), _separate(theirs)) for name, (ours, theirs) in both.items() if name in turned}
    return Agreement(
        samples=len(reference[worst]),
        output=worst,
        agreeing=found[worst][0],
        compared=found[worst][1],
        shares={name: same / count for name, (same, count) in found.items()},
        left_out=left_out,
        apart={name: relative(*pair) for name, pair in both.items()},
        max_abs_diff=max((max_abs_diff(*pair) for pair in both.values()), default=0.0),
    )


def _left_out(reference: Mapping[str, np.ndarray], comparable: Comparable, only: str) -> dict[str, str]:
    """Outputs that agreement does not rest on, and why."""
    found = {name: why for name, why in comparable.varying.items() if name in reference}
    return found | {name: f"'score_output' is '{only}'" for name in reference if only and name != only}


def _check_any(
    found: Collection[str],
    reference: Collection[str],
    comparable: Comparable,
    only: str,
    left_out: Mapping[str, str],
) -> None:
    """Refuse a comparison that would say nothing.

    Raises:
        InputError: no output is left, or none but those that no weight has a part in, although the model has others.
    """
    reached = {name for name in reference if name not in comparable.unreached}
    if found and (only or not reached or reached & set(found)):
        return
    reasons = dict(left_out) | {name: comparable.unreached[name] for name in found}
    told = "; ".join(f"'{name}': {why}" for name, why in reasons.items())
    raise InputError(
        f"No output can be compared with the source model's ({told}). Check the model, or choose another 'score_output'."
    )


def _compared(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    group: Detections | None,
    answers: Mapping[str, Answers],
    scores: Collection[str],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By output: which samples agree, and in which the source's values can be compared; both of shape (n,), bool."""
    import numpy as np

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
    """Samples whose detections agree; those that cannot be compared are not looked at."""
    import numpy as np

    same = np.zeros(len(usable), bool)
    rows = np.flatnonzero(usable)
    ours, theirs = ({name: side[name][rows] for name in group.names} for side in (outputs, reference))
    same[rows] = same_detections(group, ours, theirs) if len(rows) else False
    return same


def _same(ours: np.ndarray, theirs: np.ndarray, answers: Answers | None, scores: bool) -> np.ndarray:
    """Which samples agree in one output, shape (n,), bool."""
    import numpy as np

    if is_ragged(ours) or is_ragged(theirs):
        tolerance = CLOSE * _largest(theirs)
        if (theirs[0] if len(theirs) else theirs).dtype.kind != "f":
            tolerance = 0.0
        return np.array([same_rows(one, other, tolerance) for one, other in zip(ours, theirs, strict=True)], bool)
    if not theirs.size:
        return np.ones(len(theirs), bool)
    if answers is not None:
        same = close(ours, theirs) if theirs.dtype.kind == "f" else by_row(ours == theirs).all(axis=1)
        found, wanted = answers(ours), answers(theirs)
        if found is not None and wanted is not None:
            same = same | by_row(found == wanted).all(axis=1)
        return np.asarray(same)
    if theirs.dtype.kind != "f" and not scores:
        return np.asarray(by_row(ours == theirs).all(axis=1))
    same = close(ours, theirs)
    if tells_classes(theirs):
        threshold = threshold_of(_finite(theirs))
        same |= by_row(classes_of(ours, threshold) == classes_of(theirs, threshold)).all(axis=1)
    return same


def check_outputs(
    outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], varying: Collection[str] = ()
) -> None:
    """Refuse outputs that cannot be those of the same model.

    Raises:
        RunError: names or shapes differ, or a value is not finite where the source's is.
    """
    import numpy as np

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
    import numpy as np

    return array.dtype.kind == "f" and not bool(np.isfinite(array).all())


def usable_samples(reference: np.ndarray) -> np.ndarray:
    """Samples that can be compared: the source gives no NaN in them, and something finite. Shape (n,), bool."""
    import numpy as np

    if is_ragged(reference):
        return np.array([each.dtype.kind != "f" or not np.isnan(each).any() for each in reference], bool)
    if reference.dtype.kind != "f" or not reference.size:
        return np.ones(len(reference), bool)
    flat = by_row(reference)
    return np.asarray(~np.isnan(flat).any(axis=1) & np.isfinite(flat).any(axis=1))


def not_finite(outputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """How many samples of each output hold NaN or infinity, in words: ``{"o": "NaN for 300 of 300 samples"}``."""
    import numpy as np

    found = {}
    for name, array in outputs.items():
        each = list(array) if is_ragged(array) else [by_row(array)] if array.dtype.kind == "f" else []
        if not each:
            continue
        if is_ragged(array):
            nan, infinite = (
                [test(one).any() for one in each if one.dtype.kind == "f"] for test in (np.isnan, np.isinf)
            )
        else:
            nan, infinite = (test(each[0]).any(axis=1) for test in (np.isnan, np.isinf))
        told = [f"{word} for {sum(map(bool, bad))} of {len(array)} samples"
                for word, bad in (("NaN", nan), ("infinite", infinite)) if any(bad)]  # fmt: skip
        if told:
            found[name] = " and ".join(told)
    return found


def not_finite_told(found: Mapping[str, str]) -> list[str]:
    """Sentences of what :func:`not_finite` found in the source model's outputs."""
    return [
        f"The output '{name}' of the source model is not finite: {told}. Samples with NaN are left out of agreement, and no accuracy is claimed "
        "for samples with NaN or infinity."
        for name, told in found.items()
    ]


def tells_classes(reference: np.ndarray) -> bool:
    """Whether the values of this output stand for classes: the largest of several, or one that is above a threshold."""
    single = reference.ndim < 2 or reference.shape[-1] == 1
    return not single or reference.dtype.kind != "f" or threshold_of(_finite(reference)) > 0


def close(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which samples have the source's values within :data:`CLOSE` of the largest, shape (n,), bool."""
    import numpy as np

    if reference.dtype.kind != "f":
        return np.zeros(len(reference), bool)
    ours, theirs = (by_row(each).astype(np.float64) for each in (outputs, reference))
    with np.errstate(invalid="ignore"):
        near = (np.abs(ours - theirs) <= CLOSE * _largest(reference)) | (ours == theirs)
    return np.asarray(near.all(axis=1))


def classes_of(array: np.ndarray, threshold: float) -> np.ndarray:
    """Predicted class of each sample, shape (n,), or of each of its positions, shape (n, ...)."""
    if array.ndim >= 2 and array.shape[-1] > 1:
        classes: np.ndarray = array.argmax(axis=-1)
        return classes
    single = by_row(array)
    single = single[:, 0] if single.shape[1] == 1 else single
    return single > threshold if single.dtype.kind == "f" else single


def max_abs_diff(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference over the values that are finite in both; text is 1 apart or not at all.

    Of ragged outputs each row is compared with the one that it is closest to, and samples with another number of rows are left to :func:`relative`.
    """
    import numpy as np

    if is_ragged(one) or is_ragged(other):
        pairs = [(a, b) for a, b in zip(one, other, strict=True) if a.shape == b.shape and a.size]
        return max((max_abs_diff(in_order(b, a), b) for a, b in pairs), default=0.0)
    if other.dtype.kind in TEXT_KINDS:
        return float((one.astype(str) != other.astype(str)).any())
    ours, theirs = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    return float(np.abs(ours[finite] - theirs[finite]).max()) if finite.any() else 0.0


def _separate(array: np.ndarray) -> np.ndarray:
    """An output with an array of its own for each sample."""
    return array if is_ragged(array) else ragged(list(array))


def relative(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference as a share of the largest finite value of ``other``; 1 where numbers of rows differ."""
    apart = max_abs_diff(one, other)
    if is_ragged(one) or is_ragged(other):
        if any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
            return 1.0
    elif other.dtype.kind in TEXT_KINDS:
        return apart
    largest = _largest(other)
    return apart / largest if largest else apart


def _finite(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return array[np.isfinite(array)] if array.dtype.kind == "f" else array


def _largest(array: np.ndarray) -> float:
    """The largest absolute finite value; 0 where there is none."""
    import numpy as np

    if is_ragged(array):
        return max((_largest(each) for each in array), default=0.0)
    if array.dtype.kind in TEXT_KINDS or not array.size:
        return 0.0
    values = np.abs(array.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))
