"""Figures in pairs: data as a NamedTuple, then drawing it on a given ``Axes``. No pyplot, no global style."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from workbench.compare.formats import digits, shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.display.plots.accuracy import accuracy_data, accuracy_figure
from workbench.display.plots.builds import build_figures
from workbench.display.plots.calls import calls_figure, tail_figure
from workbench.display.plots.canvas import (
    DASHES,
    GREY,
    NAME,
    STYLE,
    Look,
    doubling,
    draw_grid,
    label,
    looks,
    margin_text,
    page,
    rows,
    scale,
    shown_batches,
    spread,
)
from workbench.display.plots.costs import cost_figures
from workbench.display.plots.load import load_figures
from workbench.display.plots.tradeoff import over_launches, tradeoff_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Result, Results

SPANS = "Bars: from the smallest to the largest median of a launch."
PANELS = 6  # batches shown at most in the latency figure


class LatencyRow(NamedTuple):
    """One variant; all times in milliseconds, absent where the sample is too small to support them."""

    name: str
    look: Look
    median: float | None  # None: not measured at this batch
    middle: tuple[float, float] | None  # 25th and 75th percentile
    span: tuple[float, float] | None  # 5th and 95th percentile
    p99: float | None
    rounds: tuple[float, ...]  # median of each round


class LatencyData(NamedTuple):
    """One panel: the variants at one batch size, fastest first by the smallest batch they were measured at."""

    batch: int
    baseline: str
    rows: tuple[LatencyRow, ...]


def latency_data(results: Results, batch: int | None = None, order: Sequence[str] = ()) -> LatencyData:
    """Distribution of the latency of every measured variant at ``batch``, by default the smallest measured.

    ``order`` are names of variants, by default the fastest first; those that it lacks come last.
    """
    measured = sorted(results.measured, key=lambda row: (row.batch, _median_ms(row)))
    chosen = min((row.batch for row in measured), default=1) if batch is None else batch
    styles = looks(results)
    here = {variant_name(row.spec): row for row in measured if row.batch == chosen}
    names = _ordered(dict.fromkeys(variant_name(row.spec) for row in measured), order)
    found = tuple(_latency_row(name, styles[name], here.get(name)) for name in names)
    return LatencyData(chosen, plain_name(results, results.baseline), found)


def latency_panels(results: Results, order: Sequence[str] = ()) -> tuple[list[LatencyData], list[str]]:
    """The panels of the latency figure, a batch each, and a line on the batches that have none."""
    shown, left_out = shown_batches(sorted({row.batch for row in results.measured}), PANELS)
    return [latency_data(results, batch, order) for batch in shown], left_out


def _ordered(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """The names in this order; those that it lacks come last, as they were."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(names, key=lambda name: places.get(name, len(places)))


def _latency_row(name: str, look: Look, result: Result | None) -> LatencyRow:
    if result is None or result.timing is None:
        return LatencyRow(name, look, None, None, None, None, ())
    value = {percent: result.timing.percentile_s(percent) for percent in (5, 25, 75, 95, 99)}

    def pair(low: int, high: int) -> tuple[float, float] | None:
        first, last = value[low], value[high]
        return None if first is None or last is None else (first * 1e3, last * 1e3)

    return LatencyRow(
        name=name,
        look=look,
        median=_median_ms(result),
        middle=pair(25, 75),
        span=pair(5, 95),
        p99=None if value[99] is None else value[99] * 1e3,
        rounds=tuple(seconds * 1e3 for seconds in result.timing.block_medians_s.values()),
    )


def _median_ms(result: Result) -> float:
    assert result.timing is not None
    return result.timing.median_s * 1e3


