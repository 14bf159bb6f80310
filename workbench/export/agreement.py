"""The difference between two sets of outputs: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workbench.errors import ExportError

CONSTANT = 1e-6
"""Outputs whose values span less than this share of their size count as constant: their span is only rounding."""

ROUNDING = 1e-5
"""Differences up to this share of an output's size count as rounding when they are compared with its span: two correct 32-bit
implementations may differ by this much."""

FLAT = 1e-3
"""A span counts as at least this share of the size, so that a small excess over rounding remains small."""


SLICES = 4096
"""Axes with up to this many entries are compared entry by entry: channels, classes, columns."""


@dataclass(frozen=True)
class HopAgreement:
    """The largest differences over all outputs."""

    max_abs: float
    max_rel: float  # divided by the largest absolute value of that output
    of_spread: float  # beyond rounding, divided by the span of that output's values, if they are not constant
    of_slice: float  # beyond rounding, divided by the largest absolute value of one channel, class or column
    worst: str  # the output that differs most

    @property
    def largest(self) -> float:
        """The largest of the three ratios, which callers compare with their tolerance."""
        return max(self.max_rel, self.of_spread, self.of_slice)


class OutputRange:
    """Tracks whether an output depends on the inputs."""

    def __init__(self, batch_axis: int | None = 0) -> None:
        self._axis = batch_axis
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None
        self.constant = True
        """Every entry had the same value for all samples of all inputs, so that its agreement is not evidence."""

    def add(self, array: np.ndarray) -> None:
        """Add the output of one call; its inner shape may differ between calls."""
        if array.dtype.kind not in "fiub":
            self.constant = False  # text and complex numbers are not judged
            return
        samples = array[np.newaxis] if self._axis is None else np.moveaxis(array, self._axis, 0)
        samples = np.nan_to_num(samples.astype(np.float64), posinf=0, neginf=0)
        if not samples.size:
            return
        low, high = samples.min(axis=0), samples.max(axis=0)
        if self._low is not None and self._high is not None and self._low.shape == low.shape:
            low, high = np.minimum(low, self._low), np.maximum(high, self._high)
        self._low, self._high = low, high
        if float((high - low).max()) > CONSTANT * float(np.abs(samples).max()):
            self.constant = False


def compare(
    wanted: Mapping[str, np.ndarray], converted: Mapping[str, np.ndarray], rounding: float = ROUNDING
) -> HopAgreement:
    """Compare outputs by name with those of the source.

    ``max_rel`` divides the largest difference by the output's size, its largest absolute value. ``of_spread`` divides it by the
    span of its values instead (largest minus smallest), because a shifted or transposed result differs little relative to a
    large constant that both outputs share, and much relative to the part that varies. ``of_slice`` does the same for every entry
    of every axis except the first, because a detector's scores of 0 to 1 may be in one tensor with boxes of 0 to 640.

    The varying part may be so small beside the constant that rounding looks large: 32-bit floats near 100 are 8e-6 apart, a tenth
    of a span of 1e-4. Therefore of_spread = max(0, difference - rounding × size) / max(span, FLAT × size), and 0 if the span is
    below CONSTANT × size; of_slice = max(0, difference in the slice - rounding × size) / max(size of the slice, FLAT × size).
    Errors below rounding × size cannot be detected. A slice of one value, as every class of one sample is, is left out: a class
    score near 0 would make rounding look large.

    Raises:
        ExportError: an output is missing or has another shape.
    """
    max_abs = max_rel = of_spread = of_slice = 0.0
    worst = next(iter(wanted), "")
    for name, source in wanted.items():
        if name not in converted or converted[name].shape != source.shape:
            shape = list(converted[name].shape) if name in converted else "missing"
            raise ExportError(
                f"The output '{name}' is {shape} in the conversion and {list(source.shape)} in the model. "
                "Use a backend that runs the model without conversion."
            )
        largest, size, span = difference(source, converted[name])
        relative = largest / size if size else largest
        spread = max(0.0, largest - rounding * size) / max(span, FLAT * size) if span > CONSTANT * size else 0.0
        part = _worst_slice(source, converted[name], size, rounding)
        if max(relative, spread, part) > max(max_rel, of_spread, of_slice):
            worst = name
        max_abs, max_rel = max(max_abs, largest), max(max_rel, relative)
        of_spread, of_slice = max(of_spread, spread), max(of_slice, part)
    return HopAgreement(max_abs, max_rel, of_spread, of_slice, worst)


def _worst_slice(source: np.ndarray, converted: np.ndarray, size: float, rounding: float) -> float:
    """The largest ``of_slice`` over the entries of every axis except the first."""
    if source.dtype.kind not in "fiub" or converted.dtype.kind not in "fiub" or not size or not source.size:
        return 0.0
    a, b = source.astype(np.float64), converted.astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    distance, sizes = np.abs(np.where(both, a, 0) - np.where(both, b, 0)), np.abs(np.where(both, a, 0))
    worst = 0.0
    for axis in range(1, source.ndim):
        if not 1 < source.shape[axis] <= SLICES or source.size == source.shape[axis]:
            continue
        others = tuple(other for other in range(source.ndim) if other != axis)
        excess = distance.max(axis=others) - rounding * size
        worst = max(worst, float((excess / np.maximum(sizes.max(axis=others), FLAT * size)).max()))
    return worst


def difference(source: np.ndarray, converted: np.ndarray) -> tuple[float, float, float]:
    """The largest absolute difference of two arrays of one shape, the source's largest absolute value, and the span of its values.

    NaN and infinities must be in the same places, otherwise the difference is infinite. Booleans and integers are compared as
    floats, without allowance; text is equal or infinitely different; real and imaginary parts are compared separately. Size and
    span are those of finite values; without any, 1 and 0.

    >>> import numpy as np
    >>> difference(np.array([1.0, -4.0]), np.array([1.5, -4.0]))
    (0.5, 4.0, 5.0)
    """
    if source.dtype.kind in "OUS":
        return (0.0 if (source.astype(str) == converted.astype(str)).all() else float("inf")), 1.0, 1.0
    if "c" in (source.dtype.kind, converted.dtype.kind):
        source, converted = (np.stack([each.real, each.imag]) for each in (source, converted))
    a, b = source.astype(np.float64), converted.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a)
    if a.size == 0 or not finite.any():
        return (0.0 if same.all() else float("inf")), 1.0, 0.0
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(a - b))
    largest = float(np.nan_to_num(distance, nan=np.inf, posinf=np.inf).max())
    return largest, float(np.abs(a[finite]).max()), float(a[finite].max() - a[finite].min())
