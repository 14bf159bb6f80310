"""What a notebook cell shows of some results; the panel draws the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from markupsafe import Markup

from workbench.compare.advice import advice
from workbench.conformance.examination import Examination
from workbench.display import tables
from workbench.display.html import bullets, folded, join, tag
from workbench.display.layer_tables import NOT_TIMED
from workbench.display.plots.canvas import as_small_png
from workbench.display.table import Table, wrapped
from workbench.errors.printable import one_line
from workbench.panel import view
from workbench.records import Results, from_json
from workbench.settings.experiment import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING_YET = "This cell shows the last run of the panel: press Run there, then run this cell again."
PLOTS = ("latency", "throughput", "tradeoff", "accuracy", "distribution", "calls")
LOAD_PLOTS = ("load", "rates", "served")
BUILD_PLOTS = ("optimization level", "workspace")
ONE_BUILD = "No setting of the build had more than one value: give 'optimization_level' or 'workspace_mib' a list."
COST_PLOTS = {"roofline": tables.ROOFLINE_OFF, "clocks": tables.CLOCKS_OFF}
"""Figures that have to be asked for, and how."""
PLOT_DPI = 150


class Ran(Protocol):
    """What a part gets of the run in addition to its results."""

    place: Path  # the folder of the store

    @property
    def ran(self) -> Experiment:
        """What the results are of."""


def picture(name: str, results: Results) -> bytes:
    """A figure as PNG; empty where there is none of that name."""
    figure = results.figures(name).get(name) if results.measured else None
    return as_small_png(figure, PLOT_DPI) if figure else b""


def work_text(results: Results) -> str:
    """The values of the samples, the notes and the tally, a line each."""
    values = (one_line(f"values of {each}") for each in results.values)
    return "\n".join((f"measured on {results.machine.label}", *values, *results.notes, f"this run: {results.tally}"))


class Rendered(NamedTuple):
    """What the panel shows in addition to its table; made in a thread, because drawing takes a second."""

    figures: Mapping[str, Figure]
    load: str
    cost: str  # and before it the spread between builds, and the loss by class and by group


def rendered(results: Results) -> Rendered:
    """Figures by name, the table of load and that of cost as HTML; empty where nothing was measured."""
    if not results.measured:
        return Rendered({}, "", "")
    return Rendered(
        results.figures(), load_html(results), builds_html(results) + losses_html(results) + folded_cost(results)
    )


def _picture(name: str, results: Results) -> list[Any]:
    from IPython.display import Image

    png = picture(name, results)
    if not png:
        return [f"No {name} to draw: no row was measured."]
    return [Image(png, format="png", alt=f"Plot of {name}, with the numbers of the table above")]  # type: ignore[no-untyped-call]


def _html(text: str, otherwise: str = "") -> list[Any]:
    from IPython.display import HTML

    return [HTML(text or tag("p", otherwise))]  # type: ignore[no-untyped-call]


class CellOutput:
    """Several things as one output of a cell: HTML for a page, plain text for a terminal."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def _table(results: Results) -> list[Any]:
    table, settings = results.table(), results.settings()
    page = warnings_html(results) + replace(table, notes=()).html() + bullets(settings.notes)
    above = _lines(f"Warning: {text}" for text in results.warnings)
    return [CellOutput(page, "\n".join([*above, table.text(), *_lines((*advice(results), *settings.notes))]))]


def _lines(sentences: Iterable[str]) -> list[str]:
    return [line for each in sentences for line in wrapped(each)]


def _accuracy(results: Results) -> list[Any]:
    """The picture, and the loss by class and by group where it is known."""
    table = tables.worst_losses(results)
    return [*_picture("accuracy", results), *([CellOutput(losses_html(results), table.text())] if table.rows else [])]


def losses_html(results: Results) -> Markup:
    """The loss by class and by group, folded away; "" where it is not known."""
    table = tables.worst_losses(results)
    return folded(table.title, replace(table, title="").html()) if table.rows else Markup()


def _cost_picture(name: str, results: Results) -> list[Any]:
    if not results.figures(name):
        return [CellOutput(tag("p", COST_PLOTS[name]), COST_PLOTS[name])]
    return _picture(name, results)


