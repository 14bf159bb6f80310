"""The page Compare: the table sorted by any head and against any baseline, limits that gray out what fails, figures, two rows side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from workbench.accuracy.guard import score_remarks
from workbench.compare.flips import flips
from workbench.compare.limits import PERCENTS, Choice, Limits, choose_row
from workbench.compare.pairs import comparison, variant_name
from workbench.compare.remarks import remark
from workbench.errors import WorkbenchError, brief
from workbench.experiment import Experiment
from workbench.models.describe import counted
from workbench.panel import figures, tables, view, widgets
from workbench.panel.fields import field
from workbench.panel.sorting import SortedTable
from workbench.panel.work import Work
from workbench.records import Result, Results, Row, Status
from workbench.store import Store

FIGURES = {"accuracy": "Accuracy and speed", "calls": "Single calls", "load": "Under load"}
FEWER_STEPS = 60


class Limit(widgets.HBox):  # type: ignore[misc]
    """A checkbox that switches a limit on, and the slider that sets it."""

    def __init__(self, title: str, slider: Any, tip: str) -> None:
        self.on = widgets.Checkbox(description=title, value=False, indent=False, tooltip=tip, css="wb-check")
        self.slider = slider.add_class("wb-slider")
        self.slider.disabled = True
        super().__init__([self.on, self.slider])
        self.add_class("wb-limit")

    @property
    def value(self) -> float | None:
        return float(self.slider.value) if self.on.value else None


class ComparePage:
    """Shows one run's results; what it says is computed by ``compare``, ``limits`` and ``flips``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._results: Results | None = None
        self._quiet = False
        self._figures: dict[str, Any] = {}
        self.side = Work(lambda: None)
        self.baseline = field(widgets.Dropdown, "Baseline", "The row that speed-ups are against", "", options=[""])
        self.percent = field(
            widgets.Dropdown, "Percentile", "Which percentile of a call's time the limit is for", 50,
            options=[(f"p{each}", each) for each in PERCENTS],
        )  # fmt: skip
        self.latency = Limit(
            "Latency at most (ms)",
            widgets.FloatLogSlider(value=1.0, base=10, min=-3, max=4, readout_format=".3g", continuous_update=False),
            "Grays out the rows whose calls take longer",
        )
        self.loss = Limit(
            "Accuracy lost at most (% of samples)",
            widgets.FloatSlider(value=1.0, min=0, max=10, step=0.1, readout_format=".1f", continuous_update=False),
            "Grays out the rows that are right on fewer samples than the source model",
        )
        self.said = widgets.HTML()
        self._heads = tables.columns(None)
        self.table = SortedTable(self._heads, tables.EMPTY)
        self.load, self.cost = widgets.HTML(), widgets.HTML()
        self.figure = widgets.ToggleButtons(options=[], css="wb-figure-choice")
        self.plots = widgets.Box(css="wb-plots")
        self.first, self.second = (
            field(widgets.Dropdown, name, "A row whose answers were compared with the source model's", "", options=[""])
            for name in ("One row", "Another row")
        )
        self.button = widgets.Button(
            description="Show what differs",
            icon="columns",
            tooltip="The samples to which the two give different answers",
            css="wb-differs-button",
        )
        self.gallery = widgets.HTML()
        self._controls = widgets.VBox([
            widgets.Box([self.baseline, self.percent], css="wb-line"),
            widgets.Box([self.latency, self.loss], css="wb-line"),
        ])  # fmt: skip
        self._below = widgets.VBox([
            widgets.HTML("<h4>Figures</h4>"), self.figure, self.plots,
            widgets.HTML("<h4>Two rows side by side</h4>"),
            widgets.Box([self.first, self.second, self.button], css="wb-line"), self.gallery,
        ])  # fmt: skip
        self.widget = widgets.VBox([self._controls, self.said, self.table, self.load, self.cost, self._below])
        for control in (self.baseline, self.percent, self.latency.on, self.latency.slider,
                        self.loss.on, self.loss.slider):  # fmt: skip
            control.observe(lambda _: self._redraw(), "value")
        self.figure.observe(lambda _: self._draw_figure(), "value")
        self.button.on_click(lambda _: self.differ())
        self.show(None, None, {})

    def show(
        self,
        results: Results | None,
        experiment: Experiment | None,
        drawn: Mapping[str, Any],
        load: str = "",
        cost: str = "",
    ) -> None:
        """Show these results with their figures by name, and tables beside them as HTML; or that there are none."""
        self._drawn = drawn
        self.load.value, self.cost.value = load, cost
        self._results, self._experiment = results, experiment
        if (heads := tables.columns(results)) != self._heads:  # else it stays sorted as it was
            self._heads = heads
            self.table.columns(heads)
        self.plots.children = ()
        for box in self._figures.values():
            box.children[0].close()
        self._figures = {}
        self.gallery.value = ""
        measured = bool(results and results.measured)
        for part in (self._controls, self._below):
            widgets.show(part, measured)
        if results is not None and measured:
            self._offer(results)
            self.figure.options = [(FIGURES.get(name, name.capitalize()), name) for name in drawn]
            self.figure.index = 0 if drawn else None  # which draws it
            self._draw_figure()
        self._redraw()

    def _offer(self, results: Results) -> None:
        """Baselines, rows and ranges of the sliders are those of the results."""
        self._quiet = True
        names = list(dict.fromkeys(variant_name(row.spec) for row in results.measured))
        automatic = comparison(results).baseline
        self.baseline.options = names
        self.baseline.value = automatic if automatic in names else names[0]
        times = [row.timing.median_s * 1e3 for row in results.measured if row.timing]
        low, high = math.log10(min(times)) - 0.05, math.log10(max(times)) + 0.7
        slider = self.latency.slider
        slider.min, slider.max, slider.step = -9.0, high, (high - low) / FEWER_STEPS
        slider.value = 10 ** min(high, max(low, math.log10(max(times))))
        slider.min = low
        scored = [row.row for row in results.measured if row.accuracy]
        for number, control in enumerate((self.first, self.second)):
            control.options = scored or [""]
            control.index = min(number * (len(scored) - 1), len(scored) - 1) if scored else 0
        self._quiet = False

    @property
    def limits(self) -> Limits:
        milliseconds, percent = self.latency.value, self.loss.value
        return Limits(
            latency_s=None if milliseconds is None else milliseconds / 1e3,
            percent=self.percent.value,
            loss=None if percent is None else percent / 100,
        )

    def _redraw(self) -> None:
        for limit in (self.latency, self.loss):
            limit.slider.disabled = not limit.on.value
        if self._quiet:
            return
        results = self._results
        if results is None or not results.measured:
            possible = [row for row in (results.rows if results else ()) if row.status != Status.UNSUPPORTED]
            self.table.show([tables.line(row) for row in possible])
            self.said.value = view.warnings(results) if results else ""
            return
        compared = comparison(results, self.baseline.value)
        judged, refused = {row.result.row: row for row in compared.rows}, dict(compared.refused)
        choice = choose_row(results, self.limits)
        self.table.show([
            tables.line(
                row,
                judged.get(row.row),
                _note(row, judged.get(row.row), refused.get(row.row, ""), results.budget),
                out=choice.out.get(row.row, ""),
                budget=results.budget,
                star=_star(choice, row),
            )
            for row in results.rows
            if row.status != Status.UNSUPPORTED
        ])  # fmt: skip
        self.said.value = view.warnings(results) + view.message(*said(choice, self.limits))

    def _draw_figure(self) -> None:
        name, results = self.figure.value, self._results
        if results is None or name not in self._drawn:
            return
        if name not in self._figures:
            # a box around each: a canvas stays on the page when it alone is taken out of its parent
            self._figures[name] = widgets.Box([figures.canvas(name, self._drawn[name], results)])
            self.plots.children = [*self._figures.values()]
        for each, box in self._figures.items():
            widgets.show(box, each == name)

    def differ(self) -> None:
        """Show the samples to which the two chosen rows give different answers."""
        results, experiment = self._results, self._experiment
        rows = {row.row: row for row in results.rows} if results else {}
        if results is None or experiment is None or self.first.value not in rows or self.second.value not in rows:
            self.gallery.value = view.message("Choose two rows whose answers were scored.", "warn")
            return
        if self.side.busy:
            return
        first, second = rows[self.first.value], rows[self.second.value]
        self.gallery.value = view.hint("Comparing the answers …")
        self.side.start(lambda: self._find(results, experiment, first, second))

    def _find(self, results: Results, experiment: Experiment, first: Result, second: Result) -> None:
        """In a thread: reading the samples may take seconds."""
        try:
            html = tables.gallery(flips(results, experiment, first, second, self._store), first.row, second.row)
        except WorkbenchError as error:
            html = view.message(error.message, "warn")
        except Exception as error:
            html = view.message(f"The answers could not be compared: {brief(error)}")
        self.side.post(lambda: setattr(self.gallery, "value", html))


