"""Whether live samples are distributed as reference samples were: three signals, each with an effect size and a p-value.

A p-value alone raises an alarm on any large window, and an effect size alone on any small one: a signal is an alert where both pass their
limits.

* Per feature: the largest distance of two distribution functions (Kolmogorov and Smirnov) of four statistics of each sample.
* Predictions: the population stability index of the confidence and of the predicted class. Under the same distribution it is about
  ``(1/n + 1/m) * chi2(bins - 1)`` (Yurdakul 2018, Statistical properties of population stability index).
* A classifier of the domain (Lopez-Paz and Oquab 2017, Revisiting classifier two-sample tests): a logistic regression that tells
  reference from live, by cross-validation. It sees what changes no statistic, such as images that are shifted by three pixels. The p-value
  is that of Mann and Whitney's test, whose statistic is the area under the curve.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

KS_LIMIT, PSI_LIMIT, AUC_LIMIT, P_LIMIT = 0.1, 0.2, 0.7, 0.01
BINS, FOLDS, FEWEST = 10, 5, 30
"""``FEWEST``: samples of either kind from which anything is said."""
MOST_FEATURES = 128
"""Values of a sample that the classifier sees; of more, so many random projections."""
STATISTICS = ("mean", "deviation", "smallest", "largest")


@dataclass(frozen=True)
class Signal:
    """One comparison of live with reference samples."""

    kind: str  # "ks", "psi" or "domain"
    feature: str
    effect: float  # the distance, the index, or the area under the curve
    p: float
    limit: float  # of the effect

    @property
    def alert(self) -> bool:
        """Whether effect and p-value both pass their limits."""
        return bool(self.effect >= self.limit and self.p < P_LIMIT)


def signals(
    reference: np.ndarray, live: np.ndarray, scores: tuple[np.ndarray, np.ndarray] | None = None, name: str = "input"
) -> tuple[Signal, ...]:
    """All signals of one input.

    Args:
        reference: samples, shape [n, ...], numeric.
        live: samples, shape [m, ...] with the same sizes behind the first axis.
        scores: scores of classes of both, shapes [n, classes] and [m, classes]; ``None`` where there are none.
        name: of the input.

    Returns:
        Nothing where one of them has fewer than :data:`FEWEST` samples.

    Example:
        >>> import numpy as np
        >>> draw = np.random.default_rng(0)
        >>> found = signals(draw.normal(size=(200, 5)), draw.normal(size=(200, 5)) + 3)
        >>> sorted({each.kind for each in found if each.alert})
        ['domain', 'ks']

    """
    if min(len(reference), len(live)) < FEWEST:
        return ()
    found = [*distances(reference, live, name), domain(reference, live, name)]
    return (*found, *(predictions(*scores) if scores else ()))


def distances(reference: np.ndarray, live: np.ndarray, name: str = "input") -> tuple[Signal, ...]:
    """The distance of each statistic of the samples; p-values are multiplied by their number (Bonferroni)."""
    from scipy.stats import ks_2samp

    found = []
    for statistic, old, new in zip(STATISTICS, _statistics(reference), _statistics(live), strict=True):
        test = ks_2samp(old, new, method="asymp")
        p = min(1.0, float(test.pvalue) * len(STATISTICS))
        found.append(Signal("ks", f"{name} {statistic}", float(test.statistic), p, KS_LIMIT))
    return tuple(found)


def predictions(reference: np.ndarray, live: np.ndarray) -> tuple[Signal, ...]:
    """The index of the confidence, in bins that hold a tenth of the reference each, and that of the predicted class."""
    old, new = reference.max(1), live.max(1)
    ends = np.unique(np.quantile(old, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(ends, each, side="left"), minlength=len(ends) + 1) for each in (old, new)]
    classes = [np.bincount(each.argmax(1), minlength=reference.shape[1]) for each in (reference, live)]
    return (_index("confidence", *counts), _index("class", *classes))


def domain(reference: np.ndarray, live: np.ndarray, name: str = "input") -> Signal:
    """How well a classifier tells the two apart: the area under the curve, 0.5 where it cannot."""
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.nan_to_num(_projected(np.concatenate([_flat(reference), _flat(live)])))
    kinds = np.repeat([0, 1], [len(reference), len(live)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that stopped early is good enough
        found = cross_val_predict(model, rows, kinds, cv=folds, method="decision_function")
    test = mannwhitneyu(found[kinds == 1], found[kinds == 0], alternative="greater")
    area = float(test.statistic) / (len(reference) * len(live))
    return Signal("domain", name, area, float(test.pvalue), AUC_LIMIT)


def _index(feature: str, old: np.ndarray, new: np.ndarray) -> Signal:
    from scipy.stats import chi2

    used = (old + new) > 0
    ours, theirs = (((each + 0.5) / (each + 0.5).sum())[used] for each in (old, new))
    value = float(((theirs - ours) * np.log(theirs / ours)).sum())
    scale = 1 / max(1, old.sum()) + 1 / max(1, new.sum())
    return Signal("psi", feature, value, float(chi2.sf(value / scale, max(1, used.sum() - 1))), PSI_LIMIT)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1).astype("float64")


def _statistics(array: np.ndarray) -> tuple[np.ndarray, ...]:
    rows = np.nan_to_num(_flat(array))
    return rows.mean(1), rows.std(1), rows.min(1), rows.max(1)


def _projected(rows: np.ndarray) -> np.ndarray:
    if rows.shape[1] <= MOST_FEATURES:
        return rows
    weights = np.random.default_rng(0).normal(size=(rows.shape[1], MOST_FEATURES))
    return np.asarray(rows @ weights / np.sqrt(rows.shape[1]))
