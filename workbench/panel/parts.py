"""What a notebook cell shows of some results; the panel draws the same pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare import cost_view
from workbench.compare.advice import advice
from workbench.compare.loss_table import loss_tables
from workbench.examine import Examination
from workbench.experiment import Experiment
from workbench.panel import view
from workbench.records import Results, from_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING_YET = "Nothing has been run yet: press Run in the panel, then run this cell again."
PLOTS = ("latency", "throughput", "accuracy", "distribution", "calls")
LOAD_PLOTS = ("load", "rates")
BUILD_PLOTS = ("optimization level", "workspace")
ONE_BUILD = "No setting of the build had more than one value: give 'optimization_level' or 'workspace_mib' a list."
COST_PLOTS = {"roofline": cost_view.ROOFLINE_OFF, "clocks": cost_view.CLOCKS_OFF}
"""Figures that have to be asked for, and how."""
PLOT_DPI = 150


class View:
    """What :func:`show` gives a notebook: the last results, and ways to display parts of them in a cell."""

    ran: Experiment  # what the results are of
    results: Results | None = None

    def display(self, part: str) -> None:
        """Display one of ``PARTS``, or one sentence where nothing has been run yet."""
        from IPython.display import display

        if self.results is None:
            print(NOTHING_YET)
            return
        for item in PARTS[part](self.results, self.ran):
            display(item)  # type: ignore[no-untyped-call]

    def display_results(self) -> None:
        """Display the table and the figures, or one sentence where nothing has been run yet."""
        for part in ("table", *PLOTS) if self.results else ("table",):
            self.display(part)


class Report(View):
    """The results of a run without a person."""

    def __init__(self, experiment: Experiment, results: Results) -> None:
        self.experiment = self.ran = experiment
        self.results = results


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PLOT_DPI)
    return buffer.getvalue()


class Beside(NamedTuple):
    """What the panel shows beside its table; made in a thread, because drawing takes a second."""

    figures: Mapping[str, Figure]
    load: str
    cost: str  # and before it the loss by class and by group


def beside(results: Results) -> Beside:
    """Figures by name, the table of load and that of cost as HTML; empty where nothing was measured."""
    if not results.measured:
        return Beside({}, "", "")
    from workbench.plots import figures as plots

    return Beside(plots.figures(results), load_tables(results), loss_tables(results)[0] + folded_cost(results))


def _picture(name: str, results: Results) -> list[Any]:
    from IPython.display import Image

    from workbench.plots import figures as plots

    figure = plots.figures(results).get(name) if results.measured else None
    if figure is None:
        return [f"No {name} to draw: no row was measured."]
    return [Image(_png(figure), format="png", alt=f"Plot of {name}, with the numbers of the table above")]  # type: ignore[no-untyped-call]


def _html(text: str, otherwise: str = "") -> list[Any]:
    from IPython.display import HTML

    return [HTML(text or f"<p>{otherwise}</p>")]  # type: ignore[no-untyped-call]


class Shown:
    """Something with two faces: HTML for a page, plain text for a terminal."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def _table(results: Results) -> list[Any]:
    from workbench.compare import comparison

    html, text = cost_view.differences(results)
    said = "\n".join(line for each in advice(results) for line in comparison.wrapped(each))
    beside = "".join(f"\n{part}" for part in (said, text) if part)
    first = "".join(f"{line}\n" for text in results.warnings for line in comparison.wrapped(f"Warning: {text}"))
    page = warnings_html(results) + comparison.display_table(results).to_html() + html
    return [Shown(page, first + comparison.text_table(results) + beside)]


def _accuracy(results: Results) -> list[Any]:
    """The picture, and the loss by class and by group where it is known."""
    html, text = loss_tables(results)
    return [*_picture("accuracy", results), *([Shown(html, text)] if html else [])]


def _cost_picture(name: str, results: Results) -> list[Any]:
    from workbench.plots import figures as plots

    if name not in plots.figures(results):
        return [Shown(f"<p>{COST_PLOTS[name]}</p>", COST_PLOTS[name])]
    return _picture(name, results)


def _clocks(results: Results) -> list[Any]:
    """The picture and its table; where neither was asked for, one sentence."""
    from workbench.compare.three_clocks import reads

    shown = _cost_picture("clocks", results)
    return [*shown, Shown(*cost_view.clocks(results))] if reads(results) else shown