def _clocks(results: Results) -> list[Any]:
    """The picture and its table; where neither was asked for, one sentence."""
    shown, table = _cost_picture("clocks", results), results.clocks()
    page = folded(f"{len(table)} clocks", table.html())
    return [*shown, CellOutput(page, table.text())] if table.rows else shown


def settings_html(results: Results) -> Markup:
    """Where engines differ, and every setting, folded away; "" where none was read back."""
    table = results.settings()
    if not table.rows:
        return Markup()
    return bullets(table.notes) + folded(
        f"{len(table)} settings as they were read back", replace(table, notes=()).html()
    )


def folded_cost(results: Results) -> Markup:
    """Values fed, cost and settings below the panel's table: differences in sight, tables folded away; nothing where nothing was measured."""
    if not results.measured:
        return Markup()
    return view.fed(results) + folded("Costs", results.costs().html(), css="wb-not") + settings_html(results)


def _facts(table: Table) -> list[Any]:
    return [CellOutput(table.html(), table.text())]


def load_html(results: Results) -> Markup:
    """The tables of what was measured under load; "" where nothing was."""
    return join(table.html() for table in results.load()) if results.under_load else Markup()


def _load(results: Results) -> list[Any]:
    found = results.load()
    text = "\n\n".join(table.text() for table in found) if results.under_load else ""
    return [CellOutput(join(table.html() for table in found), text)]


def _load_figures(results: Results) -> list[Any]:
    from IPython.display import Image

    found = ((name, picture(name, results)) for name in LOAD_PLOTS) if results.under_load else ()
    return [Image(drawn, format="png", alt=f"Plot of {name}") for name, drawn in found if drawn]  # type: ignore[no-untyped-call]


def builds_html(results: Results) -> Markup:
    """The spread between builds; "" where each variant was built once."""
    table = results.builds()
    return table.html() if table.rows else Markup()


def _build_figures(results: Results) -> list[Any]:
    drawn = [name for name in BUILD_PLOTS if results.measured and results.figures(name)]
    return [shown for name in drawn for shown in _picture(name, results)] or [
        CellOutput(tag("p", ONE_BUILD), ONE_BUILD)
    ]


def looked_at(examination: Any) -> Examination | None:
    """What was stored of a look at the graph, as the record it was."""
    return None if examination is None else from_json(Examination, examination)


def warnings_html(results: Results) -> Markup:
    """The warnings above the numbers, as paragraphs that do not need the panel's style sheet."""
    return join(tag("p", tag("strong", "Warning:"), f" {text}", role="alert") for text in results.warnings)


def _model(results: Results) -> Markup:
    return warnings_html(results) + view.model_facts(results.model, looked_at(results.examination), results.export)


def _layers(results: Results) -> list[Any]:
    if not results.layer_profiles:
        return _html("", NOT_TIMED)
    from workbench.report import layers

    return _html("".join(layers.parts(results)))


PARTS: dict[str, Callable[[Results, Ran], list[Any]]] = {
    "model": lambda results, _: _html(_model(results)),
    "table": lambda results, _: _table(results),
    **{name: lambda results, _, name=name: _picture(name, results) for name in PLOTS},  # type: ignore[misc]
    "accuracy": lambda results, _: _accuracy(results),
    "cold": lambda results, _: _facts(tables.cold_starts(results)),
    "noise": lambda results, _: _facts(tables.disturbances(results)),
    "builds": lambda results, _: _facts(results.builds()),
    "build settings": lambda results, _: _build_figures(results),
    "load": lambda results, _: _load(results),
    "load figures": lambda results, _: _load_figures(results),
    "cost": lambda results, _: _facts(results.costs()),
    "roofline": lambda results, _: _cost_picture("roofline", results),
    "clocks": lambda results, _: _clocks(results),
    "settings": lambda results, _: [CellOutput(settings_html(results), results.settings().text())],
    "layers": lambda results, _: _layers(results),
    "not possible": lambda results, _: _html(
        view.not_possible(results.rows, unfolded=True), "Everything that was requested is possible here."
    ),
    "failures": lambda results, _: _html(view.failures(results.rows), "No row failed."),
    "work": lambda results, _: [CellOutput(view.work(results), work_text(results))],
    "repeat": lambda _, shown: _html(view.commands(shown.ran, shown.place)),
}
"""What :meth:`workbench.panel.notebook_view.View.display` can display."""
