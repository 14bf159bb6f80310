"""Latency against throughput of every row, in pairs as in :mod:`workbench.display.plots.figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.accuracy.guard import barred
from workbench.compare.formats import digits, shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.display.plots.canvas import DASHES, GREY, NAME, Look, label, legend_beside, looks, page, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results, Timing


class TradeoffPoint(NamedTuple):
    """One row: the median of a call, with the smallest and the largest median of a launch, and samples per second."""

    name: str
    batch: int
    look: Look
    ms: float
    low_ms: float
    high_ms: float
    samples_per_s: float
    barred: str = ""  # why it is never recommended, and so never on the front
    on_front: bool = False


class TradeoffData(NamedTuple):
    """All measured rows, the shortest latency first."""

    points: tuple[TradeoffPoint, ...]
    baseline: str


def tradeoff_data(results: Results) -> TradeoffData:
    """Latency and throughput of every measured row. A row is on the front if no row with a shorter latency has its throughput."""
    styles, found = looks(results), []
    for row in results.measured:
        timing = row.timing
        if timing is None:
            continue
        name, (low, high) = variant_name(row.spec), over_launches(timing)
        why = barred(row, results.budget)
        point = TradeoffPoint(
            name, row.batch, styles[name], timing.median_s * 1e3, low, high, timing.samples_per_s, why
        )
        found.append(point)
    best, marked = 0.0, []
    for point in sorted(found, key=lambda each: (each.ms, -each.samples_per_s)):
        front = not point.barred and point.samples_per_s > best
        best = point.samples_per_s if front else best
        marked.append(point._replace(on_front=front))
    return TradeoffData(tuple(marked), plain_name(results, results.baseline))


def over_launches(timing: Timing) -> tuple[float, float]:
    """The smallest and the largest median over the blocks of a launch, in milliseconds."""
    launches: dict[int, list[float]] = {}
    for block in timing.blocks:
        launches.setdefault(block.launch, []).append(block.typical_ns() * 1e-6)
    medians = [sorted(each)[len(each) // 2] for each in launches.values()]
    typical = timing.median_s * 1e3
    return min([typical, *medians]), max([typical, *medians])


def draw_tradeoff(data: TradeoffData, ax: Axes) -> None:
    """A point for each row, the batches of a variant joined, the Pareto front dashed; up and to the left is better."""
    scale(ax, "x", [value for point in data.points for value in (point.low_ms, point.high_ms)])
    scale(ax, "y", [point.samples_per_s for point in data.points])
    front = [point for point in data.points if point.on_front]
    ax.step(
        [p.ms for p in front], [p.samples_per_s for p in front], where="post", color=GREY, linestyle=DASHES, linewidth=1
    )
    for name in dict.fromkeys(point.name for point in data.points):
        mine = sorted((point for point in data.points if point.name == name), key=lambda point: point.batch)
        look, alpha = mine[0].look, 0.45 if mine[0].barred else 1.0
        places = [[point.ms for point in mine], [point.samples_per_s for point in mine]]
        ax.plot(*places, linestyle="", alpha=alpha, label=shortened(name, NAME), **look.marks)
        ax.plot(*places, linewidth=0.8, color=look.color, alpha=0.4 * alpha)
        for point in mine:
            ax.plot(
                [point.low_ms, point.high_ms], [point.samples_per_s] * 2, color=look.color, linewidth=1, alpha=alpha
            )
            ax.annotate(
                f"{point.batch}", (point.ms, point.samples_per_s), (6, 4), textcoords="offset points", fontsize=8
            )
    entries = list(zip(*ax.get_legend_handles_labels(), strict=True))
    legend_beside(ax, entries, [text == shortened(data.baseline, NAME) for _, text in entries])
    label(ax, "median time of one call (ms)", "samples/s")


def tradeoff_figure(results: Results) -> Figure:
    """All rows in one picture."""
    data = tradeoff_data(results)
    notes = [
        "Numbers: batch sizes. Dashed: the Pareto front. Bars: from the smallest to the largest median of a launch. Bold: the baseline."
    ]
    if any(point.barred for point in data.points):
        notes.append(f"Pale and kept out of the front: not to be recommended (budget: {results.budget or 'none'}).")
    fig = page(
        results, "Latency against throughput", max(3.6, 1.0 + 0.2 * len({point.name for point in data.points})), notes
    )
    draw_tradeoff(data, fig.subplots())
    return fig


def point_text(point: TradeoffPoint) -> str:
    """A point in words."""
    return f"{point.name} at batch {point.batch}: {digits(point.ms)} ms, {digits(point.samples_per_s)} samples/s"
