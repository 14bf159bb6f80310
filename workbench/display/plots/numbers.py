"""Figures of number formats, in pairs as in ``plots``: steps between numbers, ranges over a histogram, noise, size on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.compare.formats import digits
from workbench.compare.pairs import variant_name
from workbench.display.plots.canvas import COLORS, MARKERS, STYLE, drawn, label, label_bars, margin_text, sheet
from workbench.records import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results

LINES = ("-", "--", "-.", ":")
BINS = 120


class StepLine(NamedTuple):
    """One number format: at each magnitude the distance from that number to the next larger one."""

    name: str
    magnitudes: tuple[float, ...]
    steps: tuple[float, ...]


def steps_data(formats: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[StepLine, ...]:
    """From positive numbers of each format, ascending, and the step that follows each; of many numbers some hundreds are kept,
    which are enough for a line.
    """
    import numpy as np

    lines = []
    for name, (numbers, steps) in formats.items():
        kept = np.unique(np.linspace(0, len(numbers) - 1, 400).astype(int))
        lines.append(StepLine(name, tuple(map(float, numbers[kept])), tuple(map(float, steps[kept]))))
    return tuple(lines)


def draw_steps(data: Sequence[StepLine], ax: Axes) -> None:
    """Both axes in powers of two; a line ends where its format has no more numbers."""
    for place, line in enumerate(data):
        color, style = COLORS[place % len(COLORS)], LINES[place % len(LINES)]
        ax.step(line.magnitudes, line.steps, where="post", color=color, linestyle=style, linewidth=1.6, label=line.name)
        ax.plot(line.magnitudes[-1], line.steps[-1], MARKERS[place % len(MARKERS)], color=color, markersize=5)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    label(ax, "size of the number", "step to the next number\n(lower is finer)")
    ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def steps_figure(
    formats: Mapping[str, tuple[np.ndarray, np.ndarray]], low: float = 2.0**-24, high: float = 2.0**20
) -> Figure:
    """Steps after the numbers from ``low`` to ``high`` of each format; neither shown nor saved."""
    cut = {}
    for name, (numbers, steps) in formats.items():
        within = (numbers >= low) & (numbers <= high)
        cut[name] = (numbers[within], steps[within])
    return drawn(4.0, "Steps between neighboring numbers", lambda ax: draw_steps(steps_data(cut), ax))


class RangeBar(NamedTuple):
    """The range that a method chose, what lies outside of it, and the noise that remains."""

    name: str
    low: float
    high: float
    cut: float  # share of the values beyond it
    sqnr_db: float


class RangesData(NamedTuple):
    """A histogram of one tensor's values, and a bar for each method."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    bars: tuple[RangeBar, ...]


def ranges_data(
    values: np.ndarray, ranges: Mapping[str, tuple[float, float]], noise: Mapping[str, float]
) -> RangesData:
    """Counts of the values, and for each method its range and ``noise``, the SQNR in dB that it leaves."""
    import numpy as np

    flat = np.asarray(values).ravel()
    counts, edges = np.histogram(flat, BINS)
    bars = tuple(
        RangeBar(name, low, high, float(((flat < low) | (flat > high)).mean()), noise[name])
        for name, (low, high) in ranges.items()
    )
    return RangesData(tuple(map(float, edges)), tuple(map(int, counts)), bars)


def draw_histogram(data: RangesData, ax: Axes) -> None:
    """How often values occur, on a logarithmic axis: the rare ones decide."""
    ax.stairs(data.counts, data.edges, fill=True, color="#BBBBBB")
    ax.set_yscale("log")
    ax.set_ylabel("values")


def draw_ranges(data: RangesData, ax: Axes) -> None:
    """A bar from the low to the high end of each range; beside it SQNR and the share of values that is cut."""
    for place, bar in enumerate(data.bars):
        color = COLORS[(place + 1) % len(COLORS)]
        ax.plot([bar.low, bar.high], [place, place], "|-", color=color, linewidth=4, markersize=12, markeredgewidth=2)
        margin_text(ax, place, f"{bar.sqnr_db:.1f} dB, {bar.cut:.2%} cut")
    label_bars(ax, [bar.name for bar in data.bars], "value")


