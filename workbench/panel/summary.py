"""The first screen of a report: what was measured where, the result of each batch size, the figure and the table."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from markupsafe import Markup

from workbench.compare.headline import Headline
from workbench.compare.noise import in_short
from workbench.compare.summary import summary
from workbench.display.html import bullets, folded, join, tag
from workbench.display.table import Column, Table, wrapped
from workbench.models.describe import counted
from workbench.panel.parts import picture, warnings_html, work_text
from workbench.records import Results, Status

COLUMNS = ("variant", "batch", "p50 ms", "speed-up", "samples/s", "built", "top-1 %", "score", "budget")
"""Of the table on the first screen; either accuracy or score says anything."""


MOST_ROWS = 500
"""In the table on the first screen."""
ESSENTIAL = Column("note", format=lambda row: row["essential"], note=True)
"""What decides about a row; what disturbed its rounds is said of all rows together."""


def title(results: Results) -> str:
    """``demo on AMD EPYC 9B14, 2 cores, 2026-11-30``."""
    machine = results.machine
    return ", ".join(
        filter(
            None, [f"{results.model.name} on {machine.cpu}", counted(machine.cores, "core"), machine.gpu, _day(results)]
        )
    )


def _day(results: Results) -> str:
    try:  # a run's name begins with the time at which it began
        began = datetime.strptime(results.run[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return max((row.timing.measured_at for row in results.measured if row.timing), default="")[:10]
    return f"{began:%Y-%m-%d}"


def first_screen(results: Results, contents: Iterable[tuple[str, str]]) -> Markup:
    """Title, warnings, a sentence for each batch size, figure, table, and the titles and anchors of ``contents`` as links."""
    links = bullets(tag("a", name, href=f"#{anchor}") for name, anchor in contents)
    found = summary(results)
    about = f"{results.data}. Baseline: {results.baseline}." if results.baseline else f"{results.data}."
    disturbed = in_short(results)
    parts = [
        tag("h1", title(results)),
        warnings_html(results),
        tag("p", tag("b", found.first)) if found.first else Markup(),
        tag("ul", *map(_headline, found.batches), class_="wb-headlines")
        if found.batches
        else tag("p", "Nothing was measured."),
        folded("Variants with a shorter time that are not taken", bullets(found.after), unfolded=True)
        if found.after
        else Markup(),
        tag("p", " ".join(filter(None, [disturbed, found.wide, about])), class_="aside"),
        *map(_figure, ["latency"] if results.measured else [], [results]),
        tag("div", narrow(results).html(), class_="wb-first-table"),
        only_built(results),
        tag("div", tag("b", "Contents"), links, class_="wb-contents"),
    ]
    return join(parts)


def _headline(each: Headline) -> Markup:
    name = each.row.spec.label if each.row and each.won else ""
    first, found, rest = each.text.partition(name) if name else ("", "", each.text)
    text = join([first, tag("b", found) if found else "", rest])
    return tag("li", tag("span", f"Batch {each.batch}", class_="wb-batch"), " ", text, bullets(each.why))


def _figure(name: str, results: Results) -> Markup:
    code = base64.b64encode(picture(name, results)).decode()
    return tag("img", alt=f"Plot of {name}, with the numbers of the table below", src=f"data:image/png;base64,{code}")


def narrow(results: Results) -> Table:
    """The rows that have a number, with the columns that decide."""
    table = results.table()
    columns = (*(each for each in table.columns if each.name in COLUMNS), ESSENTIAL)
    rows = tuple(row for row in table.rows if row["status"] not in (Status.BUILT, Status.UNSUPPORTED))
    left = len(rows) - MOST_ROWS
    notes = (f"{left} more rows are under All values.",) if left > 0 else ()
    return replace(table, columns=columns, rows=rows[:MOST_ROWS], notes=notes, every=())


def only_built(results: Results) -> Markup:
    """The variants that have no number because they were built and not measured, folded; nothing where there are none."""
    names = dict.fromkeys(row.spec.label for row in results.rows if row.status == Status.BUILT)
    if not names:
        return Markup()
    return folded(f"{counted(len(names), 'variant')} built and not measured here", bullets(names), css="wb-not")


def summary_text(results: Results) -> str:
    """The same for a terminal: warnings, the sentences, the table with all its notes, load, and the work that was done."""
    said = summary(results)
    said_first = [*(f"Warning: {text}" for text in results.warnings), *said.lines(), in_short(results), said.wide]
    above = [line for each in filter(None, said_first) for line in wrapped(each)]
    below = [line for each in (*said.more, *results.settings().notes) for line in wrapped(each)]
    load = [table.text() for table in results.load()] if results.under_load else []
    return "\n\n".join(["\n".join([*above, "", results.table().text(), *below]), *load, work_text(results)])
