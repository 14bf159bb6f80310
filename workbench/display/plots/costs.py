"""Figures of what the machine allows and what conversions cost, in pairs as in :mod:`workbench.display.plots.figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.formats import digits, shortened
from workbench.compare.pairs import plain_name
from workbench.compare.roofline import placed
from workbench.compare.three_clocks import Read, reads
from workbench.display.plots.canvas import (
    DASHES,
    GREY,
    NAME,
    Look,
    draw_grid,
    legend_beside,
    looks,
    margin_text,
    page,
    rows,
    scale,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results

ROOM = 2.2
"""How far the axes of the roofline go beyond its outermost point or ridge, as a factor."""


BESIDE = 4
"""Factor by which the axis is longer on the right, where the names of the limits are."""
NEAR = 1.25
"""Slopes within this factor of each other share one name."""


class Spot(NamedTuple):
    """One variant at one batch size."""

    batch: int
    intensity: float  # operations per byte, at most
    gflops: float  # 10**9 operations per second
    share: float


class RooflineLine(NamedTuple):
    """One variant over its batches, ascending."""

    name: str
    look: Look
    spots: tuple[Spot, ...]


class RooflineData(NamedTuple):
    """Roofs in 10**9 operations, and slopes in 10**9 bytes, per second: the best that was measured of each."""

    baseline: str
    threads: int
    roofs: dict[str, float]  # by number format
    slopes: dict[str, float]  # by place: "L2", "L3", "memory"
    lines: tuple[RooflineLine, ...]  # the largest share first


def roofline_data(results: Results) -> RooflineData | None:
    """Every measured row with a limit; ``None`` where there is none, or no peaks were measured."""
    found: dict[str, list[Spot]] = {}
    for spot in placed(results):
        if spot.share is not None:
            found.setdefault(spot.name, []).append(Spot(spot.batch, spot.intensity, spot.achieved / 1e9, spot.share))
    peaks = results.peaks
    if peaks is None or not found:
        return None
    styles = looks(results)
    lines = [RooflineLine(name, styles[name], tuple(sorted(spots))) for name, spots in found.items()]
    used = {spot.format for spot in placed(results) if spot.share is not None}
    roofs = {name: best.per_s / 1e9 for name in sorted(used) if (best := peaks.best(name))}
    places = dict.fromkeys(peak.what for peak in peaks.transfer)
    slopes = {name: best.per_s / 1e9 for name in places if (best := peaks.best(name))}
    ordered = sorted(lines, key=lambda line: -max(spot.share for spot in line.spots))
    return RooflineData(plain_name(results, results.baseline), peaks.threads, roofs, slopes, tuple(ordered))


def draw_roofline(data: RooflineData, ax: Axes) -> None:
    """Both axes are logarithmic. The batch is written at each point, the share of the limit in the legend."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    _set_limits(data, ax)
    _draw_limits(data, ax)
    _draw_rows(data, ax)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("operations per byte of weights, inputs and outputs (FLOP/byte, at most)")
    ax.set_ylabel("10⁹ operations per second")
    ax.grid(color="#EEEEEE", linewidth=0.6)


def _set_limits(data: RooflineData, ax: Axes) -> None:
    """The axes hold every point, and the ridge of every pair of limits."""
    spots = [spot for line in data.lines for spot in line.spots]
    ridges = [roof / slope for roof in data.roofs.values() for slope in data.slopes.values()]
    low = min([spot.intensity for spot in spots] + ridges) / ROOM
    high = max([spot.intensity for spot in spots] + ridges) * ROOM * BESIDE
    highest = max(data.roofs.values())
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(min([spot.gflops for spot in spots] + [min(data.roofs.values()) / 10]) / ROOM, highest * ROOM)


def _draw_limits(data: RooflineData, ax: Axes) -> None:
    """The limits of transfer, which rise, and those of computing, with their names."""
    (low, high), bottom, highest = ax.get_xlim(), ax.get_ylim()[0], max(data.roofs.values())
    for slope in data.slopes.values():
        ax.plot([low, highest / slope], [low * slope, highest], color=GREY, linewidth=1, zorder=1)
    for text, slope in _named(data.slopes):
        start = max(low, bottom / slope)
        ax.annotate(
            text, (start, start * slope), xytext=(4, 6), textcoords="offset points", rotation=45, rotation_mode="anchor",
            transform_rotates_text=True, fontsize=8, color=GREY,
        )  # fmt: skip
    fastest = max(data.slopes.values(), default=0.0)
    for name, roof in data.roofs.items():
        ax.plot([roof / fastest if fastest else low, high], [roof, roof], color=GREY, linewidth=1, zorder=1)
        ax.annotate(
            f"{name} {digits(roof)}", (high, roof), xytext=(-3, 3), textcoords="offset points", ha="right", fontsize=8,
            color=GREY,
        )  # fmt: skip


def _draw_rows(data: RooflineData, ax: Axes) -> None:
    """The points of every row with their batches, and the legend."""
    from matplotlib.lines import Line2D

    keys: list[tuple[Any, str]] = []
    for line in data.lines:
        x, y = [spot.intensity for spot in line.spots], [spot.gflops for spot in line.spots]
        ax.plot(x, y, linestyle=line.look.line, linewidth=0.8, zorder=3, **line.look.marks)
        for spot in line.spots:
            ax.annotate(
                str(spot.batch), (spot.intensity, spot.gflops), xytext=(5, -9), textcoords="offset points", fontsize=7,
                color=line.look.color,
            )  # fmt: skip
        shares = " / ".join(f"{spot.share * 100:.0f}" for spot in line.spots)
        mark = Line2D([], [], linestyle="", **line.look.marks)
        keys.append((mark, f"{shortened(line.name, NAME)}  {shares} %"))
    bold = [line.name == data.baseline for line in data.lines]
    legend_beside(ax, keys, bold, title="share of the limit by batch", title_fontsize=8.5, alignment="left")


