"""Accuracy against latency, in pairs as in :mod:`workbench.display.plots.figures`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.accuracy.guard import barred
from workbench.compare.formats import digits, shortened
from workbench.compare.pairs import variant_name
from workbench.display.plots.canvas import DASHES, GREY, NAME, Look, label, legend_beside, looks, page, scale

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results


class AccuracyPoint(NamedTuple):
    """Percent and milliseconds per sample; ``aside``: kept out of the front."""

    name: str
    look: Look
    ms_per_sample: float
    value: float
    low: float
    high: float
    aside: bool
    on_front: bool = False
    barred: str = ""  # why it is never recommended, and so never on the front
    output: str = ""  # whose agreement it is: the worst of several


class AccuracyData(NamedTuple):
    """Points at one batch size. ``labelled`` is False where agreement with the source stands in for accuracy."""

    batch: int
    labelled: bool
    samples: int
    points: tuple[AccuracyPoint, ...]  # fastest first
    metric: str = "top-1 accuracy (%)"
    higher_is_better: bool = True


def accuracy_data(results: Results, batch: int | None = None) -> AccuracyData:
    """Accuracy against median latency per sample at ``batch``, by default the smallest with both.

    Where no labels were given, agreement with the source model takes the place of accuracy.
    """
    scored = [row for row in results.measured if row.accuracy is not None]
    labelled = any(row.accuracy and row.accuracy.value is not None for row in scored)
    chosen = min((row.batch for row in scored), default=1) if batch is None else batch
    styles = looks(results)
    points, samples = [], 0
    metric, percent, higher = "top-1 accuracy (%)", True, True
    for row in scored:
        score = row.accuracy
        if row.batch != chosen or score is None or row.timing is None:
            continue
        shares = (score.agreement, score.agreement_low, score.agreement_high)
        if labelled:
            if score.value is None or score.low is None or score.high is None:
                continue
            shares = (score.value, score.low, score.high)
            percent, higher = score.share, score.higher_is_better
            metric = "top-1 accuracy" if score.metric == "top-1" else score.metric
            metric += " (%)" if percent else f" ({score.unit})" if score.unit else ""
        samples = max(samples, score.samples)
        value, low, high = (100 * share if percent else share for share in shares)
        name, ms = variant_name(row.spec), row.timing.median_s * 1e3 / row.batch
        aside = row.spec.mode == "predict"
        output = "" if labelled or len(score.agreements) < 2 else score.agreement_output
        why = barred(row, results.budget)
        points.append(AccuracyPoint(name, styles[name], ms, value, low, high, aside, barred=why, output=output))
    return AccuracyData(chosen, labelled, samples, _with_front(points, 1 if higher else -1), metric, higher)


def _with_front(points: Iterable[AccuracyPoint], sign: int = 1) -> tuple[AccuracyPoint, ...]:
    """Marked, fastest first: a point is on the front if no faster one is as accurate; ``sign`` -1: less is better."""
    best = -math.inf
    marked = []
    for point in sorted(points, key=lambda point: (point.ms_per_sample, -sign * point.value)):
        on_front = not point.aside and not point.barred and sign * point.value > best
        best = sign * point.value if on_front else best
        marked.append(point._replace(on_front=on_front))
    return tuple(marked)


def draw_accuracy(data: AccuracyData, ax: Axes) -> None:
    """Points with their 95 % intervals; the Pareto front as a line, its members named in bold at the right."""
    from matplotlib.lines import Line2D

    scale(ax, "x", [point.ms_per_sample for point in data.points])
    front = [point for point in data.points if point.on_front]
    ax.step(
        [point.ms_per_sample for point in front],
        [point.value for point in front],
        where="post",
        color=GREY,
        linewidth=1,
        linestyle=DASHES,
        zorder=1,
    )
    keys: list[tuple[Any, str]] = [(Line2D([], [], color=GREY, linestyle=DASHES), "Pareto front, in bold")]
    for point in data.points:
        alpha = 0.45 if point.aside or point.barred else 1.0
        ax.plot([point.ms_per_sample] * 2, [point.low, point.high], color=point.look.color, linewidth=1, alpha=alpha)
        ax.plot(point.ms_per_sample, point.value, linestyle="", alpha=alpha, **point.look.marks)
        value = f"{point.value:.1f} %" if "%" in data.metric or not data.labelled else f"{point.value:.4g}"
        text = f"{shortened(point.name, NAME)}  {value}, {digits(point.ms_per_sample)} ms"
        text += f", in '{point.output}'" if point.output else ""
        text += f", {point.barred}" if point.barred else ""
        keys.append((Line2D([], [], linestyle="", alpha=alpha, **point.look.marks), text + " *" * point.aside))
    legend_beside(ax, keys, [False, *(point.on_front for point in data.points)])
    what = data.metric if data.labelled else "same answer as the source model (%)\nno labels were given"
    label(ax, f"median time per sample (ms), batch {data.batch}", what)


def point_text(point: AccuracyPoint) -> str:
    """A point in words."""
    ends = f"[{point.low:.1f}, {point.high:.1f}]"
    return f"{point.name}: {point.value:.1f} % {ends}, {digits(point.ms_per_sample)} ms"


def accuracy_figure(results: Results, data: AccuracyData) -> Figure:
    what = "Accuracy" if data.labelled else "Agreement with the source model"
    kind = "Wilson" if data.metric.startswith("top-") or not data.labelled else "bootstrap"
    bars = f"Bars: 95 % {kind} intervals over {data.samples:,} samples."
    notes = [f"{bars} Variants whose intervals overlap may be equally accurate."]
    if any(point.aside for point in data.points):
        notes.append("* Kept out of the front: a call of predict() spends most of its time outside the model.")
    if reasons := ", ".join(sorted({point.barred for point in data.points if point.barred})):
        notes.append(f"Pale and kept out of the front: {reasons} (budget: {results.budget or 'none'}).")
    fig = page(results, f"{what} against latency", max(4.0, 1.4 + 0.235 * len(data.points)), notes)
    draw_accuracy(data, fig.subplots())
    return fig