def draw_latency(data: LatencyData, ax: Axes, *, names: bool = True) -> None:
    """One row per variant; its median is written at the right edge. ``names=False`` leaves the variants' names out."""
    from matplotlib.transforms import ScaledTranslation

    seen = [value for row in data.rows for value in _values(row)]
    scale(ax, "x", seen)
    beside = ax.get_yaxis_transform() + ScaledTranslation(-9 / 72, 0, _root(ax).dpi_scale_trans)
    for place, row in enumerate(data.rows):
        ax.plot(0, place, transform=beside, clip_on=False, **row.look.marks)
        if row.median is None:
            margin_text(ax, place, "–")
            continue
        if row.span:
            ax.plot(row.span, [place, place], color=row.look.color, linewidth=1.2)
        if row.middle:
            low, high = row.middle
            ax.barh(place, high - low, 0.5, low, facecolor=row.look.color, alpha=0.35, edgecolor="none")
        if row.p99 is not None:
            ax.plot(row.p99, place, "x", color=row.look.color, markersize=5)
        ax.plot(row.rounds, [place + 0.4] * len(row.rounds), ".", color=GREY, markersize=3, markeredgewidth=0)
        ax.plot([row.median] * 2, [place - 0.3, place + 0.3], color=row.look.color, linewidth=2)
        if row.name == data.baseline:
            ax.axvline(row.median, color=GREY, linewidth=0.8, linestyle=DASHES, zorder=0)
        margin_text(ax, place, digits(row.median))
    margin_text(ax, -0.75, "median")
    rows(ax, [row.name for row in data.rows], data.baseline, named=names)
    ax.set_title(f"batch {data.batch}", loc="left", fontsize=10)
    ax.set_xlabel("time of one call (ms)")


def _values(row: LatencyRow) -> list[float]:
    return [
        value for part in (row.rounds, row.middle, row.span, (row.median, row.p99)) for value in part or () if value
    ]


class ThroughputLine(NamedTuple):
    """A variant; ``spans`` are the smallest and the largest throughput of a launch, for each batch."""

    name: str
    look: Look
    batches: tuple[int, ...]
    samples_per_s: tuple[float, ...]
    spans: tuple[tuple[float, float], ...]


class ThroughputData(NamedTuple):
    """One line per variant, fastest first by its largest batch."""

    baseline: str
    lines: tuple[ThroughputLine, ...]


def throughput_data(results: Results, order: Sequence[str] = ()) -> ThroughputData:
    """Samples per second against batch size, for every measured variant; ``order`` as in :func:`latency_data`."""
    found: dict[str, dict[int, tuple[float, tuple[float, float]]]] = {}
    for row in results.measured:
        if row.timing:
            low_ms, high_ms = over_launches(row.timing)
            speed, typical_ms = row.timing.samples_per_s, row.timing.median_s * 1e3
            span = speed * typical_ms / high_ms, speed * typical_ms / low_ms
            found.setdefault(variant_name(row.spec), {})[row.batch] = speed, span
    styles = looks(results)
    lines = []
    for name, speeds in found.items():
        batches = tuple(sorted(speeds))
        values, spans = zip(*(speeds[batch] for batch in batches), strict=True)
        lines.append(ThroughputLine(name, styles[name], batches, values, spans))
    places = {name: place for place, name in enumerate(order)}
    lines.sort(key=lambda line: (places.get(line.name, len(places)), -line.samples_per_s[-1]))
    return ThroughputData(plain_name(results, results.baseline), tuple(lines))


def draw_throughput(data: ThroughputData, ax: Axes) -> None:
    """Lines named at their right end; with a single batch size, one row per variant instead."""
    batches = sorted({batch for line in data.lines for batch in line.batches})
    speeds = [speed for line in data.lines for span in line.spans for speed in span]
    if len(batches) == 1:
        scale(ax, "x", speeds, zero=True)
        for place, line in enumerate(data.lines):
            ax.plot(line.spans[0], [place, place], color=line.look.color, linewidth=1)
            ax.plot(line.samples_per_s, [place], **line.look.marks)
            margin_text(ax, place, digits(line.samples_per_s[0]))
        rows(ax, [line.name for line in data.lines], data.baseline)
        ax.set_title(f"batch {batches[0]}", loc="left", fontsize=10)
        ax.set_xlabel("throughput (samples/s)")
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        return
    scale(ax, "y", speeds, zero=True)
    doubling(ax, batches, 0.15)
    for line in data.lines:
        ax.plot(line.batches, line.samples_per_s, linestyle=line.look.line, linewidth=1.4, **line.look.marks)
        ax.vlines(line.batches, *zip(*line.spans, strict=True), color=line.look.color, linewidth=1)
    _name_ends(ax, data)
    label(ax, "batch size (samples per call)", "throughput (samples/s)")


def _root(ax: Axes) -> Figure:
    return cast("Figure", ax.get_figure(root=True))


