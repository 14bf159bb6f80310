"""The samplers of Optuna as methods of ``search.py``: TPE and NSGA-II, with the latency limit as a constraint."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from workbench.errors import optional
from workbench.search.under_limits.wanted import Point, Wanted

INSTALL = "pip install 'optuna>=5'"
POPULATION, GENERATIONS = 24, 6
"""Points of a generation of NSGA-II, fewer where the budget has not so many generations."""
REPEATS = 20
"""Proposals for each point of the budget, after which a sampler that repeats itself is ended."""
Sampler = Callable[[Any, int, int], Any]
"""(package, budget, seed) to a sampler."""


def tpe(optuna: Any, _: int, seed: int) -> Any:
    """Coordinates that only some pairs have are in groups of their own."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)


def nsga2(optuna: Any, budget: int, seed: int) -> Any:
    population = min(POPULATION, max(4, budget // GENERATIONS))
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)


def sampled(
    sampler: Sampler, points: list[Point], wanted: Wanted, seed: int, budget: int, measure: Callable[[int], float]
) -> dict[int, float]:
    """The times of the points that a sampler measured, by place; a point that it proposes again is not measured again.

    Its coordinates are a pair of backend and precision, and for this pair the values that its points have. A combination that is not a
    point of the grid is a failed trial and costs nothing.

    Raises:
        MissingPackageError: Optuna is not installed.
    """
    optuna: Any = optional("optuna", INSTALL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    where = {point.features: place for place, point in enumerate(points)}
    values: dict[str, list[list[str]]] = {}
    for pair in dict.fromkeys(point.pair for point in points):
        own = [point.features[2:] for point in points if point.pair == pair]
        values[" ".join(pair)] = [list(dict.fromkeys(axis)) for axis in zip(*own, strict=True)]
    known: dict[int, float] = {}

    def propose(trial: Any) -> int | None:
        pair = trial.suggest_categorical("pair", list(values))
        rest = [trial.suggest_categorical(_name(axis, choices), choices) for axis, choices in enumerate(values[pair])]
        return where.get((*pair.split(" "), *rest))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = sampler(optuna, budget, seed)
        study = optuna.create_study(direction="maximize", sampler=made)
        for _ in range(REPEATS * budget):
            if len(known) >= budget:
                break
            trial = study.ask()
            place = propose(trial)
            if place is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            seconds = known[place] = known.get(place) or measure(place)
            trial.set_constraint("latency", math.log(seconds / wanted.latency_s))
            study.tell(trial, math.log(wanted.value(seconds, points[place].batch)))
    return known


def _name(axis: int, choices: Sequence[str]) -> str:
    """Equal choices of several pairs are one coordinate, so that what is learnt of one pair serves the others."""
    return f"{axis}: {', '.join(choices)}"
