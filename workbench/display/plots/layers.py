"""Figures of layers, in pairs as in ``plots``: data as a NamedTuple, then drawing it on a given ``Axes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.compare.formats import digits, shortened
from workbench.compare.layer_view import KIND_WORDS, aligned
from workbench.display.plots.canvas import GREY, drawn, label_bars, margin_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records.layers import LayerProfile

BARS = 25  # layers drawn; the rest is one bar
NAME = 44
# the figures' palette of colors (Okabe and Ito), one for each number format; grey for an unknown one
FORMAT_COLORS = {"fp32": "#0072B2", "fp16": "#56B4E9", "bf16": "#009E73", "int8": "#E69F00", "fp64": "#000000"}
HATCHES = {"weights": "", "convert": "////", "layout": "....", "other": "----"}


class LayerBar(NamedTuple):
    """One layer, or all layers that are too short for separate bars."""

    name: str
    op: str
    kind: str
    precision: str
    ms: float


class LayersData(NamedTuple):
    """The longest layers of one engine in the order in which they run."""

    label: str
    batch: int
    bars: tuple[LayerBar, ...]
    others: int  # layers in the last bar
    call_ms: float  # a call without profiling


def layers_data(profile: LayerProfile, bars: int = BARS) -> LayersData:
    """The ``bars`` longest layers in order, and one bar for the others where there are more."""
    ranked = sorted(range(len(profile.layers)), key=lambda place: -profile.layers[place].median_s)
    kept = sorted(ranked[:bars])
    shown = [_bar(profile, place) for place in kept]
    rest = ranked[bars:]
    if rest:
        ms = sum(profile.layers[place].median_s for place in rest) * 1e3
        shown.append(LayerBar(f"{len(rest)} shorter layers", "", "other", "", ms))
    return LayersData(profile.label, profile.batch, tuple(shown), len(rest), profile.plain_s * 1e3)


def _bar(profile: LayerProfile, place: int) -> LayerBar:
    each = profile.layers[place]
    return LayerBar(each.scope or each.name, each.op, each.kind, each.precision, each.median_s * 1e3)


def draw_layers(data: LayersData, ax: Axes) -> None:
    """A bar per layer, first at the top; its color is the number format, its hatching what it does."""
    from matplotlib.patches import Patch

    for place, bar in enumerate(data.bars):
        color = FORMAT_COLORS.get(bar.precision, GREY)
        ax.barh(place, bar.ms, 0.75, color=color, hatch=HATCHES[bar.kind], edgecolor="white", linewidth=0)
        margin_text(ax, place, _ms(bar.ms))
    names = [shortened(f"{bar.name} · {bar.op}" if bar.op else bar.name, NAME) for bar in data.bars]
    label_bars(ax, names, "median time in a call (ms), while profiling", grid=False)
    ax.set_title(f"{data.label}, batch {data.batch}: {digits(data.call_ms)} ms a call", loc="left", fontsize=10)
    formats = dict.fromkeys(bar.precision for bar in data.bars if bar.precision)
    kinds = dict.fromkeys(bar.kind for bar in data.bars)
    keys = [Patch(facecolor=FORMAT_COLORS.get(name, GREY), label=name) for name in formats]
    keys += [Patch(facecolor="#CCCCCC", edgecolor="white", hatch=HATCHES[k], label=KIND_WORDS[k]) for k in kinds]
    ax.legend(handles=keys, fontsize=8, frameon=False, loc="lower right")


def _ms(value: float) -> str:
    """Libraries report whole microseconds, so no more digits are shown."""
    return f"{value:.3f}" if value < 1 else digits(value)


class PairBar(NamedTuple):
    """One group of layers in two engines, in milliseconds."""

    name: str
    first_ms: float
    second_ms: float


class PairData(NamedTuple):
    """Two engines by groups of layers that stand for the same nodes, the largest differences, in order."""

    first: str
    second: str
    bars: tuple[PairBar, ...]
    others: int  # groups that are left out


def pair_data(one: LayerProfile, other: LayerProfile, bars: int = BARS) -> PairData:
    """The ``bars`` groups of :func:`workbench.compare.layer_view.aligned` that differ most, in the order in which they run."""
    table = aligned(one, other)
    first, second = table.iloc[:, 3], table.iloc[:, 6]  # by place: two engines may have one name
    rows = [
        PairBar(str(name), float(a), float(b)) for name, a, b in zip(table["model layer"], first, second, strict=True)
    ]
    ranked = sorted(range(len(rows)), key=lambda place: -abs(rows[place].second_ms - rows[place].first_ms))
    kept = sorted(ranked[:bars])
    return PairData(one.label, other.label, tuple(rows[place] for place in kept), len(rows) - len(kept))


def draw_pair(data: PairData, ax: Axes) -> None:
    """Difference of time per group: left of zero the second engine is faster; the numbers are its ratio."""
    for place, bar in enumerate(data.bars):
        difference = bar.second_ms - bar.first_ms
        ax.barh(place, difference, 0.75, color="#009E73" if difference < 0 else "#D55E00")
        margin_text(ax, place, f"{_ms(bar.first_ms)} → {_ms(bar.second_ms)}")
    ax.axvline(0, color=GREY, linewidth=0.8)
    names = [shortened(bar.name, NAME) for bar in data.bars]
    label_bars(ax, names, f"time of {data.second} minus that of {data.first} (ms)", grid=False)
    left = f"; {data.others} groups that differ less are left out" if data.others else ""
    ax.set_title(f"{data.first} → {data.second}, ms{left}", loc="left", fontsize=10)


def layer_figure(profile: LayerProfile) -> Figure:
    """Time by layer of one engine; it is neither shown nor saved."""
    data = layers_data(profile)
    height_in = 1.1 + 0.24 * len(data.bars)
    return drawn(height_in, f"Time by layer of {profile.label}", lambda ax: draw_layers(data, ax))


def pair_figure(one: LayerProfile, other: LayerProfile) -> Figure:
    """Two engines by layer; it is neither shown nor saved."""
    data = pair_data(one, other)
    alt = f"Layers of {one.label} against {other.label}"
    return drawn(1.1 + 0.24 * len(data.bars), alt, lambda ax: draw_pair(data, ax))
