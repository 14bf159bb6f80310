"""Figures in the panel: canvases that can be zoomed and that name what the pointer is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.comparison import digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results

WIDTH_PX = 790
"""What fits beside JupyterLab's file browser on a screen 1280 pixels wide."""
NEAR_PX = 40


class Mark(NamedTuple):
    """Something drawn that can be read: where, in the units of its axes, and what it is."""

    x: float
    y: float
    text: str


def canvas(name: str, figure: Figure, results: Results) -> Any:
    """The figure ``name`` of ``workbench.figures`` as a widget."""
    from ipympl.backend_nbagg import Canvas, FigureManager

    for ax, marks in zip(figure.axes, _marks(name, results), strict=False):
        ax.format_coord = _reader(ax, marks)  # type: ignore[method-assign, assignment]
    figure.set_dpi(WIDTH_PX / figure.get_figwidth())
    shown = Canvas(figure)
    FigureManager(shown, 0)
    shown.header_visible = False
    shown.resizable = False
    shown.toolbar_position = "bottom"
    shown.layout.max_width = "100%"
    return shown.add_class("wb-canvas")


def names(results: Results) -> tuple[str, ...]:
    """The figures that there are of these results."""
    from workbench.plots import figures

    return tuple(figures.figures(results))


def _marks(name: str, results: Results) -> list[list[Mark]]:
    """For each axes of a figure, in its order, what can be read there."""
    from workbench.plots import figures

    if name == "throughput":
        data = figures.throughput_data(results)
        single = len({batch for line in data.lines for batch in line.batches}) == 1
        return [
            [
                Mark(speed, place, f"{line.name}: {digits(speed)} samples/s at batch {batch}")
                if single
                else Mark(batch, speed, f"{line.name}: {digits(speed)} samples/s at batch {batch}")
                for place, line in enumerate(data.lines)
                for batch, speed in zip(line.batches, line.samples_per_s, strict=True)
            ]
        ]
    if name == "accuracy":
        points = figures.accuracy_data(results).points
        return [
            [
                Mark(
                    each.ms_per_sample,
                    each.value,
                    f"{each.name}: {each.value:.1f} % [{each.low:.1f}, {each.high:.1f}], {digits(each.ms_per_sample)} ms",
                )
                for each in points
            ]
        ]
    if name != "latency":
        return []
    batches = sorted({row.batch for row in results.measured})
    if len(batches) > figures.PANELS:
        batches = [*batches[: figures.PANELS - 1], batches[-1]]
    return [
        [
            Mark(row.median, place, f"{row.name}: median {digits(row.median)} ms" + _p99(row.p99))
            for place, row in enumerate(figures.latency_data(results, batch).rows)
            if row.median is not None
        ]
        for batch in batches
    ]


def _p99(ms: float | None) -> str:
    return "" if ms is None else f", p99 {digits(ms)} ms"


def _reader(ax: Axes, marks: list[Mark]) -> Callable[[float, float], str]:
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
    import io

    from workbench.plots import figures

    figure: Figure | None = figures.figures(results).get(name) if results.measured else None
    if figure is None:
        return b""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=200)
    return buffer.getvalue()
