"""Figures of load, in pairs: throughput against callers and against latency, batches the same way, and latency against rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.formats import digits, shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.display.plots.canvas import (
    DASHES,
    GREY,
    NAME,
    Look,
    doubling,
    label,
    legend_beside,
    looks,
    page,
    scale,
    shown_batches,
)
from workbench.display.plots.served import served_figures
from workbench.stats.queues import knee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results

PANELS = 3  # batches, or variants, shown at most
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 13,
    "markerfacecolor": "none",
    "markeredgewidth": 1.2,
    "linestyle": "",
    "clip_on": False,
}


class Curve(NamedTuple):
    """One variant as its load grows; the places of all tuples belong together."""

    name: str
    look: Look
    load: tuple[int, ...]  # callers, or samples in a batch
    samples_per_s: tuple[float, ...]
    mean_ms: tuple[float, ...]
    knee: int | None  # the place beyond which more load costs more latency than it gives throughput


class CurveData(NamedTuple):
    """The curves of one panel, highest throughput first."""

    title: str
    load: str  # what grows: "callers at once" or "batch size (samples per call)"
    baseline: str
    curves: tuple[Curve, ...]


def callers_data(results: Results, batch: int) -> CurveData:
    """Throughput and mean latency of every variant at one batch size by the number of callers at once."""
    styles, curves = looks(results), []
    for row in results.rows:
        if row.load is None or row.batch != batch or not row.load.measured:
            continue
        loops = row.load.measured
        speeds = tuple(loop.queries_per_s * batch for loop in loops)
        times = tuple(loop.mean_s * 1e3 for loop in loops)
        name, levels = variant_name(row.spec), tuple(loop.concurrency for loop in loops)
        curves.append(_curve(name, styles[name], levels, speeds, times))
    return _data(results, f"batch {batch}", "callers at once", curves)


def batches_data(results: Results) -> CurveData:
    """Throughput and mean latency of every variant by batch size, for one caller: from the latency rounds."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for row in results.measured:
        if row.timing and row.timing.streams == 1:
            point = (row.batch, row.timing.samples_per_s, row.batch / row.timing.samples_per_s * 1e3)
            found.setdefault(variant_name(row.spec), []).append(point)
    styles = looks(results)
    curves = []
    for name, points in found.items():
        batches, speeds, times = zip(*sorted(points), strict=True)
        curves.append(_curve(name, styles[name], batches, speeds, times))
    return _data(results, "one caller", "batch size (samples per call)", curves)


def _curve(name: str, look: Look, load: tuple[int, ...], speeds: tuple[float, ...], times: tuple[float, ...]) -> Curve:
    found = knee(speeds, times)
    return Curve(name, look, load, speeds, times, found.place if found else None)


def _data(results: Results, title: str, load: str, curves: list[Curve]) -> CurveData:
    ordered = sorted(curves, key=lambda curve: -max(curve.samples_per_s))
    return CurveData(title, load, plain_name(results, results.baseline), tuple(ordered))


def draw_growth(data: CurveData, ax: Axes) -> None:
    """Throughput against what grows; the knee of each variant has a ring around it."""
    loads = sorted({load for curve in data.curves for load in curve.load})
    scale(ax, "y", [speed for curve in data.curves for speed in curve.samples_per_s], zero=True)
    doubling(ax, loads, 0.25)
    for curve in data.curves:
        _draw(ax, curve, curve.load, curve.samples_per_s)
    ax.set_title(data.title, loc="left", fontsize=10)
    label(ax, data.load, "throughput (samples/s)")


def draw_curve(data: CurveData, ax: Axes) -> None:
    """Throughput against mean latency: up and to the left is better. The legend shows each variant's knee."""
    scale(ax, "y", [speed for curve in data.curves for speed in curve.samples_per_s], zero=True)
    scale(ax, "x", [time for curve in data.curves for time in curve.mean_ms], zero=True)
    from matplotlib.lines import Line2D

    keys: list[tuple[Any, str]] = []
    for curve in data.curves:
        _draw(ax, curve, curve.mean_ms, curve.samples_per_s)
        mark = Line2D([], [], linewidth=1.4, **{"linestyle": curve.look.line, **curve.look.marks})
        keys.append((mark, f"{shortened(curve.name, NAME)}\n{_best(curve)}"))
    bold = [curve.name == data.baseline for curve in data.curves]
    legend_beside(ax, keys, bold, bbox_to_anchor=(1.03, 1.0), fontsize=8)
    ax.set_xlabel("mean time of a call (ms)")
    ax.grid(color="#DDDDDD", linewidth=0.6)


def _draw(ax: Axes, curve: Curve, across: Sequence[float], up: Sequence[float]) -> None:
    ax.plot(across, up, linestyle=curve.look.line, linewidth=1.4, **curve.look.marks)
    if curve.knee is not None:
        ax.plot([across[curve.knee]], [up[curve.knee]], color=curve.look.color, **RING)


def _best(curve: Curve) -> str:
    best = curve.samples_per_s.index(max(curve.samples_per_s))
    text = f"most {digits(curve.samples_per_s[best])} at {curve.load[best]}"
    return text if curve.knee is None else f"{text}, knee at {curve.load[curve.knee]}"


class RatePoint(NamedTuple):
    """One open loop."""

    rate: float
    ms: float
    low: float
    high: float
    answer: str


