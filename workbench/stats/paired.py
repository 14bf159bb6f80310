"""Intervals of differences between two engines on the same samples, each rule with its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.stats.estimates import CONFIDENCE, proportion_interval

if TYPE_CHECKING:
    import numpy as np

FEWEST = 20
"""Fewest samples for a bootstrap interval: with fewer it is far too narrow (Efron and Tibshirani 1993, An Introduction to
the Bootstrap, 14.3 and 12.6, on small samples)."""
RESAMPLES = 999
CORRECTED = 2000
"""Samples up to which the bootstrap's bias is corrected, which computes one more value per sample."""
SEED = 0

Value = Callable[["np.ndarray"], float]


def difference_of_shares(
    ours: np.ndarray, theirs: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Share of ``ours`` minus share of ``theirs``, both bool, shape (n,), on the same samples: (difference, low, high).

    Newcombe 1998, Improved confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17:2635-2650, method 10: the Wilson intervals of both shares, combined with the correlation of the pairs
    (continuity corrected). It keeps its level for few samples and few flips, where an interval from the variance of the
    flips has a width of zero.

    Example:
        >>> import numpy as np
        >>> difference, low, high = difference_of_shares(np.ones(20, bool), np.ones(20, bool))
        >>> difference, round(low, 3), round(high, 3)
        (0.0, -0.161, 0.161)

    """
    both, first, second = (int(part.sum()) for part in (ours & theirs, ours & ~theirs, ~ours & theirs))
    return difference_of_counts(both, first, second, len(ours) - both - first - second, confidence)


def difference_of_counts(
    both: int, first: int, second: int, neither: int, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """:func:`difference_of_shares` from the four counts of pairs: true for both, the first only, the second only, neither.

    Example:
        >>> difference, low, high = difference_of_counts(90, 5, 2, 3)
        >>> round(difference, 2), round(low, 3), round(high, 3)
        (0.03, -0.03, 0.096)

    """
    n = both + first + second + neither
    p, q = (both + first) / n, (both + second) / n
    low_p, high_p = proportion_interval(both + first, n, confidence)
    low_q, high_q = proportion_interval(both + second, n, confidence)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(0.0, excess - n / 2)
    phi = excess / margins**0.5 if margins else 0.0
    below, above = p - low_p, high_q - q
    low = (p - q) - max(0.0, below**2 - 2 * phi * below * above + above**2) ** 0.5
    above, below = high_p - p, q - low_q
    high = (p - q) + max(0.0, above**2 - 2 * phi * above * below + below**2) ** 0.5
    return p - q, low, high


def unchanged(n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Newcombe's interval of the difference of two shares where none of ``n`` samples changed: (low, high).

    A bootstrap of zeros only gives an interval of width zero, as if any number of samples could exclude any loss.
    """
    return difference_of_counts(n, 0, 0, 0, confidence)[1:]


def bootstrap(
    parts: np.ndarray, value: Value, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Interval of ``value(parts)`` over samples, the first axis: (low, high); ``None`` for fewer than :data:`FEWEST`.

    Bias-corrected and accelerated up to 2,000 samples (Efron 1987, Better Bootstrap Confidence Intervals); a percentile
    interval for more samples and for fewer resamples. Both are SciPy's.
    """
    return _interval(len(parts), lambda rows: value(parts[rows]), confidence, resamples)


def bootstrap_difference(
    ours: np.ndarray,
    theirs: np.ndarray,
    value: Value,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """Interval of ``value(ours) - value(theirs)``, with the same samples drawn for both; ``None`` for fewer than :data:`FEWEST`."""
    return _interval(len(ours), lambda rows: value(ours[rows]) - value(theirs[rows]), confidence, resamples)


def _interval(
    n: int, statistic: Callable[[np.ndarray], float], confidence: float, resamples: int
) -> tuple[float, float] | None:
    import warnings

    import numpy as np
    from scipy.stats import bootstrap as scipy_bootstrap

    if n < FEWEST:
        return None
    whole = statistic(np.arange(n))
    corrected = n <= CORRECTED and resamples >= RESAMPLES
    with warnings.catch_warnings():
        # without a difference between samples there is no bias to correct: handled below
        warnings.simplefilter("ignore")
        found = scipy_bootstrap(
            (np.arange(n),), statistic, vectorized=False, n_resamples=resamples, confidence_level=confidence,
            method="BCa" if corrected else "percentile", batch=64, rng=np.random.default_rng(SEED),
        )  # fmt: skip
    low, high = map(float, found.confidence_interval)
    if np.isnan(low) or np.isnan(high):
        tail = (1 - confidence) / 2
        low, high = (float(each) for each in np.quantile(found.bootstrap_distribution, [tail, 1 - tail]))
    return min(low, whole), max(high, whole)
