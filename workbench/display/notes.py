"""Notes of a table's rows: each once, with a number, or with a range where only its figures differ from row to row."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workbench.compare.remarks import Remark

FIGURE = re.compile(r"(?<![\w.,@:])\d[\d,]*(?:\.\d+)?(?![\w]|[.,:]\d)")
"""A number that stands alone: not one inside a name, such as ``int8`` or ``@8``."""
ALL = "All rows: "
"""How a note begins that belongs to every row, and needs no number."""
PLACE = "\0"


def numbered(rows: Sequence[Sequence[Remark]]) -> tuple[list[str], list[str]]:
    """The notes below a table, and for each row the numbers of its own, from 1.

    A note that all of several rows have comes first.

    >>> busy = [Remark("9 of 12 blocks were spoiled", ranges=True), Remark("12 of 12 blocks were spoiled", ranges=True)]
    >>> numbered([[busy[0], Remark("rebuilt")], [busy[1]]])
    (['All rows: 9 to 12 of 12 blocks were spoiled', 'rebuilt'], ['2', ''])
    """
    figures: dict[str, list[list[str]]] = {}  # by kind of note: those of each row that has it
    having: dict[str, set[int]] = {}
    for place, notes in enumerate(rows):
        for note in notes:
            kind = FIGURE.sub(PLACE, note.text) if note.ranges else note.text
            figures.setdefault(kind, []).append(FIGURE.findall(note.text) if note.ranges else [])
            having.setdefault(kind, set()).add(place)
    of_all = [kind for kind in figures if len(rows) > 1 and len(having[kind]) == len(rows)]
    order = [*of_all, *(kind for kind in figures if kind not in of_all)]
    texts = [(ALL if kind in of_all else "") + _with_ranges(kind, figures[kind]) for kind in order]
    own = [(number, having[kind]) for number, kind in enumerate(order, 1) if kind not in of_all]
    return texts, [", ".join(str(number) for number, places in own if place in places) for place in range(len(rows))]


def _with_ranges(kind: str, figures: Sequence[Sequence[str]]) -> str:
    """The note with a figure, or a range, at each place."""
    head, *rest = kind.split(PLACE)
    return head + "".join(_range(at) + text for at, text in zip(zip(*figures, strict=True), rest, strict=True))


def _range(figures: Sequence[str]) -> str:
    ordered = sorted(set(figures), key=lambda figure: float(figure.replace(",", "")))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
