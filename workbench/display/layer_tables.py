"""Layers for readers: a table that sorts without scripts, time by operator and format, and two engines side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from workbench.compare.formats import absent
from workbench.compare.layer_table import timed
from workbench.compare.layer_view import KIND_WORDS, grouped, summary, transitions
from workbench.display.html import folded, tag
from workbench.display.table import NUMBER, WHOLE, Column, Table
from workbench.records.layers import KINDS

if TYPE_CHECKING:
    from workbench.records import LayerProfile, Results

SHOWN = 60
"""Layers of an engine on a page; the shortest of more are left out, and counted."""
NOT_TIMED = "No layers were timed: set 'layers' to true, and choose ONNX Runtime, OpenVINO or TensorFlow."
ORDERS = {
    "order": ("", False),
    "time": ("ms", True),
    "type": ("type", False),
    "format": ("precision", False),
    "model layer": ("model layer", False),
}
"""By the words on its button: the column to sort by, and whether its largest value comes first."""
GRID = (
    ".wb-layer-grid{display:grid;grid-template-columns:minmax(8em,2fr) auto auto auto auto minmax(6em,1fr) minmax(8em,2fr);"
    "font-size:85%;max-height:26em;overflow:auto;column-gap:.8em}"
    ".wb-layer-grid>div{display:grid;grid-column:1/-1;grid-template-columns:subgrid;border-bottom:1px solid #8884}"
    ".wb-layer-grid>.wb-head{order:0!important;font-weight:bold;position:sticky;top:0;background:var(--jp-layout-color0,var(--page,#fff))}"
    ".wb-layer-grid span{overflow-wrap:anywhere}.wb-layer-grid .wb-n{text-align:right}"
)


def layers(results: Results) -> Table:
    """Every timed layer of every engine, in the order in which each engine runs them."""
    rows = [
        {"variant": each.label, "batch": each.batch, **row}
        for each in results.layer_profiles
        for row in Table.of(timed(each)).rows
    ]
    notes = tuple(f"{each.label}, batch {each.batch}: {summary(each)}" for each in results.layer_profiles)
    return Table((Column("variant"), Column("batch", WHOLE), *COLUMNS), tuple(rows), notes=notes, empty=NOT_TIMED)


def profile_html(profile: LayerProfile, *, number: int = 0) -> Markup:
    """A profile without scripts: a table that sorts by a click, time by operator and kind, and changes of format.

    ``number`` distinguishes several of them on one page.
    """
    kinds = ", ".join(f"{KIND_WORDS[kind]} {profile.share(kind):.0%}" for kind in KINDS if profile.share(kind) >= 0.005)
    changes = transitions(profile)
    frames = {
        "Time by operator": grouped(profile, "op"),
        "Time by the model's own layers": grouped(profile, "scope"),
        "Time by number format": grouped(profile, "precision"),
        **({f"Changes of number format ({len(changes)})": changes} if len(changes) else {}),
    }
    table = Table(COLUMNS[:7], Table.of(timed(profile)).rows)
    return tag(
        "div",
        tag("h4", f"{profile.label}, batch {profile.batch}"),
        tag("p", f"{summary(profile)} By what they do: {kinds}."),
        sortable(table, f"wb-layers-{number}", ORDERS),
        *(folded(title, Table.of(frame).html()) for title, frame in frames.items()),
        class_="wb-layers",
    )


def sortable(table: Table, name: str, orders: Mapping[str, tuple[str, bool]]) -> Markup:
    """The longest layers of a table; buttons above it sort it, without scripts.

    Each button is a radio button that switches which of the rows' stored places orders them. ``name`` is unique on the page.
    """
    longest = sorted(range(len(table)), key=lambda place: -table.rows[place]["ms"])[:SHOWN]
    kept = replace(table, rows=tuple(table.rows[place] for place in sorted(longest)))
    buttons, styles = [], [GRID]
    places: list[dict[int, int]] = []
    for count, (word, (by, reverse)) in enumerate(orders.items()):
        ident = f"{name}-{count}"
        buttons.append(
            tag("input", type="radio", name=name, id=ident, checked=count == 0) + tag("label", word, for_=ident)
        )
        styles.append(f"#{ident}:checked~.wb-layer-grid>div{{order:var(--o{count})}}")
        ordered = kept.sorted(by, reverse=reverse).rows if by else kept.rows
        places.append({id(row): place for place, row in enumerate(ordered, 1)})
    heads = (tag("span", each.heading or each.name, role="columnheader", title=each.help) for each in table.columns)
    lines = [tag("div", *heads, class_="wb-head", role="row")]
    for row in kept.rows:
        order = ";".join(f"--o{count}:{place[id(row)]}" for count, place in enumerate(places))
        cells = (
            tag("span", each.text(row), role="cell", class_="wb-n" if each.numeric else "") for each in table.columns
        )
        lines.append(tag("div", *cells, style=order, role="row"))
    left = len(table) - len(kept)
    note = tag("p", f"The {left} layers that take the least time are left out here.") if left else ""
    style = Markup("<style>{}</style>").format(Markup("".join(styles)))  # noqa: S704 - made of the code's own names
    grid = tag("div", *lines, class_="wb-layer-grid", role="table")
    return tag("div", style, "sorted by: ", Markup(" ").join(buttons), grid, note)


COLUMNS = (
    Column("layer"),
    Column("type"),
    Column("precision"),
    Column("", NUMBER, "ms", format=lambda row: "–" if absent(row["ms"]) else f"{row['ms']:.3f}"),
    Column("share", NUMBER, "%", format=lambda row: "–" if absent(row["share %"]) else f"{row['share %']:.1f}"),
    Column("model layer", help="The model's own name for it"),
    Column("from", help="Nodes of the ONNX model that it stands for"),
    Column("kind"),
    Column("inputs"),
    Column("outputs"),
    Column("GFLOP/s", NUMBER),
)
"""Of timed layers; the first seven are those of a page."""
