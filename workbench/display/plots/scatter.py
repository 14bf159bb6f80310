"""Any two numbers of the table of results against each other, in pairs as in :mod:`workbench.display.plots.figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.formats import absent, digits, shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.display.plots.canvas import NAME, Look, label, legend_beside, looks, page, scale
from workbench.display.results_table import results_table
from workbench.display.table import DATA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.display.table import Row
    from workbench.records import Results


class ScatterPoint(NamedTuple):
    """One row with its two numbers."""

    name: str
    batch: int
    look: Look
    x: float
    y: float


class ScatterData(NamedTuple):
    """All rows that have both numbers; the names of the columns with their units."""

    points: tuple[ScatterPoint, ...]
    x: str
    y: str
    baseline: str


def numbers(results: Results) -> tuple[str, ...]:
    """The columns with numbers of the table of results that a measured row of these has a value in, such as "p50 ms"."""
    table = results_table(results)
    return tuple(
        each.name
        for each in table.columns
        if each.numeric
        and each.rank > DATA
        and any(_is_number(row.get(each.name)) for row in _measured(table.rows, results).values())
    )


def _measured(rows: tuple[Row, ...], results: Results) -> dict[tuple[str, int], Row]:
    timed = {(row.spec.label, row.batch) for row in results.measured}
    return {key: row for row in rows if (key := (row["variant"], row["batch"])) in timed}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not absent(value)


def scatter_data(results: Results, x: str, y: str) -> ScatterData:
    """The rows that have a number in both columns, which are named as in the table of results."""
    styles, rows = looks(results), _measured(results_table(results, results.baseline).rows, results)
    points = []
    for result in results.measured:
        row, name = rows.get((result.spec.label, result.batch), {}), variant_name(result.spec)
        if _is_number(row.get(x)) and _is_number(row.get(y)):
            points.append(ScatterPoint(name, result.batch, styles[name], float(row[x]), float(row[y])))
    return ScatterData(tuple(points), x, y, plain_name(results, results.baseline))


def draw_scatter(data: ScatterData, ax: Axes) -> None:
    """A point for each row, with its batch size beside it."""
    scale(ax, "x", [point.x for point in data.points])
    scale(ax, "y", [point.y for point in data.points])
    entries: dict[str, Any] = {}
    for point in data.points:
        (drawn,) = ax.plot([point.x], [point.y], linestyle="", **point.look.marks)
        entries.setdefault(point.name, drawn)
        ax.annotate(f"{point.batch}", (point.x, point.y), (6, 4), textcoords="offset points", fontsize=8)
    named = [(drawn, shortened(name, NAME)) for name, drawn in entries.items()]
    legend_beside(ax, named, [name == data.baseline for name in entries])
    label(ax, data.x, data.y)


def scatter_figure(results: Results, x: str, y: str) -> Figure:
    """All rows in one picture."""
    data = scatter_data(results, x, y)
    height = max(3.6, 1.0 + 0.2 * len({point.name for point in data.points}))
    fig = page(results, f"{y} against {x}", height, ["Numbers: batch sizes. Bold: the baseline."])
    ax = fig.subplots()
    if data.points:
        draw_scatter(data, ax)
    else:
        ax.set_axis_off()
        ax.text(0, 0.5, "No row has both numbers.")
    return fig


def point_text(point: ScatterPoint, data: ScatterData) -> str:
    """A point in words."""
    return f"{point.name} at batch {point.batch}: {data.x} {digits(point.x)}, {data.y} {digits(point.y)}"
