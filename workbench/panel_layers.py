"""The page Layers: what a built engine is made of, as far as its library tells."""

from __future__ import annotations

from html import escape

from workbench import layer_report, panel_view
from workbench import panel_widgets as widgets
from workbench.errors import WorkbenchError
from workbench.layer_table import layers
from workbench.panel_fields import field
from workbench.records import Result, Results
from workbench.store import Store

NOTHING = "Nothing has been built yet."


class LayersPage:
    """One engine at a time, chosen by its row."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, Result] = {}
        self.choice = field(widgets.Dropdown, "Engine", "An engine that was built", "", options=[""])
        self.shown = widgets.HTML()
        self.timed = widgets.HTML()  # time per layer, where that was asked for
        self.widget = widgets.VBox([self.choice, self.shown, self.timed])
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
        if row is None or row.engine is None:
            self.shown.value = panel_view.hint(NOTHING)
            return
        try:
            table = layers(row, self._store)
        except WorkbenchError:
            self.shown.value = _counts(row)
        else:
            cells = table.to_html(index=False, escape=True, border=0, classes="wb-table")
            self.shown.value = f'{_counts(row)}<div class="wb-scroll">{cells}</div>'


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
