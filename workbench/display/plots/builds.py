"""Latency and build time against a setting of the build, where one run holds several values of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.formats import shortened
from workbench.compare.pairs import variant_name
from workbench.display.plots.canvas import NAME, Look, label, looks, page, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Result, Results

TITLES = {"optimization_level": "Optimization level", "workspace_bytes": "Workspace"}
"""Fields of a variant that a figure is drawn for, and the name of that figure."""
DEFAULT = "default"


class BuildPoint(NamedTuple):
    """One value of the setting for one variant."""

    value: str
    latency_ms: float  # median call
    low_ms: float | None  # 95 % interval of a typical launch's median; None of too few launches
    high_ms: float | None
    build_s: float


class BuildLine(NamedTuple):
    """The variants that differ in nothing but this setting, in the order of its values."""

    name: str  # of the variant without the setting
    look: Look
    points: tuple[BuildPoint, ...]


class BuildData(NamedTuple):
    """One setting at one batch size."""

    title: str
    batch: int
    values: tuple[str, ...]  # ascending, the library's default first
    lines: tuple[BuildLine, ...]


def build_data(results: Results, setting: str, batch: int | None = None) -> BuildData | None:
    """Latency (ms) and build time (s) against ``setting``, a key of :data:`TITLES`, at ``batch``.

    By default the smallest measured batch. ``None`` where no variant was measured with more than one value.
    """
    chosen = min((row.batch for row in results.measured), default=1) if batch is None else batch
    without: dict[str, Any] = {setting: None}
    families: dict[str, list[Result]] = {}
    for row in results.measured:
        if row.batch == chosen and row.engine:
            families.setdefault(variant_name(replace(row.spec, **without)), []).append(row)
    several = {
        name: sorted(rows, key=lambda row: _order(row, setting)) for name, rows in families.items() if len(rows) > 1
    }
    if not several:
        return None
    found = {_order(row, setting): _value(row, setting) for rows in several.values() for row in rows}
    styles = looks(results)
    lines = tuple(
        BuildLine(name, styles[variant_name(rows[0].spec)], tuple(_point(row, setting) for row in rows))
        for name, rows in several.items()
    )
    return BuildData(TITLES[setting], chosen, tuple(found[key] for key in sorted(found)), lines)


def _order(row: Result, setting: str) -> int:
    value = getattr(row.spec, setting)
    return -1 if value is None else int(value)


def _value(row: Result, setting: str) -> str:
    value = getattr(row.spec, setting)
    if value is None:
        return DEFAULT
    return f"{value / 2**20:g} MiB" if setting == "workspace_bytes" else str(value)


def _point(row: Result, setting: str) -> BuildPoint:
    assert row.timing is not None
    assert row.engine is not None
    typical = row.timing.typical_median_s
    low, high = (None, None) if typical is None else (typical[1] * 1e3, typical[2] * 1e3)
    return BuildPoint(_value(row, setting), row.timing.median_s * 1e3, low, high, row.engine.build_s)


def draw_latency(data: BuildData, ax: Axes) -> None:
    """Median latency against the setting, with 95 % intervals where they are known."""
    bounds = [each for line in data.lines for point in line.points for each in (point.low_ms, point.high_ms)]
    medians = [point.latency_ms for line in data.lines for point in line.points]
    scale(ax, "y", [*medians, *(each for each in bounds if each is not None)])
    for line, places in _placed(data):
        ax.plot(places, [point.latency_ms for point in line.points], linestyle=line.look.line, **line.look.marks)
        for place, point in zip(places, line.points, strict=True):
            if point.low_ms is not None and point.high_ms is not None:
                ax.plot([place] * 2, [point.low_ms, point.high_ms], color=line.look.color, linewidth=1)
    _finish(data, ax, "median latency (ms)")


def draw_build_time(data: BuildData, ax: Axes) -> None:
    """Seconds that each build took against the setting."""
    scale(ax, "y", [max(point.build_s, 1e-3) for line in data.lines for point in line.points])
    for line, places in _placed(data):
        times = [max(point.build_s, 1e-3) for point in line.points]
        ax.plot(places, times, linestyle=line.look.line, label=shortened(line.name, NAME), **line.look.marks)
    _finish(data, ax, "build time (s)")


def _placed(data: BuildData) -> list[tuple[BuildLine, list[float]]]:
    """Each line with its places on the axis, a little beside those of the others, so that equal values stay visible."""
    step = 0.06 if len(data.lines) > 1 else 0.0
    middle = (len(data.lines) - 1) / 2
    return [
        (line, [data.values.index(point.value) + (number - middle) * step for point in line.points])
        for number, line in enumerate(data.lines)
    ]


def _finish(data: BuildData, ax: Axes, what: str) -> None:
    ax.set_xticks(range(len(data.values)), data.values)
    ax.set_xlim(-0.5, len(data.values) - 0.5)
    label(ax, data.title.lower(), what)


def build_figures(results: Results) -> dict[str, Figure]:
    """The figures "optimization level" and "workspace", each where a run holds several values of the setting."""
    found = {}
    for setting, title in TITLES.items():
        data = build_data(results, setting)
        if data is not None:
            found[title.lower()] = _figure(results, data)
    return found


def _figure(results: Results, data: BuildData) -> Figure:
    columns = 2 if len(data.lines) > 1 else 1
    legend_rows = -(-len(data.lines) // columns)
    notes = ["Bars: 95 % intervals over launches. Build times are of single builds.", *[""] * (legend_rows + 1)]
    fig = page(results, f"{data.title} at batch {data.batch}", 3.2, notes)
    left, right = fig.subplots(1, 2)
    draw_latency(data, left)
    draw_build_time(data, right)
    keys, names = right.get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 0.0), "borderaxespad": 0.2}
    fig.legend(keys, names, ncols=columns, frameon=False, fontsize=8.5, **place).set_in_layout(False)
    return fig
