"""The figure of monitoring: the graphs of the dashboard, from lines that Prometheus gave."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from workbench.display.plots.canvas import COLORS, sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, HEIGHT_IN = 2, 1.9
MOST_LINES, ROWS = 10, 4
"""Lines of a graph, and of a column of its legend."""
UNITS = {"s": "seconds", "reqps": "requests/s", "percentunit": "%"}
LABEL = re.compile(r"\{\{(\w+)\}\}")


class Drawn(NamedTuple):
    """One line of a graph: its name, and values by seconds before now (0 is now, the past is negative)."""

    name: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]


class Graph(NamedTuple):
    """One graph with its lines."""

    title: str
    unit: str
    lines: tuple[Drawn, ...]


def named(legend: str, labels: Mapping[str, str]) -> str:
    """The name of a line: the legend with labels in the place of their names.

    Example:
        >>> named("{{input}} {{statistic}}", {"input": "x", "statistic": "mean"})
        'x mean'

    """
    return LABEL.sub(lambda found: labels.get(found[1], ""), legend)


def draw_graph(graph: Graph, ax: Axes, span_s: float) -> None:
    """Lines over the last ``span_s`` seconds, drawn in minutes, with a legend; a graph without lines says so."""
    factor = 100.0 if graph.unit == "percentunit" else 1.0
    for place, line in enumerate(graph.lines[:MOST_LINES]):
        shown = [(when / 60, value * factor) for when, value in zip(line.seconds, line.values, strict=True)]
        shown = [each for each in shown if math.isfinite(each[1])]
        if shown:
            color, mark = COLORS[place % len(COLORS)], "." if len(shown) == 1 else ""
            ax.plot(*zip(*shown, strict=True), linewidth=1.2, marker=mark, color=color, label=line.name)
    ax.set_title(graph.title, loc="left", fontsize=9)
    ax.set_ylabel(UNITS.get(graph.unit, ""), fontsize=8)
    ax.set_ylim(bottom=0)
    ax.set_xlim(-span_s / 60, 0)
    ax.tick_params(labelsize=8)
    ax.grid(color="#DDDDDD", linewidth=0.6)
    if ax.lines:
        ax.legend(loc="upper left", fontsize=7, frameon=False, ncols=-(-len(ax.lines) // ROWS))
    else:
        ax.text(0.5, 0.5, "nothing yet", transform=ax.transAxes, ha="center", va="center", fontsize=8, color="#777777")


def monitor_figure(graphs: Sequence[Graph], span_s: float) -> Figure:
    """All graphs of the last ``span_s`` seconds."""
    rows = -(-len(graphs) // COLUMNS)
    figure = sheet(HEIGHT_IN * rows, "Graphs of monitoring over time: " + ", ".join(graph.title for graph in graphs))
    for place, ax in enumerate(figure.subplots(rows, COLUMNS, squeeze=False).flat):
        if place < len(graphs):
            draw_graph(graphs[place], ax, span_s)
        else:
            ax.set_axis_off()
        if place >= len(graphs) - COLUMNS:
            ax.set_xlabel("minutes before now (0: now)", fontsize=8)
    return figure
