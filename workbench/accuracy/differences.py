"""The largest differences between the outputs of two models."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from workbench.accuracy.by_sample import is_ragged, ragged
from workbench.accuracy.matching import in_order

TEXT_KINDS = "OUS"


def pairs(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    varying: Collection[str],
    turned: Collection[str],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The arrays of both models by output, for their largest difference; those of ``turned`` by sample. ``varying`` outputs are left out."""
    both = {name: (outputs[name], reference[name]) for name in reference if name not in varying}
    return both | {
        name: (_separate(ours), _separate(theirs)) for name, (ours, theirs) in both.items() if name in turned
    }


def max_abs_diff(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference over the values that are finite in both arrays; for text 1 where it differs, else 0.

    In ragged outputs each row is compared with the closest one; :func:`relative` handles samples that differ in number of rows.

    Example:
        >>> import numpy as np
        >>> max_abs_diff(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
        0.5

    """
    if is_ragged(one) or is_ragged(other):
        pairs = [(a, b) for a, b in zip(one, other, strict=True) if a.shape == b.shape and a.size]
        return max((max_abs_diff(in_order(b, a), b) for a, b in pairs), default=0.0)
    if other.dtype.kind in TEXT_KINDS:
        return float((one.astype(str) != other.astype(str)).any())
    ours, theirs = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    return float(np.abs(ours[finite] - theirs[finite]).max()) if finite.any() else 0.0


def _separate(array: np.ndarray) -> np.ndarray:
    """An output as an array of objects with one array for each sample."""
    return array if is_ragged(array) else ragged(list(array))


def relative(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference as a share of the largest finite value of ``other``; 1 where numbers of rows differ."""
    difference = max_abs_diff(one, other)
    if is_ragged(one) or is_ragged(other):
        if any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
            return 1.0
    elif other.dtype.kind in TEXT_KINDS:
        return difference
    largest = largest_value(other)
    return difference / largest if largest else difference


def largest_value(array: np.ndarray) -> float:
    """The largest absolute finite value; 0 where no value is finite."""
    if is_ragged(array):
        return max((largest_value(each) for each in array), default=0.0)
    if array.dtype.kind in TEXT_KINDS or not array.size:
        return 0.0
    values = np.abs(array.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))
