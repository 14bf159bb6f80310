"""HTML from parts, every text escaped by MarkupSafe, and the one style sheet of tables, which suits light and dark pages."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from markupsafe import Markup, escape

VOID = frozenset({"br", "img", "input", "meta"})
STYLE = Markup(  # no colors of its own
    "<style>.wb-scroll{overflow-x:auto}.wb-scroll .wb-table{border-collapse:collapse}"
    ".wb-scroll .wb-table th,.wb-scroll .wb-table td{text-align:left;vertical-align:top;padding:.25em .6em;white-space:nowrap}"
    ".wb-scroll .wb-table th{vertical-align:bottom;border-bottom:1px solid #8888}"
    ".wb-scroll .wb-table .wb-n{text-align:right;font-variant-numeric:tabular-nums}"
    ".wb-scroll .wb-table .wb-long{white-space:normal;min-width:12em;overflow-wrap:anywhere}"
    ".wb-scroll .wb-table tr.wb-first td{border-top:1px solid #8885}.wb-notes{max-width:70em;font-size:.85em;overflow-wrap:anywhere}</style>"
)


def tag(name: str, /, *children: str, **attributes: str | bool | int) -> Markup:
    """An element; texts among its children are escaped, markup stays. Attributes that are empty or false are left out.

    ``class_`` stands for ``class``, and an underscore within a name for a hyphen.

    >>> tag("td", "a<b", class_="wb-n", data_row="x")
    Markup('<td class="wb-n" data-row="x">a&lt;b</td>')
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    filled = "".join(
        f" {key}" if value is True else f' {key}="{escape(value)}"'
        for key, value in given.items()
        if value is not False and value != ""
    )
    end = "" if name in VOID else f"</{name}>"
    return Markup(f"<{name}{filled}>{join(children)}{end}")  # noqa: S704 - names are the code's own, the rest is escaped


def join(parts: Iterable[str]) -> Markup:
    """Parts one after another, texts escaped."""
    return Markup().join(parts)


def bullets(texts: Iterable[str], *, numbered: bool = False, css: str = "") -> Markup:
    """A list with an item for each text; nothing where there is none."""
    items = [tag("li", text) for text in texts]
    return tag("ol" if numbered else "ul", *items, class_=css) if items else Markup()


def folded(summary: str, *body: str, css: str = "", unfolded: bool = False) -> Markup:
    """Content that unfolds below its summary."""
    return tag("details", tag("summary", summary), *body, class_=css, open=unfolded)


def facts(pairs: Iterable[tuple[str, Iterable[str]]]) -> Markup:
    """A table of names and what is known of each, a line for each value."""
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", Markup("<br>").join(values))) for name, values in pairs]
    return tag("table", tag("tbody", *lines), class_="wb-facts")


def image(png: bytes, alt: str, style: str = "") -> Markup:
    """A PNG within the page itself."""
    return tag("img", alt=alt, src=f"data:image/png;base64,{base64.b64encode(png).decode()}", style=style)
