import numpy as np
import pytest
from scipy.stats import binomtest

from workbench.stats.queues import (
    design_effect,
    few_clusters,
    knee,
    percentile_interval,
    share_interval,
    within_interval,
)


def test_a_share_has_clopper_and_pearsons_interval():
    for count, size in ((0, 20), (7, 20), (20, 20), (724, 736)):
        theirs = binomtest(count, size).proportion_ci(method="exact")
        assert share_interval(count, size) == pytest.approx((theirs.low, theirs.high))


def test_calls_that_depend_on_each_other_are_worth_fewer():
    assert design_effect([9, 9, 9, 9], [10, 10, 10, 10]) == 1  # never better than independent
    assert design_effect([10, 10, 10, 6], [10, 10, 10, 10]) == pytest.approx(4 / 3 * (3 + 9) / 40**2 / (0.9 * 0.1 / 40))
    assert design_effect([10, 10], [10, 10]) == 1
    assert few_clusters(1, 100) == 1
    assert few_clusters(6, 1000) == pytest.approx((1.9623 / 2.5706) ** 2, rel=1e-3)


def test_the_interval_covers_the_percentile_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    true = np.exp(0.3 * 1.6449)
    hits = 0
    for _ in range(300):
        found = percentile_interval([draw.lognormal(0, 0.3, 120) for _ in range(6)], 95)
        hits += found.low <= true <= found.high
    assert 0.93 <= hits / 300 <= 1  # wider than needed by the correction for six clusters


def test_clusters_widen_the_interval():
    draw = np.random.default_rng(1)
    alike = [draw.lognormal(0, 0.3, 200) for _ in range(6)]
    apart = [stretch * factor for stretch, factor in zip(alike, (0.8, 0.9, 1, 1, 1.1, 1.2), strict=True)]
    narrow, wide = percentile_interval(alike, 90), percentile_interval(apart, 90)
    assert wide.high / wide.low > 1.2 * narrow.high / narrow.low


def test_a_percentile_stands_only_where_both_ends_of_its_interval_do():
    assert percentile_interval([np.arange(1.0, 21.0)], 99) is None
    assert percentile_interval([np.arange(1.0, 21.0)], 1) is None
    few = percentile_interval([np.arange(1.0, 21.0)], 50)
    assert 1 <= few.low < few.value == 10.5 < few.high < 20
    assert percentile_interval([np.array([])], 99) is None


def test_a_share_over_clusters_has_a_wider_interval():
    share, low, high = within_interval([99, 99, 99, 99, 99, 99], [100] * 6)
    apart = within_interval([100, 100, 100, 100, 100, 94], [100] * 6)
    assert share == apart[0] == 0.99
    assert apart[1] < low < share < high < apart[2]
    assert within_interval([1200], [1200])[1] == pytest.approx(0.025 ** (1 / 1200))
    assert within_interval([0], [0]) is None


def test_the_knee_is_where_power_is_greatest():
    # perfect scaling up to two cores: mean time doubles from there on
    assert knee([100, 200, 200], [10, 10, 20]).place == 1
    assert knee([100, 200, 200], [10, 10, 20]).power == 2
    assert knee([100, 110, 120], [10, 18, 33]).place == 0
    assert knee([100], [10]) is None
