"""Figures in the panel: canvases that can be zoomed and that name what the pointer is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.formats import digits
from workbench.display.plots.canvas import as_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.compare.limits import Limits
    from workbench.display.plots.figures import LatencyRow
    from workbench.records import Results

WIDTH_PX = 790
"""What fits beside JupyterLab's file browser on a screen 1280 pixels wide."""
NEAR_PX = 40


class Mark(NamedTuple):
    """Something drawn that can be read: where, in the units of its axes, and what it is."""

    x: float
    y: float
    text: str


def canvas(figure: Figure, marks: Sequence[Sequence[Mark]], width_px: int = WIDTH_PX) -> Any:
    """A figure as a widget of this width; ``marks`` are those of :func:`marks_of`."""
    from ipympl.backend_nbagg import FigureManager

    for ax, here in zip(figure.axes, marks, strict=False):
        ax.format_coord = _reader(ax, here)  # type: ignore[method-assign, assignment]
    figure.set_dpi(width_px / figure.get_figwidth())
    shown = _canvas_kind()(figure)
    FigureManager(shown, 0)
    shown.header_visible = False
    shown.resizable = False
    shown.toolbar_position = "bottom"
    shown.layout.max_width = "100%"
    _follow_pointer(figure, shown)
    return shown.add_class("wb-canvas")


@cache
def _canvas_kind() -> Any:
    from ipympl.backend_nbagg import Canvas

    class DrawnOnce(Canvas):  # type: ignore[misc]
        """A browser asks a new canvas twice for its picture: what has not changed since is not drawn again, only sent."""

        _made = False

        def draw(self) -> None:
            if self._made and not self.figure.stale:
                self._png_is_old = True
                self.manager.refresh_all()
                return
            self._made = True
            super().draw()

    return DrawnOnce


def _follow_pointer(figure: Figure, shown: Any) -> None:
    """Name what the pointer is over beside it, as the line below the figure does."""
    style: dict[str, Any] = {
        "boxstyle": "round,pad=0.35",
        "facecolor": "#ffffee",
        "edgecolor": "#999999",
        "linewidth": 0.6,
    }
    note = figure.text(0, 0, "", fontsize=8.5, zorder=99, visible=False, bbox=style, parse_math=False)
    note.set_in_layout(False)

    def moved(event: Any) -> None:
        text = event.inaxes.format_coord(event.xdata, event.ydata) if event.inaxes in marked else ""
        if text == note.get_text():
            return
        width, height = shown.get_width_height()
        left = event.x < width / 2
        note.set_text(text)
        note.set_visible(bool(text))
        note.set_horizontalalignment("left" if left else "right")
        note.set_position(((event.x + (12 if left else -12)) / width, (event.y + 10) / height))
        shown.draw_idle()

    marked = [ax for ax in figure.axes if getattr(ax.format_coord, "__name__", "") == "read"]
    shown.mpl_connect("motion_notify_event", moved)


SHADE: dict[str, Any] = {"color": "#D55E00", "alpha": 0.1, "linewidth": 0, "gid": "limit", "zorder": 0}


def scatter_marks(results: Results, x: str, y: str) -> list[list[Mark]]:
    """What can be read in the figure of two chosen numbers."""
    from workbench.display.plots import scatter

    data = scatter.scatter_data(results, x, y)
    return [[Mark(each.x, each.y, scatter.point_text(each, data)) for each in data.points]]


def shade(name: str, figure: Figure, results: Results, limits: Limits) -> None:
    """Shade the part of a figure that does not keep the limits, in the place of what was shaded before."""
    for ax in figure.axes:
        for patch in [each for each in ax.patches if each.get_gid() == "limit"]:
            patch.remove()
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        if limits.latency_s is not None and name in ("latency", "tradeoff"):
            ax.axvspan(limits.latency_s * 1e3, right, **SHADE)
        value = _least_accuracy(results, limits)
        if value is not None and name == "accuracy":
            ax.axhspan(bottom, value, **SHADE)
        ax.set_xlim(left, right)
        ax.set_ylim(bottom, top)


def _least_accuracy(results: Results, limits: Limits) -> float | None:
    """The smallest accuracy in percent that keeps the limit; ``None`` where there is no limit, or the metric is not a share."""
    scores = [row.accuracy for row in results.measured if row.accuracy]
    if limits.loss is None or not scores or not scores[0].share or not scores[0].higher_is_better:
        return None
    source = scores[0].source_value if scores[0].value is not None else 1.0
    return None if source is None else 100 * (source - limits.loss)


def marks_of(name: str, results: Results, order: Sequence[str] = ()) -> list[list[Mark]]:
    """For each axes of a figure, in its order, what can be read there; ``order`` is that of the variants."""
    from workbench.display.plots import accuracy, figures, tradeoff

    if name == "throughput":
        data = figures.throughput_data(results, order)
        single = len({batch for line in data.lines for batch in line.batches}) == 1
        found = []
        for place, line in enumerate(data.lines):
            for batch, speed in zip(line.batches, line.samples_per_s, strict=True):
                text = f"{line.name}: {digits(speed)} samples/s at batch {batch}"
                found.append(Mark(speed, place, text) if single else Mark(batch, speed, text))
        return [found]
    if name == "tradeoff":
        points = tradeoff.tradeoff_data(results).points
        return [[Mark(each.ms, each.samples_per_s, tradeoff.point_text(each)) for each in points]]
    if name == "accuracy":
        scored = accuracy.accuracy_data(results).points
        return [[Mark(each.ms_per_sample, each.value, accuracy.point_text(each)) for each in scored]]
    if name != "latency":
        return []
    panels, _ = figures.latency_panels(results, order)
    return [
        [Mark(row.median, place, _row_text(row)) for place, row in enumerate(panel.rows) if row.median is not None]
        for panel in panels
    ]


def _row_text(row: LatencyRow) -> str:
    p99 = "" if row.p99 is None else f", p99 {digits(row.p99)} ms"
    return f"{row.name}: median {digits(row.median)} ms{p99}"


def _reader(ax: Axes, marks: Sequence[Mark]) -> Callable[[float, float], str]:
    """What the line below the figure says while the pointer is over these axes."""

    def read(x: float, y: float) -> str:
        here = ax.transData.transform((x, y))
        apart = [
            (float(((ax.transData.transform((mark.x, mark.y)) - here) ** 2).sum()) ** 0.5, mark.text) for mark in marks
        ]
        distance, text = min(apart, default=(NEAR_PX + 1.0, ""))
        return text if distance <= NEAR_PX else ""

    return read


def saved(name: str, kind: str, results: Results) -> bytes:
    """A figure as a file of the kind "png", "svg" or "pdf"; empty where there is nothing to draw."""
    figure = results.figures(name).get(name) if results.measured else None
    return as_bytes(figure, 200, kind) if figure else b""
