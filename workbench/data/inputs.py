"""Checks whether an array fits an input of the model: its shape, its values and its type.

Arrays are not reshaped, transposed or rounded. Only conversions that keep every value are made (``True`` to 1, integers to
another integer type that holds them, bytes to text, another byte order). Other arrays are refused with a message that gives the
conversion to write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from workbench.data.samples import chunks
from workbench.errors import InputError
from workbench.records import TEXT, TensorSpec

if TYPE_CHECKING:
    import numpy as np

MOST_AXES = 6
"""Most axes of an array whose axes are tried in every order."""
CLIPPED_SPANS = 1.0
"""Distance outside the range of a quantized input, in spans of that range, beyond which real values must have another scale."""


def fed(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` converted for the input ``spec``, first axis = sample.

    Args:
        spec: the input. ``array`` has its axes, the batch axis moved to the front.
        array: shape ``(samples, *inner)``.
        where: description of the array for messages, such as "the array 'x' of 'data.npz'".

    Returns:
        An array of ``spec.dtype`` (``object`` for text) with the same values. Real numbers for an input of a quantized file
        are converted to the stored integers: ``round(x / scale) + zero_point``, clipped to the range of the type.

    Raises:
        InputError: the shape does not fit, there are no rows, a value is not finite, or the type does not hold the values.
    """
    inner = spec.inner
    if not fits(spec, array.shape):
        raise InputError(
            f"The input '{spec.name}' expects {_text((None, *inner))}, but {where} has {_text(array.shape)}. "
            f"{_advice(array.shape, inner, spec.name)}"
        )
    if len(array) == 0:
        raise InputError(f"The input '{spec.name}' gets no samples: {where} has no rows. Save at least one sample.")
    return converted(spec, array, where)


