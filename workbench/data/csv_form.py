"""How a table is written: its separator, its decimal mark, and whether its first line holds names.

Found from the first lines, because nothing in a CSV file says so.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError, brief

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
"""In the order in which they are tried: a decimal comma would otherwise look like a separator."""
LOOKED_AT = 200
"""Lines that are looked at."""
ENCODINGS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)
_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_BOOLEAN = {"true", "false"}


@dataclass(frozen=True)
class CsvForm:
    """How to read one table."""

    encoding: str
    separator: str
    decimal: str
    names: tuple[str, ...]  # of its columns, in the file's order; made up (0, 1 …) where the first line holds values
    header: bool  # the first line holds the names
    row_numbers: bool = False  # the first column has no name and numbers the rows

    @property
    def told(self) -> str:
        """What was found that a reader could not expect, in words."""
        found = [f"separated by {SEPARATORS[self.separator]}"] if self.separator != "," else []
        found += ["with decimal commas"] if self.decimal == "," else []
        text = f"; read as {' and '.join(found)}" if found else ""
        if not self.header:
            text += (
                "; the first line holds values, not names: all columns are fed in their order, and there are no labels"
            )
        return text + (
            "; its first column, which has no name and numbers the rows, is left out" if self.row_numbers else ""
        )


def form_of(path: Path, known: Collection[str], text: Collection[str]) -> CsvForm:
    """How the table ``path`` is written.

    Args:
        path: the file.
        known: names of columns that a header would have: those of the model's inputs, and those of labels.
        text: names of the columns that are text for the model, which say nothing of numbers; "*" for all.

    Raises:
        InputError: it cannot be read, is not UTF-8 (or UTF-16 with a mark), or its lines do not have the same number of cells.
    """
    encoding = _encoding(path)
    lines = _lines(path, encoding)
    separator, rows = _separated(lines, path)
    first, body = [name.strip() for name in rows[0]], rows[1:]
    if first[0].startswith("#"):  # as numpy.savetxt writes names
        first[0] = first[0].lstrip("# ")
    header = _is_header(first, body, known, path)
    names = first if header else [str(number) for number in range(len(first))]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two columns of '{path.name}' are named '{twice}'. Give every column a name of its own.")
    values = body if header else rows
    return CsvForm(
        encoding,
        separator,
        _decimal(separator, names, values, text),
        tuple(names),
        header,
        header and not names[0] and _number_rows([row[0] for row in values]),
    )


def _encoding(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as cause:
        raise InputError(f"'{path}' cannot be read: {brief(cause, 150)}. Check its permissions.") from cause
    return next((name for mark, name in ENCODINGS if start.startswith(mark)), "utf-8")


def _lines(path: Path, encoding: str) -> list[str]:
    """The first lines that are not empty, with their ends, which quoted cells need."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            lines = [line for line in islice(file, LOOKED_AT) if line.strip()]
    except UnicodeError as cause:
        raise InputError(f"'{path}' is not a readable CSV file: it is not UTF-8. Save it as UTF-8.") from cause
    if not lines or any("\x00" in line for line in lines):
        raise InputError(
            f"'{path}' is not a readable CSV file: {'it is empty' if not lines else 'it is binary'}. Save it as text with one "
            "line of names."
        )
    return lines


def _separated(lines: Sequence[str], path: Path) -> tuple[str, list[list[str]]]:
    """The separator, and the cells of these lines."""
    split: dict[str, list[list[str]]] = {}
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(lines, delimiter=separator) if row]
        except csv.Error as cause:
            raise InputError(f"'{path}' is not a readable CSV file: {brief(cause, 150)}. Save it again.") from cause
        rows = rows[:-1] if len(lines) == LOOKED_AT and len(rows) > 2 else rows  # a quoted cell may go on
        widths = {len(row) for row in rows}
        if len(widths) == 1 and widths != {1}:
            return separator, rows
        split[separator] = rows
    separator = max(reversed(SEPARATORS), key=lambda each: len(split[each][0]))
    if len(split[separator][0]) == 1:  # one column, whose cells may hold what separates elsewhere
        separator = next((each for each in reversed(SEPARATORS) if {len(row) for row in split[each]} == {1}), separator)
    rows = split[separator]
    width = len(rows[0])
    odd = next((number for number, row in enumerate(rows, start=1) if len(row) != width), None)
    if odd is not None:
        raise InputError(
            f"'{path.name}' is not a readable CSV file: its first line has {width} cells, and line {odd} has {len(rows[odd - 1])}. "
            "Give every line as many."
        )
    return separator, rows


def _is_header(first: Sequence[str], body: Sequence[Sequence[str]], known: Collection[str], path: Path) -> bool:
    """Whether the first line holds names.

    It does where it holds a known one or numbers its columns (as pandas names those of an array), or where a column holds
    numbers below and something else in its first line. It does not where such a column begins with a number.

    Raises:
        InputError: no name is known and no column holds numbers, so that nothing tells.
    """
    if any(name in known for name in first):
        return True
    named = first[1:] if not first[0] and len(first) > 1 else first
    if len(named) > 1 and list(named) == [str(number) for number in range(len(named))]:
        return True
    if not body:
        return not any(map(_is_value, first))
    numeric = [
        column for column in range(len(first)) if all(_is_value(row[column]) or not row[column].strip() for row in body)
    ]
    if not numeric:
        raise InputError(
            f"It cannot be seen whether the first line of '{path.name}' ({', '.join(first)[:60]}) holds names or values. Name the "
            "columns after the model's inputs, and the labels y."
        )
    return any(not _is_value(first[column]) and (first[column] or column == 0) for column in numeric)


def _is_value(cell: str) -> bool:
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell) or _COMMA.fullmatch(cell)) or cell.lower() in _BOOLEAN


def _decimal(separator: str, names: Sequence[str], rows: Sequence[Sequence[str]], text: Collection[str]) -> str:
    if separator == "," or "*" in text:
        return "."
    columns = [column for column, name in enumerate(names) if name not in text]
    cells = [row[column].strip() for row in rows for column in columns]
    comma = any(map(_COMMA.fullmatch, cells))
    return "," if comma and not any("." in cell and _NUMBER.fullmatch(cell) for cell in cells) else "."


def _number_rows(cells: Sequence[str]) -> bool:
    """Whether these count 0, 1, 2 … or 1, 2, 3 …"""
    return any(list(cells) == [str(number) for number in range(start, start + len(cells))] for start in (0, 1))
