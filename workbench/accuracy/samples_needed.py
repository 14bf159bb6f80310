"""The number of samples that would show that a variant is within its budget, at the rates observed on fewer samples."""

from __future__ import annotations

import math
from collections.abc import Callable

from workbench.records import Accuracy
from workbench.stats.estimates import proportion_interval
from workbench.stats.paired import difference_of_counts, unchanged

MOST = 100_000_000
"""Largest number of samples that is reported."""


def for_changed(score: Accuracy, allowed: float) -> int | None:
    """Number of samples at which Wilson's interval of the share of changed answers ends at ``allowed``; ``None`` if there is none.

    The share is assumed to stay as it is.
    """
    changed = 1 - score.agreement

    def high(count: int) -> float:
        return proportion_interval(round(changed * count), count)[1]

    return _smallest(high, allowed, score.samples) if changed < allowed else None


def for_loss(score: Accuracy, allowed: float) -> int | None:
    """Number of samples at which the interval of the loss ends at ``allowed``, at the observed shares or scatter; ``None`` if none.

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

        return _smallest(high, allowed, n)
    if score.share and (score.loss_low, score.loss_high) == unchanged(n):
        return _smallest(lambda count: unchanged(count)[1], allowed, n)
    narrower = (score.loss_high - score.loss) / (allowed - score.loss)
    return math.ceil(n * narrower * narrower)


def rounded(count: int) -> int:
    """``count`` rounded up to two significant digits.

    >>> rounded(768)
    770
    """
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _smallest(high: Callable[[int], float], allowed: float, known: int) -> int | None:
    """The smallest sufficient number, by bisection; the interval narrows with the number."""
    low, enough = 1, max(2, known)
    while high(enough) > allowed:
        low, enough = enough, 2 * enough
        if enough > MOST:
            return None
    while enough - low > max(1, enough // 200):
        middle = (low + enough) // 2
        low, enough = (low, middle) if high(middle) <= allowed else (middle, enough)
    return enough
