"""Percentiles of a service under load, with an interval that accounts for the dependence of calls that queue behind each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.stats.estimates import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


class Tail(NamedTuple):
    """A percentile and the ends of its interval."""

    value: float
    low: float
    high: float


def percentile_interval(stretches: Sequence[np.ndarray], percent: float, confidence: float = CONFIDENCE) -> Tail | None:
    """A percentile over several stretches of time (arrays of shape (n,)), with its interval, in the unit of the values; ``None``
    where the sample is too small for an interval.

    Woodruff's interval: the share of calls below the percentile has an interval, and the quantiles at its two ends are the
    ends of the result (Woodruff 1952, Confidence intervals for medians and other position measures). Stretches are the clusters
    of a cluster sample: calls of one stretch wait for each other, so the share's interval is that of Clopper and Pearson at the
    effective size n / deff, corrected for few clusters (Korn and Graubard 1998), with deff the variance of the share over
    stretches, by the ratio estimator, divided by that of as many independent calls, and no less than 1.
    """
    import numpy as np

    kept = [np.asarray(stretch, dtype=np.float64) for stretch in stretches if len(stretch)]
    if not kept:
        return None
    everything = np.sort(np.concatenate(kept))
    share, n = percent / 100, len(everything)
    value = float(np.quantile(everything, share))
    below, sizes = [int((stretch <= value).sum()) for stretch in kept], [len(stretch) for stretch in kept]
    size = n / design_effect(below, sizes) * few_clusters(len(kept), n, confidence)
    low, high = share_interval(share * size, size, confidence)
    # ranks from 1 to n: the r-th smallest value is a bound at the share r / n
    first, last = int(np.floor(low * n)), int(np.ceil(high * n))
    if first < 1 or last >= n:
        return None  # an end lies beyond the observed values
    return Tail(value, float(everything[first - 1]), float(everything[last - 1]))


def within_interval(
    within: Sequence[int], sizes: Sequence[int], confidence: float = CONFIDENCE
) -> tuple[float, float, float] | None:
    """The share of calls with some property over several stretches, with its interval: (share, low, high); ``None`` without any.

    As in :func:`percentile_interval`: Clopper and Pearson at the effective size. Where all or none have the property their
    dependence cannot be estimated, and independence is assumed.
    """
    pairs = [(count, size) for count, size in zip(within, sizes, strict=True) if size]
    if not pairs:
        return None
    counts, calls = zip(*pairs, strict=True)
    n = sum(calls)
    share = sum(counts) / n
    size = n / design_effect(counts, calls) * few_clusters(len(calls), n, confidence)
    return (share, *share_interval(share * size, size, confidence))


def design_effect(below: Sequence[int], sizes: Sequence[int]) -> float:
    """Variance of a share over clusters divided by its variance over as many independent calls; at least 1.

    ``below`` counts the calls of each cluster that have the property, of ``sizes``. (Cochran, Sampling Techniques, 9.5: the
    ratio estimator of a proportion in clusters of unequal size.)
    """
    import numpy as np

    counts, calls = np.asarray(below, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    total, clusters = float(calls.sum()), len(calls)
    share = float(counts.sum()) / total
    if clusters < 2 or share in (0.0, 1.0):
        return 1.0
    variance = clusters / (clusters - 1) * float(((counts - share * calls) ** 2).sum()) / total**2
    return max(1.0, variance / (share * (1 - share) / total))


def few_clusters(clusters: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Factor of the effective size for a variance that was estimated from few clusters: the squared ratio of two
    quantiles of Student's t, with n - 1 and with clusters - 1 degrees of freedom (Korn and Graubard 1998).
    """
    from scipy.stats import t

    if clusters < 2:
        return 1.0
    tail = 1 - (1 - confidence) / 2
    return float((t.ppf(tail, n - 1) / t.ppf(tail, clusters - 1)) ** 2)


def share_interval(count: float, size: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share by its beta quantiles, which are also defined for a size that is not an integer.

    Example:
        >>> low, high = share_interval(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.444, 0.975)

    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, size - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - tail, count + 1, size - count)) if count < size else 1.0
    return low, high


class Knee(NamedTuple):
    """The point of a curve beyond which more load raises latency by more than throughput."""

    place: int
    power: float  # throughput / mean latency, relative to the first point


def knee(throughput: Sequence[float], latency: Sequence[float]) -> Knee | None:
    """The point with the greatest *power*, throughput divided by mean latency; ``None`` for fewer than two points.

    Kleinrock 1979, Power and deterministic rules of thumb for probabilistic problems in computer communications: up to this
    point throughput grows faster than latency, beyond it latency grows faster. Of equal points the first.

    Example:
        >>> knee([100, 190, 200], [0.010, 0.011, 0.020]).place
        1

    """
    if len(throughput) < 2:
        return None
    powers = [rate / time for rate, time in zip(throughput, latency, strict=True)]
    place = powers.index(max(powers))
    return Knee(place, powers[place] / powers[0])
