"""Records of the values of a model's inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ValueRange:
    """Smallest, largest and mean value of one input over all samples of one part of the data."""

    low: float
    high: float
    mean: float

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}"


@dataclass(frozen=True)
class InputValues:
    """The values of one numeric input: in the test samples, and in the calibration samples where there are any."""

    name: str
    dtype: str
    tested: ValueRange
    calibrated: ValueRange | None = None

    def __str__(self) -> str:
        calibrated = f"; calibration samples: {self.calibrated}" if self.calibrated else ""
        return f"{self.name} ({self.dtype}): {self.tested}{calibrated}"
