"""The search itself: what is measured next, and why. It measures with a function that is passed to it, so that recorded grids can replace a machine.

It begins with a point of each backend and precision, whose accuracy decides which of them go on. Then it measures the point with the highest
expected gain: by how much it is better than the best one so far where it holds the latency limit, on average over the times that are likely
for it (the expected improvement of J. Mockus, 1975), until its share of the points is spent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from workbench.search.under_limits.guide import Guide
from workbench.search.under_limits.wanted import FEWEST, MeasuredPoint, Point, Wanted

AT_ONCE, SAMPLES = 20, 40
QUANTILES = np.array([NormalDist().inv_cdf((place + 0.5) / 32) for place in range(32)])
"""Of a normal distribution, equally likely."""
BETTER = 1.02
"""A point that was missed counts if it is better than the best by more than this."""


class SearchStep(NamedTuple):
    """A point that was measured, in order, with the reason for its choice."""

    place: int
    why: str
    measured: MeasuredPoint


@dataclass
class PointSearch:
    """One search over points.

    Attributes:
        points: the whole space.
        wanted: objective and limits.
        measure: measures one point, with its accuracy if asked for.
        refused: says which pairs of backend and precision must not be taken, after their first point; by their names the reason.
        seed: of the start and of the resamples.
    """

    points: Sequence[Point]
    wanted: Wanted
    measure: Callable[[int, bool], MeasuredPoint]
    refused: Callable[[], Collection[tuple[str, str]]] = tuple
    seed: int = 0
    steps: list[SearchStep] = field(default_factory=list)

    def run(self, budget: int, stop: Callable[[], bool] = lambda: False) -> Iterator[SearchStep]:
        """Measure up to ``budget`` points, and yield each."""
        guide = self._guide()
        for place, why in self._start(budget):
            if stop():
                return
            yield self._measured(place, why, scored=True)
        while len(self.steps) < min(budget, len(self.points)) and not stop():
            chosen = self._next(guide)
            if not chosen:
                return
            for place, why in chosen[: budget - len(self.steps)]:
                if stop():
                    return
                yield self._measured(place, why, scored=False)

    def _guide(self) -> Guide:
        return Guide([point.features for point in self.points], [point.batch for point in self.points], self.seed)

    def _start(self, budget: int) -> list[tuple[int, str]]:
        """A random point of each backend and precision, threads and batches spread evenly over them."""
        draw = random.Random(self.seed)  # noqa: S311 - an order, not a secret
        pairs: dict[tuple[str, str], list[int]] = {}
        for place in draw.sample(range(len(self.points)), len(self.points)):
            pairs.setdefault(self.points[place].pair, []).append(place)
        used: dict[str, int] = {}
        chosen = []
        for pair, places in pairs.items():
            place = min(places, key=lambda each: sum(used.get(text, 0) for text in self._spread(each)))
            for text in self._spread(place):
                used[text] = used.get(text, 0) + 1
            chosen.append((place, f"the first of {' '.join(pair)}"))
        return chosen[:budget]

    def _spread(self, place: int) -> list[str]:
        return [f"{number}:{text}" for number, text in enumerate(self.points[place].features[2:])]

    def _measured(self, place: int, why: str, *, scored: bool) -> SearchStep:
        step = SearchStep(place, why, self.measure(place, scored))
        self.steps.append(step)
        return step

    def _times(self) -> dict[int, float]:
        return {step.place: math.log(step.measured.call_s) for step in self.steps if step.measured.call_s}

    def _costs(self) -> dict[int, float]:
        """Logarithms of what the objective counts."""
        found = {step.place: step.measured.cost(self.wanted) for step in self.steps}
        return {place: math.log(cost) for place, cost in found.items() if cost}

    def _open(self) -> list[int]:
        """The points that may still be measured."""
        done, refused = {step.place for step in self.steps}, set(self.refused())
        return [place for place, point in enumerate(self.points) if place not in done and point.pair not in refused]

    def _next(self, guide: Guide) -> list[tuple[int, str]]:
        """The next points with the reasons: one for each :data:`AT_ONCE` that were measured, the most promising first."""
        places, times = self._open(), self._times()
        if len(times) < 2:
            return [(place, "too few points were measured to predict any") for place in places[:1]]
        if not places:
            return []
        mean, spread = (each[places] for each in guide.predict(times))
        held = np.exp(mean + QUANTILES[:, np.newaxis] * spread) <= self.wanted.latency_s
        nearest, likely = int(mean.argmin()), np.exp(mean) <= self.wanted.latency_s
        if self.wanted.energy:  # its errors are taken as independent of those of the times
            mean, spread = (each[places] for each in guide.predict(self._costs()))
            held = held.mean(axis=0)
        gains = self._gains(mean + QUANTILES[:, np.newaxis] * spread, held, places)
        best = [int(each) for each in np.argsort(-gains, kind="stable") if gains[each] > 0]
        if not best and not self.ranked():
            why = "no point is predicted to hold the latency limit; this one is nearest to it"
            return [(places[nearest], why)]
        if not best:
            values = self._values(mean, places) * likely
            return [(places[int(values.argmax())], "no point is predicted to be better; this one is the nearest")]
        reasons = (
            _reason(mean[each], spread[each], self.points[places[each]].batch if self.wanted.energy else 0)
            for each in best
        )
        return list(zip([places[each] for each in best[: 1 + len(times) // AT_ONCE]], reasons, strict=False))

    def _gains(self, logs: np.ndarray, held: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """By how much each point is expected to be better than the best one that was measured; times over the limit gain nothing.

        Args:
            logs: equally likely logarithms of costs, shape (costs, points).
            held: whether each of them holds the latency limit, or how likely it is, shape (costs, points) or (points,).
            places: the points.
        """
        ranked = self.ranked()
        best = self._value(ranked[0]) if ranked else 0.0
        gains = np.maximum(self._values(logs, places) - best, 0) * held
        found: np.ndarray = gains.mean(axis=0)
        return found

    def _values(self, logs: np.ndarray, places: Sequence[int]) -> np.ndarray:
        batches = np.array([self.points[place].batch for place in places])
        found: np.ndarray = self.wanted.value(np.exp(logs), batches)
        return found

    def ranked(self) -> list[SearchStep]:
        """The measured points that hold all limits, the best first."""
        refused = set(self.refused())
        able = [
            step
            for step in self.steps
            if step.measured.holds(self.wanted) and self.points[step.place].pair not in refused
        ]
        return sorted(able, key=lambda step: -self._value(step))

    def _value(self, step: SearchStep) -> float:
        cost = step.measured.cost(self.wanted)
        assert cost is not None
        return float(self.wanted.value(cost, self.points[step.place].batch))

    def front(self) -> list[SearchStep]:
        """The Pareto front of latency and throughput, or of latency and energy where the least of it is wanted: the measured points for which
        no other is better in both.
        """
        found: list[SearchStep] = []
        for step in sorted(self.ranked(), key=lambda one: one.measured.call_s or 0.0):
            if not found or self._rate(step) > self._rate(found[-1]):
                found.append(step)
        return found

    def _rate(self, step: SearchStep) -> float:
        """Samples per second or per joule."""
        return self.points[step.place].batch / (step.measured.cost(self.wanted) or 1.0)

    def missed(self) -> float | None:
        """The estimated chance that a point that was not measured is better than the best by more than 2 %; ``None``: nothing to judge by.

        The share of samples of the model's posterior in which one is.
        """
        ranked, places, times = self.ranked(), self._open(), self._times()
        if ranked and not places:
            return 0.0
        if not ranked or len(times) < FEWEST:
            return None
        guide = self._guide()
        sampled = guide.sample(times, SAMPLES)[:, places]
        held = np.exp(sampled) <= self.wanted.latency_s
        if self.wanted.energy:
            sampled = guide.sample(self._costs(), SAMPLES)[:, places]
        better = self._values(sampled, places) > self._value(ranked[0]) * BETTER
        return float((better & held).any(axis=1).mean())


def _reason(mean: float, spread: float, batch: int) -> str:
    """Why a point comes next; ``batch``: where energy is wanted, whose unit is that of a sample, and 0 else."""
    low, high = (math.exp(mean + sign * spread) * 1e3 / max(1, batch) for sign in (-1, 1))
    return (
        f"predicted {low:.3g} to {high:.3g} {'mJ a sample' if batch else 'ms a call'}: its expected gain is the highest"
    )


def budget_of(points: int, share: float) -> int:
    """How many points a search measures: this share of them, at least :data:`FEWEST`."""
    return min(points, max(FEWEST, math.ceil(share * points)))
