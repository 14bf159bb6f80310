"""Pieces of HTML reduced to plain elements: nothing that runs, and nothing that a browser would fetch.

nh3 keeps the elements, attributes and schemes of addresses listed here and closes every element, so a piece cannot end the
element that it stands in. What a list of names cannot say is done afterwards: style sheets, pictures and addresses of links.
"""

from __future__ import annotations

import re
from typing import Any

DROPPED = {"script", "iframe", "object", "embed", "link", "meta", "base", "template", "noscript", "svg", "head"}
"""Elements that are removed with what they hold; others that are not in ``KEPT`` leave their text."""
PLAIN = (
    "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 "
    "h6 hr i img input ins kbd label li mark ol p pre q s samp section small span strong style sub summary sup table "
    "tbody td tfoot th thead time tr u ul var"
)
KEPT = {*PLAIN.split()}
COMMON = "alt class colspan dir height id lang open role rowspan scope span start style tabindex title width"
ATTRIBUTES = {
    "*": {*COMMON.split()},
    "a": {"href"},
    "img": {"src"},
    "input": {"checked", "name"},  # the buttons that sort a table without scripts
    "label": {"for"},
}
BUTTONS = {"input": {"type": {"radio"}}}
ADDRESSES = {"http", "https", "mailto", "data"}
REMOTE_STYLE = re.compile(r"url\s*\(|image-set|@import|expression|\\|<", re.IGNORECASE)
INLINE_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")


def plain(html: str) -> str:
    """One piece of a page with nothing in it but plain, closed elements; tables can be scrolled, addresses of links are text."""
    import nh3
    from bs4 import BeautifulSoup

    clean = nh3.clean(
        html,
        tags=KEPT,
        clean_content_tags=DROPPED,
        attributes=ATTRIBUTES,
        tag_attribute_values=BUTTONS,
        attribute_filter=_attribute,
        url_schemes=ADDRESSES,
        link_rel=None,
    )
    piece = BeautifulSoup(clean, "html.parser")
    for element in piece.find_all(["style", "img", "a", "input", "table"]):
        if (element.name == "style" and REMOTE_STYLE.search(element.get_text())) or (
            element.name == "input" and element.get("type") != "radio"
        ):
            element.decompose()
        elif element.name == "img" and not element.get("src"):
            element.replace_with(f"[picture left out: {element.get('alt') or 'it is not part of this file'}]")
        elif element.name == "a" and not str(element.get("href", "")).startswith("#"):
            _spell_out(piece, element)
        elif element.name == "table":
            element.wrap(piece.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    return str(piece)


def _attribute(element: str, name: str, value: str) -> str | None:
    """The value of an attribute, or ``None`` where it is left out."""
    if name == "style" and REMOTE_STYLE.search(value):
        return None
    if element == "img" and name == "src" and not INLINE_IMAGE.fullmatch(value):
        return None
    return value


def _spell_out(piece: Any, link: Any) -> None:
    """A link as its text, with the address behind it where that says more."""
    address = link.get("href", "")
    if address.startswith(("https://", "http://", "mailto:")) and link.get_text(strip=True) != address:
        note = piece.new_tag("span", attrs={"class": "address"})
        note.string = f" ({address})"
        link.insert_after(note)
    link.unwrap()
