"""The page Layers: what a built engine is made of, as far as its library tells."""

from __future__ import annotations

import contextlib
from html import escape
from typing import TYPE_CHECKING, Any, cast

from workbench.compare.comparison import digits
from workbench.compare.layer_table import layers
from workbench.errors import WorkbenchError
from workbench.panel import view, widgets
from workbench.panel.fields import field
from workbench.panel.sorting import Column, Line, SortedTable
from workbench.records import Result, Results
from workbench.report import layers as layer_report
from workbench.store import Store

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "Nothing has been built yet."


class LayersPage:
    """One engine at a time, chosen by its row."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, Result] = {}
        self.choice = field(widgets.Dropdown, "Engine", "An engine that was built", "", options=[""])
        self.shown = widgets.HTML()
        self.table = SortedTable((), "")
        self.timed = widgets.HTML()  # time per layer, where that was asked for
        self.widget = widgets.VBox([self.choice, self.shown, self.table, self.timed])
        self.choice.observe(lambda _: self._draw(), "value")
        self.show(None)

    def show(self, results: Results | None) -> None:
        self.timed.value = "".join(layer_report.parts(results)) if results and results.layer_profiles else ""
        built = [row for row in results.rows if row.engine] if results else []
        self._rows = {}
        for row in built:
            self._rows.setdefault(row.spec.label, row)
        self.choice.options = list(self._rows) or [""]
        widgets.show(self.choice, self._rows)
        self._draw()

    def _draw(self) -> None:
        row = self._rows.get(self.choice.value)
        self.table.columns(())
        if row is None or row.engine is None:
            self.shown.value = view.hint(NOTHING)
            return
        self.shown.value = _counts(row)
        with contextlib.suppress(WorkbenchError):  # its library tells no layers
            columns, lines = _table(layers(row, self._store))
            self.table.columns(columns)
            self.table.show(lines)


def _counts(row: Result) -> str:
    """How many layers with weights compute in which format; libraries other than TensorRT tell no more."""
    engine = row.engine
    if engine is None:
        return ""
    found = engine.realized
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{count}</td></tr>' for name, count in found.layers.items() if count
    )
    facts = f'<table class="wb-facts"><tbody>{lines}</tbody></table>' if lines else ""
    return (
        f'<div class="wb-plan">Layers with weights by the number format that they compute in; asked for: '
        f"<b>{escape(row.spec.asked)}</b>. Read from: {escape(found.basis)}. "
        f"{escape(engine.library)} {escape(engine.library_version)}.</div>{facts}"
    )


def _table(frame: pd.DataFrame) -> tuple[list[Column], list[Line]]:
    """Columns and lines of a table of layers; what is empty throughout is left out."""
    records = cast("list[dict[str, Any]]", frame.astype(object).where(frame.notna(), None).to_dict("records"))
    names = [name for name in frame.columns if any(record[name] not in (None, "") for record in records)]
    numbers = {name for name in names if frame[name].dtype.kind in "fiu"}
    columns = [Column(name, numeric=name in numbers, largest_first=name in numbers) for name in names]
    lines = []
    for record in records:
        cells = "".join(
            f'<td class="wb-n">{"" if record[name] is None else digits(float(record[name]))}</td>'
            if name in numbers
            else f"<td>{escape(_text(record[name]))}</td>"
            for name in names
        )
        values = {name: record[name] if name in numbers else _text(record[name]) or None for name in names}
        lines.append(Line(f"<tr>{cells}</tr>", values))
    return columns, lines


def _text(value: object) -> str:
    return "" if value is None else str(value)
