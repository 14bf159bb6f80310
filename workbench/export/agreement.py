"""How far two sets of outputs lie apart: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import ExportError

if TYPE_CHECKING:
    import numpy as np

CONSTANT = 1e-6
"""Outputs whose values span less than this share of their size are constant: their span is nothing but rounding."""

ROUNDING = 1e-5
"""Differences up to this share of an output's size are taken for rounding when they are measured by its span: two libraries
that both compute rightly in 32 bits come this far apart."""

FLAT = 1e-3
"""A span counts as at least this share of the size, so that what exceeds rounding by little stays little."""


SLICES = 4096
"""Axes of up to so many entries are looked at entry by entry: channels, classes, columns."""


@dataclass(frozen=True)
class Agreement:
    """The largest differences over all outputs."""

    max_abs: float
    max_rel: float  # divided by the largest absolute value of that output
    of_spread: float  # beyond rounding, divided by the span of that output's values, where they are not constant
    of_slice: float  # beyond rounding, divided by the largest absolute value of one channel, class or column
    worst: str  # the output that differs most

    @property
    def largest(self) -> float:
        """What callers hold to their tolerance: the worst of the three ratios."""
        return max(self.max_rel, self.of_spread, self.of_slice)


class Span:
    """Whether one output ever depended on the inputs."""

    def __init__(self, batch_axis: int | None = 0) -> None:
        self._axis = batch_axis
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None
        self.constant = True
        """Every entry had one value for all samples of all inputs, so that agreeing on it proves nothing."""

    def add(self, array: np.ndarray) -> None:
        """Take in the output of one call; its inner shape may change from call to call."""
        import numpy as np

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


def compare(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], rounding: float = ROUNDING) -> Agreement:
    """Compare outputs by name with those of the source.

    ``max_rel`` divides the largest difference by the output's size, its largest absolute value. ``of_spread`` divides it by
    the span of its values instead (largest less smallest), because a result that is shifted or transposed differs little by
    the size of a large constant that both share, and much by what varies. ``of_slice`` does the same entry by entry of every
    axis but the first, because a detector's scores of 0 to 1 may stand in one tensor with boxes of 0 to 640.

    What varies may be so small beside the constant that rounding looks large by it: 32-bit floats near 100 lie 8e-6 apart,
    a tenth of a span of 1e-4. So of_spread = max(0, difference - rounding × size) / max(span, FLAT × size), and 0 where the
    span is below CONSTANT × size; of_slice = max(0, difference in the slice - rounding × size) / max(size of the slice,
    FLAT × size). What this cannot see: errors smaller than rounding × size. A slice of one value, as every class of one sample
    is, has no size of its own: a class score that happens to be near 0 would make rounding look large. It is left out.

    Raises:
        ExportError: an output is missing or has another shape.
    """
    max_abs = max_rel = of_spread = of_slice = 0.0
    worst = next(iter(wanted), "")
    for name, source in wanted.items():
        if name not in found or found[name].shape != source.shape:
            shape = list(found[name].shape) if name in found else "missing"
            raise ExportError(
                f"The output '{name}' is {shape} in the conversion and {list(source.shape)} in the model. "
                "Let the model's own library run it instead."
            )
        largest, size, span = difference(source, found[name])
        relative = largest / size if size else largest
        spread = max(0.0, largest - rounding * size) / max(span, FLAT * size) if span > CONSTANT * size else 0.0
        part = _worst_slice(source, found[name], size, rounding)
        if max(relative, spread, part) > max(max_rel, of_spread, of_slice):
            worst = name
        max_abs, max_rel = max(max_abs, largest), max(max_rel, relative)
        of_spread, of_slice = max(of_spread, spread), max(of_slice, part)
    return Agreement(max_abs, max_rel, of_spread, of_slice, worst)


def _worst_slice(source: np.ndarray, found: np.ndarray, size: float, rounding: float) -> float:
    """The largest ``of_slice`` over the entries of every axis but the first."""
    import numpy as np

    if source.dtype.kind not in "fiub" or found.dtype.kind not in "fiub" or not size or not source.size:
        return 0.0
    a, b = source.astype(np.float64), found.astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    apart, sizes = np.abs(np.where(both, a, 0) - np.where(both, b, 0)), np.abs(np.where(both, a, 0))
    worst = 0.0
    for axis in range(1, source.ndim):
        if not 1 < source.shape[axis] <= SLICES:
            continue
        others = tuple(other for other in range(source.ndim) if other != axis)
        if source.size == source.shape[axis]:
            continue
        excess = apart.max(axis=others) - rounding * size
        worst = max(worst, float((excess / np.maximum(sizes.max(axis=others), FLAT * size)).max()))
    return worst


def difference(source: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """Largest absolute difference of two arrays of one shape; the source's largest absolute value, and its values' span.

    NaN and infinities must stand in the same places, or the difference is infinite. Booleans and whole numbers are compared
    as floats, without allowance; text is the same or infinitely different; the parts of complex numbers are compared singly.
    Size and span are those of finite values; where there are none, 1 and 0.
    """
    import numpy as np

    if source.dtype.kind in "OUS":
        return (0.0 if (source.astype(str) == found.astype(str)).all() else float("inf")), 1.0, 1.0
    if "c" in (source.dtype.kind, found.dtype.kind):
        source, found = (np.stack([each.real, each.imag]) for each in (source, found))
    a, b = source.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a)
    if a.size == 0 or not finite.any():
        return (0.0 if same.all() else float("inf")), 1.0, 0.0
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    largest = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max())
    return largest, float(np.abs(a[finite]).max()), float(a[finite].max() - a[finite].min())
