"""Record of what one class or one group of samples loses against the source model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PartLoss:
    """The loss on the samples of one class or of one group, paired on the same samples.

    By class it is of recall: the share of the class's samples (or positions) whose class was found. By group it is of the
    metric. The interval is simultaneous: all intervals of one ``by`` hold together in 95 of 100 cases (Bonferroni).
    """

    by: str  # "class", "label" (of several), or the name of the column that names groups
    name: str
    samples: int  # of this class or group
    value: float
    source_value: float
    loss: float  # in the unit of the value, more is worse
    low: float | None  # None: too few samples
    high: float | None
    of: int = 1  # how many classes or groups were compared at once
    share: bool = True  # the value goes from 0 to 1 and is shown in percent
