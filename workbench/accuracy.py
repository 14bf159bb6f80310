"""How right an engine is: the task's metric with an interval, agreement with the source, and paired flips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench import stats
from workbench.errors import RunError
from workbench.records import Accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


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

    The predicted class is the arg-max of the first output whose second axis has at least two entries; one value per
    sample is read as a probability with the threshold 0.5.

    Raises:
        RunError: names, shapes or counts differ, or an output holds NaN.
    """
    import numpy as np

    if set(outputs) != set(reference):
        raise RunError(f"The engine's outputs are {sorted(outputs)}; the source model's are {sorted(reference)}.")
    for name, array in outputs.items():
        if array.shape != reference[name].shape:
            raise RunError(
                f"Output '{name}' has the shape {array.shape}; the source model's has {reference[name].shape}."
            )
        if array.dtype.kind == "f" and np.isnan(array).any() and not np.isnan(reference[name]).any():
            raise RunError(
                f"Output '{name}' holds NaN where the source model's does not: the engine's range overflowed."
            )
    name = _class_output(reference)
    ours, theirs = _classes(outputs[name]), _classes(reference[name])
    count = len(ours)
    agree = int((ours == theirs).sum())
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
    for name, array in reference.items():
        if array.ndim == 2 and array.shape[1] > 1:
            return name
    return next(iter(reference))


def _classes(array: np.ndarray) -> np.ndarray:
    """Predicted class of each sample, shape (n,). A map of classes is reduced over its last axis and compared as a whole."""
    flat = array.reshape(len(array), -1)
    if flat.shape[1] == 1:
        single: np.ndarray = flat[:, 0] > 0.5 if flat.dtype.kind == "f" else flat[:, 0]
        return single
    classes: np.ndarray = flat.argmax(axis=1)
    return classes


def _max_abs_diff(one: np.ndarray, other: np.ndarray) -> float:
    import numpy as np

    if one.size == 0:
        return 0.0
    return float(np.nanmax(np.abs(one.astype(np.float64) - other.astype(np.float64))))
