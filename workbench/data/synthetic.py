"""Inputs generated from a signature: random ones, and structured ones that reveal a shifted or transposed result.

For noise a trained network gives nearly the same output at every position, so a conversion that shifts or transposes the
result can pass a comparison on noise. A ramp differs along every axis, and an impulse is off the centre: both reveal a shift.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workbench.data.samples import Samples
from workbench.records import TEXT, TensorSpec

if TYPE_CHECKING:
    import numpy as np

STRUCTURED = ("ramp", "impulse")
DRAWS = (*(("random", seed) for seed in range(3)), *((kind, 0) for kind in STRUCTURED))
"""Kinds and seeds of several different inputs."""
INTEGERS = 8
"""Upper bound of random integers without a declared range: they are valid indices of nearly any embedding."""


def generated(inputs: Iterable[TensorSpec], kind: str, count: int, *, seed: int = 0, which: str = "opt") -> Samples:
    """``count`` samples for ``inputs``, first axis = sample; inputs without a batch axis are made once, as constants.

    Args:
        inputs: the inputs of the model.
        kind: ``random``, ``ramp`` or ``impulse``.
        count: number of samples.
        seed: of the random values, and of the small differences between structured samples.
        which: the size given to free axes: ``min``, ``opt`` or ``max`` of their ranges.

    Values lie in the declared range; without one, floats lie in about -1 to 1, 8-bit integers in the range of their type and
    wider integers in 0 to 7. Text consists of words.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    rows, constants, axes = {}, {}, {}
    for spec in inputs:
        shape = spec.sized(1, which)
        if spec.batch_axis is None:
            constants[spec.name] = _constant(spec, shape, kind, generator)
            continue
        inner = tuple(size for axis, size in enumerate(shape) if axis != spec.batch_axis)
        rows[spec.name] = _values(spec, (count, *inner), kind, generator)
        if spec.batch_axis:
            axes[spec.name] = spec.batch_axis
    return Samples(kind, rows, constants=constants, axes=axes, number=count)


def _constant(spec: TensorSpec, shape: tuple[int, ...], kind: str, generator: np.random.Generator) -> np.ndarray:
    """One value for all samples: the declared one, zeros for a state, or a small positive integer."""
    import numpy as np

    if spec.low is None and spec.dtype.startswith("float"):
        return np.zeros(shape, spec.dtype)
    return np.asarray(_values(spec, (1, *shape), kind, generator)[0])


def _values(spec: TensorSpec, shape: tuple[int, ...], kind: str, generator: np.random.Generator) -> np.ndarray:
    import numpy as np

    if spec.dtype == TEXT:
        return generator.choice(np.array(["red", "green", "blue", "seven", "open the door"], dtype=object), shape)
    number = np.dtype(spec.dtype).kind
    if number == "b":
        return generator.integers(0, 2, shape).astype(bool)
    share = _shares(shape, kind, generator)
    if number in "iu":
        # bytes are images and audio samples, not indices
        byte = np.iinfo(spec.dtype) if np.dtype(spec.dtype).itemsize == 1 else None
        low = int(spec.low) if spec.low is not None else byte.min if byte else 0
        high = int(spec.high) if spec.high is not None else byte.max if byte else INTEGERS - 1
        return np.asarray(low + np.minimum(np.floor(share * (high - low + 1)), high - low)).astype(spec.dtype)
    if spec.low is not None and spec.high is not None:
        return np.asarray(spec.low + share * (spec.high - spec.low)).astype(spec.dtype)
    if kind == "random":
        return np.asarray(generator.standard_normal(shape)).astype(spec.dtype)
    return np.asarray(2 * share - 1).astype(spec.dtype)


def _shares(shape: tuple[int, ...], kind: str, generator: np.random.Generator) -> np.ndarray:
    """Values from 0 to 1 of this shape, first axis = sample; array elements are np.asarray of float64."""
    import numpy as np

    if kind == "random":
        return np.asarray(generator.random(shape))
    if kind == "ramp":
        total = np.zeros(shape)
        for axis, size in enumerate(shape[1:], start=1):
            # a different slope along every axis, so that an exchange of two axes is visible
            line = np.linspace(0, 1, size) ** (1 + 0.5 * (axis - 1))
            total = total + axis * line.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        weight = sum(range(1, len(shape))) or 1
        phase = np.arange(shape[0]).reshape([-1] + [1] * (len(shape) - 1)) / max(1, shape[0])
        return np.asarray((total / weight + 0.37 * phase) % 1.0)
    # the background has a small slope: normalization of constant values would only show the rounding of sums
    found = 0.2 + 0.1 * _shares(shape, "ramp", generator)
    # off the centre, and at another place along every second axis: otherwise a transposed square would be the same
    place = tuple(
        slice(size // 5, max(size // 5 + 1, size // 2))
        if axis % 2
        else slice(size // 2, max(size // 2 + 1, 5 * size // 6))
        for axis, size in enumerate(shape[1:])
    )
    found[(slice(None), *place)] = 0.9
    return np.asarray(found * (1 - 0.1 * (np.arange(shape[0]) % 5)).reshape([-1] + [1] * (len(shape) - 1)))