def _name_ends(ax: Axes, data: ThroughputData) -> None:
    """Each line's name right of the axes, moved apart until no two touch, with a thin lead to the line's end."""
    height_pt = _root(ax).get_size_inches()[1] * 72 * 0.72
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = [to_axes.transform((line.batches[-1], line.samples_per_s[-1])) for line in data.lines]
    places = spread([float(end[1]) for end in ends], 12.5 / height_pt)
    largest = max(line.batches[-1] for line in data.lines)
    for line, place in zip(data.lines, places, strict=True):
        ends_early = line.batches[-1] < largest
        where = f" (batch {line.batches[-1]})" if ends_early else ""
        lead = {"color": line.look.color, "linestyle": (0, (1, 4)) if ends_early else "-"}
        ax.annotate(
            f"{shortened(line.name, NAME)}  {digits(line.samples_per_s[-1])}{where}",
            xy=(line.batches[-1], line.samples_per_s[-1]),
            xytext=(1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            fontweight="bold" if line.name == data.baseline else "normal",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 5, "relpos": (0, 0.5), **lead},
        )


def figures(results: Results, order: Sequence[str] = (), only: str = "") -> dict[str, Figure]:
    """The figures by name, in the order of the report, of those that have data. They are neither shown nor saved.

    ``order`` are names of variants, in the order in which those figures list them that have a line for each variant. ``only`` is the name
    of a figure: no other need be drawn.
    """
    import matplotlib as mpl

    found: dict[str, Figure] = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # a reader's own style may be dark or huge; these figures are laid out for this one
        mpl.rcParams.update(STYLE)
        single = _single(results, order)
        for name, draw in single.items():
            if only in ("", name):
                found[name] = draw()
        if only not in single:
            found |= build_figures(results)
            found |= load_figures(results)
            found |= cost_figures(results)
    return {name: figure for name, figure in found.items() if only in ("", name)}


def _single(results: Results, order: Sequence[str]) -> dict[str, Callable[[], Figure]]:
    """How to draw each of the figures that stand alone, by name, where there is data for it."""
    found: dict[str, Callable[[], Figure]] = {}
    if results.measured:
        found["latency"] = partial(_latency_figure, results, order)
        found["throughput"] = partial(_throughput_figure, results, order)
        found["tradeoff"] = partial(tradeoff_figure, results)
    if (data := accuracy_data(results)).points:
        found["accuracy"] = partial(accuracy_figure, results, data)
    if results.measured:
        found["distribution"] = partial(tail_figure, results)
        found["calls"] = partial(calls_figure, results)
    return found


def _latency_figure(results: Results, order: Sequence[str]) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    panels, left_out = latency_panels(results, order)
    columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    notes = ["", *left_out]  # the first is the line of the legend
    fig = page(results, "Latency", lines * (1.15 + 0.27 * len(panels[0].rows)), notes)
    draw_grid(fig, (lines, columns), panels, draw_latency)
    keys: list[Any] = [
        Line2D([], [], color=GREY, marker="|", linestyle="", markersize=9, markeredgewidth=2),
        Patch(facecolor=GREY, alpha=0.3),
        Line2D([], [], color=GREY, linewidth=1.2),
        Line2D([], [], color=GREY, marker="x", linestyle="", markersize=5),
        Line2D([], [], color=GREY, marker=".", linestyle="", markersize=3),
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=DASHES),
    ]
    texts = ["median", "middle half", "5th to 95th percentile", "99th percentile", "median of each round", "baseline"]
    above_notes = (0.06 + 0.17 * (len(notes) - 1)) / fig.get_size_inches()[1]
    where: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, above_notes), "borderaxespad": 0}
    fig.legend(keys, texts, ncols=6, frameon=False, fontsize=8, handletextpad=0.4, **where).set_in_layout(False)
    return fig


def _throughput_figure(results: Results, order: Sequence[str]) -> Figure:
    data = throughput_data(results, order)
    one = len({batch for line in data.lines for batch in line.batches}) == 1
    height = 1.15 + 0.27 * len(data.lines) if one else max(4.0, 1.4 + 0.235 * len(data.lines))
    fig = page(results, "Throughput", height, [_callers(results), SPANS])
    draw_throughput(data, fig.subplots())
    return fig


def _callers(results: Results) -> str:
    several = sorted({row.timing.streams for row in results.measured if row.timing and row.timing.streams > 1})
    if not several:
        return "Calls are made one after another by a single caller."
    return f"Up to {several[-1]} calls are in flight at once on a GPU; on the CPU calls are made one after another."
