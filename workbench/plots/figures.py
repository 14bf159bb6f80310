"""Figures in pairs: data as a NamedTuple, then drawing it on a given ``Axes``. No pyplot, no global style."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from workbench.accuracy.guard import barred
from workbench.compare.comparison import digits, shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.plots.builds import build_figures
from workbench.plots.calls import calls_figure, tail_figure
from workbench.plots.canvas import DASHES, GREY, NAME, STYLE, Look, looks, margin_text, page, rows, scale, spread
from workbench.plots.costs import cost_figures
from workbench.plots.load import load_figures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Result, Results

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


def latency_data(results: Results, batch: int | None = None) -> LatencyData:
    """Distribution of the latency of every measured variant at ``batch``, by default the smallest measured."""
    measured = sorted(results.measured, key=lambda row: (row.batch, _median_ms(row)))
    chosen = min((row.batch for row in measured), default=1) if batch is None else batch
    styles = looks(results)
    here = {variant_name(row.spec): row for row in measured if row.batch == chosen}
    order = dict.fromkeys(variant_name(row.spec) for row in measured)
    found = tuple(_latency_row(name, styles[name], here.get(name)) for name in order)
    return LatencyData(chosen, plain_name(results, results.baseline), found)


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
    name: str
    look: Look
    batches: tuple[int, ...]
    samples_per_s: tuple[float, ...]


class ThroughputData(NamedTuple):
    """One line per variant, fastest first by its largest batch."""

    baseline: str
    lines: tuple[ThroughputLine, ...]


def throughput_data(results: Results) -> ThroughputData:
    """Samples per second against batch size, for every measured variant."""
    found: dict[str, dict[int, float]] = {}
    for row in results.measured:
        if row.timing:
            found.setdefault(variant_name(row.spec), {})[row.batch] = row.timing.samples_per_s
    styles = looks(results)
    lines = []
    for name, speeds in found.items():
        batches = tuple(sorted(speeds))
        lines.append(ThroughputLine(name, styles[name], batches, tuple(speeds[batch] for batch in batches)))
    return ThroughputData(
        plain_name(results, results.baseline), tuple(sorted(lines, key=lambda line: -line.samples_per_s[-1]))
    )


def draw_throughput(data: ThroughputData, ax: Axes) -> None:
    """Lines named at their right end; with a single batch size, one row per variant instead."""
    from matplotlib.ticker import NullLocator

    batches = sorted({batch for line in data.lines for batch in line.batches})
    speeds = [speed for line in data.lines for speed in line.samples_per_s]
    if len(batches) == 1:
        scale(ax, "x", speeds, zero=True)
        for place, line in enumerate(data.lines):
            ax.plot(line.samples_per_s, [place], **line.look.marks)
            margin_text(ax, place, digits(line.samples_per_s[0]))
        rows(ax, [line.name for line in data.lines], data.baseline)
        ax.set_title(f"batch {batches[0]}", loc="left", fontsize=10)
        ax.set_xlabel("throughput (samples/s)")
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        return
    scale(ax, "y", speeds, zero=True)
    ax.set_xscale("log", base=2)
    ax.set_xlim(batches[0] / 2**0.15, batches[-1] * 2**0.15)
    ax.set_xticks(batches, [str(batch) for batch in batches])
    ax.xaxis.set_minor_locator(NullLocator())
    for line in data.lines:
        ax.plot(line.batches, line.samples_per_s, linestyle=line.look.line, linewidth=1.4, **line.look.marks)
    _name_ends(ax, data)
    ax.set_xlabel("batch size (samples per call)")
    ax.set_ylabel("throughput (samples/s)")
    ax.grid(color="#DDDDDD", linewidth=0.6)


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
        if row.batch != chosen or score is None:
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
        name, ms = variant_name(row.spec), _median_ms(row) / row.batch
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
    legend = ax.legend(
        [key for key, _ in keys],
        [text for _, text in keys],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=8.5,
        numpoints=1,
    )
    for entry, point in zip(legend.get_texts()[1:], data.points, strict=True):
        entry.set_fontweight("bold" if point.on_front else "normal")
    ax.set_xlabel(f"median time per sample (ms), batch {data.batch}")
    ax.set_ylabel(data.metric if data.labelled else "same answer as the source model (%)\nno labels were given")
    ax.grid(color="#DDDDDD", linewidth=0.6)


def figures(results: Results) -> dict[str, Figure]:
    """The figures by name, each where there is data for it, in the order of the report; none is shown or saved."""
    import matplotlib as mpl

    found: dict[str, Figure] = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # a reader's own style may be dark or huge; these figures are laid out for this one
        mpl.rcParams.update(STYLE)
        if results.measured:
            found["latency"] = _latency_figure(results)
            found["throughput"] = _throughput_figure(results)
        if (data := accuracy_data(results)).points:
            found["accuracy"] = _accuracy_figure(results, data)
        if results.measured:
            found["distribution"] = tail_figure(results)
            found["calls"] = calls_figure(results)
        found |= build_figures(results)
        found |= load_figures(results)
        found |= cost_figures(results)
    return found


def _latency_figure(results: Results) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    batches = sorted({row.batch for row in results.measured})
    shown = [*batches[: PANELS - 1], batches[-1]] if len(batches) > PANELS else batches
    panels = [latency_data(results, batch) for batch in shown]
    columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    notes = [""]  # the line of the legend
    if len(batches) > PANELS:
        notes.append(f"Measured too, and left out here: batch {', '.join(str(b) for b in batches if b not in shown)}.")
    fig = page(results, "Latency", lines * (1.15 + 0.27 * len(panels[0].rows)), notes)
    grid = fig.subplots(lines, columns, squeeze=False)
    for place, ax in enumerate(grid.flat):
        if place < len(panels):
            draw_latency(panels[place], ax, names=place % columns == 0)
        else:
            ax.set_axis_off()
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


def _throughput_figure(results: Results) -> Figure:
    data = throughput_data(results)
    one = len({batch for line in data.lines for batch in line.batches}) == 1
    height = 1.15 + 0.27 * len(data.lines) if one else max(4.0, 1.4 + 0.235 * len(data.lines))
    fig = page(results, "Throughput", height, [_callers(results)])
    draw_throughput(data, fig.subplots())
    return fig


def _callers(results: Results) -> str:
    several = sorted({row.timing.streams for row in results.measured if row.timing and row.timing.streams > 1})
    if not several:
        return "Calls are made one after another by a single caller."
    return f"Up to {several[-1]} calls are in flight at once on a GPU; on the CPU calls are made one after another."


def _accuracy_figure(results: Results, data: AccuracyData) -> Figure:
    what = "Accuracy" if data.labelled else "Agreement with the source model"
    kind = "Wilson" if data.metric.startswith("top-") or not data.labelled else "bootstrap"
    bars = f"Bars: 95 % {kind} intervals over {data.samples:,} samples."
    notes = [f"{bars} Variants whose intervals overlap may well be equal."]
    if any(point.aside for point in data.points):
        notes.append("* Kept out of the front: a call of predict() spends most of its time outside the model.")
    if reasons := ", ".join(sorted({point.barred for point in data.points if point.barred})):
        notes.append(f"Pale and kept out of the front: {reasons} (budget: {results.budget or 'none'}).")
    fig = page(results, f"{what} against latency", max(4.0, 1.4 + 0.235 * len(data.points)), notes)
    draw_accuracy(data, fig.subplots())
    return fig
