"""The picture of a graph on a live page: zoom, search, what a box holds, and colors by time or precision.

The script is a few lines that stand in the page itself, as those of the other pages do. Packages that draw graphs (Cytoscape,
Netron) bring a megabyte or a server of their own, and know nothing of the times of an engine's layers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from markupsafe import Markup

from workbench.display.html import tag
from workbench.records import LayerTime

ZOOMS = (
    ("−", "0.8", "Smaller"),
    ("+", "1.25", "Larger"),
    ("Fit", "fit", "As wide as the page"),
    ("1:1", "one", "As drawn"),
)


def framed(picture: Markup) -> Markup:
    """The picture in a frame that scrolls."""
    return tag("div", picture, class_="wb-graph-frame", tabindex="0", role="region", aria_label="Graph")


def walked(picture: Markup, layers: Iterable[LayerTime] = ()) -> Markup:
    """The picture with controls; with an engine's ``layers`` its boxes can be colored by their time or precision."""
    buttons = [
        tag("button", text, type="button", data_zoom=how, title=tip, aria_label=tip, class_="wb-copy")
        for text, how, tip in ZOOMS
    ]
    values = _values(layers)
    search = tag("input", type="search", placeholder="Find nodes, operators, shapes", aria_label="Find in the graph")
    ways = ["kind of operator", *(["time", "precision"] if values else [])]
    color = tag("select", *(tag("option", f"color by {way}", value=way) for way in ways), aria_label="Color by")
    controls = tag(
        "div", *buttons, search, *([color] if values else []), tag("span", class_="wb-found", role="status"),
        class_="wb-walk-controls",
    )  # fmt: skip
    about = tag(
        "pre",
        "Choose a box to see what it holds.",
        class_="wb-about",
        tabindex="0",
        role="region",
        aria_label="Chosen box",
    )
    start = tag("style", "/* */", onload=_script())
    inside = tag("div", framed(picture), about, class_="wb-walk-inside")
    return tag("div", controls, inside, start, class_="wb-walk", data_values=json.dumps(values))


@cache
def _script() -> str:
    return Path(__file__).with_name("graph.js").read_text(encoding="utf-8")


def _values(layers: Iterable[LayerTime]) -> dict[str, list[object]]:
    """By the name of a node: the number, name, share of the time in percent, milliseconds and precision of its layer."""
    every = list(layers)
    total = sum(layer.median_s for layer in every)
    return {
        node: [place, layer.name, 100 * layer.median_s / total if total else 0, layer.median_s * 1e3, layer.precision]
        for place, layer in enumerate(every)
        for node in layer.origin
    }
