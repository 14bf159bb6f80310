"""Runs of the history side by side, as tables: a row for each run in terminals and frames, a column for each run on pages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.compare.across import TIMES, Across, VariantLine, latency, rows, same, side_by_side
from workbench.compare.formats import ABSENT, digits
from workbench.display.html import bullets
from workbench.display.table import DATA, NUMBER, PAGE, WHOLE, Column, Content, Row, Span, Table

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from workbench.compare.kept_runs import Cell
    from workbench.runs.archive import Run
    from workbench.store import Store


@dataclass(frozen=True, repr=False)
class Runs(Across):
    """Several runs side by side, as a table; ``experiment`` measures all of their variants in turn."""

    def table(self) -> Table:
        """A row for each variant, batch and run; the notes say what is refused and why there is no verdict."""
        cells = [cell for line in self.lines for cell in _cells(line)]
        made = [row | shown for row, shown in zip(rows(self), cells, strict=True)]
        about = f"{TIMES} Machine: {self.machine}."
        return Table(COLUMNS, tuple(made), about=about, notes=tuple(self.remarks()), empty=NOTHING)

    def frame(self) -> pd.DataFrame:
        """The same for programs, with raw values; see :func:`workbench.compare.across.rows`."""
        return self.table().frame()

    def html(self) -> Markup:
        """A line for each variant, a column for each run, remarks below."""
        if not self.lines:
            return bullets(self.remarks(), css="wb-remarks")
        first = (Column("Variant", format=lambda row: (Span(row["Variant"], "strong"),)), Column("Batch", WHOLE))
        runs = (_column(run, place) for place, run in enumerate(self.runs))
        lines = tuple(
            {
                "Variant": line.variant,
                "Batch": line.batch,
                "line": line,
                "difference": f"on a separate line: {line.difference}" * bool(line.difference),
            }
            for line in self.lines
        )
        about = f"{TIMES} Then samples per second, score, library. Machine: {self.machine}."
        table = Table((*first, *runs, Column("difference", note=True)), lines, about=about)
        return table.html(lines=True) + bullets(self.remarks(), css="wb-remarks")

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return str(self.html())


NOTHING = "Nothing of these runs can be compared."


def compare_runs(*names: str, store: Store | str | Path | None = None) -> Runs:
    """Runs of the history side by side, compared with the first; see :func:`workbench.compare.across.side_by_side`.

    Raises:
        InputError: fewer than two runs, or no such run.
        StoreError: the store cannot be read.

    Example::

        print(workbench.compare_runs("f3a9c1", "5dc417"))
    """
    found = side_by_side(*names, store=store)
    return Runs(**{each.name: getattr(found, each.name) for each in fields(found)})


def _cells(line: VariantLine) -> list[dict[str, str]]:
    """What is shown of each cell of a line beside its raw values."""
    difference = f"on a separate line: {line.difference}" * bool(line.difference)
    return [
        {
            "latency": latency(cell),
            "result": cell.score,
            "note": "; ".join(filter(None, [difference, same(line, cell).strip(" ()")])),
        }
        for cell in line.cells.values()
    ]


def _column(run: Run, place: int) -> Column:
    heading = f"{_utc(run.time)} UTC\n{run.name}"

    def cell(row: Row) -> Content:
        found: Cell | None = row["line"].cells.get(run.name)
        if found is None:
            return ABSENT
        rest = (
            f"{digits(found.samples_per_s)} samples/s", found.score, found.library, f"measured {_utc(found.measured_at)} UTC",
        )  # fmt: skip
        shared = same(row["line"], found).strip()
        return (
            Span(latency(found), "strong"),
            *([Span(shared)] if shared else []),
            *(Span(f"\n{text}") for text in rest),
        )

    return Column(f"run {place}", format=cell, heading=heading)


def _utc(time: str) -> str:
    return time.replace("T", " ").removesuffix("+00:00")


COLUMNS = (
    Column("variant"),
    Column("batch", WHOLE),
    Column("run"),
    Column("time", rank=PAGE),
    Column("latency", help=TIMES),
    Column("p50", NUMBER, "ms", rank=DATA),
    Column("typical", NUMBER, "ms", rank=DATA),
    Column("low", NUMBER, rank=DATA),
    Column("high", NUMBER, rank=DATA),
    Column("samples/s", NUMBER),
    Column("result", heading="score"),
    Column("metric", rank=DATA),
    Column("output", rank=DATA),
    Column("score", NUMBER, rank=DATA),
    Column("agrees", NUMBER, rank=DATA),
    Column("library"),
    Column("machine", rank=DATA),
    Column("session", rank=DATA),
    Column("difference", rank=DATA),
    Column("note", note=True),
)
