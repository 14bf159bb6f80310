"""Percentiles, intervals and verdicts: pure functions on numbers, each rule with its source."""

from __future__ import annotations

import math
import statistics
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

CONFIDENCE = 0.95
LAUNCHES = 4
"""Fewest launches from which the spread is estimated: with three the interval is as wide as eight standard errors."""
TRIM = 0.2
"""Share of the values cut off at either end of a trimmed mean: Wilcox's choice for general use."""


def samples_needed(percent: float, confidence: float = CONFIDENCE) -> int:
    """Smallest sample for which a two-sided distribution-free interval of this percentile exists.

    The interval's ends are order statistics (Conover, Practical Nonparametric Statistics, 3.2). Its upper end
    exists once the chance that all n values lie below the percentile, p**n, is at most half the error; the
    lower end likewise with 1 - p. For 95 %: p50 6, p90 36, p95 72, p99 368.

    Example:
        >>> samples_needed(50), samples_needed(99)
        (6, 368)

    """
    p = percent / 100
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(p, 1 - p)))


def percentile(samples: np.ndarray, percent: float) -> float | None:
    """Linear-interpolated percentile of ``samples``, shape (n,), in their unit; ``None`` for fewer than :func:`samples_needed`.

    Example:
        >>> import numpy as np
        >>> percentile(np.arange(1.0, 12.0), 50)
        6.0
        >>> percentile(np.arange(1.0, 12.0), 99) is None
        True

    """
    import numpy as np

    if len(samples) < samples_needed(percent):
        return None
    return float(np.percentile(samples, percent))


def trtexec_percentile(samples: np.ndarray, percent: float) -> float:
    """The percentile that trtexec prints: an actual sample, at the index ``max(n - 1 - int((1 - p / 100) * n), 0)``.

    Computed in float32 as there, which shifts the index for round n: with 100 samples p90 leaves out ten and p99 none
    (doubles would give nine and one). The 50th is the median, as there. ``samples`` has the shape (n,), n at least 1.
    Source: ``findPercentile`` and ``findMedian`` in NVIDIA/TensorRT, samples/common/sampleReporting.cpp.
    """
    import numpy as np

    if percent == 50:
        return float(np.median(samples))
    single = np.float32
    left_out = int((single(1) - single(percent) / single(100)) * single(len(samples)))
    return float(np.sort(samples)[max(len(samples) - 1 - left_out, 0)])


@lru_cache(maxsize=4096)
def proportion_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), from SciPy: (low, high), both from 0 to 1.

    Example:
        >>> low, high = proportion_interval(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.49, 0.943)

    """
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def flips_p_value(fixed: int, broken: int) -> float:
    """Two-sided p-value of the exact McNemar test that ``fixed`` and ``broken`` flips are equally likely; 1.0 without flips.

    Example:
        >>> flips_p_value(0, 6)
        0.03125

    """
    from scipy.stats import binomtest

    if fixed + broken == 0:
        return 1.0
    return float(binomtest(fixed, fixed + broken, 0.5).pvalue)


def ratio_interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float] | None:
    """Median of paired ratios with its exact, distribution-free interval: (median, low, high).

    Each ratio compares two variants within one round, so a drift of the machine affects both variants equally. The
    interval inverts the sign test (Conover 3.2; SciPy's ``quantile_test``) and assumes nothing about the
    distribution, only that rounds are independent. ``None`` where there are too few rounds for an interval (under 6).

    Example:
        >>> median, low, high = ratio_interval([1.9, 2.0, 2.0, 2.1, 2.0, 2.2])
        >>> median, low, high
        (2.0, 1.9, 2.2)

    """
    if len(ratios) < samples_needed(50, confidence):
        return None
    ordered = sorted(map(float, ratios))
    low, high = _ranks(len(ordered), confidence)
    return statistics.median(ordered), ordered[low], ordered[high]


@cache
def _ranks(count: int, confidence: float) -> tuple[int, int]:
    """The places of the interval of the median among ``count`` ordered values, from 0; SciPy takes half a millisecond for them."""
    import numpy as np
    from scipy.stats import quantile_test

    interval = quantile_test(np.arange(count), q=0, p=0.5).confidence_interval(confidence)
    return int(interval.low), int(interval.high)


class Center(NamedTuple):
    """A trimmed mean, its standard error and the degrees of freedom of the error."""

    mean: float
    error: float
    freedom: int

    def half_width(self, alpha: float) -> float:
        """Half the width of the two-sided interval with error probability ``alpha``, in the unit of the values."""
        from scipy.stats import t

        return float(t.isf(alpha / 2, self.freedom) * self.error)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the true center is 0."""
        from scipy.stats import t

        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * t.sf(abs(self.mean) / self.error, self.freedom))


def trimmed_center(values: Sequence[float]) -> Center:
    """Mean of the middle values with its standard error: the trimmed t statistic of Tukey and McLaughlin (1963).

    A fifth of the values, rounded down, is cut off at either end, and the error comes from the variance of the values whose
    cut ends are winsorized (Yuen 1974; Wilcox, Introduction to Robust Estimation, 4.3): a disturbed launch
    counts, but not by its distance from the others. With fewer than five values this is Student's t. ``values`` are independent,
    such as one logarithm of a ratio per launch; at least two.
    """
    from scipy.stats import mstats

    cut = int(TRIM * len(values))
    share = cut / len(values) + 1e-9  # SciPy's formula takes the share to cut off, and rounds down again
    ends = {"limits": (share, share), "inclusive": (True, True)}
    mean, error = mstats.trimmed_mean(values, **ends), mstats.trimmed_stde(values, **ends)
    return Center(float(mean), float(error), len(values) - 2 * cut - 1)


def holm(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level at which each hypothesis is tested, so that the family-wise error rate is at most ``alpha``.

    Holm (1979): the smallest p-value of m is compared with alpha / m, the next with alpha / (m - 1), and so on up to the
    first that is larger; that one and all after it stay at its level and are not rejected. A hypothesis is rejected where
    its p-value is at most the level returned for it. The rule holds for any dependence between the comparisons.

    Example:
        >>> holm([0.01, 0.2], 0.05)
        [0.025, 0.05]

    """
    levels = [0.0] * len(p_values)
    left, level, failed = len(p_values), 0.0, False
    for place in sorted(range(len(p_values)), key=lambda place: p_values[place]):
        if not failed:
            level = alpha / left
            failed = p_values[place] > level
            left -= 1
        levels[place] = level
    return levels


def outliers(samples: np.ndarray) -> np.ndarray:
    """Which of ``samples``, shape (n,), lie above the third quartile by more than three times the interquartile range.

    Tukey's outer fence (Exploratory Data Analysis, 1977, 2D); only the slow side, because a call cannot be too fast.
    Returns booleans of shape (n,). They are for marking and counting: percentiles and ratios include these samples.

    Example:
        >>> import numpy as np
        >>> outliers(np.array([1.0, 1.1, 1.0, 1.2, 9.0])).tolist()
        [False, False, False, False, True]

    """
    import numpy as np

    low, high = np.percentile(samples, [25, 75])
    found: np.ndarray = samples > high + 3 * (high - low)
    return found
