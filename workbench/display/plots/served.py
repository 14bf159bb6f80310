"""The figure of served deployments, in a pair: the parts of a request's latency, and drawing them beside each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from workbench.compare.formats import digits
from workbench.display.plots.canvas import COLORS, GREY, margin_text, page, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Results

ROOM_IN = 0.27
NOTES = (
    "In process: the engine without a server. Server overhead: what one client that is alone waits longer than that.",
    "Queueing: the mean wait in the server's queue while all clients ask. Lines: 95 % intervals over rounds.",
)


class ServedPart(NamedTuple):
    """One part of a latency in milliseconds; NaN ends where there are too few rounds."""

    name: str
    ms: float
    low: float
    high: float


class ServedLine(NamedTuple):
    """One start of a server."""

    name: str
    parts: tuple[ServedPart, ...]


def served_data(results: Results) -> tuple[ServedLine, ...]:
    """The parts of each load test of a deployment of these results."""
    found = []
    for one in results.served:
        split, clients = one.split, one.split.clients
        named = {
            "in process": split.in_process,
            "server overhead": split.overhead,
            f"queueing, {clients} clients": split.queueing,
        }
        parts = tuple(ServedPart(name, *(1e3 * value for value in part)) for name, part in named.items())
        found.append(ServedLine(f"{one.row}, batching {'on' if one.batching else 'off'}", parts))
    return tuple(found)


def draw_served(data: tuple[ServedLine, ...], ax: Axes) -> None:
    """A row for each part, in groups by start of a server."""
    flat = [(line.name, place, part) for line in data for place, part in enumerate(line.parts)]
    seen = [value for _, _, part in flat for value in (part.ms, part.low, part.high) if not math.isnan(value)]
    ax.set_xlim(min(0.0, *seen) * 1.05, max(seen) * 1.05)  # a bar begins at 0, so that the axis is linear
    for place, (_, which, part) in enumerate(flat):
        ax.barh(place, part.ms, 0.55, color=COLORS[which % len(COLORS)], alpha=0.6, edgecolor="none")
        if not math.isnan(part.low):
            ax.plot([part.low, part.high], [place, place], color=GREY, linewidth=1.4)
        margin_text(ax, place, f"{digits(part.ms)} ms")
    rows(ax, [part.name if which else f"{name}: {part.name}" for name, which, part in flat], "")
    ax.set_xlabel("time (ms)")


def served_figures(results: Results) -> dict[str, Figure]:
    """The figure "served", where a deployment of these results was measured under load."""
    data = served_data(results)
    if not data:
        return {}
    fig = page(results, "Served", 0.8 + ROOM_IN * sum(len(line.parts) for line in data), NOTES)
    draw_served(data, fig.subplots())
    return {"served": fig}
