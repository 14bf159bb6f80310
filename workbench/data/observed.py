"""The values of a model's inputs: smallest, largest and mean, and checks of their plausibility."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from workbench.data.samples import Samples, chunks
from workbench.records.values import InputValues, ValueRange

if TYPE_CHECKING:
    import numpy as np

SPAN_RATIO = 2.0
"""Largest ratio of the widths of two ranges that fit each other."""
MEAN_SHARE = 0.5
"""Largest difference of their means, as a share of the narrower range."""
BELOW_ZERO = 0.25
"""Largest part of one range below zero, as a share of its span, where the other one has none: 0..1 and -1..1 are scales of pixels."""
BYTE = ("uint8", "int8")


def observed(test: Samples, calibration: Samples | None) -> tuple[InputValues, ...]:
    """Ranges of every numeric input, over all test samples and over all calibration samples. Text has none."""
    found = []
    for name, array in test.inputs.items():
        tested = _range(array)
        if tested is None:
            continue
        other = None if calibration is None or name not in calibration.inputs else calibration.inputs[name]
        found.append(InputValues(name, str(array.dtype), tested, None if other is None else _range(other)))
    return tuple(found)


def _range(array: np.ndarray) -> ValueRange | None:
    import numpy as np

    if array.dtype.kind not in "fiub" or not array.size:
        return None
    parts = [(float(rows.min()), float(rows.max()), float(rows.sum(dtype=np.float64))) for rows in chunks(array)]
    lows, highs, sums = zip(*parts, strict=True)
    return ValueRange(min(lows), max(highs), sum(sums) / array.size)


def doubts(values: Iterable[InputValues]) -> Iterator[str]:
    """One sentence for each implausible property of these values."""
    for each in values:
        if each.tested.low == each.tested.high:
            yield f"The input '{each.name}' has the same value everywhere ({each.tested.low:.4g}). Check the data."
        elif each.dtype in BYTE and each.tested.low >= 0 and each.tested.high <= 1:
            yield (
                f"The input '{each.name}' takes {each.dtype}, and all its values are 0 or 1. If they are pixels, they were scaled to "
                "0..1 and rounded: give them as they are, 0 to 255."
            )
        if each.calibrated is not None and not _fit(each.tested, each.calibrated):
            yield (
                f"The values of the input '{each.name}' do not fit those of its calibration samples: {each.tested}, and "
                f"{each.calibrated} in calibration. INT8 ranges are calibrated on the latter. Prepare both in the same way."
            )


def _fit(first: ValueRange, second: ValueRange) -> bool:
    """Whether two ranges could come from samples of one kind."""
    spans = (first.high - first.low, second.high - second.low)
    lowest = min(first, second, key=lambda each: each.low)
    if max(first.low, second.low) >= 0 and -lowest.low > BELOW_ZERO * (lowest.high - lowest.low):
        return False
    return max(spans) <= SPAN_RATIO * min(spans) and abs(first.mean - second.mean) <= MEAN_SHARE * min(spans)
