"""The page Layers: what a built engine is made of, as far as its library tells."""

from __future__ import annotations

from functools import partial

from markupsafe import Markup

from workbench.compare.layer_table import known_layers, layers
from workbench.compare.layer_view import aligned
from workbench.display.html import facts, folded, join, tag
from workbench.display.table import Table
from workbench.errors import InputError, WorkbenchError
from workbench.models.describe import counted
from workbench.panel import view, widgets
from workbench.panel.fields import button, field
from workbench.panel.graph import walked
from workbench.panel.parts import looked_at
from workbench.panel.sorting import SortedTable
from workbench.panel.work import BackgroundWork
from workbench.records import Result, Results
from workbench.report import layers as layer_report
from workbench.runs.layer_pass import can_profile, known
from workbench.store import Store

NOTHING = "Nothing has been built yet."
BOTH = "Two engines are shown side by side if the layers of both were timed."
SHOWN = ("layer", "type", "kind", "precision", "ms", "share %", "model layer", "GFLOP/s")
"""Columns that fit a page; the report and ``workbench.layers`` have all of them."""


class LayersPage:
    """One engine, chosen by its row, or two side by side."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, Result] = {}
        self.work = BackgroundWork()
        self.choice = field(widgets.Dropdown, "Engine", "An engine that was built", "", options=[""])
        tip = "Runs the engine for about 3 s under its library's profiler"
        self.measure = button("Time the layers of this engine", "clock-o", tip, "wb-time-layers")
        self.other = field(
            widgets.Dropdown, "Beside", "An engine to compare with, layer by layer of the model", "", options=[""]
        )
        self.shown, self.graph = widgets.HTML(), widgets.HTML()
        self._picture = Markup()
        self.said = widgets.HTML()
        self.table = SortedTable("")
        self.table.add_class("wb-layers")
        self.timed = widgets.HTML()  # time per layer, where that was asked for
        line = widgets.Box([self.choice, self.other, self.measure], css="wb-line")
        self.widget = widgets.VBox([line, self.shown, self.said, self.graph, self.table, self.timed])
        for control in (self.choice, self.other):
            control.observe(lambda _: self._draw(), "value")
        self.measure.on_click(lambda _: self.measure_now())
        self.show(None)

    def show(self, results: Results | None) -> None:
        self.timed.value = "".join(layer_report.parts(results)) if results and results.layer_profiles else ""
        built = [row for row in results.rows if row.engine] if results else []
        self._rows = {}
        for row in built:
            self._rows.setdefault(row.spec.label, row)
        looked = looked_at(results.examination) if results else None
        self._picture = Markup(looked.svg if looked else "")  # noqa: S704 - made by workbench.graph.picture, which escapes names
        names = list(self._rows) or [""]
        widgets.offer(self.choice, names, names[0])
        widgets.offer(self.other, [("no other engine", ""), *((name, name) for name in self._rows)], "")
        for control in (self.choice, self.other):
            widgets.show(control, self._rows)
        self._draw()

    @property
    def _chosen(self) -> list[Result]:
        names = dict.fromkeys([self.choice.value, self.other.value])
        return [self._rows[name] for name in names if name in self._rows]

    def _draw(self) -> None:
        chosen = self._chosen
        self.table.show(Table((), ()))
        self.graph.value = ""
        unknown = [row for row in chosen if can_profile(row) and known(row, self._store) is None]
        widgets.show(self.measure, unknown)
        self.measure.description = f"Time the layers of {'both engines' if len(unknown) > 1 else 'this engine'}"
        self.measure.disabled = self.work.busy
        if not chosen:
            self.shown.value = view.hint(NOTHING)
            return
        self.shown.value = join(_counts(row) for row in chosen)
        if self._picture:
            found = known_layers(chosen[0], self._store)
            title = "Graph of the model, colored by this engine" if found else "Graph of the model"
            self.graph.value = folded(title, walked(self._picture, found))
        try:
            self._fill(chosen)
        except WorkbenchError as error:  # its library tells no layers, or they were not timed yet
            self.said.value = view.hint("The time of each layer is not known yet." if unknown else error.message)
        else:
            self.said.value = ""

    def _fill(self, chosen: list[Result]) -> None:
        """The table of one engine, or of two side by side by the layers of the model."""
        profiles = [found for found in (known(row, self._store) for row in chosen) if found]
        if len(chosen) == 1:
            found = layers(chosen[0], self._store)
            self.table.show(Table.of(found[[name for name in SHOWN if name in found]]))
        elif len(profiles) == 2:
            self.table.show(Table.of(aligned(*profiles)))
        else:
            raise InputError(BOTH)

    def measure_now(self) -> None:
        """Time the layers of the chosen engines, which takes seconds, in a thread."""
        chosen = [row for row in self._chosen if can_profile(row) and known(row, self._store) is None]
        if not chosen or self.work.busy:
            return
        self.measure.disabled = True
        self.said.value = view.hint("Timing the layers …")
        self.work.start(partial(self._measure, chosen), failed=self._not_timed)

    def _measure(self, chosen: list[Result]) -> None:
        """In the thread."""
        for row in chosen:
            layers(row, self._store, measure=True)
        self.work.post(self._draw)

    def _not_timed(self, error: Exception) -> None:
        self.said.value = view.failed("The layers could not be timed", error, "warn")
        self.measure.disabled = False


def _counts(row: Result) -> str:
    """How many layers with weights compute in which format; libraries other than TensorRT tell no more."""
    engine = row.engine
    if engine is None:
        return ""
    found = engine.realized
    said = tag(
        "div",
        "Layers with weights by the number format that they compute in; requested: ",
        tag("b", row.spec.asked),
        f". Read from: {found.basis}. {engine.library} {engine.library_version}.",
        class_="wb-plan",
    )
    counts = [(name, [counted(count, "layer")]) for name, count in found.layers.items() if count]
    return said + (facts(counts) if counts else "")
