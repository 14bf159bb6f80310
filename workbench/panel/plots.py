"""The figures of the page Compare: as wide as the page, of the rows and the baseline that are chosen, with the limits shaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

from workbench.compare.limits import Limits
from workbench.compare.pairs import plain_name
from workbench.display.plots import scatter
from workbench.panel import figures, widgets
from workbench.panel.fields import field
from workbench.panel.work import AfterPause, BackgroundWork
from workbench.records import Results

TITLES = {
    "accuracy": "Accuracy and speed", "calls": "Single calls", "load": "Under load", "tradeoff": "Latency and throughput",
}  # fmt: skip
CHOSEN, CHOSEN_TITLE = "chosen", "Other axes"
"""The figure of two numbers that a person chooses."""
FIRST_AXES = ("p50 ms", "engine MB")
PAUSE_S = 0.3
NARROWER_PX = 8  # a difference in width that is not worth drawing for
# the kernel does not know how wide the page is: the browser writes it into a field that is not shown
MEASURE = (
    "const panel=this.closest('.wb');if(panel){const plots=panel.querySelector('.wb-plots'),"
    "field=panel.querySelector('.wb-width input');let later;new ResizeObserver(()=>{clearTimeout(later);"
    "later=setTimeout(()=>{const width=Math.floor(plots.clientWidth);if(width>300&&width!=field.value){field.value=width;"
    "field.dispatchEvent(new Event('change',{bubbles:true}))}},300)}).observe(plots)}"
)


class Plots(widgets.VBox):  # type: ignore[misc]
    """One figure at a time, chosen by its name."""

    def __init__(self) -> None:
        self.drawn: Mapping[str, Any] = {}
        self._boxes: dict[str, Any] = {}
        self._shown: Results | None = None  # what the figures are of
        self._order: tuple[str, ...] = ()  # of the variants in the figures that are shown
        self._wanted: tuple[Results, tuple[str, ...]] | None = None
        self._tried: set[str] = set()  # names of the figures that were asked for of it, with data or without
        self._limits = Limits()
        self.drawing = BackgroundWork(self._again)
        self._pause = AfterPause(self._again, PAUSE_S)
        self.figure = widgets.ToggleButtons(options=[], css="wb-figure-choice")
        self.row = widgets.Box(css="wb-plots")
        self.axes = tuple(
            field(widgets.Dropdown, f"{name} axis", "A number of the table of results", None, options=[])
            for name in ("Horizontal", "Vertical")
        )
        self.axes_row = widgets.Box(self.axes, css="wb-line")
        self.page = widgets.IntText(value=figures.WIDTH_PX, css="wb-width")
        style = widgets.HTML(f'<style onload="{escape(MEASURE)}">.wb .wb-width {{ display: none; }}</style>')
        super().__init__([self.figure, self.axes_row, self.row, self.page, style])
        self.figure.observe(lambda _: self._draw(), "value")
        self.page.observe(self._resized, "value")
        for axis in self.axes:
            axis.observe(lambda _: self._draw_axes(), "value")

    def show(self, results: Results | None, drawn: Mapping[str, Any]) -> None:
        """Show figures of these results."""
        self._shown, self._order, self._wanted, self._tried = results, (), None, set()
        self._take(drawn)
        titles = [(TITLES.get(name, name.capitalize()), name) for name in drawn]
        chosen = [(CHOSEN_TITLE, CHOSEN)] if drawn and results else []
        widgets.offer(self.figure, titles + chosen, next(iter(drawn), None))
        if results is not None and drawn:
            self._offer_axes(results)
        self._draw()

    def _offer_axes(self, results: Results) -> None:
        """The numbers that these results have, and of those the ones that are drawn already."""
        found = scatter.numbers(results)
        for axis, first in zip(self.axes, FIRST_AXES, strict=True):
            kept = axis.value if axis.value in found else first if first in found else found[-1]
            widgets.offer(axis, found, kept)

    def _draw_axes(self) -> None:
        """Other numbers were chosen."""
        if box := self._boxes.pop(CHOSEN, None):
            self.row.children = [*self._boxes.values()]
            widgets.close(box)
        self._draw()

    def follow(self, results: Results, order: tuple[str, ...] = ()) -> None:
        """Draw the figure that is looked at for these results, whose rows, baseline or order are others: in a thread, and when nothing
        has changed for a moment, because drawing slows the answers to further clicks.
        """
        self._wanted = results, order
        self._pause.ask()

    def shade(self, limits: Limits) -> None:
        """Shade what does not keep the limits."""
        if limits != self._limits:
            self._limits = limits
            for name in self._boxes:
                self._shade(name)

    def _take(self, drawn: Mapping[str, Any]) -> None:
        """Put these figures in the place of those that are shown."""
        self.drawn = drawn
        self.row.children = ()
        boxes, self._boxes = self._boxes, {}
        for box in boxes.values():
            widgets.close(box)

    def _again(self) -> None:
        name = self.figure.value
        if self._wanted is None or self._shown is None or name is None or self.drawing.busy or self._pause.waits:
            return  # a thread that is busy looks again at its end
        results, order = self._wanted
        fresh = order != self._order or not _same(results, self._shown)
        if fresh:
            self._shown, self._order, self._tried = results, order, set()
        elif name in self.drawn or name in self._tried or name == CHOSEN:
            return
        self._tried.add(name)
        self.drawing.start(partial(self._draw_again, self._shown, order, name, fresh))

    def _draw_again(self, results: Results, order: tuple[str, ...], name: str, fresh: bool) -> None:
        """In the thread."""
        from workbench.display.plots.figures import figures as draw

        drawn = draw(results, order, name) if results.measured else {}
        self.drawing.post(partial(self._show_again, results, drawn, fresh))

    def _show_again(self, results: Results, drawn: Mapping[str, Any], fresh: bool) -> None:
        if results is not self._shown:  # other results have come
            return
        if fresh:
            self._take(drawn)
        else:
            self.drawn = {**self.drawn, **drawn}
        self._draw()

    def _resized(self, change: Any) -> None:
        if abs(change["new"] - change["old"]) > NARROWER_PX:
            self._take(self.drawn)
            self._draw()

    def _draw(self) -> None:
        name, results = self.figure.value, self._shown
        widgets.show(self.axes_row, name == CHOSEN)
        if results is None or (name not in self.drawn and name != CHOSEN):
            for box in self._boxes.values() if name in self._tried else ():  # there is no data for it
                widgets.show(box, False)
            self._again()
            return
        if name not in self._boxes:
            # a box around each: a canvas stays on the page when it alone is taken out of its parent
            self._boxes[name] = widgets.Box([self._canvas(name, results)])
            self._shade(name)
            self.row.children = [*self._boxes.values()]
        for each, box in self._boxes.items():
            widgets.show(box, each == name)

    def _canvas(self, name: str, results: Results) -> Any:
        if name == CHOSEN:
            across, up = (str(axis.value) for axis in self.axes)
            marks = figures.scatter_marks(results, across, up)
            return figures.canvas(scatter.scatter_figure(results, across, up), marks, self.page.value)
        marks = figures.marks_of(name, results, self._order)
        return figures.canvas(self.drawn[name], marks, self.page.value)

    def _shade(self, name: str) -> None:
        if self._shown is not None and name in self.drawn:
            figures.shade(name, self.drawn[name], self._shown, self._limits)
            self._boxes[name].children[0].draw_idle()


def _same(one: Results, other: Results) -> bool:
    """Whether figures of both are equal: the same rows and the same baseline."""
    return [row.row for row in one.rows] == [row.row for row in other.rows] and plain_name(
        one, one.baseline
    ) == plain_name(other, other.baseline)
