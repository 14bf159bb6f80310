import numpy as np
import pytest

from workbench.stats.estimates import proportion_interval
from workbench.stats.paired import FEWEST, bootstrap, bootstrap_difference, difference_of_shares


def pairs(both, first, second, neither):
    ours = np.repeat([True, True, False, False], [both, first, second, neither])
    return ours, np.repeat([True, False, True, False], [both, first, second, neither])


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # two of the cases that Newcombe 1998 tabulates
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_paired_shares_have_the_interval_of_newcombes_method_10(cells, low, high):
    difference, below, above = difference_of_shares(*pairs(*cells))
    assert difference == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert (below, above) == pytest.approx((low, high), abs=2e-4)


def test_what_pairs_share_narrows_the_interval_less_half_a_sample():
    """The correlation behind the lower end: (ad - bc - n/2) over the root of the margins' product, where ad > bc."""
    both, first, second, neither = cells = (880, 30, 20, 70)
    n, ours, theirs = sum(cells), both + first, both + second
    low = difference_of_shares(*pairs(*cells))[1]
    below, above = ours / n - proportion_interval(ours, n)[0], proportion_interval(theirs, n)[1] - theirs / n
    phi = (below**2 + above**2 - (0.01 - low) ** 2) / (2 * below * above)
    margins = ours * (n - ours) * theirs * (n - theirs)
    assert phi == pytest.approx((both * neither - first * second - n / 2) / margins**0.5)


def test_it_mirrors_when_the_sides_are_swapped():
    ours, theirs = pairs(700, 40, 25, 235)
    difference, low, high = difference_of_shares(ours, theirs)
    assert difference_of_shares(theirs, ours) == pytest.approx((-difference, -high, -low))


def test_nothing_flipped_still_leaves_doubt_that_shrinks_with_samples():
    widths = [difference_of_shares(*pairs(n, 0, 0, n // 20))[2] for n in (100, 1000, 10_000)]
    assert widths[0] > 3 * widths[1] > 9 * widths[2] > 0


def mean(parts):
    return float(parts.mean())


def test_a_paired_difference_is_known_far_better_than_each_side():
    generator = np.random.default_rng(0)
    theirs = generator.random(400)
    ours = theirs + generator.normal(0.01, 0.02, 400)
    alone, paired = bootstrap(ours, mean), bootstrap_difference(ours, theirs, mean)
    assert paired[0] < 0.01 < paired[1]
    assert alone[1] - alone[0] > 10 * (paired[1] - paired[0])
    # what is known of a mean: 1.96 standard errors, to a tenth
    assert alone[1] - alone[0] == pytest.approx(2 * 1.96 * ours.std() / 20, rel=0.1)


@pytest.mark.parametrize("resamples", [999, 199])
def test_bootstrap_is_repeatable_and_holds_its_own_estimate(resamples):
    parts = np.random.default_rng(1).exponential(size=300)
    found = bootstrap(parts, mean, resamples=resamples)
    assert found == bootstrap(parts, mean, resamples=resamples)
    assert found[0] < parts.mean() < found[1]


def test_few_samples_have_no_interval_and_equal_ones_no_width():
    assert bootstrap(np.ones(FEWEST - 1), mean) is None
    assert bootstrap_difference(np.ones(30), np.zeros(30), mean) == (1.0, 1.0)
