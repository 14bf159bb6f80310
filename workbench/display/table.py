"""One table for every place that shows one: terminal, page, notebook, Markdown, LaTeX and pandas."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from workbench.compare.formats import ABSENT, absent, digits, shortened
from workbench.compare.remarks import Remark
from workbench.display.html import STYLE, bullets, tag
from workbench.display.notes import numbered
from workbench.errors.printable import one_line

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 140
"""Columns of a terminal that a table fits in."""
PAPER_COLUMNS = 8
LONG = 60
"""Characters; a column with a longer text may break its lines on a page."""
SHORT = 24
"""Characters that a cell of any table has room for."""
LEAST = 8
"""Characters that a text is cut to at most where the table is too wide for the terminal."""
TEXT, NUMBER, WHOLE, FLAG, TIME = "text", "number", "whole", "flag", "time"
DATA, PAGE, OPTIONAL, USUAL, MAIN = 0, 1, 2, 6, 9
"""Ranks: in the data only; on pages only; left out of a narrow terminal (2 first, 5 last); everywhere; first on paper."""
DTYPES = {TEXT: "str", NUMBER: "float64", WHOLE: "Int64", FLAG: "bool"}
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {char: f"\\{char}" for char in "&%$#_{}"}
LATEX |= {
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "µ": r"$\mu$",
    "…": r"\ldots{}",
    "★": r"$\star$",
}


class Span(NamedTuple):
    """A piece of a cell: its text, how it looks ("strong", or the suffix of a CSS class), what it means, and a sign before it."""

    text: str
    look: str = ""
    help: str = ""
    sign: str = ""  # an ornament, which screen readers leave out

    def html(self) -> Markup:
        lines = Markup("<br>").join(self.text.split("\n"))
        inner = (tag("i", self.sign, aria_hidden="true"), " ", lines) if self.sign else (lines,)
        if self.look == "strong":
            return tag("b", *inner, title=self.help)
        css = f"wb-{self.look}" if self.look else ""
        return tag("span", *inner, class_=css, title=self.help) if css or self.help or self.sign else lines

    def __str__(self) -> str:
        return f"{self.sign} {self.text}".lstrip()


Content = str | tuple[Span, ...]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: what its values are, and how they are shown. Its name, by which rows hold its values, is label and unit."""

    label: str
    kind: str = TEXT  # TEXT, NUMBER, WHOLE, FLAG or TIME
    unit: str = ""
    help: str = ""  # a sentence for the head
    format: Callable[[Row], Content] | None = None  # the cell of a row; None: by the kind
    rank: int = USUAL
    heading: str = ""  # where it differs from the name
    note: bool = False  # texts that are too long for a cell: numbered, and written below the table
    silent: tuple[str, ...] = ()  # texts that say nothing: with only these, the column is not shown
    always: bool = False  # shown although it says nothing
    largest_first: bool = False  # where a reader sorts by it
    parts: Callable[[Row], Sequence[Remark]] | None = (
        None  # of a note: what is numbered on its own; None: the whole text
    )

    @property
    def name(self) -> str:
        return f"{self.label} {self.unit}".strip()

    @property
    def numeric(self) -> bool:
        return self.kind in (NUMBER, WHOLE)

    def cell(self, row: Row) -> tuple[Span, ...]:
        """The content of a cell."""
        content = self.format(row) if self.format else _plain(row.get(self.name))
        return (Span(content),) if isinstance(content, str) else content

    def noted(self, row: Row) -> list[Remark]:
        """The notes of a row."""
        parts = self.parts(row) if self.parts else [Remark(self.text(row))]
        return [each._replace(text=one_line(each.text)) for each in parts if each.text not in ("", ABSENT)]

    def text(self, row: Row) -> str:
        """The cell on one line; what is empty is a dash."""
        return one_line("; ".join(" ".join(map(str, self.cell(row))).split("\n"))).strip() or ABSENT


def _value(value: Any) -> Any:
    return None if absent(value) else str(value) if isinstance(value, str) else value


