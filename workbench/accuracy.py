"""How right an engine is: the task's metric with an interval, agreement with the source, and paired flips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench import stats
from workbench.errors import RunError
from workbench.records import Accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


CLOSE = 1e-3


def score(
    engine_key: str,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
) -> Accuracy:
    """Compare an engine's outputs with the source model's on the same samples.

    Args:
        engine_key: the engine that gave ``outputs``.
        outputs: by name, shape (n, ...).
        reference: the source model's outputs, same names and shapes.
        labels: true classes, int, shape (n,); ``None`` where there are none.

    The predicted class is the arg-max over the last axis of the first output that has one of at least two entries. Where
    that output has more axes (a class per pixel or token), samples agree if all of their classes do, and there is no
    metric. Samples agree as well where all values of that output are the source's within 0.1 % of its largest: boxes, maps and
    landmarks have no class. One value per sample stands for two classes: above 0.5 where the source model's values are probabilities,
    else above 0; it has a metric only for labels 0 and 1.

    Raises:
        RunError: names, shapes or counts differ, or an output is not finite where the source model's is.
    """
    import numpy as np

    if set(outputs) != set(reference):
        raise RunError(f"The engine's outputs are {sorted(outputs)}; the source model's are {sorted(reference)}.")
    for name, array in outputs.items():
        if array.shape != reference[name].shape:
            raise RunError(
                f"Output '{name}' has the shape {array.shape}; the source model's has {reference[name].shape}."
            )
        if array.dtype.kind == "f" and (~np.isfinite(array) & np.isfinite(reference[name])).any():
            raise RunError(
                f"Output '{name}' holds NaN or infinity where the source model's does not: the engine's range overflowed."
            )
    name = _class_output(reference)
    threshold = _threshold(reference[name])
    ours, theirs = _classes(outputs[name], threshold), _classes(reference[name], threshold)
    count = len(ours)
    same = (ours == theirs).reshape(count, -1).all(axis=1) | _close(outputs[name], reference[name])
    agree = int(same.sum())
    if labels is not None and not _labels_fit(reference[name], ours, labels):
        labels = None
    agreement_low, agreement_high = stats.proportion_interval(agree, count)
    value = low = high = p_value = None
    fixed = broken = 0
    if labels is not None:
        if len(labels) != count:
            raise RunError(f"There are {len(labels)} labels for {count} samples.")
        right, source_right = ours == labels, theirs == labels
        value = float(right.mean())
        low, high = stats.proportion_interval(int(right.sum()), count)
        fixed, broken = int((right & ~source_right).sum()), int((~right & source_right).sum())
        p_value = stats.flips_p_value(fixed, broken)
    return Accuracy(
        engine_key=engine_key,
        samples=count,
        labelled=labels is not None,
        value=value,
        low=low,
        high=high,
        agreement=agree / count,
        agreement_low=agreement_low,
        agreement_high=agreement_high,
        fixed=fixed,
        broken=broken,
        p_value=p_value,
        max_abs_diff=max(_max_abs_diff(outputs[key], reference[key]) for key in outputs),
    )


def _class_output(reference: Mapping[str, np.ndarray]) -> str:
    """The output that most looks like an answer: classes, then one value per sample, then maps; states are often maps."""

    def rank(array: np.ndarray) -> int:
        return (0 if array.shape[-1] > 1 else 1) if array.ndim == 2 else 1 if array.ndim < 2 else 2

    return min(reference, key=lambda name: rank(reference[name]))  # the first of the best


def _close(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which samples have the source's values within :data:`CLOSE` of the largest, shape (n,), bool."""
    import numpy as np

    if reference.dtype.kind != "f":
        return np.zeros(len(reference), bool)
    ours, theirs = (each.reshape(len(each), -1).astype(np.float64) for each in (outputs, reference))
    finite = np.isfinite(theirs)
    largest = float(np.abs(theirs[finite]).max()) if finite.any() else 0.0
    with np.errstate(invalid="ignore"):
        near = (np.abs(ours - theirs) <= CLOSE * largest) | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return np.asarray(near.all(axis=1))


def _classes(array: np.ndarray, threshold: float) -> np.ndarray:
    """Predicted class of each sample, shape (n,), or of each of its positions, shape (n, ...)."""
    if array.ndim >= 2 and array.shape[-1] > 1:
        classes: np.ndarray = array.argmax(axis=-1)
        return classes
    single: np.ndarray = array.reshape(len(array), -1)
    single = single[:, 0] if single.shape[1] == 1 else single
    return single > threshold if single.dtype.kind == "f" else single


def _threshold(reference: np.ndarray) -> float:
    """Where one value per sample turns from class 0 to class 1."""
    return 0.5 if reference.size == 0 or (reference.min() >= 0 and reference.max() <= 1) else 0.0


def _labels_fit(output: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the metric says anything: one class per sample, and two of them where there is one value."""
    if classes.ndim != 1 or labels.ndim != 1:
        return False
    return (output.ndim >= 2 and output.shape[-1] > 1) or bool(((labels == 0) | (labels == 1)).all())


def _max_abs_diff(one: np.ndarray, other: np.ndarray) -> float:
    """Over the values that are finite in both."""
    import numpy as np

    ours, theirs = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    return float(np.abs(ours[finite] - theirs[finite]).max()) if finite.any() else 0.0
