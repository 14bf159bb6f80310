"""The number of samples that would most likely show that a variant is within its budget, at the rates observed on fewer samples.

Other samples will show another loss by chance, so that a number at which the interval of the observed loss just ends at the budget would
be too small half of the time. The number is the usual one for a test of non-inferiority with a power of 80 % at the observed loss: the loss
plus (1.96 + 0.84) of its standard errors is the allowed loss (Julious, Sample sizes for clinical trials with Normal data, 2004, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from workbench.records import Accuracy
from workbench.stats.estimates import proportion_interval
from workbench.stats.paired import difference_of_counts, unchanged

MOST = 100_000_000
"""Largest number of samples that is reported."""
WIDER = 1 + 0.8416 / 1.9600
"""By which the part of the 95 % interval above the loss is multiplied for a power of 80 %."""


def for_changed(score: Accuracy, allowed: float) -> int | None:
    """Number of samples for Wilson's interval of the share of changed answers; ``None`` if there is none.

    The share is assumed to stay as it is.
    """
    changed = 1 - score.agreement

    def high(count: int) -> float:
        return proportion_interval(round(changed * count), count)[1]

    return _smallest(high, changed, allowed, score.samples) if changed < allowed else None


def for_loss(score: Accuracy, allowed: float) -> int | None:
    """Number of samples for the interval of the loss, at the observed shares or scatter; ``None`` if there is none.

    For shares of samples the interval is Newcombe's for pairs (:func:`workbench.stats.paired.difference_of_counts`), with all
    counts scaled; the same holds for other shares where nothing changed. A bootstrap interval is assumed to narrow with the square
    root of the number of samples.
    """
    if score.loss is None or score.loss_high is None or score.loss >= allowed:
        return None
    n = score.scored or score.samples
    if score.p_value is not None and score.source_value is not None and score.share:
        right = score.source_value * n
        shares = [(right - score.broken) / n, score.broken / n, score.fixed / n]

        def high(count: int) -> float:
            both, broken, fixed = (round(share * count) for share in shares)
            return difference_of_counts(both, broken, fixed, max(0, count - both - broken - fixed))[2]

        return _smallest(high, score.loss, allowed, n)
    if score.share and (score.loss_low, score.loss_high) == unchanged(n):
        return _smallest(lambda count: unchanged(count)[1], score.loss, allowed, n)
    narrower = WIDER * (score.loss_high - score.loss) / (allowed - score.loss)
    return math.ceil(n * narrower * narrower)


def rounded(count: int) -> int:
    """``count`` rounded up to two significant digits.

    >>> rounded(768)
    770
    """
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _smallest(high: Callable[[int], float], loss: float, allowed: float, known: int) -> int | None:
    """The smallest sufficient number, by bisection; the interval of the ``loss``, which ends at ``high``, narrows with the number."""

    def suffices(count: int) -> bool:
        return loss + WIDER * (high(count) - loss) <= allowed

    low, enough = 1, max(2, known)
    while not suffices(enough):
        low, enough = enough, 2 * enough
        if enough > MOST:
            return None
    while enough - low > max(1, enough // 200):
        middle = (low + enough) // 2
        low, enough = (low, middle) if suffices(middle) else (middle, enough)
    return enough