def _plain(value: Any) -> str:
    if absent(value) or value != value:  # noqa: PLR0124 - what pandas has for a missing time is not itself
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int) else digits(value) if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Table:
    """Columns, rows and notes. ``rows`` hold raw values by the columns' names: numbers, texts, ``None`` where one is missing.

    >>> import pandas as pd
    >>> print(Table.of(pd.DataFrame({"variant": ["fp32", "int8"], "ms": [2.5, 1.25]})).markdown().strip())
    | variant | ms |
    | --- | ---: |
    | fp32 | 2.50 |
    | int8 | 1.25 |
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    about: str = ""  # how to read it
    notes: tuple[str, ...] = ()
    empty: str = "Nothing to show."  # stands for a table without rows
    appendix: tuple[tuple[str, str], ...] = ()  # longer texts: a heading, and what unfolds below it
    attributes: Callable[[Row], dict[str, str]] | None = None  # of a row's HTML element
    every: tuple[Row, ...] = ()  # all rows, where readers see fewer of them or in another order

    @classmethod
    def of(cls, frame: pd.DataFrame, **more: Any) -> Table:
        """The table of a frame: kinds of columns by its dtypes."""
        kinds = {"f": NUMBER, "i": WHOLE, "u": WHOLE, "b": FLAG, "M": TIME}
        named = [(str(name), kinds.get(frame[name].dtype.kind, TEXT)) for name in frame.columns]
        columns = tuple(Column(name, kind, largest_first=kind in (NUMBER, WHOLE)) for name, kind in named)
        cells = frame.astype(object).where(frame.notna(), None)
        rows = tuple({str(name): value for name, value in row.items()} for row in cells.to_dict("records"))
        return cls(columns, rows, **more)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return str(self.html())

    def records(self) -> list[dict[str, Any]]:
        """Every row by the names of the columns, as plain values that JSON has; ``None`` where one is missing."""
        rows = self.every or self.rows
        return [{each.name: _value(row.get(each.name)) for each in self.columns} for row in rows]

    def frame(self) -> pd.DataFrame:
        """Every column and row for programs: texts, floats, whole numbers (``Int64``), missing ones as missing."""
        import pandas as pd

        frame = pd.DataFrame(self.records(), columns=[each.name for each in self.columns])
        for each in self.columns:
            if each.kind in DTYPES:
                cells = frame[each.name]
                frame[each.name] = (cells.fillna("") if each.kind == TEXT else cells).astype(DTYPES[each.kind])  # type: ignore[call-overload]
        frame.attrs["notes"] = [*self.notes]
        return frame

    def shown(self, rank: int = PAGE) -> list[Column]:
        """The columns of this rank or above that say anything, those of notes left out; the first is always shown."""
        found = [each for each in self.columns if each.rank >= rank and not each.note]
        return [
            each
            for place, each in enumerate(found)
            if not place or each.always or not {each.text(row) for row in self.rows} <= {ABSENT, *each.silent}
        ]

    def numbered(self) -> tuple[list[str], list[str]]:
        """The notes of rows, each once, and for each row the numbers of its notes; see :func:`workbench.display.notes.numbered`."""
        columns = [each for each in self.columns if each.note]
        return numbered([[part for each in columns for part in each.noted(row)] for row in self.rows])

    def sorted(self, by: str, *, reverse: bool = False) -> Table:
        """Sorted by a column's values. Rows without a value come last in either direction; equal ones stay in their order."""
        known = [row for row in self.rows if not absent(row.get(by)) and row[by] != ""]
        unknown = [row for row in self.rows if absent(row.get(by)) or row[by] == ""]
        ordered = sorted(known, key=lambda row: row[by], reverse=reverse)
        return replace(self, rows=(*ordered, *unknown))

    def text(self, width: int = WIDTH) -> str:
        """For a terminal of this many columns: what is least important is left out, and names are cut in the middle."""
        head = [one_line(self.title), *wrapped(self.about, width)] if self.rows else [*wrapped(self.empty, width)]
        notes, marks = self.numbered()
        columns = _fitting(self._texts(self.shown(OPTIONAL), marks), width) if self.rows else []
        lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
        if lines:
            lines.insert(1, "─" * max(map(_width, lines)))
        below = [line for number, note in enumerate(notes, 1) for line in wrapped(f"[{number}] {note}", width)]
        below += [line for note in self.notes for line in wrapped(note, width)]
        return "\n".join([*filter(None, head), *lines, *below])

    def _texts(self, columns: Sequence[Column], marks: Sequence[str]) -> list[tuple[Column, list[str]]]:
        """Every column with its heading and its cells as text; numbers of notes come last."""
        texts = [
            (each, [one_line(each.heading or each.name), *(each.text(row) for row in self.rows)]) for each in columns
        ]
        return texts + ([(Column("note", rank=MAIN), ["note", *marks])] if any(marks) else [])

    def markdown(self) -> str:
        """As Markdown (GitHub's), notes below."""
        notes, marks = self.numbered()
        texts = self._texts(self.shown(), marks)
        rule = ["---:" if column.numeric else "---" for column, _ in texts]
        rows = [*zip(*(cells for _, cells in texts), strict=True)]
        lines = ["| " + " | ".join(map(_in_markdown, row)) + " |" for row in (rows[0], rule, *rows[1:])]
        below = [f"{number}. {_in_markdown(note)}" for number, note in enumerate(notes, 1)]
        below += [f"* {_in_markdown(note)}" for note in self.notes]
        return "\n".join([*lines, *([""] if below else []), *below, ""])

    def latex(self, columns: int = PAPER_COLUMNS, caption: str = "") -> str:
        """As LaTeX's ``tabular`` with at most so many columns, those of the highest rank; notes of rows below in small print.

        Its rules are those of the package booktabs. With ``caption`` it stands in a ``table``.
        """
        notes, marks = self.numbered()
        shown = self.shown()
        kept = sorted(range(len(shown)), key=lambda place: -shown[place].rank)[: max(1, columns)]
        texts = self._texts([shown[place] for place in sorted(kept)], marks)
        head, *body = (
            " & ".join(map(_in_latex, row)) + r" \\" for row in zip(*(cells for _, cells in texts), strict=True)
        )
        sides = "".join("r" if column.numeric else "l" for column, _ in texts)
        grid = [
            f"\\begin{{tabular}}{{{sides}}}",
            "\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
        ]
        below = [f"\\par{{\\footnotesize {number}: {_in_latex(note)}}}" for number, note in enumerate(notes, 1)]
        below += [f"\\par{{\\footnotesize {_in_latex(note)}}}" for note in self.notes]
        above = ["\\begin{table}", f"\\caption{{{_in_latex(caption)}}}", "\\centering"] if caption else []
        end = ["\\end{table}"] if caption else []
        return "\n".join(["% in the preamble: \\usepackage{booktabs}", *above, *grid, *below, *end, ""])

    def html(self, *, lines: bool = False, order: tuple[str, str] = ("", "")) -> Markup:
        """For a page, every text escaped, without scripts. ``lines``: each row's note is a line below it and not numbered.

        ``order`` is the column that the rows are sorted by, and "ascending" or "descending".
        """
        above = tag("h4", self.title) if self.title else Markup()
        above += tag("p", self.about) if self.about and self.rows else Markup()
        notes = [] if lines else self.numbered()[0]
        grid = STYLE + tag("div", self.grid(lines=lines, order=order), class_="wb-scroll")
        body = grid if self.rows else tag("p", self.empty)
        below = bullets(notes, numbered=True, css="wb-notes") + bullets(self.notes, css="wb-notes")
        for heading, text in self.appendix:
            below += tag("details", tag("summary", heading), tag("pre", text))
        return above + body + below

    def grid(self, *, lines: bool = False, order: tuple[str, str] = ("", "")) -> Markup:
        """The HTML table alone, without style sheet, title and notes; see :meth:`html`. Numbers of notes follow the first cell."""
        columns, marks = self.shown(), [""] * len(self.rows) if lines else self.numbered()[1]
        long = {each.name for each in columns if any(len(each.text(row)) > LONG for row in self.rows)}
        css = {each.name: "wb-n" if each.numeric else "wb-long" * (each.name in long) for each in columns}
        heads = [
            tag("th", Span(each.heading or each.name).html(), scope="col", class_=css[each.name], title=each.help,
                aria_sort=order[1] if each.name == order[0] else "")
            for each in columns
        ]  # fmt: skip
        rows, first = [], ""
        for row, mark in zip(self.rows, marks, strict=True):
            marked = ("\N{NO-BREAK SPACE}", tag("sup", mark)) if mark else ()
            cells = [
                tag(
                    "td",
                    *_spaced(each.cell(row)),
                    *(() if place else marked),
                    class_=css[each.name],
                    title=_whole(each, row),
                )
                for place, each in enumerate(columns)
            ]
            given = dict(self.attributes(row)) if self.attributes else {}
            note = [each.cell(row) for each in self.columns if each.note and each.text(row) != ABSENT] if lines else []
            name = columns[0].text(row)
            classes = (given.pop("class", ""), "wb-noted" if note else "", "wb-first" if name != first else "")
            rows.append(tag("tr", *cells, **{"class": " ".join(filter(None, classes)), **given}))
            first = name
            for spans in note:
                wide = tag("td", *_spaced(spans), colspan=len(columns))
                rows.append(tag("tr", wide, class_=f"wb-note {classes[0]}".rstrip()))
        return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="wb-table")


