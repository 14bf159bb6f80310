"""Two figures of single calls, in pairs as in ``plots``: every call over time, and the share of calls that took longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.compare.formats import shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.display.plots.canvas import DASHES, GREY, NAME, Look, looks, page, scale
from workbench.stats import estimates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Block, Result, Results, Timing

SHOWN = 12  # variants in a figure, at most
DISTURBED = "threads of another variant"


class CallsData(NamedTuple):
    """Every timed call of one variant at one batch size."""

    name: str
    look: Look
    at_s: np.ndarray  # (n,) float64: when the call began, since the measuring of this batch size began
    ms: np.ndarray  # (n,) float64
    outlier: np.ndarray  # (n,) bool: beyond the outer fence of its block
    disturbed: tuple[tuple[float, float, str], ...]  # blocks, from and to in seconds, and what disturbed them
    launches: tuple[float, ...]  # when each launch but the first began to be timed, in seconds


def calls_data(results: Results, batch: int | None = None) -> tuple[CallsData, ...]:
    """The variants measured at ``batch``, by default the smallest, fastest first.

    Of many, the twelve fastest; the baseline is always among them.
    """
    rows = _shown(results, batch)
    styles = looks(results)
    return tuple(_calls(variant_name(row.spec), styles[variant_name(row.spec)], _timing(row)) for row in rows)


def _shown(results: Results, batch: int | None) -> list[Result]:
    chosen = min((row.batch for row in results.measured), default=1) if batch is None else batch
    rows = sorted((row for row in results.measured if row.batch == chosen), key=lambda row: _timing(row).median_s)
    base = plain_name(results, results.baseline)
    kept = rows[:SHOWN]
    kept[-1:] = kept[-1:] if any(variant_name(row.spec) == base for row in kept) else [
        *(row for row in rows if variant_name(row.spec) == base), *kept[-1:]
    ][:1]  # fmt: skip
    return kept


def _calls(name: str, look: Look, timing: Timing) -> CallsData:
    blocks = [np.asarray(block.samples_ns, dtype=np.float64) for block in timing.blocks]
    # calls follow each other without a pause
    begun = [block.began_s + (np.cumsum(ns) - ns) * 1e-9 for block, ns in zip(timing.blocks, blocks, strict=True)]
    firsts = {block.launch: block.began_s for block in reversed(timing.blocks)}
    return CallsData(
        name=name,
        look=look,
        at_s=np.concatenate(begun),
        ms=np.concatenate(blocks) * 1e-6,
        outlier=np.concatenate([estimates.outliers(ns) for ns in blocks]),
        disturbed=tuple(
            (block.began_s, block.began_s + block.wall_s, _why(block)) for block in timing.blocks if _why(block)
        ),
        launches=tuple(sorted(seconds for launch, seconds in firsts.items() if launch)),
    )


def _why(block: Block) -> str:
    return block.spoiled if block.quiet else DISTURBED


def draw_calls(data: CallsData, ax: Axes, *, named: bool = True, span_ms: tuple[float, float] | None = None) -> None:
    """A dot per call, crosses on outliers, grey where something disturbed, dashes at fresh launches.

    ``span_ms`` are the times that the axis reaches from and to, where they are not those of ``data`` alone.
    """
    scale(ax, "y", span_ms or _span_ms([data]))
    marks: dict[str, Any] = {"linestyle": "", "color": data.look.color, "rasterized": True}
    ax.plot(data.at_s, data.ms, marker=".", markersize=2, markeredgewidth=0, **marks)
    ax.plot(data.at_s[data.outlier], data.ms[data.outlier], marker="x", markersize=4, markeredgewidth=0.8, **marks)
    for begin, end, _ in data.disturbed:
        ax.axvspan(begin, end, color=GREY, alpha=0.25, linewidth=0)
    for begin in data.launches:
        ax.axvline(begin, color=GREY, linewidth=0.7, linestyle=DASHES)
    ax.set_title(shortened(data.name, 2 * NAME), loc="left", fontsize=9)
    ax.set_ylabel("ms")
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    if named:
        ax.set_xlabel("time since measuring began (s)")


def _span_ms(panels: Sequence[CallsData]) -> tuple[float, float]:
    return min(float(each.ms.min()) for each in panels), max(float(each.ms.max()) for each in panels)


class TailData(NamedTuple):
    """All calls of one variant at one batch size."""

    name: str
    look: Look
    ms: np.ndarray  # (n,) float64, ascending


def tail_data(results: Results, batch: int | None = None) -> tuple[TailData, ...]:
    """The variants measured at ``batch``, as in :func:`calls_data`, whose samples are times of single calls."""
    styles = looks(results)
    names = [(variant_name(row.spec), row) for row in _shown(results, batch) if not _timing(row).not_single]
    return tuple(TailData(name, styles[name], np.sort(_timing(row).samples_s) * 1e3) for name, row in names)


def draw_tail(data: tuple[TailData, ...], ax: Axes) -> None:
    """For each variant the share of calls that took longer than a time: a step for every call."""
    if not data:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "times of single calls were not measured", transform=ax.transAxes, ha="center", color=GREY)
        return
    for each in data:
        line: dict[str, Any] = {"color": each.look.color, "linestyle": each.look.line, "linewidth": 1.3}
        ax.ecdf(each.ms, complementary=True, label=shortened(each.name, NAME), **line)
    scale(ax, "x", [float(value) for each in data for value in (each.ms[0], each.ms[-1])])
    most = max(len(each.ms) for each in data)
    ax.set_yscale("log")
    ax.set_ylim(0.7 / most, 1.3)
    for share, name in ((0.5, "p50"), (0.1, "p90"), (0.01, "p99"), (0.001, "p99.9")):
        if share > 0.7 / most:
            ax.axhline(share, color="#DDDDDD", linewidth=0.8, zorder=0)
            ax.annotate(
                name, (1.0, share), xycoords=("axes fraction", "data"), fontsize=8, color=GREY, va="bottom", ha="right"
            )
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, frameon=False, fontsize=8.5)
    ax.set_xlabel("time of one call (ms)")
    ax.set_ylabel("share of calls that took longer")
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)


def calls_figure(results: Results) -> Figure:
    """Every call of every variant at the smallest batch, one panel per variant over one time axis."""
    panels = calls_data(results)
    counts = f"{sum(int(each.outlier.sum()) for each in panels):,} of {sum(len(each.ms) for each in panels):,} calls"
    rule = "above the third quartile of their block by three times the quartiles' distance"
    notes = [
        f"Crosses: outliers, {counts}: {rule}. None is left out.",
        "Grey: blocks that something disturbed; the notes of the table say what. Dashed: the processes were started again.",
    ]
    fig = page(
        results, f"Every call, batch {_batch(results)}", 0.35 + 0.95 * len(panels), [*_left_out(results), *notes]
    )
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False)
    for place, each in enumerate(panels):
        draw_calls(each, axes[place][0], named=place == len(panels) - 1, span_ms=_span_ms(panels))
    axes[0][0].margins(x=0.01)
    return fig


def tail_figure(results: Results) -> Figure:
    """The distribution of the calls' times at the smallest batch, with its tail drawn out."""
    data = tail_data(results)
    fig = page(
        results, f"Share of slower calls, batch {_batch(results)}", max(3.6, 1.0 + 0.2 * len(data)), _left_out(results)
    )
    draw_tail(data, fig.subplots())
    return fig


def _batch(results: Results) -> int:
    return min(row.batch for row in results.measured)


def _left_out(results: Results) -> list[str]:
    here = sum(row.batch == _batch(results) for row in results.measured)
    return [f"The {SHOWN} fastest of {here} variants and the baseline."] if here > SHOWN else []


def _timing(row: Result) -> Timing:
    assert row.timing is not None
    return row.timing