def _note(result: Result, judged: Row | None, refused: str, budget: str) -> str:
    """Remarks beside a row; what an engine says of itself is the same for all its batches."""
    text = remark(result, judged, refused)
    reused = "timed by an earlier run" if result.reused else ""
    return "; ".join(filter(None, [text, *score_remarks(result, budget), reused]))


def _star(choice: Choice, row: Result) -> str:
    if choice.winner is None or row.row != choice.winner.row:
        return ""
    return "baseline" if choice.budget and not choice.within else "winner"


def said(choice: Choice, limits: Limits) -> tuple[str, str]:
    """The winner in one sentence, and its color."""
    held = " and ".join(filter(None, [choice.budget, "these limits" if limits.any else ""]))
    if choice.winner is None or choice.winner.timing is None:
        if choice.budget:
            kept = " that keeps these limits" if limits.any else ""
            return f"No row{kept} is shown to be within {choice.budget}.", "warn"
        return ("No row keeps these limits. Loosen one of them." if limits.any else ""), "warn"
    winner, timing = choice.winner, choice.winner.timing
    text = f"{winner.row}, {view.rate(timing.samples_per_s)} samples/s"
    if choice.budget and not choice.within:
        text = f"None is both within {held} and shown to have more samples per second than the baseline: {text}"
    else:
        text = f"Most samples per second{' within ' * bool(held)}{held}: {text}"
    for told, rows in (("it cannot be told from", choice.ties), ("not measured in turn with it:", choice.apart)):
        text += f"; {told} {', '.join(row.spec.label for row in rows)}" if rows else ""
    if choice.out:
        text += f". {counted(len(choice.out), 'row')} out"
    return f"{text}.", "good"