def converted(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` of any shape in the type of ``spec``; see :func:`fed`."""
    import numpy as np

    if spec.dtype == TEXT:
        return _as_text(spec, array, where)
    kind, wanted = array.dtype.kind, np.dtype(spec.dtype)
    if kind in "USOMmVc":
        raise InputError(
            f"The input '{spec.name}' expects {spec.dtype}, but {where} has {_type(array)}. Save it as numbers of that type."
        )
    if not array.size:
        return array.astype(wanted)
    if kind == "f":
        _check_finite(array, where)
    if spec.scale and kind == "f":
        return _quantized(spec, array, where)
    if array.dtype == wanted:
        return array
    if array.dtype.newbyteorder("=") == wanted or (kind == "b" and not spec.scale):
        return array.astype(wanted)
    if spec.scale:
        raise InputError(
            f"The input '{spec.name}' of a quantized file takes real numbers, or its stored integers as {spec.dtype}; {where} has "
            f"{array.dtype}. Convert real numbers with x.astype('float32'), scaled as in training."
        )
    if kind in "iu" and wanted.kind in "iub":
        _check_range(spec, array, where)
        return array.astype(wanted)
    raise InputError(
        f"The input '{spec.name}' expects {spec.dtype}, but {where} has {array.dtype}. {_conversion(spec, array)}"
    )


def bounds(dtype: str) -> tuple[int, int]:
    """The smallest and the largest value of an integer type, or of ``bool``.

    Example:
        >>> bounds("int8"), bounds("bool")
        ((-128, 127), (0, 1))

    """
    import numpy as np

    if np.dtype(dtype).kind == "b":
        return 0, 1
    ends = np.iinfo(dtype)
    return int(ends.min), int(ends.max)


def possible_channels_twice(spec: TensorSpec) -> bool:
    """Whether an image input has the same shape with its channels first and last, so that a wrong order is not detected."""
    sizes = spec.inner
    if len(sizes) != 3:
        return False
    first, last = sizes[0], sizes[-1]
    return first == last and (first is None or first in (1, 3, 4))


def fits(spec: TensorSpec, shape: Sequence[int]) -> bool:
    """Whether an array of this shape, first axis = sample, has the sizes of the input."""
    return _fits(shape, spec.inner)


def _fits(shape: Sequence[int], inner: Sequence[int | None]) -> bool:
    return len(shape) == len(inner) + 1 and all(
        wanted in (None, size) for wanted, size in zip(inner, shape[1:], strict=True)
    )


def _text(shape: Sequence[int | None]) -> str:
    return f"[{' × '.join('?' if size is None else str(size) for size in shape)}]"


def _advice(shape: Sequence[int], inner: Sequence[int | None], name: str) -> str:
    """The conversion by which an array of shape ``shape`` fits ``(samples, *inner)`` with every value at its position."""
    order = _order(shape, inner)
    if order:
        return f"The axes are in another order: use x.transpose({', '.join(map(str, order))}); a reshape would mix up the values."
    number = len(shape)
    if number == len(inner) and _fits((1, *shape), inner):
        return "It is a single sample: use x[numpy.newaxis]."
    for axis in range(1, number + 1):
        if _fits((*shape[:axis], 1, *shape[axis:]), inner):
            return f"Add the axis of size 1: use numpy.expand_dims(x, {axis})."
    for axis in range(1, number):
        if shape[axis] == 1 and _fits((*shape[:axis], *shape[axis + 1 :]), inner):
            return f"Remove the axis of size 1: use x.squeeze({axis})."
    return _flattening(shape, inner) or f"Save samples of the size that '{name}' takes, prepared as in training."


def _order(shape: Sequence[int], inner: Sequence[int | None]) -> tuple[int, ...]:
    """The order of axes in which the array fits; of several the one that changes least and keeps the samples first."""
    if len(shape) != len(inner) + 1 or len(shape) > MOST_AXES:
        return ()
    fitting = [order for order in permutations(range(len(shape))) if _fits([shape[axis] for axis in order], inner)]

    def changes(order: tuple[int, ...]) -> tuple[bool, int]:
        return order[0] != 0, sum(before > after for i, before in enumerate(order) for after in order[i:])

    return min(fitting, key=changes, default=())


def _flattening(shape: Sequence[int], inner: Sequence[int | None]) -> str:
    """The conversion for samples that were flattened or must be flattened; "" where that does not fit."""
    known = [size for size in inner if size is not None]
    if len(known) < len(inner) or len(shape) < 2 or math.prod(shape[1:]) != math.prod(known):
        return ""
    if len(inner) == 1:
        return "If the model was trained on samples flattened in this order of axes, use x.reshape(len(x), -1)."
    if len(shape) > 2:
        return (
            "The sizes differ although the number of values is the same: save the samples as the model was trained on them; a "
            "reshape would mix up the values."
        )
    sizes = ", ".join(map(str, known))
    text = f"If each row was flattened from {_text(known)}, use x.reshape(-1, {sizes})"
    if len(known) == 3 and known[-1] in (3, 4):
        height, width, channels = known
        return f"{text}; if it was flattened with the channels first, use x.reshape(-1, {channels}, {height}, {width}).transpose(0, 2, 3, 1)."
    if len(known) == 3 and known[0] in (3, 4):
        channels, height, width = known
        return f"{text}; if it was flattened with the channels last, use x.reshape(-1, {height}, {width}, {channels}).transpose(0, 3, 1, 2)."
    return f"{text}."


def _as_text(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    import numpy as np

    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8").astype(object)
        except UnicodeDecodeError as cause:
            raise InputError(
                f"The input '{spec.name}' expects text, and {where} holds bytes that are not UTF-8. Save it as text."
            ) from cause
    if array.dtype.kind not in "UO":
        raise InputError(
            f"The input '{spec.name}' expects text, but {where} has {array.dtype}. Save it with x.astype(str)."
        )
    return array.astype(object)


def _type(array: np.ndarray) -> str:
    return {"U": "text", "S": "bytes", "O": "objects"}.get(array.dtype.kind, str(array.dtype))


def _check_finite(array: np.ndarray, where: str) -> None:
    import numpy as np

    start = 0
    for rows in chunks(array):
        good = np.isfinite(rows)
        if not good.all():
            bad = start + (0 if array.ndim == 0 else int(np.flatnonzero(~good.reshape(len(rows), -1).all(axis=1))[0]))
            raise InputError(
                f"A value that is not a number or is infinite is in row {bad} of {where}. "
                "Remove such rows, for example with numpy.isfinite."
            )
        start += 1 if array.ndim == 0 else len(rows)


def _check_range(spec: TensorSpec, array: np.ndarray, where: str) -> None:
    """Refuse whole numbers that the type of ``spec`` does not hold: they would wrap around."""
    low, high = bounds(spec.dtype)
    least, most = int(array.min()), int(array.max())
    if least < low or most > high:
        raise InputError(
            f"The input '{spec.name}' takes {spec.dtype}, {low} to {high}, and {where} ({array.dtype}) holds values from {least} to "
            f"{most}. Converting would wrap them; number or scale them as in training."
        )


def _quantized(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """Real numbers as the integers by which a quantized file stores them."""
    import numpy as np

    low, high = bounds(spec.dtype)
    real_low, real_high = spec.scale * (low - spec.zero_point), spec.scale * (high - spec.zero_point)
    least, most, room = float(array.min()), float(array.max()), CLIPPED_SPANS * (real_high - real_low)
    if least < real_low - room or most > real_high + room:
        raise InputError(
            f"The input '{spec.name}' represents values from {real_low:.4g} to {real_high:.4g}, and {where} holds values from "
            f"{least:.4g} to {most:.4g}, which would be clipped. Scale them as in training."
        )
    real = array.astype(np.float32) if array.itemsize < 4 else array  # 16 bits would round the quotient
    stored = np.empty(array.shape, spec.dtype)
    stored[...] = np.clip(np.round(real / spec.scale) + spec.zero_point, low, high)
    return stored


def _conversion(spec: TensorSpec, array: np.ndarray) -> str:
    """The conversion to the right type that keeps the meaning of the values."""
    wanted_real, real = spec.dtype.startswith(("float", "bfloat")), array.dtype.kind == "f"
    if wanted_real and not real:
        return f"Convert it with x.astype('{spec.dtype}') and scale the values as in training."
    if real and not wanted_real:
        return f"Make the numbers whole as in training, check that they lie within the type's range, and convert with x.astype('{spec.dtype}')."
    return f"Convert it with x.astype('{spec.dtype}')."
