"""Figures of sensitivity: the effect of INT8 on the outputs over the depth of the graph, in data and draw functions as in ``plots``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.display.plots.canvas import GREY, drawn, label
from workbench.search.mixed_precision.sensitivity import ALONE, DIVERGED_DB, Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 5
"""The number of layers whose names are shown."""
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class LayerSensitivity(NamedTuple):
    """One layer quantized alone."""

    name: str
    op: str
    depth: float
    sqnr_db: float
    lost: float  # of the quality; positive is worse


class SensitivityData(NamedTuple):
    """Layers in the graph's order, and the inner values of the model with all of them in INT8."""

    points: tuple[LayerSensitivity, ...]
    inner: tuple[tuple[float, float], ...]  # depth, dB
    metric: str
    untouched: int  # layers that change nothing; decibels cannot show them
    untried: int


def sensitivity_data(sensitivity: Sensitivity) -> SensitivityData:
    """Every layer that was quantized alone and changed an output; and the inner values that differ."""
    alone = [each for each in sensitivity.units if each.way == ALONE]
    points = [
        LayerSensitivity(each.what, each.op, each.depth, each.sqnr_db, each.lost)
        for each in alone
        if each.sqnr_db is not None
    ]
    last = max((each.place for each in sensitivity.inner), default=1) or 1
    inner = tuple((each.place / last, each.sqnr_db) for each in sensitivity.inner if each.sqnr_db is not None)
    return SensitivityData(tuple(points), inner, sensitivity.metric, len(alone) - len(points), len(sensitivity.untried))


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
        "below: diverged", (1, DIVERGED_DB), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="top"
    )
    for point in sorted(data.points, key=lambda each: each.sqnr_db)[:NAMED]:
        lost = f" ({data.metric} −{point.lost:.3g})" if point.lost > 0 else ""
        ax.annotate(
            f"{point.name}{lost}", (point.depth, point.sqnr_db), xytext=(6, -2), textcoords="offset points", fontsize=8
        )
    label(ax, "place in the graph (0: inputs, 1: outputs)", "signal to quantization noise (dB)\nhigher is better")
    notes = [f"{data.untouched} layers change nothing"] if data.untouched else []
    notes += [f"{data.untried} were not tried within the time limit"] if data.untried else []
    ax.set_title("; ".join(["Effect of INT8 by layer", *notes]), loc="left", fontsize=10)
    ax.legend(fontsize=8, frameon=False, loc="best")


def sensitivity_figure(sensitivity: Sensitivity) -> Figure:
    """Return the figure of :func:`draw_sensitivity`."""
    data = sensitivity_data(sensitivity)
    alt = "Signal to quantization noise over the depth of the graph"
    return drawn(4.5, alt, lambda ax: draw_sensitivity(data, ax))