def ranges_figure(
    values: np.ndarray, ranges: Mapping[str, tuple[float, float]], noise: Mapping[str, float], title: str = ""
) -> Figure:
    """One tensor's values and the ranges chosen for them; neither shown nor saved."""
    import matplotlib as mpl

    data = ranges_data(values, ranges, noise)
    with mpl.rc_context(STYLE):
        fig = sheet(3.0 + 0.3 * len(data.bars), title or "Values of a tensor and the ranges chosen for them")
        upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(2, 0.3 + 0.3 * len(data.bars)))
        draw_histogram(data, upper)
        upper.set_title(title, loc="left", fontsize=10)
        draw_ranges(data, lower)
    return fig


class NoiseRow(NamedTuple):
    """One tensor: the SQNR in dB of each way to quantize it, in the order of the ways."""

    name: str
    decibels: tuple[float, ...]


class NoiseData(NamedTuple):
    """Several tensors quantized in the same ways."""

    ways: tuple[str, ...]
    rows: tuple[NoiseRow, ...]


def noise_data(noise: Mapping[str, Mapping[str, float]]) -> NoiseData:
    """From ``{tensor: {way: SQNR in dB}}``; every tensor has the ways of the first."""
    ways = tuple(next(iter(noise.values())))
    return NoiseData(ways, tuple(NoiseRow(name, tuple(each[way] for way in ways)) for name, each in noise.items()))


def draw_noise(data: NoiseData, ax: Axes) -> None:
    """A row for each tensor, a mark for each way; the further right, the less noise. At the margin what the best gains."""
    for place, row in enumerate(data.rows):
        ax.plot([min(row.decibels), max(row.decibels)], [place, place], color="#CCCCCC", linewidth=1.5, zorder=1)
        margin_text(ax, place, f"{max(row.decibels) - min(row.decibels):.1f} dB apart")
    for number, way in enumerate(data.ways):
        color, marker = COLORS[(number + 1) % len(COLORS)], MARKERS[number % len(MARKERS)]
        marks = [row.decibels[number] for row in data.rows]
        ax.plot(marks, range(len(marks)), marker, color=color, markersize=7, label=way)
    label_bars(ax, [row.name for row in data.rows], "signal to quantization noise (dB), higher is better")
    ax.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(data.ways))


def noise_figure(noise: Mapping[str, Mapping[str, float]]) -> Figure:
    """SQNR of several tensors in several ways; neither shown nor saved."""
    data = noise_data(noise)
    return drawn(1.3 + 0.28 * len(data.rows), "Signal to quantization noise by tensor", lambda ax: draw_noise(data, ax))


class SizeBar(NamedTuple):
    """One variant's engine on disk, and how many times smaller it is than the same backend's in FP32, where there is one."""

    name: str
    bytes: int
    smaller: float | None


def sizes_data(results: Results) -> tuple[SizeBar, ...]:
    """Every variant that was built, in the order of the results, each once."""
    engines = {variant_name(row.spec): row for row in results.rows if row.engine}
    plain = {
        row.spec.address: row.engine.size_bytes
        for row in engines.values()
        if row.engine and row.spec.asked == Precision.FP32
    }
    sizes = {name: (row.engine.size_bytes, plain.get(row.spec.address)) for name, row in engines.items() if row.engine}
    return tuple(SizeBar(name, size, of and of / size) for name, (size, of) in sizes.items())


def draw_sizes(data: Sequence[SizeBar], ax: Axes) -> None:
    """A bar for each variant; at the margin its size, and how many times smaller than FP32 it is."""
    for place, bar in enumerate(data):
        ax.barh(place, bar.bytes / 1e6, 0.7, color="#0072B2" if bar.smaller == 1 else "#56B4E9")
        margin_text(ax, place, f"{digits(bar.bytes / 1e6)} MB{_smaller(bar)}")
    label_bars(ax, [bar.name for bar in data], "engine on disk (MB)")


def _smaller(bar: SizeBar) -> str:
    if bar.smaller is None or bar.smaller == 1:
        return ""
    if round(bar.smaller, 2) == 1:
        return ", as large"
    return f", {bar.smaller:.2f} times smaller" if bar.smaller > 1 else f", {1 / bar.smaller:.2f} times larger"


def sizes_figure(results: Results) -> Figure:
    """Engines on disk; neither shown nor saved."""
    data = sizes_data(results)
    return drawn(1.0 + 0.27 * len(data), "Size of every engine", lambda ax: draw_sizes(data, ax))
