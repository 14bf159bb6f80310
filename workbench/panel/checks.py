"""What cannot be used of the values that the controls hold, by setting and with the labels of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from workbench.accuracy.budget import NONE
from workbench.conformance.examination import Examination
from workbench.errors import InputError
from workbench.records import Model
from workbench.runs import pipeline
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS

FEWEST_ROUNDS = 6
NAME = re.compile(rf"'({'|'.join(SETTINGS)})'")
BARE = re.compile(rf"(?<![\w./'-])({'|'.join(name for name in SETTINGS if '_' in name)})(?![\w./'=-])")
"""A name without quotes, where it cannot be a word of the sentence."""


def labelled(message: str) -> str:
    """A message with the labels of the page in place of the names of settings.

    >>> labelled("'threads' must be a whole number")
    "'Threads' must be a whole number"
    """
    for each in (NAME, BARE):
        message = each.sub(lambda match: f"'{SETTINGS[match[1]].label}'", message)
    return message


def wrong_alone(values: Mapping[str, Any]) -> dict[str, str]:
    """Each value that its own setting refuses, by name."""
    found = {}
    for name, value in values.items():
        try:
            SETTINGS[name].parse(value)
        except InputError as error:
            found[name] = labelled(error.message)
    return found


def wrong_together(values: Mapping[str, Any], metric: str = "") -> dict[str, str]:
    """What is refused of values that are good one by one: by the experiment, by this machine, or by what is installed.

    ``metric`` is the name of a function that scores instead of the experiment's metric. The budget is in its unit.
    """
    try:
        # the form offers the baselines that there are
        experiment = replace(Experiment(**values).resolved(), baseline="")
        pipeline.check(replace(experiment, budget=NONE) if metric else experiment)
    except InputError as error:
        names = dict.fromkeys(match[1] for match in NAME.finditer(error.message))
        return dict.fromkeys(names or [""], labelled(error.message))
    return {}


def doubtful(experiment: Experiment, model: Model | None, looked: Examination | None) -> dict[str, str]:
    """What can be used and will not do what is meant, as far as model and graph are known."""
    return dict(_doubts(experiment, model, looked))


def _doubts(experiment: Experiment, model: Model | None, looked: Examination | None) -> Iterator[tuple[str, str]]:
    if experiment.rounds < FEWEST_ROUNDS:
        yield "rounds", f"With fewer than {FEWEST_ROUNDS} rounds there is no interval and no verdict."
    if experiment.max_measure_s < experiment.measure_s:
        label = SETTINGS["measure_s"].label
        yield "max_measure_s", f"This is less than '{label}', which is then measured in a single launch."
    outputs = [each.name for each in model.outputs] if model else []
    if outputs and experiment.score_output and experiment.score_output not in outputs:
        yield "score_output", f"The model has no output of this name. Choose from: {', '.join(outputs)}."
    facts = looked.facts if looked else None
    if facts is None or not facts.names:
        return
    known = {*facts.names, *facts.ops}
    for name in ("quantize", "keep"):
        if missing := [each for each in getattr(experiment, name) if each not in known]:
            types = ", ".join(list(facts.ops)[:6])
            yield name, f"The model has no operation or node named {', '.join(missing)}. Types of operations: {types}."
