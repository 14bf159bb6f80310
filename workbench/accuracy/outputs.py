"""A model's output in the form of the labels: class axis, threshold, wide numbers, finite rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.accuracy.truth import LabelKind, Truth
from workbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

ROUNDING = 1e-3
"""Distance of a probability from 0 to 1 that is due to rounding: a sum of probabilities in 16 bits is off by up to about this."""


def widened(array: np.ndarray) -> np.ndarray:
    """``array`` in a type whose arithmetic does not wrap or overflow: int64 for integers and bool, at least float32 for others.

    Text is returned as it is. Unsigned 64-bit integers become float64, because int64 cannot hold them.

    >>> import numpy
    >>> -widened(numpy.array([0, 255], "uint8"))
    array([   0, -255])
    """
    import numpy as np

    if array.dtype.kind in "OUS":
        return array
    if array.dtype.kind in "ib" or (array.dtype.kind == "u" and array.dtype.itemsize < 8):
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "u":
        return array.astype(np.float64)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def inner_shape(array: np.ndarray) -> tuple[int | None, ...]:
    """The shape per sample; the size of the first axis is ``None`` for a ragged array, whose rows follow the data."""
    import numpy as np

    if array.dtype == object and len(array) and isinstance(array.flat[0], np.ndarray):
        return (None, *array.flat[0].shape[1:])
    return array.shape[1:]


def by_row(array: np.ndarray) -> np.ndarray:
    """The values of each row in one axis, (n, values); NumPy's -1 does not work for arrays without a value.

    >>> import numpy
    >>> by_row(numpy.zeros((0, 3, 2))).shape
    (0, 6)
    """
    import math

    return array.reshape(len(array), math.prod(array.shape[1:]))


def finite_rows(array: np.ndarray) -> np.ndarray:
    """The samples that hold only finite numbers, bool, (n,)."""
    import numpy as np

    if None in inner_shape(array):
        return np.array([bool(np.isfinite(each).all()) for each in array], bool)
    wide = widened(array)
    if wide.dtype.kind != "f":
        return np.ones(len(wide), bool)
    return np.asarray(by_row(np.isfinite(wide)).all(axis=1))


def threshold_of(source: np.ndarray) -> float:
    """The value above which a single output means yes: 0.5 where the source model's finite values are probabilities (0 to 1 within
    rounding), else 0, as for logits.

    >>> import numpy
    >>> threshold_of(numpy.array([0.1, 0.9])), threshold_of(numpy.array([-3.0, 2.0]))
    (0.5, 0.0)
    """
    import numpy as np

    wide = widened(source)
    if wide.dtype.kind != "f":
        return 0.0
    values = wide[np.isfinite(wide)]
    probabilities = values.size == 0 or (values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING)
    return 0.5 if probabilities else 0.0


def squeezed(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """A shape per sample without axes of size one: dropping those cannot change the order of values."""
    return tuple(size for size in shape if size != 1)


def alike(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two shapes are equal; an axis of unknown size equals any."""
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def class_axes(
    inner: Sequence[int | None], positions: Sequence[int | None], wanted: int | None = None
) -> tuple[int, ...]:
    """The axes of an output that can hold the classes of positions, counted with the sample as axis 0.

    Args:
        inner: the output's shape per sample.
        positions: the labels' shape per sample.
        wanted: the axis that was set (negative: from the end); ``None``: the second axis and the last axis are tried.
    """
    count = len(inner) + 1
    tried = {1, count - 1} if wanted is None else {wanted % count if -count <= wanted < count else 0}
    found = []
    for axis in sorted(tried & set(range(1, count))):
        rest = (*inner[: axis - 1], *inner[axis:])
        if inner[axis - 1] != 1 and alike(rest, positions):
            found.append(axis)
    return tuple(found)