def _named(slopes: dict[str, float]) -> list[tuple[str, float]]:
    """(text, slope) of the labels: places about as fast as each other share one, at the fastest of them."""
    groups: list[list[tuple[str, float]]] = []
    for name, slope in sorted(slopes.items(), key=lambda item: -item[1]):
        if groups and groups[-1][0][1] <= NEAR * slope:
            groups[-1].append((name, slope))
        else:
            groups.append([(name, slope)])
    texts = [", ".join(f"{name} {digits(slope)}" for name, slope in sorted(group)) for group in groups]
    return [(f"{text} GB/s", group[0][1]) for text, group in zip(texts, groups, strict=True)]


class ClocksData(NamedTuple):
    """One panel: the clocks of every variant at one batch size."""

    batch: int
    baseline: str
    names: tuple[str, ...]  # the same at every batch: the fastest first, by the smallest batch that it was measured at
    looks: dict[str, Look]
    reads: tuple[Read, ...]


def clocks_data(results: Results, batch: int | None = None) -> ClocksData | None:
    """The clocks at ``batch``, by default the smallest that has any; ``None`` where none were measured."""
    found = reads(results)
    chosen = min((read.batch for read in found), default=0) if batch is None else batch
    here = tuple(read for read in found if read.batch == chosen)
    if not here:
        return None
    names = tuple(dict.fromkeys(read.variant for read in sorted(found, key=lambda read: (read.batch, read.median_ms))))
    styles = looks(results)
    return ClocksData(
        chosen, plain_name(results, results.baseline), names, {name: styles[name] for name in names}, here
    )


SIGNS = {"host-to-host": "o", "library": "D", "compute": "|", "device": "x"}


def draw_clocks(data: ClocksData, ax: Axes, *, names: bool = True) -> None:
    """One row per variant: its clocks as multiples of "compute" with their intervals; its time is written at the right.

    A variant without that clock has no multiples: its host-to-host time stands in brackets.
    """
    ratios = [end for read in data.reads if read.ratio for end in read.ratio]
    scale(ax, "x", [1.0, *ratios])
    ax.axvline(1, color=GREY, linewidth=0.8, linestyle=DASHES, zorder=1)
    for place, name in enumerate(data.names):
        own = [read for read in data.reads if read.variant == name]
        color = data.looks[name].color
        for read in own:
            if read.ratio:
                ratio, low, high = read.ratio
                ax.plot([low, high], [place, place], color=color, linewidth=1, alpha=0.6, zorder=2)
                fill = "full" if read.clock == "host-to-host" else "none"
                ax.plot(ratio, place, SIGNS[read.clock], color=color, zorder=3, markersize=6, fillstyle=fill)
        inner = next((read.median_ms for read in own if read.clock == "compute"), None)
        margin_text(ax, place, f"({digits(own[0].median_ms)})" if inner is None else digits(inner))
    margin_text(ax, -0.75, "compute, ms")
    rows(ax, data.names, data.baseline, named=names)
    ax.set_title(f"batch {data.batch}", loc="left", fontsize=10)
    ax.set_xlabel("time of one call / that of compute in the same round")


def cost_figures(results: Results) -> dict[str, Figure]:
    """The figures "roofline" and "clocks", each where there is data for it; to be called with the style set."""
    found: dict[str, Figure] = {}
    if (data := roofline_data(results)) is not None:
        notes = [
            f"Roofs: the fastest of short loops with {data.threads} thread{'s' * (data.threads > 1)}. Numbers at points: batches.",
            "Bytes are the fewest possible: weights once, inputs and outputs; they come from the nearest place that holds them.",
        ]
        fig = page(results, "Roofline", max(4.2, 1.5 + 0.235 * len(data.lines)), notes)
        draw_roofline(data, fig.subplots())
        found["roofline"] = fig
    panels = [
        part for batch in sorted({read.batch for read in reads(results)}) if (part := clocks_data(results, batch))
    ]
    if panels:
        found["clocks"] = _clocks_figure(results, panels[:4])
    return found


def _clocks_figure(results: Results, panels: Sequence[ClocksData]) -> Figure:
    from matplotlib.lines import Line2D

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    notes = ['Bars: 95 % intervals over the rounds. In brackets: time of one call of what has no clock "compute".', ""]
    fig = page(
        results,
        "Clocks of each engine",
        lines * (1.3 + 0.3 * len(panels[0].names)),
        notes,
        "one engine over every region",
    )
    draw_grid(fig, (lines, columns), panels, draw_clocks)
    shown = dict.fromkeys(read.clock for panel in panels for read in panel.reads)
    keys = [
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=DASHES)
        if name == "compute"
        else Line2D(
            [], [], color=GREY, marker=SIGNS[name], linestyle="", fillstyle="full" if name == "host-to-host" else "none"
        )
        for name in shown
    ]
    where: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.06 / fig.get_size_inches()[1])}
    texts = {
        "host-to-host": "host-to-host: NumPy to NumPy", "library": "library: its own call and objects",
        "compute": "compute: in place", "device": "device: the GPU's time",
    }  # fmt: skip
    fig.legend(
        keys, [texts[name] for name in shown], ncols=4, frameon=False, fontsize=8, borderaxespad=0, **where
    ).set_in_layout(False)
    return fig
