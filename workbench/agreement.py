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


@dataclass(frozen=True)
class Agreement:
    """The largest differences over all outputs."""

    max_abs: float
    max_rel: float  # divided by the largest absolute value of that output
    of_spread: float  # beyond rounding, divided by the span of that output's values, where they are not constant
    worst: str  # the output that differs most


@dataclass
class Span:
    """The smallest and largest finite value that one output ever had."""

    low: float = float("inf")
    high: float = float("-inf")

    def add(self, array: np.ndarray) -> None:
        import numpy as np

        if array.dtype.kind not in "fiub":
            self.low, self.high = 0.0, 1.0  # text and complex numbers are not judged
            return
        values = array.astype(np.float64)
        values = values[np.isfinite(values)]
        self.low = min(self.low, float(values.min(initial=np.inf)))
        self.high = max(self.high, float(values.max(initial=-np.inf)))

    @property
    def constant(self) -> bool:
        """It was one and the same number for every input, so that agreeing on it proves nothing."""
        return self.high - self.low <= CONSTANT * max(abs(self.low), abs(self.high))


def compare(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Agreement:
    """Compare outputs by name with those of the source.

    ``max_rel`` divides the largest difference by the output's size, its largest absolute value. ``of_spread`` divides it by
    the span of its values instead (largest less smallest), because a result that is shifted or transposed differs little by
    the size of a large constant that both share, and much by what varies. Callers hold both to their tolerance.

    What varies may be so small beside the constant that rounding looks large by it: 32-bit floats near 100 lie 8e-6 apart,
    a tenth of a span of 1e-4. So of_spread = max(0, difference - ROUNDING × size) / max(span, FLAT × size), and 0 where the
    span is below CONSTANT × size. What this cannot see: errors smaller than ROUNDING × size.

    Raises:
        ExportError: an output is missing or has another shape.
    """
    max_abs = max_rel = of_spread = 0.0
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
        spread = max(0.0, largest - ROUNDING * size) / max(span, FLAT * size) if span > CONSTANT * size else 0.0
        if max(relative, spread) > max(max_rel, of_spread):
            worst = name
        max_abs, max_rel, of_spread = max(max_abs, largest), max(max_rel, relative), max(of_spread, spread)
    return Agreement(max_abs, max_rel, of_spread, worst)


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
