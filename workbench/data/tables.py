"""A table (CSV) as arrays, each column in the type of the model's input."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.array_names import LABELS, NO_COLUMNS, Columns, label_name
from workbench.data.csv_form import CsvForm, form_of
from workbench.data.inputs import bounds
from workbench.data.limits import check_size
from workbench.errors import InputError, brief
from workbench.records import TEXT, Model, TensorSpec

if TYPE_CHECKING:
    import numpy as np

MISSING = ("", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "null", "NULL", "None", "<NA>", "#N/A")
"""Cells that count as a missing number. In a column of text only empty cells are missing values."""


def read_table(path: Path, model: Model, limit: int, chosen: Columns = NO_COLUMNS) -> tuple[dict[str, np.ndarray], str]:
    """The columns of a table as inputs by name, the others by their own names; and a phrase that describes the table.

    An input of one value per sample is the column of its name; an input of k values is the columns ``name_0`` to
    ``name_<k-1>``, or all columns except the labels, in their order, where it is the only input. Labels are in the column
    that is chosen, or in ``y``, ``label`` or ``labels``. Separators are commas, semicolons, tabs or bars.

    Text stays text ("01234"); ``True`` and ``False`` become 1 and 0.

    Args:
        path: the file: UTF-8, or UTF-16 with a byte order mark.
        model: the model whose inputs the columns are.
        limit: largest size of the file, in bytes.
        chosen: the columns that hold labels and groups; they are not inputs, unless an input has the name of the groups.

    Raises:
        InputError: the table cannot be read, lacks a column, has an empty cell, or holds values outside the input's type.
    """
    if not path.is_file():
        raise InputError(f"The data '{path}' was not found. Give the path of a .csv file.")
    check_size(f"The table '{path}' has", path.stat().st_size, limit, "give a shorter one")
    columns = {spec.name: _names(spec) for spec in model.inputs}
    only_text = all(spec.dtype == TEXT for spec in model.inputs)
    text = {name for spec in model.inputs if spec.dtype == TEXT for name in columns[spec.name]}
    known = {
        *LABELS,
        *(name for names in columns.values() for name in names),
        *(name for name in chosen if not name.isdecimal()),
    } - {""}
    form = form_of(path, known, {*text, *("*" if only_text else ())})
    label = _label_column(form, chosen.label, columns, path)
    # a column without a name is not an input
    aside = {label, chosen.group if chosen.group not in columns else None, ""}
    rest = [name for name in form.names[form.row_numbers :] if name not in aside]
    for spec in model.inputs:
        columns[spec.name] = _chosen(spec, form, rest, path, single=len(model.inputs) == 1)
    text = {name for spec in model.inputs if spec.dtype == TEXT for name in columns[spec.name]}
    table = _read(path, form, text)
    arrays = {spec.name: _array(table, spec, columns[spec.name], path, form) for spec in model.inputs}
    if label is not None:
        arrays[label] = _label(table, label, path, form)
    if chosen.group and chosen.group in form.names:
        arrays.setdefault(chosen.group, table[chosen.group].astype(str).to_numpy().astype(str))
    used = {name for names in columns.values() for name in names}
    arrays.update({name: table[name].to_numpy() for name in rest if name not in {*used, *arrays}})
    rounded = [name for spec in model.inputs for name in columns[spec.name] if _is_rounded(table[name], spec)]
    return arrays, _description(form, rounded)


def _label_column(form: CsvForm, asked: str, inputs: Collection[str], path: Path) -> str | None:
    """The column that holds the labels; ``None`` where there is none, as where the first line holds values."""
    if asked and not form.header:
        raise InputError(
            f"'label_column' names '{asked}', and the first line of '{path.name}' holds values, not names. Add a first line of names."
        )
    return label_name(form.names, asked, inputs, path) if form.header else None


def _description(form: CsvForm, rounded: list[str]) -> str:
    """The table as a phrase, with the columns whose numbers were rounded."""
    nameless = "; a column without a name is not used" if "" in form.names[form.row_numbers :] else ""
    notes = form.description + nameless
    return notes + (f"; whole numbers rounded to the input's type: {', '.join(rounded)}" if rounded else "")


def _names(spec: TensorSpec) -> list[str]:
    """The names of the columns that hold the values of this input."""
    count = _values(spec)
    return [spec.name] if count == 1 else [f"{spec.name}_{number}" for number in range(count)]


def _values(spec: TensorSpec) -> int:
    """Number of values of this input in one row; 0 where an axis is free."""
    return math.prod(size or 0 for size in spec.inner)


def _chosen(spec: TensorSpec, form: CsvForm, rest: list[str], path: Path, *, single: bool) -> list[str]:
    """The columns for the input ``spec``."""
    count, names = _values(spec), _names(spec)
    numbered = [f"{spec.name}_{number}" for number in range(count)]
    if count == 1 and spec.name not in form.names and set(numbered) <= set(form.names):
        names = numbered
    if single and not set(names) <= set(form.names):
        names = rest
    missing = [name for name in names if name not in form.names]
    if not missing and len(names) == count:
        return names
    found = f"column '{missing[0]}' is missing" if missing else f"there are {len(names)} columns for it"
    if not form.header:
        raise InputError(
            f"The first line of '{path.name}' holds values, not names, and the input {spec} takes {count} of the {len(form.names)} "
            f"columns. Add a first line of names: {spec.name}_0, {spec.name}_1 and so on, and y for the labels."
        )
    if single and len(rest) == count + 1 == len(form.names) - form.row_numbers:
        raise InputError(
            f"The input {spec} takes {count} values per line of '{path.name}', which has {count + 1} columns. If one of them holds the "
            f"labels, set 'label_column' to its name; the last one is '{rest[-1]}'."
        )
    if spec.batch_axis is None:
        raise InputError(
            f"The input {spec} has no batch axis: it takes one array for all samples, which '{path.name}' does not hold. Save the data as "
            f"an .npz file with an array '{spec.name}'."
        )
    raise InputError(
        f"The input {spec} takes {count} values per line of '{path.name}', and {found}. Name the columns {spec.name}_0, "
        f"{spec.name}_1 and so on, and the labels y."
    )


def _read(path: Path, form: CsvForm, text: set[str]) -> Any:
    """The table as a pandas frame: ``text`` columns as text, the others in the types that their cells have."""
    import pandas as pd

    try:
        table = pd.read_csv(
            path,
            sep=form.separator,
            decimal=form.decimal,
            encoding=form.encoding,
            header=0 if form.header else None,
            names=list(form.names),
            index_col=False,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={name: [""] if name in text else list(MISSING) for name in form.names},
            low_memory=False,
        )
    except Exception as cause:
        raise InputError(
            f"'{path}' is not a readable CSV file: {brief(cause, 150)}. Save it with one line of names."
        ) from cause
    if not len(table):
        raise InputError(f"'{path.name}' has no lines below its names. Save at least one sample.")
    return table


def _line(row: int, form: CsvForm) -> int:
    """The line number of this row in the file, unless cells span several lines."""
    return row + 1 + form.header


def _check_filled(table: Any, names: list[str], path: Path, form: CsvForm) -> None:
    for name in names:
        empty = table[name].isna().to_numpy()
        if empty.any():
            raise InputError(
                f"Line {_line(int(empty.argmax()), form)} of '{path.name}' has an empty cell in the column '{name}'. Fill it, or "
                "remove the line."
            )


def _array(table: Any, spec: TensorSpec, names: list[str], path: Path, form: CsvForm) -> np.ndarray:
    """The columns ``names`` as the input ``spec``, first axis = line."""
    import numpy as np

    _check_filled(table, names, path, form)
    inner = spec.inner
    if spec.dtype == TEXT:
        return np.stack([table[name].to_numpy(object) for name in names], axis=1).reshape(-1, *inner)
    stored = spec.dtype if not spec.scale else "float32"  # real numbers, quantized when they are checked
    values = np.empty((len(table), len(names)), stored)
    for place, name in enumerate(names):
        values[:, place] = _numbers(table[name], spec, stored, path, form)
    return values.reshape(-1, *inner)


def _numbers(column: Any, spec: TensorSpec, stored: str, path: Path, form: CsvForm) -> np.ndarray:
    """One column as numbers that the type ``stored`` holds."""
    import numpy as np

    where = f"The column '{column.name}' of '{path.name}'"
    values = column.to_numpy()
    if values.dtype.kind not in "fiub":
        values = _mixed(column, where, form)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"{where} holds a number that is infinite or too large, in line {_line(row, form)}. Remove the line, or correct it."
        )
    if stored.startswith(("float", "bfloat")):
        return _as_float(values, spec, stored, where)
    low, high = bounds(stored)
    if values.dtype.kind == "f" and (values != np.round(values)).any():
        raise InputError(
            f"The input {spec} takes whole numbers. {where} holds other numbers. Round them as in training."
        )
    least, most = int(values.min()), int(values.max())
    if least < low or most > high:
        raise InputError(
            f"{where} holds values from {least} to {most}, and the input {spec} takes {low} to {high}. Number or scale them "
            "as in training."
        )
    return np.asarray(values.astype(stored))


def _as_float(values: np.ndarray, spec: TensorSpec, stored: str, where: str) -> np.ndarray:
    import numpy as np

    with np.errstate(over="ignore"):
        found = values.astype(stored)
    if values.dtype.kind != "b" and not np.isfinite(found.astype(np.float64)).all():
        raise InputError(
            f"{where} holds values from {float(values.min()):.6g} to {float(values.max()):.6g}, more than the type of the input {spec} "
            "holds. Scale them as in training."
        )
    return np.asarray(found)


def _is_rounded(column: Any, spec: TensorSpec) -> bool:
    """Whether this column holds integers that the floating-point type of ``spec`` does not represent exactly."""
    import numpy as np

    values = column.to_numpy()
    if values.dtype.kind not in "iu" or not spec.dtype.startswith("float"):
        return False
    exact = values.astype(np.longdouble)  # holds every integer of 64 bits
    return bool((values.astype(spec.dtype).astype(np.longdouble) != exact).any())


def _mixed(column: Any, where: str, form: CsvForm) -> np.ndarray:
    """Numbers of a column that pandas does not read as numbers: integers beyond 64 bits, or True and False among numbers."""
    import numpy as np
    import pandas as pd

    words = column.astype(str).str.strip()
    lower = words.str.lower()
    plain = words.where(~lower.isin(["true", "false"]), lower.map({"true": "1", "false": "0"}))
    numbers = pd.to_numeric(plain, errors="coerce")
    bad = numbers.isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        cell = str(words.iloc[row])
        raise InputError(
            f"{where} does not hold numbers: line {_line(row, form)} has '{cell[:40]}{'…' if len(cell) > 40 else ''}'. Convert it to "
            "numbers, as in training."
        )
    return np.asarray(numbers.to_numpy(np.float64))


def _label(table: Any, name: str, path: Path, form: CsvForm) -> np.ndarray:
    """The labels in the type of their cells; True and False become class 1 and 0."""
    import numpy as np

    _check_filled(table, [name], path, form)
    values = table[name].to_numpy()
    if values.dtype.kind == "b":
        return np.asarray(values.astype(np.int64))
    return np.asarray(values if values.dtype.kind in "fiu" else values.astype(str))
