"""A model of speed over all points, from those that were measured: ridge regression on coordinates and their pairs, with its posterior.

The space is finite and categorical, and effects multiply: the logarithm of a sample's time is close to a sum of an effect of each
coordinate and of each pair of coordinates. Of a sample and not of a call: the time of a call of a batch size that was not measured is then
predicted in proportion to the batch. The effects have normal priors, of which those of pairs are smaller, so that the posterior says how sure
each prediction is (C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, sections 2.1 and 2.2). The size
of the effects is the most likely one of :data:`SIZES`, that of the noise of :data:`NOISES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

SIZES = (0.1, 0.17, 0.3, 0.55, 1.0, 1.7)
"""Standard deviations of the effects of coordinates, in logarithms of time."""
NOISES = (0.02, 0.05, 0.1)
"""Standard deviations of what coordinates and their pairs do not explain: noise of measuring, and interactions of more coordinates."""
PAIRS = 0.5
"""Standard deviation of the effects of pairs, as a share of that of coordinates."""


class Fitted(NamedTuple):
    """The model that was fitted to measured points."""

    places: np.ndarray
    residuals: np.ndarray  # of the measured points, from the mean of them all
    mean: float
    size: float
    noise: float
    covariance: np.ndarray  # of the measured points, with noise


class Guide:
    """Predicts the logarithm of every point's time of a call.

    Args:
        features: the coordinates of each point, as texts.
        batches: the batch size of each point.
        seed: of the samples.

    Example:
        >>> guide = Guide([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")], [1, 2, 1, 2], 0)
        >>> mean, spread = guide.predict({0: 0.0, 1: 0.7, 2: 1.0})
        >>> mean.shape, bool(spread[3] > spread[0])
        ((4,), True)

    """

    def __init__(self, features: Sequence[tuple[str, ...]], batches: Sequence[int], seed: int) -> None:
        self._x = _encoded(features)
        self._batches = np.log(batches)
        self._draw = np.random.default_rng(seed)

    def predict(self, measured: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation for each point; ``measured`` has logarithms of seconds by point."""
        fitted = self._fitted(measured)
        across = self._across(fitted)
        mean = fitted.mean + across @ np.linalg.solve(fitted.covariance, fitted.residuals)
        before = fitted.size**2 * (1 + np.einsum("ij,ij->i", self._x, self._x))
        known = np.einsum("ij,ji->i", across, np.linalg.solve(fitted.covariance, across.T))
        return mean + self._batches, np.sqrt(np.maximum(before - known, 0))

    def sample(self, measured: Mapping[int, float], count: int) -> np.ndarray:
        """So many times of all points that may be true, with noise, shape (count, points): samples of the posterior by Matheron's rule."""
        fitted = self._fitted(measured)
        effects = self._draw.normal(0, fitted.size, (count, self._x.shape[1] + 1))
        drawn = effects[:, 1:] @ self._x.T + effects[:, :1]
        noise = self._draw.normal(0, fitted.noise, (2, *drawn.shape))
        off = fitted.residuals - drawn[:, fitted.places] - noise[0][:, fitted.places]
        found = drawn + np.linalg.solve(fitted.covariance, off.T).T @ self._across(fitted).T
        sampled: np.ndarray = found + fitted.mean + self._batches + noise[1]
        return sampled

    def _across(self, fitted: Fitted) -> np.ndarray:
        """The covariance of each point and each measured one."""
        found: np.ndarray = fitted.size**2 * (self._x @ self._x[fitted.places].T + 1)
        return found

    def _fitted(self, measured: Mapping[int, float]) -> Fitted:
        """The most likely model."""
        places = np.fromiter(measured, int)
        times = np.fromiter(measured.values(), float) - self._batches[places]
        alike = self._x[places] @ self._x[places].T + 1
        residuals = times - times.mean()
        best, most = None, -np.inf
        for size, noise in itertools.product(SIZES, NOISES):
            covariance = size**2 * alike + noise**2 * np.eye(len(places))
            lower = np.linalg.cholesky(covariance)
            likelihood = -0.5 * (np.linalg.solve(lower, residuals) ** 2).sum() - np.log(np.diag(lower)).sum()
            if likelihood > most:
                best, most = (size, noise, covariance), likelihood
        assert best is not None
        return Fitted(places, residuals, float(times.mean()), *best)


def _encoded(features: Sequence[tuple[str, ...]]) -> np.ndarray:
    """A column for each value of a coordinate, and one with :data:`PAIRS` for each pair of values that occurs; shape (points, columns).

    Coordinates of which all points have the same value have no columns.
    """
    varied = [axis for axis, values in enumerate(zip(*features, strict=True)) if len(set(values)) > 1]
    wide = [tuple((axis, each[axis]) for axis in varied) for each in features]
    terms = [[*each, *itertools.combinations(each, 2)] for each in wide]
    columns = {term: place for place, term in enumerate(dict.fromkeys(term for each in terms for term in each))}
    found = np.zeros((len(features), len(columns)))
    for row, each in enumerate(terms):
        for number, term in enumerate(each):
            found[row, columns[term]] = 1 if number < len(varied) else PAIRS
    return found
