"""Which array or column of a data file is which: an input of the model, or the labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.data.inputs import fits
from workbench.errors import InputError
from workbench.records import TEXT, TensorSpec

if TYPE_CHECKING:
    import numpy as np


class Columns(NamedTuple):
    """The settings that name arrays or columns; an empty one names none."""

    label: str = ""
    group: str = ""


NO_COLUMNS = Columns()
"""Names neither."""
LABELS = ("y", "label", "labels")
"""Names of the labels where the setting ``label_column`` is empty."""
CALIBRATION = ("x_calibration", "calibration_x")


def label_name(names: Collection[str], column: str, inputs: Collection[str], path: Path) -> str | None:
    """The array or column that holds the labels; ``None`` where there is none.

    Args:
        names: all arrays or columns.
        column: the setting ``label_column``.
        inputs: the names of the model's inputs, which hold no labels.
        path: the data file, for messages.

    Raises:
        InputError: the data have no such array or column, or it is an input.
    """
    if not column:
        return next((name for name in LABELS if name in names and name not in inputs), None)
    if column in inputs:
        raise InputError(
            f"'label_column' names '{column}', which is an input of the model. Name another array or column."
        )
    return existing("label_column", column, names, path)


def existing(setting: str, column: str, names: Collection[str], path: Path) -> str:
    """``column``, which a setting names and the data have.

    Raises:
        InputError: the data have no such array or column.
    """
    if column not in names:
        raise InputError(
            f"'{setting}' names '{column}', and '{path.name}' has: {', '.join(sorted(filter(None, names)))}. Name one of these."
        )
    return column


def input_name(
    spec: TensorSpec, arrays: Mapping[str, np.ndarray], aside: Collection[str | None], path: Path, *, single: bool
) -> tuple[str, str]:
    """The array that holds the input ``spec``, and a phrase about it where it has another name.

    It has the name of the input. The only input of a model may also be named ``x``, or be the only array that fits it.

    Args:
        spec: the input.
        arrays: all arrays of the file, first axis = sample.
        aside: names of arrays that are no inputs, such as the labels.
        path: the data file, for messages.
        single: whether the model has one input.

    Raises:
        InputError: no array, or more than one, can be the input.
    """
    for name in (spec.name, *(("x",) if single else ())):
        if name in arrays and (name == spec.name or name not in aside):
            return name, ""
    rest = sorted(set(arrays) - {*aside, *CALIBRATION, f"calibration_{spec.name}"}) if single else []
    fitting = [name for name in rest if _fits(spec, arrays[name])]
    found = fitting or rest  # the only one is refused later, with the conversion that it needs
    if len(found) == 1:
        return found[0], f"; '{found[0]}' is the input '{spec.name}'"
    several = f" Several arrays fit it: {', '.join(fitting)}." if fitting else ""
    shown = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
    raise InputError(
        f"'{path.name}' has no array '{spec.name}' for the input {spec}; it has: {shown or 'none'}.{several} Save the input as "
        f"'{spec.name}'{' (or x)' if single else ''}."
    )


def _fits(spec: TensorSpec, array: np.ndarray) -> bool:
    kinds = "USO" if spec.dtype == TEXT else "fiub"
    return spec.batch_axis is not None and array.dtype.kind in kinds and fits(spec, array.shape)
