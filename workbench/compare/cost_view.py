"""Cost, clocks and settings for people: HTML for a page, plain text for a terminal, both made from the same tables."""

from __future__ import annotations

import textwrap
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.compare.comparison import ABSENT, TERMINAL_WIDTH, digits

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from workbench.records import Results

ROOFLINE_OFF = (
    "The machine's peaks were not measured: set roofline to true (--roofline true), which takes some seconds once."
)
NOTHING = "Nothing was measured, so nothing is known of costs."
CLOCKS_OFF = "The clocks of each engine were not measured: set clocks to true (--clocks true)."


def costs(results: Results) -> tuple[str, str]:
    """What every variant cost, as (HTML, text); what is missing, and what the numbers do not say, stands below."""
    from workbench.compare.cost_table import costs as table

    if not results.measured:
        return f"<p>{NOTHING}</p>", NOTHING
    found = table(results)
    return _both(_readable(found), found.attrs["notes"])


def clocks(results: Results) -> tuple[str, str]:
    """The clocks of every engine, as (HTML, text)."""
    from workbench.compare.three_clocks import clocks as table

    found = table(results)
    if found.empty:
        return f"<p>{escape(CLOCKS_OFF)}</p>", CLOCKS_OFF
    what: dict[str, dict[str, None]] = {}
    for variant, clock, encloses in zip(found["variant"], found["clock"], found["encloses"], strict=True):
        name = f"{clock} of {variant.split()[0]}" if clock == "library" else clock
        what.setdefault(encloses, {})[name] = None
    notes = [f"{', '.join(names)}: {encloses}." for encloses, names in what.items()]
    html, text = _both(_readable(found.drop(columns="encloses")), notes)
    return f"<details><summary>{len(found)} clocks</summary>{html}</details>", text


def settings(results: Results) -> tuple[str, str]:
    """Differences between the engines, and every setting that was found, as (HTML, text)."""
    from workbench.compare.fairness import settings as table

    html, text = differences(results)
    frame = table(results)
    if frame.empty:
        return html, text
    told = f"<details><summary>{len(frame)} settings as they were found</summary>{_html(frame)}</details>"
    return html + told, text + "\n" + _text(frame)


def differences(results: Results) -> tuple[str, str]:
    """The settings that two engines had differently, as (HTML, text); that all were equal is said, too."""
    from workbench.compare import fairness

    if not any(row.timing and row.timing.in_effect for row in results.measured):
        return "", ""
    found = fairness.differences(results) or ["No setting that is compared differed between the engines."]
    return _list(found), "\n".join(_wrapped(found))


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text with three digits; columns without any value are left out."""
    import pandas as pd

    shown = pd.DataFrame(index=frame.index)
    for name in frame.columns:
        kind: Any = frame[name].dtype
        column = frame[name].map(digits) if kind.kind == "f" else frame[name].astype(str).replace("", ABSENT)
        if not (column == ABSENT).all():
            shown[name] = column
    return shown


def _both(frame: pd.DataFrame, notes: list[str]) -> tuple[str, str]:
    return _html(frame) + _list(notes), "\n".join([_text(frame), *_wrapped(notes)])


def _html(frame: pd.DataFrame) -> str:
    """Every cell escaped; columns of numbers to the right."""
    marks = [_mark([str(cell) for cell in frame[name]]) for name in frame.columns]
    heads = "".join(
        f'<th scope="col"{mark}>{escape(str(name))}</th>' for name, mark in zip(frame.columns, marks, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark}>{escape(str(cell))}</td>" for cell, mark in zip(line, marks, strict=True))
        + "</tr>"
        for line in frame.itertuples(index=False)
    )
    return f'<div class="wb-scroll"><table class="wb-table"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _mark(cells: list[str]) -> str:
    numbers = [cell for cell in cells if cell != ABSENT]
    plain = all(cell.replace(",", "").replace(".", "").isdigit() for cell in numbers)
    return ' class="wb-n" style="text-align:right"' if numbers and plain else ""


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _text(frame: pd.DataFrame) -> str:
    cells = [[str(name) for name in frame.columns], *([str(cell) for cell in line] for line in frame.to_numpy())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    ]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return [line for text in sentences for line in textwrap.wrap(text, TERMINAL_WIDTH, subsequent_indent="    ")]
