"""Percentiles, intervals and verdicts: pure functions on numbers, each rule with its source."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

CONFIDENCE = 0.95


def samples_needed(percent: float, confidence: float = CONFIDENCE) -> int:
    """Smallest sample for which a two-sided distribution-free interval of this percentile exists.

    The interval's ends are order statistics (Conover, Practical Nonparametric Statistics, 3.2). Its upper end
    exists once the chance that all n values lie below the percentile, p**n, is at most half the error; the
    lower end likewise with 1 - p. For 95 %: p50 6, p90 36, p95 72, p99 368.
    """
    p = percent / 100
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(p, 1 - p)))


def percentile(samples: np.ndarray, percent: float) -> float | None:
    """Linear-interpolated percentile of ``samples``, or ``None`` where :func:`samples_needed` is not met."""
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


def proportion_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), from SciPy."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def flips_p_value(fixed: int, broken: int) -> float:
    """Exact McNemar test: are ``fixed`` and ``broken`` flips equally likely? 1.0 where nothing flipped."""
    from scipy.stats import binomtest

    if fixed + broken == 0:
        return 1.0
    return float(binomtest(fixed, fixed + broken, 0.5).pvalue)


def ratio_interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float] | None:
    """Median of paired ratios with its exact, distribution-free interval: (median, low, high).

    Each ratio compares two variants within one round, so a drift of the machine touches both sides alike. The
    interval inverts the sign test (Conover 3.2; SciPy's ``quantile_test``) and assumes nothing about the
    distribution, only that rounds are independent. ``None`` where there are too few rounds for one (under 6).
    """
    import numpy as np
    from scipy.stats import quantile_test

    if len(ratios) < samples_needed(50, confidence):
        return None
    interval = quantile_test(np.asarray(ratios), q=1.0, p=0.5).confidence_interval(confidence)
    return float(np.median(ratios)), float(interval.low), float(interval.high)
