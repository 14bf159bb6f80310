"""How many samples it would take to show that a variant keeps a budget, at the rates that were seen on fewer."""

from __future__ import annotations

import math
from collections.abc import Callable

from workbench.records import Accuracy
from workbench.statistics.estimates import proportion_interval
from workbench.statistics.paired import difference_of_counts

MOST = 100_000_000
"""More samples than that are not worth a number."""


def for_changed(score: Accuracy, allowed: float) -> int | None:
    """Samples at which the interval of the share of changed answers, Wilson's, ends at ``allowed``; ``None``: at none.

    The share is taken to stay as it is.
    """
    changed = 1 - score.agreement

    def high(count: int) -> float:
        return proportion_interval(round(changed * count), count)[1]

    return _smallest(high, allowed, score.samples) if changed < allowed else None


def for_loss(score: Accuracy, allowed: float) -> int | None:
    """Samples at which the interval of the loss ends at ``allowed``, at the shares or the scatter seen; ``None``: at none.

    For shares of samples the interval is Newcombe's, of pairs (:func:`workbench.statistics.paired.difference_of_counts`), with all
    counts scaled. A bootstrap interval is taken to narrow with the root of the number of samples.
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
    narrower = (score.loss_high - score.loss) / (allowed - score.loss)
    return math.ceil(n * narrower * narrower)


def rounded(count: int) -> int:
    """Two significant digits, rounded up: 768 is about 770."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _smallest(high: Callable[[int], float], allowed: float, known: int) -> int | None:
    """By bisection between a number that is too small and one that is not; the interval narrows with the number."""
    low, enough = 1, max(2, known)
    while high(enough) > allowed:
        low, enough = enough, 2 * enough
        if enough > MOST:
            return None
    while enough - low > max(1, enough // 200):
        middle = (low + enough) // 2
        low, enough = (low, middle) if high(middle) <= allowed else (middle, enough)
    return enough