def in_form_of(truth: Truth, output: np.ndarray, name: str, asking: str) -> np.ndarray:
    """An output in the labels' form. Values are not reordered to make them fit.

    Returns:
        For classes: scores (n, classes), or one value per sample (n,). For positions: scores (n, ..., classes), or one value per
        position, in the labels' shape. For several labels, soft labels and real values: the shape of ``truth.values``. Else the
        output itself.

    Raises:
        InputError: the output's shape does not fit the labels.
    """
    import numpy as np

    wide = widened(output)
    if truth.kind in (LabelKind.TEXT, LabelKind.SEQUENCES, LabelKind.GIVEN, LabelKind.BOXES):
        return wide
    if wide.dtype.kind in "OUS":
        raise InputError(
            f"'{asking}' compares numbers, and the output '{name}' holds text. Choose wer or cer for text."
        )
    inner, labels = wide.shape[1:], truth.values.shape[1:]
    if truth.per_position:
        axes = class_axes(inner, labels, truth.class_axis)
        if len(axes) > 1:
            raise InputError(
                f"The output '{name}', {shown(wide.shape)}, may hold its classes on axis 1 or on the last. Set 'class_axis' to "
                "1 or -1."
            )
        if axes:
            return np.moveaxis(wide, axes[0], -1)
        if squeezed(inner) == squeezed(labels):
            return wide.reshape(len(wide), *labels)
    elif truth.kind in (LabelKind.CLASSES, LabelKind.ONE_HOT):
        plain = squeezed(inner)
        if len(plain) <= 1:
            return wide.reshape(len(wide), *(size for size in plain if size is not None))
    elif inner == labels or squeezed(inner) == labels:
        return wide.reshape(len(wide), *labels)
    raise InputError(misfit(asking, name, wide.shape, truth.values.shape))


def misfit(asking: str, name: str, output: Sequence[int | None], labels: Sequence[int | None]) -> str:
    """A message about shapes that do not fit, with the line that puts the labels' axes in order, if there is one.

    >>> misfit("rmse", "out", (9, 3, 6, 8), (9, 6, 8, 3))
    "'rmse' cannot compare the output 'out', [9 × 3 × 6 × 8], with labels [9 × 6 × 8 × 3]. Write y = y.transpose(0, 3, 1, 2)."
    """
    order = _order(output[1:], labels[1:])
    fix = (
        f"Write y = y.transpose({order})."
        if order
        else "Save the labels in the output's shape, or choose 'score_output'."
    )
    return f"'{asking}' cannot compare the output '{name}', {shown(output)}, with labels {shown(labels)}. {fix}"


def _order(wanted: Sequence[int | None], shape: Sequence[int | None]) -> str:
    """The axes for ``transpose`` that convert the labels' shape to the wanted one; "" where there are none.

    Orders that move channels between first and last are tried before any other.
    """
    import itertools

    count = len(shape)
    if count != len(wanted) or not 2 <= count <= 5:
        return ""
    usual = [(count - 1, *range(count - 1)), (*range(1, count), 0)]
    for axes in (*usual, *itertools.permutations(range(count))):
        if alike([shape[axis] for axis in axes], wanted) and list(axes) != list(range(count)):
            return ", ".join(map(str, (0, *(axis + 1 for axis in axes))))
    return ""


def shown(shape: Sequence[int | str | None]) -> str:
    """``[300 × 3 × 6 × 6]``; an axis of unknown size is ``?``."""
    return f"[{' × '.join('?' if size is None else str(size) for size in shape)}]"


def decided(outputs: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """The class that each output gives, int64, in the shape of ``truth``.

    ``outputs`` come from :func:`in_form_of`: scores with the classes on the last axis (the class with the largest score, the
    lowest of equals), integers in the shape of ``truth`` (already class numbers), or one value each (1 where it is above
    ``threshold``).
    """
    import numpy as np

    if outputs.shape != truth.shape:
        return np.asarray(outputs.argmax(axis=-1))
    if outputs.dtype.kind in "iu":
        return outputs
    return (outputs > threshold).astype(np.int64)