def folded_cost(results: Results) -> str:
    """Values fed, cost and settings below the panel's table: differences in sight, tables folded away; nothing where nothing was measured."""
    if not results.measured:
        return ""
    cost = f'<details class="wb-not"><summary>What it cost</summary>{cost_view.costs(results)[0]}</details>'
    return view.fed(results) + cost + cost_view.settings(results)[0]


def _cold(results: Results) -> list[Any]:
    from workbench.compare import cold

    return _facts(results, cold.display_cold, cold.cold_table)


def _noise(results: Results) -> list[Any]:
    from workbench.compare import noise

    return _facts(results, noise.display_noise, noise.noise_table)


def _facts(results: Results, page: Callable[[Results], Any], plain: Callable[[Results], Any]) -> list[Any]:
    if not results.measured:
        return ["Nothing was measured."]
    return [Shown(page(results).to_html(), plain(results).to_string(index=False))]


def load_tables(results: Results) -> str:
    """The tables of what was measured under load as HTML; "" where nothing was."""
    from workbench.compare.load_table import load_html

    return load_html(results) if any(row.load for row in results.rows) else ""


def _load(results: Results) -> list[Any]:
    from workbench.compare.load_table import load_html, load_text

    return [Shown(load_html(results), load_text(results))]


def _load_figures(results: Results) -> list[Any]:
    from IPython.display import Image

    from workbench.plots import figures as plots

    figures = plots.figures(results) if any(row.load for row in results.rows) else {}
    drawn = [name for name in LOAD_PLOTS if name in figures]
    return [Image(_png(figures[name]), format="png", alt=f"Plot of {name}") for name in drawn]  # type: ignore[no-untyped-call]


def _build_figures(results: Results) -> list[Any]:
    from workbench.plots import figures as plots

    figures = plots.figures(results) if results.measured else {}
    drawn = [name for name in BUILD_PLOTS if name in figures]
    return [shown for name in drawn for shown in _picture(name, results)] or [Shown(f"<p>{ONE_BUILD}</p>", ONE_BUILD)]


def looked_at(examination: Any) -> Examination | None:
    """What was stored of a look at the graph, as the record it was."""
    return None if examination is None else from_json(Examination, examination)


def warnings_html(results: Results) -> str:
    """What stands above the numbers: paragraphs that need no style of the panel's."""
    return "".join(f'<p role="alert"><strong>Warning:</strong> {escape(text)}</p>' for text in results.warnings)


def _model(results: Results) -> str:
    return warnings_html(results) + view.model_facts(results.model, looked_at(results.examination), results.export)


def _work(results: Results) -> list[Any]:
    values = (f"values of {each}" for each in results.values)
    return [Shown(view.work(results), "\n".join((*values, *results.notes, f"this run: {results.tally}")))]


def _layers(results: Results) -> list[Any]:
    if not results.layer_profiles:
        return _html("", "No layers were timed: set 'layers' to true, and choose ONNX Runtime, OpenVINO or TensorFlow.")
    from workbench.report import layers

    return _html("".join(layers.parts(results)))


PARTS: dict[str, Callable[[Results, Experiment], list[Any]]] = {
    "model": lambda results, _: _html(_model(results)),
    "table": lambda results, _: _table(results),
    **{name: lambda results, _, name=name: _picture(name, results) for name in PLOTS},  # type: ignore[misc]
    "accuracy": lambda results, _: _accuracy(results),
    "cold": lambda results, _: _cold(results),
    "noise": lambda results, _: _noise(results),
    "build settings": lambda results, _: _build_figures(results),
    "load": lambda results, _: _load(results),
    "load figures": lambda results, _: _load_figures(results),
    "cost": lambda results, _: [Shown(*cost_view.costs(results))],
    "roofline": lambda results, _: _cost_picture("roofline", results),
    "clocks": lambda results, _: _clocks(results),
    "settings": lambda results, _: [Shown(*cost_view.settings(results))],
    "layers": lambda results, _: _layers(results),
    "not possible": lambda results, _: _html(
        view.not_possible(results.rows, unfolded=True), "Everything that was asked for is possible here."
    ),
    "failures": lambda results, _: _html(view.failures(results.rows), "No row failed."),
    "work": lambda results, _: _work(results),
    "repeat": lambda _, experiment: _html(view.commands(experiment)),
}
"""What :meth:`View.display` can display."""
