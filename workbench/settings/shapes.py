"""Sizes and values of inputs, as given by the user and as derived from the signature.

``input_shapes`` names sizes, one entry per input, separated by ``;``::

    x:?x3x48x32..320..640; state:2x?x128; sr:scalar

``?`` is the batch, a number is a fixed size (also where the model declares another or none), and ``min..opt..max`` (or
``min..max``) are the sizes that are used for a dynamic axis. ``input_values`` names values::

    sr=16000; ids=0..30521
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from workbench.errors import InputError
from workbench.records import AxisRange, TensorSpec

Axis = str | int | tuple[int, int, int]  # "?", a fixed size, or (min, opt, max)

EXAMPLE_SHAPES = "x:?x3x224x224"
EXAMPLE_VALUES = "ids=0..999"
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")


def parse_shapes(text: str) -> dict[str, tuple[Axis, ...]]:
    """The sizes in ``text`` by input name.

    Raises:
        InputError: not of the form that this module describes.
    """
    found: dict[str, tuple[Axis, ...]] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, sizes = entry.rpartition(":")
        if not colon or not name or not sizes:
            raise InputError(f"'input_shapes' has '{entry}'; wanted is name:sizes, such as {EXAMPLE_SHAPES}.")
        scalar = sizes.strip() == "scalar"
        found[name.strip()] = () if scalar else tuple(_axis(size.strip(), entry) for size in sizes.split("x"))
    return found


def _axis(text: str, entry: str) -> Axis:
    if text == "?":
        return "?"
    if text.isdigit() and int(text) > 0:
        return int(text)
    if match := _RANGE.fullmatch(text):
        low, second, third = int(match[1]), int(match[2]), match[3]
        middle, high = (second, int(third)) if third else ((low + second + 1) // 2, second)
        if 1 <= low <= middle <= high:
            return (low, middle, high)
    raise InputError(
        f"'input_shapes' has the size '{text}' in '{entry}'; wanted is ? for the batch, a number, or min..opt..max, such as "
        f"{EXAMPLE_SHAPES} or x:?x1..16..64."
    )


def parse_values(text: str) -> dict[str, tuple[float, float]]:
    """The smallest and largest value in ``text`` by input name; both are equal for a single value.

    Raises:
        InputError: not of the form that this module describes.
    """
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, values = entry.rpartition("=")
        ends = values.split("..") if equals else []
        try:
            low, high = float(ends[0]), float(ends[-1])
            if len(ends) > 2 or not low <= high or not name.strip():
                raise ValueError
        except (ValueError, IndexError) as cause:
            raise InputError(
                f"'input_values' has '{entry}'; wanted is name=value or name=low..high, such as {EXAMPLE_VALUES}."
            ) from cause
        found[name.strip()] = (low, high)
    return found


def with_user(inputs: Iterable[TensorSpec], shapes: str, values: str) -> tuple[TensorSpec, ...]:
    """``inputs`` with the sizes and values given by the user.

    Raises:
        InputError: an input does not exist, its number of axes differs, or a value is outside the input's type.
    """
    specs = tuple(inputs)
    sizes, ranges = parse_shapes(shapes), parse_values(values)
    for field, given in (("input_shapes", sizes), ("input_values", ranges)):
        unknown = [name for name in given if name not in {spec.name for spec in specs}]
        if unknown:
            names = ", ".join(spec.name for spec in specs)
            raise InputError(
                f"'{field}' names the input '{unknown[0]}', which the model does not have; it has: {names}."
            )
    return tuple(_with_values(_with_sizes(spec, sizes), ranges) for spec in specs)


def _with_sizes(spec: TensorSpec, sizes: Mapping[str, tuple[Axis, ...]]) -> TensorSpec:
    if spec.name not in sizes:
        return spec
    given = sizes[spec.name]
    if len(given) != len(spec.shape):
        raise InputError(
            f"'input_shapes' gives {len(given)} axes to '{spec.name}', which has {len(spec.shape)} ({spec}). Give one size "
            "for each."
        )
    if given.count("?") > 1:
        raise InputError(f"'input_shapes' marks several axes of '{spec.name}' with ?; only one can be the batch.")
    batch = spec.batch_axis
    if "?" in given:
        batch = given.index("?")
    elif batch is not None and not isinstance(given[batch], int):
        batch = None
    shape, ranges = [], []
    for axis, (declared, size) in enumerate(zip(spec.shape, given, strict=True)):
        if isinstance(size, int) and declared is None and axis != batch:
            size = (size, size, size)  # the axis stays free in the graph; only this size is used  # noqa: PLW2901
        shape.append(size if isinstance(size, int) else None)
        if isinstance(size, tuple):
            ranges.append(AxisRange(axis, *size))
    return replace(spec, shape=tuple(shape), batch_axis=batch, ranges=tuple(ranges))


def _with_values(spec: TensorSpec, ranges: Mapping[str, tuple[float, float]]) -> TensorSpec:
    if spec.name not in ranges:
        return spec
    low, high = ranges[spec.name]
    if spec.dtype.startswith(("int", "uint")) and (low != int(low) or high != int(high)):
        raise InputError(
            f"'input_values' gives {low}..{high} to '{spec.name}', which holds whole numbers ({spec.dtype})."
        )
    return replace(spec, low=low, high=high)


def with_batch_axes(
    inputs: Iterable[TensorSpec], names: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[TensorSpec, ...]:
    """``inputs`` with the batch axis guessed from the signature; the guess is tried when the model is opened.

    It is the first axis of the first input whose first axis is dynamic; in other inputs the axis of the same symbolic
    name (``names``: the ONNX axis names by input), else the first if dynamic, else the only dynamic one. Where nothing
    is dynamic it is the first input's first axis, and in the others the first, or only, one of that size. Scalars have none.
    """
    specs = tuple(inputs)
    symbol = _symbol(specs, names or {})
    dynamic = any(spec.shape and spec.shape[0] is None for spec in specs)
    firsts = [spec.shape[0] for spec in specs if spec.shape]
    return tuple(
        replace(spec, batch_axis=_guess(spec, (names or {}).get(spec.name, ()), symbol, dynamic, firsts))
        for spec in specs
    )


def _symbol(specs: tuple[TensorSpec, ...], names: Mapping[str, tuple[str, ...]]) -> str:
    return next((names[s.name][0] for s in specs if s.shape and s.shape[0] is None and names.get(s.name)), "")


def _guess(
    spec: TensorSpec, names: tuple[str, ...], symbol: str, dynamic: bool, firsts: list[int | None]
) -> int | None:
    if not spec.shape:
        return None
    if symbol and symbol in names:
        return names.index(symbol)
    if dynamic:  # an input with a fixed first axis, where other inputs have a dynamic one, has its batch on another axis, or none
        return 0 if spec.shape[0] is None else _only(spec.shape, None)
    return 0 if spec.shape[0] == firsts[0] else _only(spec.shape, firsts[0])


def _only(shape: tuple[int | None, ...], size: int | None) -> int | None:
    """The only axis of this size; ``None`` where there is none, or where there are several."""
    axes = [axis for axis, each in enumerate(shape) if each == size]
    return axes[0] if len(axes) == 1 else None
