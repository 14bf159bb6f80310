"""Behaviour of an opened model's outputs: whether they are repeatable and finite, follow the data in size, or copy an input.

It is observed by running the model on generated inputs: twice on the same one, with others in between, and after a second opening of
the model where opening is fast, because random numbers may be drawn once at opening.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.data.synthetic import DRAWS, generated
from workbench.errors import InputError
from workbench.models.formats import Runner
from workbench.records import TEXT, Model

if TYPE_CHECKING:
    import numpy as np

Outputs = Mapping[str, "np.ndarray"]

ROUNDING = 1e-5
"""Largest difference of two runs that counts as rounding, as a share of the largest value: parallel sums have no fixed order."""
CHEAP_S = 2.0
"""A model that opens within this time in seconds is opened a second time."""
LONGEST_S = 20.0
"""Time in seconds after which no further inputs are tried: a large model takes seconds for each."""


@dataclass
class Behaviour:
    """Observations by output."""

    varying: dict[str, str] = field(default_factory=dict)  # how it was observed that the output is not repeatable
    not_finite: dict[str, str] = field(default_factory=dict)  # "NaN for 3 of 5 generated inputs"
    ragged: dict[str, int] = field(default_factory=dict)  # the axis whose size follows the data
    copies: dict[str, str] = field(default_factory=dict)  # the input of which the output is a copy


def behaviour(model: Model, run: Runner, batch: int, reopen: Callable[[], Runner] | None = None) -> Behaviour:
    """Run ``model`` on several generated inputs of ``batch`` samples and observe its outputs.

    Inputs on which the model does not run are skipped.
    """
    found, ends = Behaviour(), time.monotonic() + LONGEST_S
    first = generated(model.inputs, "random", batch).feeds(0, batch)
    wanted = run(first)
    _compare(found, wanted, run(first), "two runs on the same input differ")
    seen = [(first, wanted)]
    for kind, seed in DRAWS[1:]:
        if time.monotonic() > ends:
            break
        feeds = generated(model.inputs, kind, batch, seed=seed).feeds(0, batch)
        try:
            seen.append((feeds, run(feeds)))
        except InputError:  # the model does not take such values
            continue
    if time.monotonic() < ends:
        _compare(found, wanted, run(first), "a run on the same input differs after runs on others")
    if reopen is not None and time.monotonic() < ends:
        _compare(found, wanted, reopen()(first), "the model opened a second time gives other values for the same input")
    by_output = {name: [outputs[name] for _, outputs in seen if name in outputs] for name in wanted}
    found.not_finite = {name: text for name, arrays in by_output.items() if (text := _not_finite(arrays))}
    for name in [name for name in wanted if name not in found.varying]:
        axis, source = _ragged_axis(by_output[name]), _copied(name, seen, model)
        found.ragged |= {} if axis is None else {name: axis}
        found.copies |= {name: source} if source else {}
    return found


def _compare(behaviour: Behaviour, first: Outputs, second: Outputs, how: str) -> None:
    """Note outputs that differ between two runs on one input, with the first observation ``how``."""
    for name, array in first.items():
        if name not in behaviour.varying and (name not in second or _differs(array, second[name])):
            behaviour.varying[name] = how


def _differs(one: np.ndarray, other: np.ndarray) -> bool:
    import numpy as np

    if one.shape != other.shape:
        return True
    if one.dtype.kind != "f":
        return not bool((one == other).all())
    first, second = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(first)
    if (finite != np.isfinite(second)).any():
        return True
    size = float(np.abs(first[finite]).max(initial=0.0))
    return bool((np.abs(first[finite] - second[finite]) > ROUNDING * size).any())


def _not_finite(arrays: Sequence[np.ndarray]) -> str:
    """The number of generated inputs for which an output holds NaN or infinity, as text; "" for none."""
    import numpy as np

    counts = []
    for word, test in (("NaN", np.isnan), ("infinite", np.isinf)):
        bad = sum(array.dtype.kind == "f" and bool(test(array).any()) for array in arrays)
        counts += [f"{word} for {bad} of {len(arrays)} generated inputs"] if bad else []
    return " and ".join(counts)


def _ragged_axis(arrays: Sequence[np.ndarray]) -> int | None:
    """The first axis whose size differs between inputs of one shape; ``None`` where all sizes are equal."""
    shapes = {array.shape for array in arrays}
    if len(shapes) < 2 or len({len(shape) for shape in shapes}) > 1:
        return None
    return next(axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1)


def _copied(name: str, seen: Sequence[tuple[Outputs, Outputs]], model: Model) -> str:
    """The input whose values an output had in all runs; "" where there is none."""
    for spec in model.inputs:
        if spec.dtype != TEXT and all(
            name in outputs and _equal(feeds[spec.name], outputs[name]) for feeds, outputs in seen
        ):
            return spec.name
    return ""


def _equal(source: np.ndarray, array: np.ndarray) -> bool:
    """Whether two arrays hold the same values in the same order, also with different shapes."""
    import numpy as np

    if array.dtype.kind not in "fiub" or source.size != array.size or not source.size:
        return False
    return bool(np.array_equal(source.ravel().astype(np.float64), array.ravel().astype(np.float64)))
