"""Notes about fixed input sizes that probably come from the example a model was exported with."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from workbench.records import Model, TensorSpec

CHANNELS = (1, 3, 4)
SHORT = 16
"""Longest fixed length of a token sequence that is likely to be an example's."""
_TOKENS = re.compile(r"ids|mask|token|segment|position", re.IGNORECASE)
CHANGEABLE = ("onnx", "tflite")
"""Formats whose files can run at other sizes than they declare."""


def placeholder_notes(model: Model, given: Collection[str]) -> tuple[str, ...]:
    """One note for each input whose fixed sizes look like an export's example, with the option that changes them.

    Two kinds are recognized: a height, width or length of 1, which exporters write for an axis that they could not leave free; and
    a short sequence of integers, such as token ids of length 8.

    Args:
        model: as its file declares it.
        given: inputs for which the user has given sizes; they are left out.
    """
    if model.format not in CHANGEABLE:
        return ()
    return tuple(note for spec in model.inputs if spec.name not in given for note in _notes(spec))


def _notes(spec: TensorSpec) -> Iterator[str]:
    axes = _suspected(spec)
    if not axes:
        return
    sizes = " × ".join("?" if size is None else str(size) for size in spec.shape)
    parts = [
        "?" if axis == spec.batch_axis
        else f"{_lowest(spec, axis)}" if axis in axes
        else str(size if size is not None else "?")
        for axis, size in enumerate(spec.shape)
    ]  # fmt: skip
    yield (
        f"The input '{spec.name}' is fixed to [{sizes}], which looks like the example that the model was exported with. If the "
        f'model takes other sizes, give them: --input-shapes "{spec.name}:{"x".join(parts)}"'
    )


def _lowest(spec: TensorSpec, axis: int) -> str:
    """An example of sizes for the option: smallest, usual and largest."""
    return "224" if len(spec.shape) == 4 else f"1..{64 if spec.shape[axis] == 1 else spec.shape[axis]}..128"


def _suspected(spec: TensorSpec) -> tuple[int, ...]:
    """Axes, other than batch and channels, of a size that an example has."""
    shape, inner = spec.shape, [axis for axis in range(len(spec.shape)) if axis != spec.batch_axis]
    if spec.batch_axis is None:
        return ()
    if len(shape) == 4:
        first = shape[inner[0]] in CHANNELS and shape[inner[2]] not in CHANNELS[1:]
        places = inner[1:] if first else inner[:2]
        return tuple(places) if all(shape[axis] == 1 for axis in places) else ()
    if len(shape) == 3:
        return (inner[0],) if shape[inner[0]] == 1 and (shape[inner[1]] or 0) > 1 else ()
    if len(shape) == 2 and "int" in spec.dtype and not spec.scale:
        size, fixed = shape[inner[0]], shape[spec.batch_axis] is not None
        # one number per sample is usual in tables; token ids are recognized by their name, or have a fixed batch as well
        short = size is not None and (2 <= size <= SHORT or (size == 1 and fixed))
        return (inner[0],) if short and (fixed or _TOKENS.search(spec.name)) else ()
    return ()
