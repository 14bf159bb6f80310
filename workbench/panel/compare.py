"""The page Compare: the table sorted by any head and against any baseline, limits that gray out what fails, figures, two rows side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from workbench.accuracy.guard import score_remarks
from workbench.compare.advice import budget_held
from workbench.compare.flips import flips
from workbench.compare.formats import rate
from workbench.compare.limits import PERCENTS, Limits, Recommendation, choose_row
from workbench.compare.noise import in_short
from workbench.compare.pairs import comparison, variant_name
from workbench.compare.remarks import disturbances, essential
from workbench.display.html import tag
from workbench.display.results_table import results_table
from workbench.display.table import Table
from workbench.models.describe import counted
from workbench.panel import tables, view, widgets
from workbench.panel.fields import Fold, button, checkbox, field
from workbench.panel.plots import Plots
from workbench.panel.sorting import SortedTable
from workbench.panel.summary import ESSENTIAL, only_built
from workbench.panel.work import BackgroundWork
from workbench.records import Result, Results, Status, Verdict
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS
from workbench.store import Store

FEWER_STEPS = 60
ONLY_HERE = (
    "These two limits are for looking at this page, and change no verdict. 'Measured loss at most' takes the place of the run's "
    f"'{SETTINGS['budget'].label}' (page Configure) in the sentence above; that one is kept in the report, and takes a row only if the whole interval of "
    "its loss is within."
)
# the handle of a slider has no name that a reader of the screen could say
NAMED = (
    "const name=()=>{const handle=this.closest('.wb-limit')?.querySelector('.noUi-handle');"
    "if(handle)handle.setAttribute('aria-label',this.dataset.label);else setTimeout(name,100)};name()"
)


class Limit(widgets.HBox):  # type: ignore[misc]
    """A checkbox that switches a limit on, and the slider that sets it."""

    def __init__(self, title: str, slider: Any, tip: str) -> None:
        self.on = checkbox(title, tip)
        self.slider = slider.add_class("wb-slider")
        self.slider.disabled = True
        super().__init__([self.on, self.slider, widgets.HTML(tag("style", "/* */", data_label=title, onload=NAMED))])
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
        self.side = BackgroundWork()
        self.baseline = field(
            widgets.Dropdown, "Baseline", "The variant that speed-ups are relative to", "", options=[""]
        )
        self.filter = field(
            widgets.Text, "Rows", "Only rows whose name contains all of these words, in the table and in the figures", "",
            placeholder="all, or for example int8 @1", continuous_update=False,
        )  # fmt: skip
        self.percent = field(
            widgets.Dropdown, "Percentile", "The percentile of a call's time that the limit is for", 50,
            options=[(f"p{each}", each) for each in PERCENTS],
        )  # fmt: skip
        self.latency = Limit(
            "Latency at most (ms)",
            widgets.FloatLogSlider(value=1.0, base=10, min=-3, max=4, readout_format=".3g", continuous_update=False),
            "Grays out the rows whose calls take longer",
        )
        self.loss = Limit(
            "Measured loss at most (points)",
            widgets.FloatSlider(value=1.0, min=0, max=10, step=0.1, readout_format=".1f", continuous_update=False),
            "Grays out the rows that are right on fewer samples than the source model, by the number alone, without its interval",
        )
        self.said = widgets.HTML()
        self.table = SortedTable(tables.EMPTY, self._follow)
        self.load, self.cost, self.unmeasured = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.plots = Plots()
        self.columns = {each.name: checkbox(each.name, each.help, True) for each in tables.COLUMNS[1:-1]}
        self.first, self.second = (
            field(widgets.Dropdown, name, "A row whose answers were compared with the source model's", "", options=[""])
            for name in ("One row", "Another row")
        )
        tip = "The samples for which the two rows give different answers"
        self.button = button("Show what differs", "columns", tip, "wb-differs-button")
        self.gallery = widgets.HTML()
        self.widget = self._laid_out()
        self._connect()
        self.show(None, None, {})

    def _laid_out(self) -> Any:
        self._controls = widgets.VBox([
            widgets.Box([self.baseline, self.filter, self.percent], css="wb-line"),
            widgets.VBox([self.latency, self.loss, widgets.HTML(view.hint(ONLY_HERE))]),
            self.plots,
        ])  # fmt: skip
        self._folded = Fold("Columns", [widgets.Box([*self.columns.values()], css="wb-checks")])
        self._below = widgets.VBox([
            widgets.HTML("<h4>Two rows side by side</h4>"),
            widgets.Box([self.first, self.second, self.button], css="wb-line"), self.gallery,
        ])  # fmt: skip
        return widgets.VBox(
            [self.said, self._controls, self.table, self._folded, self.unmeasured, self.load, self.cost, self._below]
        )

    def _connect(self) -> None:
        for control in (self.baseline, self.percent, self.latency.on, self.latency.slider,
                        self.loss.on, self.loss.slider, self.filter, *self.columns.values()):  # fmt: skip
            control.observe(lambda _: self._redraw(), "value")
        self.button.on_click(lambda _: self.differ())

    def show(
        self,
        results: Results | None,
        experiment: Experiment | None,
        drawn: Mapping[str, Any],
        load: str = "",
        cost: str = "",
    ) -> None:
        """Show results with their figures by name and further tables as HTML, or a sentence if there are none."""
        self.table.empty = tables.EMPTY
        self.load.value, self.cost.value = load, cost
        self._results, self._experiment = results, experiment
        self.gallery.value = ""
        measured = bool(results and results.measured)
        for part in (self._controls, self._below, self._folded):
            widgets.show(part, measured)
        if results is not None and measured:
            self._offer(results)
        self.plots.show(results if measured else None, drawn)
        self._redraw()

    def wait(self) -> None:
        """Say that a run goes on, until its results are shown or it has ended without any."""
        self.show(None, None, {})
        self.table.empty = tables.GOES_ON
        self._redraw()

    def _offer(self, results: Results) -> None:
        """Baselines, rows and ranges of the sliders are those of the results."""
        self._quiet = True
        names = list(dict.fromkeys(row.spec.variant for row in results.measured))
        automatic = comparison(results).baseline
        widgets.offer(self.baseline, names, automatic if automatic in names else names[0])
        self.filter.value = ""
        times = [row.timing.median_s * 1e3 for row in results.measured if row.timing]
        low, high = math.log10(min(times)) - 0.05, math.log10(max(times)) + 0.7
        slider = self.latency.slider
        slider.min, slider.max, slider.step = -9.0, high, (high - low) / FEWER_STEPS
        slider.value = 10 ** min(high, max(low, math.log10(max(times))))
        slider.min = low
        scored = [row.row for row in results.measured if row.accuracy]
        for number, control in enumerate((self.first, self.second)):
            widgets.offer(control, scored or [""], scored[number * (len(scored) - 1)] if scored else "")
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
            self.table.show(tables.table(map(tables.Shown, possible), results))
            self.said.value = view.warnings(results) if results else ""
            self.unmeasured.value = ""
            return
        seen, budget = self._chosen(results), budget_held(results)
        compared = comparison(results, self.baseline.value)
        judged, refused = {row.result.row: row for row in compared.rows}, dict(compared.refused)
        choice = choose_row(seen, self.limits)
        shown = [
            tables.Shown(
                row,
                judged.get(row.row),
                (*essential(row, judged.get(row.row), refused.get(row.row, "")), *score_remarks(row, budget)),
                out=choice.out.get(row.row, ""),
                star=_star(choice, row),
                disturbed=disturbances(row, judged.get(row.row)),
                budget=budget,
            )
            for row in seen.rows
            if row.status not in (Status.UNSUPPORTED, Status.BUILT)
        ]
        shown, shared = _said_once(shown)
        table = tables.table(shown, results)
        self.table.show(replace(table, columns=tuple(each for each in table.columns if self._is_shown(each.name))))
        self._follow()
        self.plots.shade(self.limits)
        self.unmeasured.value = only_built(results)
        earlier = sum(row.reused for row in results.measured)
        reused = f"{counted(earlier, 'row')} timed by an earlier run." if earlier else ""
        marked = MARKED if any(each.disturbed for each in shown) else ""
        busy = view.hint(" ".join(filter(None, [in_short(seen), shared, reused, marked])))
        self.said.value = view.warnings(results) + view.message(*said(choice, self.limits, seen.baseline)) + busy

    def _follow(self) -> None:
        """Draw the figures of the rows of the table, in its order where a person has sorted it."""
        if self._results is not None and self._results.measured:
            names = (variant_name(row["shown"].result.spec) for row in self.table.rows) if self.table.by else ()
            self.plots.follow(self._chosen(self._results), tuple(dict.fromkeys(names)))

    def _chosen(self, results: Results) -> Results:
        """The rows that the filter leaves, and beside them the chosen baseline at their batch sizes."""
        words, base = self.filter.value.lower().split(), self.baseline.value
        found = [row for row in results.rows if all(word in f"{row.row} batch {row.batch}".lower() for word in words)]
        batches = {row.batch for row in found}
        kept = (
            row
            for row in results.rows
            if any(row is each for each in found) or (row.batch in batches and row.spec.variant == base)
        )
        return replace(results, baseline=base, rows=tuple(kept))

    def whole(self) -> Table:
        """Every row and column of the results, against the chosen baseline."""
        return results_table(self._results, self.baseline.value) if self._results else Table((), ())

    def paper(self) -> Table:
        """The rows that the page shows, in its order, with the columns of the results that stand for those that it shows, and the notes
        that decide about a row.
        """
        order = [row["shown"].result.row for row in self.table.rows]
        names = [name for shown, names in tables.IN_FILES.items() for name in names if self._is_shown(shown)]
        if self._results and not any(row.accuracy and row.accuracy.value is not None for row in self._results.rows):
            names = ["agree %" if name == "top-1 %" else name for name in names]  # as the page does without labels
        table = self.whole()
        rows = {f"{row['variant']} @{row['batch']}": row for row in table.rows}
        columns = {each.name: each for each in table.columns}
        kept = (*(columns[name] for name in names), ESSENTIAL)
        return replace(table, columns=kept, rows=tuple(rows[row] for row in order if row in rows), notes=())

    def _is_shown(self, column: str) -> bool:
        return column not in self.columns or bool(self.columns[column].value)

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
        self.side.start(
            lambda: self._find(results, experiment, first, second),
            failed=lambda error: self._show_pair(view.failed("The answers could not be compared", error, "warn")),
        )

    def _find(self, results: Results, experiment: Experiment, first: Result, second: Result) -> None:
        """In a thread: reading the samples may take seconds."""
        html = tables.gallery(flips(results, experiment, first, second, self._store), first.row, second.row)
        self.side.post(partial(self._show_pair, html))

    def _show_pair(self, html: str) -> None:
        self.gallery.value = html


MARKED = "⚠: some rounds of the row were disturbed; point at the mark to see by what."


def _said_once(shown: list[tables.Shown]) -> tuple[list[tables.Shown], str]:
    """The remarks that all rows but the baseline have are taken from all rows, and made a sentence."""
    each_has = [each.remarks for each in shown if each.judged and each.judged.verdict != Verdict.BASELINE]
    of_all = [text for text in each_has[0] if all(text in others for others in each_has)] if len(each_has) > 1 else []
    left = [each._replace(remarks=tuple(text for text in each.remarks if text not in of_all)) for each in shown]
    return left, f"All rows: {'; '.join(of_all)}." if of_all else ""


def _star(choice: Recommendation, row: Result) -> str:
    if choice.winner is None or row.row != choice.winner.row:
        tied = choice.won and any(row.row == each.row for each in choice.ties)
        return "tied" if tied else ""
    return "winner" if choice.won else "baseline" if choice.is_baseline else ""


def said(choice: Recommendation, limits: Limits, baseline: str) -> tuple[str, str]:
    """The winner in one sentence, and its color."""
    held = " and ".join(filter(None, [choice.budget, "these limits" if limits.any else ""]))
    if choice.winner is None or choice.winner.timing is None:
        if choice.budget:
            kept = " that keeps these limits" if limits.any else ""
            return f"No row{kept} is shown to be within {choice.budget}.", "warn"
        return ("No row keeps these limits. Loosen one of them." if limits.any else ""), "warn"
    winner, timing = choice.winner, choice.winner.timing
    text = f"{winner.row}, {rate(timing.samples_per_s)} samples/s"
    if choice.doubt:
        return " ".join([*choice.doubt, f"Most samples per second: {text}."]), "bad"
    if choice.is_baseline:
        inside = f"both within {held} and " if held else ""
        text = f"No other row is {inside}shown to have more samples per second than the baseline: {text}"
    else:
        known = choice.won or any(row.spec.variant == baseline for row in choice.ties)
        unsure = "" if known else f", not shown to be faster than {baseline}"
        text = f"Most samples per second{' within ' * bool(held)}{held}: {text}{unsure}"
    for relation, rows in (
        ("it is not distinguishable from", choice.ties),
        ("not measured in turn with it:", choice.not_interleaved),
    ):
        text += f"; {relation} {', '.join(row.spec.label for row in rows)}" if rows else ""
    if choice.out:
        text += f". {counted(len(choice.out), 'row')} excluded"
    return " ".join([f"{text}.", *choice.why]), "good" if choice.won else "warn"
