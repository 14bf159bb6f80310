"""A model of speed over all points, from those that were measured: ridge regression on coordinates and their pairs.

The space is finite and categorical, and effects multiply: the logarithm of a call's time is close to a sum of an effect of each
coordinate and of each pair of coordinates. Bootstrap resamples of the measured points show how sure a prediction is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

BOOTSTRAPS, LAST_BOOTSTRAPS = 5, 40
"""Resamples while the search goes on, and for its last statement of what may have been missed."""
PENALTY = 1.0


class Guide:
    """Predicts the logarithm of every point's time of a call.

    Args:
        features: the coordinates of each point, as texts.
        seed: of the resamples.

    Example:
        >>> guide = Guide([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")], 0)
        >>> guide.predict({0: 0.0, 1: 1.0, 2: 2.0}).shape
        (5, 4)

    """

    def __init__(self, features: Sequence[tuple[str, ...]], seed: int) -> None:
        self._x = _encoded(features)
        self._draw = np.random.default_rng(seed)

    def predict(self, measured: Mapping[int, float], count: int = BOOTSTRAPS) -> np.ndarray:
        """Predictions of so many resamples for all points, shape (resamples, points); ``measured`` has logarithms of seconds by point."""
        from sklearn.linear_model import Ridge

        places = np.fromiter(measured, int)
        times = np.fromiter(measured.values(), float)
        found = []
        for _ in range(count):
            rows = self._draw.integers(0, len(places), len(places))
            fitted = Ridge(alpha=PENALTY).fit(self._x[places[rows]], times[rows])
            found.append(fitted.predict(self._x))
        return np.stack(found)


def _encoded(features: Sequence[tuple[str, ...]]) -> np.ndarray:
    """A column for each value of a coordinate and for each pair of values that occurs; shape (points, columns)."""
    wide = [tuple(enumerate(each)) for each in features]
    terms = [[*each, *itertools.combinations(each, 2)] for each in wide]
    varied = {term: place for place, term in enumerate(dict.fromkeys(term for each in terms for term in each))}
    found = np.zeros((len(features), len(varied)), np.float32)
    for row, each in enumerate(terms):
        found[row, [varied[term] for term in each]] = 1
    return found[:, found.min(axis=0) < 1] if len(features) > 1 else found
