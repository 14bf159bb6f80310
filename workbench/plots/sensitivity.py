"""Figures of sensitivity, in pairs as in ``plots``: what INT8 does to the outputs, over the depth of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.plots.canvas import GREY, STYLE, sheet
from workbench.search.sensitivity import ALONE, DIVERGED_DB, Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 5
"""Layers whose names are written into the figure."""
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class Point(NamedTuple):
    """One layer quantized alone."""

    name: str
    op: str
    depth: float
    sqnr_db: float
    lost: float  # of the quality; positive is worse


class SensitivityData(NamedTuple):
    """Layers in the graph's order, and the inner values of the model with all of them in INT8."""

    points: tuple[Point, ...]
    inner: tuple[tuple[float, float], ...]  # depth, dB
    metric: str
    untouched: int  # layers that change nothing, which have no place on a scale of decibels
    untried: int


def sensitivity_data(found: Sensitivity) -> SensitivityData:
    """Every layer that was quantized alone and changed an output; inner values that differ at all."""
    alone = [each for each in found.units if each.way == ALONE]
    points = [
        Point(each.what, each.op, each.depth, each.sqnr_db, each.lost) for each in alone if each.sqnr_db is not None
    ]
    last = max((each.place for each in found.inner), default=1) or 1
    inner = tuple((each.place / last, each.sqnr_db) for each in found.inner if each.sqnr_db is not None)
    return SensitivityData(tuple(points), inner, found.metric, len(alone) - len(points), len(found.untried))


def draw_sensitivity(data: SensitivityData, ax: Axes) -> None:
    """Higher is better. Points: the outputs with one layer in INT8; the line: inner values with all layers in INT8."""
    kinds = list(dict.fromkeys(point.op for point in data.points))
    for place, op in enumerate(kinds):
        own = [point for point in data.points if point.op == op]
        color = COLORS[place % len(COLORS)]
        ax.plot([p.depth for p in own], [p.sqnr_db for p in own], "o", color=color, markersize=5, label=f"{op} alone")
    if data.inner:
        depth, decibels = zip(*data.inner, strict=True)
        ax.plot(depth, decibels, "-", color=GREY, linewidth=1, label="inner values, all in INT8")
    ax.axhline(DIVERGED_DB, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.annotate(
        "below: come apart", (1, DIVERGED_DB), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="top"
    )
    for point in sorted(data.points, key=lambda each: each.sqnr_db)[:NAMED]:
        lost = f" ({data.metric} −{point.lost:.3g})" if point.lost > 0 else ""
        ax.annotate(
            f"{point.name}{lost}", (point.depth, point.sqnr_db), xytext=(6, -2), textcoords="offset points", fontsize=8
        )
    ax.set_xlabel("place in the graph (0: inputs, 1: outputs)")
    ax.set_ylabel("signal to quantization noise (dB)\nhigher is better")
    notes = [f"{data.untouched} layers change nothing"] if data.untouched else []
    notes += [f"{data.untried} were not tried within the limit of time"] if data.untried else []
    ax.set_title("; ".join(["What INT8 does, layer by layer", *notes]), loc="left", fontsize=10)
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.legend(fontsize=8, frameon=False, loc="best")


def sensitivity_figure(found: Sensitivity) -> Figure:
    """The figure of :func:`draw_sensitivity`; it is neither shown nor saved."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        fig = sheet(4.5, "Signal to quantization noise over the depth of the graph")
        draw_sensitivity(sensitivity_data(found), fig.subplots())
    return fig