def _whole(column: Column, row: Row) -> str:
    """A long text, to be read where its cell is cut."""
    text = column.text(row)
    return text if len(text) > SHORT and not column.format else ""


def _spaced(spans: Sequence[Span]) -> list[str]:
    """Spans with a space between two on one line."""
    found: list[str] = []
    for span in spans:
        found += [" "] if found and not span.text.startswith("\n") else []
        found.append(span.html())
    return found


def _fitting(columns: list[tuple[Column, list[str]]], width: int) -> list[list[str]]:
    """Cells of equal width, texts to the left; see :meth:`Table.text` for what is done where they are too wide together."""
    while (over := _total(columns) - width) > 0:
        least = min(columns, key=lambda each: each[0].rank)
        if least[0].rank < USUAL:
            columns = [each for each in columns if each is not least]
            continue
        widest = max(columns, key=lambda each: _shrinkable(*each))
        if _shrinkable(*widest) <= 0:
            break
        size = max(map(_width, widest[1]))
        cut = size - max(1, min(over, _shrinkable(*widest), size // 4))
        columns = [(each[0], [_cut(cell, cut) for cell in each[1]]) if each is widest else each for each in columns]
    return [_aligned(cells, right=column.numeric) for column, cells in columns]


def _shrinkable(column: Column, cells: list[str]) -> int:
    """By how much a column may be cut: texts and headings down to ``LEAST``, numbers not at all."""
    least = max(map(_width, cells[1:]), default=0) if column.numeric else 0
    return max(map(_width, cells)) - max(LEAST, least)


def _total(columns: list[tuple[Column, list[str]]]) -> int:
    return sum(max(map(_width, cells)) + 2 for _, cells in columns) - 2


def _aligned(cells: Sequence[str], *, right: bool) -> list[str]:
    size = max(map(_width, cells))
    return [" " * (size - _width(cell)) + cell if right else cell + " " * (size - _width(cell)) for cell in cells]


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    """Cut in the middle until it takes at most so many columns."""
    size = len(text)
    while _width(text) > width:
        size = min(size, len(text)) - 1
        text = shortened(text, size)
    return text


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """The lines of a remark below a table in a terminal."""
    return textwrap.wrap(one_line(text), width, subsequent_indent="    ")


def _in_markdown(text: str) -> str:
    """Escaped where Markdown or HTML in it would act."""
    return (
        one_line(text)
        .replace("\\", "\\\\")
        .replace("|", r"\|")
        .replace("<", "&lt;")
        .replace("`", r"\`")
        .replace("*", r"\*")
    )


def _in_latex(text: str) -> str:
    return "".join(LATEX.get(char, char) for char in one_line(text))
