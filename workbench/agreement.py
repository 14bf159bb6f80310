"""How far two sets of outputs lie apart: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import ExportError

if TYPE_CHECKING:
    import numpy as np

FLAT = 1e-3
"""Outputs whose values span less than this share of their size are taken for constant: their span is mostly rounding."""


@dataclass(frozen=True)
class Agreement:
    """The largest differences over all outputs."""

    max_abs: float
    max_rel: float  # divided by the largest absolute value of that output
    of_spread: float  # divided by the span of that output's values, where it is not flat
    worst: str  # the output that differs most


def compare(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Agreement:
    """Compare outputs by name with those of the source.

    The span counts as well as the size, because a result that is shifted or transposed differs little from a large
    constant that both share, and much when measured by what varies.

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
        spread = largest / span if span > FLAT * size else 0.0
        if max(relative, spread) > max(max_rel, of_spread):
            worst = name
        max_abs, max_rel, of_spread = max(max_abs, largest), max(max_rel, relative), max(of_spread, spread)
    return Agreement(max_abs, max_rel, of_spread, worst)


def difference(source: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """Largest absolute difference of two arrays of one shape; the source's largest absolute value, and its values' span.

    NaN and infinities must stand in the same places, or the difference is infinite.
    """
    import numpy as np

    if source.dtype.kind in "OUS":
        return (0.0 if (source.astype(str) == found.astype(str)).all() else float("inf")), 1.0, 1.0
    a, b = source.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a)
    if a.size == 0 or not finite.any():
        return (0.0 if same.all() else float("inf")), 1.0, 0.0
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    largest = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max())
    return largest, float(np.abs(a[finite]).max()), float(a[finite].max() - a[finite].min())