class RateLine(NamedTuple):
    name: str
    look: Look
    points: tuple[RatePoint, ...]  # ascending by rate


class RateData(NamedTuple):
    """The open loops at one batch size."""

    batch: int
    percent: float
    limit_ms: float
    lines: tuple[RateLine, ...]


def rate_data(results: Results, batch: int) -> RateData:
    """The percentile of latency against the rate of arrivals, for every variant at one batch size."""
    styles, lines, percent, limit_s = looks(results), [], 0.0, 0.0
    for row in results.rows:
        if row.load is None or row.batch != batch:
            continue
        points = []
        for loop in row.load.open:
            percent, limit_s, tail = loop.percent, loop.limit_s, loop.tail
            if tail:
                value, low, high = (each * 1e3 for each in tail)
                points.append(RatePoint(loop.rate, value, low, high, str(loop.answer)))
        if points:
            name = variant_name(row.spec)
            lines.append(RateLine(name, styles[name], tuple(points)))
    return RateData(batch, percent, limit_s * 1e3, tuple(lines))


def draw_rates(data: RateData, ax: Axes) -> None:
    """Percentiles with their 95 % intervals and the limit as a dashed line; what does not hold is crossed out."""
    values = [end for line in data.lines for point in line.points for end in (point.ms, point.low, point.high)]
    scale(ax, "y", [*values, data.limit_ms], zero=True)
    scale(ax, "x", [point.rate for line in data.lines for point in line.points], zero=True)
    ax.axhline(data.limit_ms, color=GREY, linewidth=1, linestyle=DASHES, zorder=0)
    for line in data.lines:
        rates, times = [point.rate for point in line.points], [point.ms for point in line.points]
        ax.plot(rates, times, linestyle=line.look.line, linewidth=1, alpha=0.6, color=line.look.color)
        for point in line.points:
            ax.plot([point.rate] * 2, [point.low, point.high], color=line.look.color, linewidth=1)
        ax.plot(rates, times, linestyle="", label=_held(line), **line.look.marks)
        crossed = [point for point in line.points if point.answer == "does not hold"]
        ax.plot([p.rate for p in crossed], [p.ms for p in crossed], "x", color=line.look.color, markersize=11)
    ax.legend(loc="upper left", bbox_to_anchor=(1.03, 1.0), borderaxespad=0, frameon=False, fontsize=8, numpoints=1)
    ax.set_title(f"batch {data.batch}", loc="left", fontsize=10)
    label(ax, "arrivals (queries/s)", f"p{data.percent:g} of latency, from arrival (ms)")


def _held(line: RateLine) -> str:
    held = [point.rate for point in line.points if point.answer == "holds"]
    return f"{shortened(line.name, NAME)}\n" + (f"holds at {digits(max(held))} /s" if held else "not shown to hold")


def load_figures(results: Results) -> dict[str, Figure]:
    """The figures "load", "rates" and "served", each where there is data for it."""
    found: dict[str, Figure] = {}
    batches = sorted({row.batch for row in results.rows if row.load and row.load.measured})
    if any(len(row.load.measured) > 1 for row in results.rows if row.load):
        found["load"] = _load_figure(results, batches)
    rated = sorted({row.batch for row in results.rows if row.load and any(loop.tail for loop in row.load.open)})
    if rated:
        found["rates"] = _rates_figure(results, rated)
    return found | served_figures(results)


def _other_region(results: Results) -> list[str]:
    """A line if load was timed over another region than the latency in the heading."""
    regions = {row.load.plan.region for row in results.rows if row.load} - {results.plan.region}
    return [f"Load was timed over the region {region}." for region in sorted(regions)]


def _load_figure(results: Results, batches: list[int]) -> Figure:
    shown, notes = shown_batches(batches, PANELS)
    panels = [callers_data(results, batch) for batch in shown]
    over_batches = batches_data(results)
    if any(len(curve.load) > 1 for curve in over_batches.curves):
        panels.append(over_batches)
    notes += _other_region(results)
    notes = [
        "Ring: the knee, where throughput divided by mean time is largest (Kleinrock's power). Callers call again at once.",
        *notes,
    ]
    heights = [max(2.3, 0.45 + 0.3 * len(panel.curves)) for panel in panels]
    fig = page(results, "Throughput under load", sum(heights) + 0.35 * len(panels), notes)
    grid = fig.subplots(len(panels), 2, squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid, panels, strict=True):
        draw_growth(panel, axes[0])
        draw_curve(panel, axes[1])
    return fig


def _rates_figure(results: Results, batches: list[int]) -> Figure:
    shown, notes = shown_batches(batches, PANELS)
    panels = [rate_data(results, batch) for batch in shown]
    notes += _other_region(results)
    notes = ["Bars: 95 % intervals. Dashed: the limit. Crossed out: the limit does not hold there.", *notes]
    heights = [max(2.4, 0.45 + 0.3 * len(panel.lines)) for panel in panels]
    fig = page(results, "Latency at a rate of arrivals", sum(heights) + 0.35 * len(panels), notes)
    for ax, panel in zip(fig.subplots(len(panels), 1, squeeze=False, height_ratios=heights).flat, panels, strict=True):
        draw_rates(panel, ax)
    return fig
