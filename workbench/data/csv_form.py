"""The form of a table: its separator, its decimal mark, and whether its first line holds names.

It is detected from the first lines, because a CSV file does not declare it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from workbench.errors import InputError, brief

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
"""Separators in the order in which they are tried: a decimal comma would otherwise look like a separator."""
LOOKED_AT = 200
"""Number of lines that are examined."""
LONGEST = 2**24
"""Largest length of a line in characters: a million columns of 16."""
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
    names: tuple[str, ...]  # of its columns, in the file's order; generated (0, 1 …) where the first line holds values
    header: bool  # the first line holds the names
    row_numbers: bool = False  # the first column has no name and numbers the rows

    @property
    def description(self) -> str:
        """A phrase about what differs from a plain CSV file with a line of names; "" where nothing does."""
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
    """The form of the table ``path``.

    Args:
        path: the file.
        known: column names by which a header is recognized: those of the model's inputs, and those of labels.
        text: names of the columns that are text for the model, in which numbers are not looked for; "*" for all.

    Raises:
        InputError: it cannot be read, is not UTF-8 (or UTF-16 with a byte order mark), or its lines differ in number of cells.
    """
    encoding = _encoding(path)
    lines = _lines(path, encoding)
    separator, rows = _separated(lines, path)
    first, body = [name.strip() for name in rows[0]], rows[1:]
    if first[0].startswith("#"):  # numpy.savetxt writes names in this way
        first[0] = first[0].lstrip("# ")
    header = _is_header(first, body, known, path)
    names = first if header else [str(number) for number in range(len(first))]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two columns of '{path.name}' are named '{twice}'. Give every column a different name.")
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
    """The first lines that are not empty, with their line ends, which quoted cells need."""
    lines: list[str] = []
    try:
        with path.open(encoding=encoding, newline="") as file:
            for line in islice(iter(partial(file.readline, LONGEST), ""), LOOKED_AT):
                if len(line) == LONGEST:
                    raise InputError(
                        f"'{path}' is not a readable CSV file: a line has {LONGEST:,} characters or more. Give one line for each "
                        "sample, or an .npz file."
                    )
                lines += [line] if line.strip() else []
    except UnicodeError as cause:
        raise InputError(f"'{path}' is not a readable CSV file: it is not UTF-8. Save it as UTF-8.") from cause
    if not lines or any("\x00" in line for line in lines):
        raise InputError(
            f"'{path}' is not a readable CSV file: {'it is empty' if not lines else 'it is binary'}. Save it as text with a first "
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
        # a quoted cell may continue beyond the last line
        rows = rows[:-1] if len(lines) == LOOKED_AT and len(rows) > 2 else rows
        widths = {len(row) for row in rows}
        if len(widths) == 1 and widths != {1}:
            return separator, rows
        split[separator] = rows
    separator = max(reversed(SEPARATORS), key=lambda each: len(split[each][0]))
    if len(split[separator][0]) == 1:  # one column, whose cells may contain other separators
        separator = next((each for each in reversed(SEPARATORS) if {len(row) for row in split[each]} == {1}), separator)
    rows = split[separator]
    width = len(rows[0])
    odd = next((number for number, row in enumerate(rows, start=1) if len(row) != width), None)
    if odd is not None:
        raise InputError(
            f"'{path.name}' is not a readable CSV file: its first line has {width} cells, and line {odd} has {len(rows[odd - 1])}. "
            "Give every line the same number of cells."
        )
    return separator, rows


def _is_header(first: Sequence[str], body: Sequence[Sequence[str]], known: Collection[str], path: Path) -> bool:
    """Whether the first line holds names.

    It does where it holds a known name or numbers its columns (as pandas names those of an array), or where a column of numbers
    has something else in its first line. It does not where such a column begins with a number.

    Raises:
        InputError: no name is known and no column holds numbers, so that it cannot be determined.
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
            f"It is not clear whether the first line of '{path.name}' ({', '.join(first)[:60]}) holds names or values. Name the "
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
    """Whether the cells are 0, 1, 2 … or 1, 2, 3 …"""
    return any(list(cells) == [str(number) for number in range(start, start + len(cells))] for start in (0, 1))
