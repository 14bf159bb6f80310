import numpy as np
import pytest
from scipy.stats import binom, quantile_test, ttest_1samp

from workbench.stats import estimates


@pytest.mark.parametrize(("percent", "needed"), [(50, 6), (90, 36), (95, 72), (99, 368)])
def test_samples_needed(percent, needed):
    assert estimates.samples_needed(percent) == needed


def test_percentile_is_none_below_the_support_and_right_at_it():
    samples = np.arange(36.0)
    assert estimates.percentile(samples[:35], 90) is None
    assert estimates.percentile(samples, 90) == pytest.approx(31.5)


def test_wilson_interval_against_the_published_formula():
    z, n, k = 1.959963984540054, 1500, 1440
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert estimates.proportion_interval(k, n) == pytest.approx((middle - half, middle + half))


def test_flips_p_value_is_the_exact_binomial_test():
    assert estimates.flips_p_value(0, 0) == 1.0
    assert estimates.flips_p_value(1, 9) == pytest.approx(2 * binom.cdf(1, 10, 0.5))


def test_ratio_interval_needs_six_rounds():
    assert estimates.ratio_interval([2.0] * 5) is None
    assert estimates.ratio_interval([2.0] * 6) == (2.0, 2.0, 2.0)


def test_ratio_interval_ends_are_order_statistics():
    ratios = [1.0 + number / 100 for number in range(12)]
    middle, low, high = estimates.ratio_interval(ratios[::-1])
    assert middle == pytest.approx(1.055)
    assert (low, high) == (ratios[2], ratios[9])  # Conover's table for n = 12: the third from either end


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_ratio_interval_is_that_of_scipy(confidence):
    draw = np.random.default_rng(2)
    for count in (8, 9, 12, 25, 48, 400):
        ratios = np.exp(draw.standard_t(2, count) * 0.1)
        theirs = quantile_test(ratios, q=1.0, p=0.5).confidence_interval(confidence)
        assert estimates.ratio_interval(ratios, confidence) == (np.median(ratios), theirs.low, theirs.high)


def test_ratio_interval_covers_no_difference_in_19_of_20_cases():
    draw = np.random.default_rng(1)
    trials = 400
    covered = 0
    for _ in range(trials):
        _, low, high = estimates.ratio_interval(np.exp(draw.standard_t(2, 12) * 0.05))
        covered += low <= 1 <= high
    assert covered / trials >= 0.94  # exact coverage is 96.1 %; heavy tails do not lower it


def test_the_percentile_of_trtexec_counts_in_single_precision():
    samples = np.arange(100.0)[::-1]
    # with doubles p90 would leave out nine and p99 one
    assert [estimates.trtexec_percentile(samples, percent) for percent in (90, 95, 99)] == [89, 94, 99]
    assert estimates.trtexec_percentile(samples, 50) == 49.5
    assert estimates.trtexec_percentile(np.array([3.0]), 99) == 3
    assert estimates.trtexec_percentile(np.array([1.0, 2.0]), 1) == 1


def test_the_trimmed_center_of_few_values_is_students():
    values = [0.01, 0.02, 0.05, 0.03]
    center = estimates.trimmed_center(values)
    assert center.mean == pytest.approx(np.mean(values))
    assert center.half_width(0.05) == pytest.approx(3.182446 * np.std(values, ddof=1) / 2, rel=1e-6)
    assert center.p_value == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_the_trimmed_center_is_yuens():
    """Against the formulas: ten values, two cut off at either end, the others pulled in for the variance."""
    values = np.array([-3.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 9.0])
    center = estimates.trimmed_center(values)
    pulled = np.clip(values, 0.2, 0.7)
    assert center.mean == pytest.approx(values[2:-2].mean())
    assert center.error == pytest.approx(pulled.std(ddof=1) / (0.6 * 10**0.5))
    assert center.freedom == 5
    assert estimates.trimmed_center([*values[:-1], 1000.0]) == center  # how far off the farthest are does not matter


def test_no_spread_is_certainty():
    assert estimates.trimmed_center([0.0] * 5).p_value == 1
    assert estimates.trimmed_center([0.1] * 5).p_value == 0


def test_holm_steps_down_and_stops():
    # 0.01 <= 0.05/4; 0.015 <= 0.05/3; 0.03 > 0.05/2: that one and what comes after it stay at its level
    levels = estimates.holm([0.03, 0.01, 0.9, 0.015], 0.05)
    assert levels == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])
    assert estimates.holm([], 0.05) == []


def test_holm_keeps_all_errors_together_below_its_level():
    draw = np.random.default_rng(0)
    wrong = 0
    for p_values in draw.uniform(size=(4000, 6)):
        levels = estimates.holm(list(p_values), 0.05)
        wrong += any(p <= level for p, level in zip(p_values, levels, strict=True))
    assert 0.04 < wrong / 4000 < 0.06


def test_outliers_lie_beyond_the_outer_fence_on_the_slow_side():
    samples = np.array([*range(1, 101), 250.0, 251.0, 253.0, -900.0])
    low, high = np.percentile(samples, [25, 75])
    assert high + 3 * (high - low) == pytest.approx(232, abs=3)
    assert list(np.flatnonzero(estimates.outliers(samples))) == [100, 101, 102]
