"""Layers for people: by operator, by format and by the model's own layers, where formats change, and two engines side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from workbench.engines.provenance import plain
from workbench.records.layers import CONVERT, KINDS, WEIGHTS, LayerProfile, LayerTime

if TYPE_CHECKING:
    import pandas as pd

KIND_WORDS = {
    "weights": "compute with weights",
    "convert": "convert between formats",
    "layout": "move data",
    "other": "other",
}
SHOWN = 60
"""Layers in an HTML table; the shortest of more are left out, and told."""


def grouped(found: LayerProfile, by: str = "op") -> pd.DataFrame:
    """Layers and time by ``op``, ``kind``, ``precision`` or ``scope`` (the model's own layers), the longest first.

    Columns: the group, "layers" (how many), "ms" (sum of their medians) and "share %" of all layers' time.
    """
    import pandas as pd

    total = sum(each.median_s for each in found.layers)
    rows: dict[str, list[float]] = {}
    for each in found.layers:
        entry = rows.setdefault(getattr(each, by) or "–", [0, 0.0])
        entry[0] += 1
        entry[1] += each.median_s
    ordered = sorted(rows.items(), key=lambda item: -item[1][1])
    return pd.DataFrame(
        [(name, int(count), s * 1e3, 100 * s / total if total else 0.0) for name, (count, s) in ordered],
        columns=[by, "layers", "ms", "share %"],
    )


def transitions(found: LayerProfile) -> pd.DataFrame:
    """Where the format of numbers changes, in order: between which layers that compute, through which conversions, and what
    those take. Columns: "after", "before", "from", "to", "through", "ms", "share %".

    Conversions without a change of format around them (a model quantized at its input only to be dequantized) count too.
    """
    import pandas as pd

    total = sum(each.median_s for each in found.layers)
    rows, last, waiting = [], None, list[LayerTime]()
    for each in found.layers:
        if each.kind == CONVERT:
            waiting.append(each)
        elif each.kind == WEIGHTS:
            changed = last is not None and last.precision != each.precision
            if waiting or changed:
                rows.append(_transition(last, each, waiting, total))
            last, waiting = each, []
    if waiting:
        rows.append(_transition(last, None, waiting, total))
    return pd.DataFrame(rows, columns=["after", "before", "from", "to", "through", "ms", "share %"])


def _transition(
    last: LayerTime | None, following: LayerTime | None, through: Sequence[LayerTime], total: float
) -> tuple[str, str, str, str, str, float, float]:
    s = sum(each.median_s for each in through)
    return (
        _called(last) if last else "the inputs",
        _called(following) if following else "the outputs",
        last.precision if last else "",
        following.precision if following else "",
        ", ".join(each.op for each in through),
        s * 1e3,
        100 * s / total if total else 0.0,
    )


def _called(layer: LayerTime) -> str:
    return layer.scope or layer.name


def aligned(one: LayerProfile, other: LayerProfile) -> pd.DataFrame:
    """Two engines of one model side by side: rows are the smallest groups of layers that stand for the same nodes.

    Layers whose origin is not known, such as changes of layout, are set side by side by what they do, at the end. Where one
    of the two knows no origins at all (TensorFlow's does not come from ONNX), the model's own layers are compared.

    Columns: "model layer", "nodes", "layers" and "ms" and "format" of each, "difference ms" (other minus one) and
    "ratio" (one divided by other: above 1, the other is faster).
    """
    import pandas as pd

    by_nodes = all(any(layer.origin for layer in each.layers) for each in (one, other))
    groups: dict[str, tuple[list[LayerTime], list[LayerTime]]] = {}
    roots = _roots(one, other) if by_nodes else {}
    for side, profile in enumerate((one, other)):
        for layer in profile.layers:
            node = roots[plain(layer.origin[0])] if by_nodes and layer.origin else ""
            known = node if by_nodes else layer.scope
            groups.setdefault(known or f"({KIND_WORDS[layer.kind]})", ([], []))[side].append(layer)
    ordered = sorted(groups.items(), key=lambda item: item[0].startswith("("))
    rows = [_pair(key, *sides) for key, sides in ordered]
    names = [one.label, other.label]
    columns = ["model layer", "nodes"]
    for name in names:
        columns += [f"layers, {name}", f"ms, {name}", f"format, {name}"]
    return pd.DataFrame(rows, columns=[*columns, "difference ms", "ratio"])


def _pair(key: str, ours: list[LayerTime], theirs: list[LayerTime]) -> tuple[object, ...]:
    every = [*ours, *theirs]
    nodes = dict.fromkeys(plain(name) for layer in every for name in layer.origin)
    scope = next((layer.scope for layer in every if layer.scope and layer.origin), "") or key
    cells: list[object] = []
    for side in (ours, theirs):
        formats = dict.fromkeys(layer.precision for layer in side if layer.precision)
        ms = sum(layer.median_s for layer in side) * 1e3
        cells += [", ".join(dict.fromkeys(layer.op for layer in side)), ms, ", ".join(formats)]
    first, second = sum(layer.median_s for layer in ours), sum(layer.median_s for layer in theirs)
    ratio = first / second if first and second else None
    return (scope if nodes or not key.startswith("(") else key, ", ".join(nodes), *cells, (second - first) * 1e3, ratio)


def _roots(*profiles: LayerProfile) -> dict[str, str]:
    """For every node the first node of its group: nodes that a layer of either engine holds together belong together."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for profile in profiles:
        for layer in profile.layers:
            names = [plain(name) for name in layer.origin]
            for name in names:
                parent.setdefault(name, name)
            for name in names[1:]:
                parent[root(name)] = root(names[0])
    return {name: root(name) for name in parent}


def summary(found: LayerProfile) -> str:
    """What the profile is worth, in a sentence or two."""
    text = (
        f"{len(found.layers)} layers take {found.layers_s * 1e3:.3g} ms of a call at batch {found.batch}; a call takes "
        f"{found.plain_s * 1e3:.3g} ms without profiling and {found.profiled_s * 1e3:.3g} ms with it ({found.overhead:+.0%}), "
        f"medians of {len(found.plain_ns)} and {len(found.profiled_ns)} calls on {found.samples}. {found.basis}."
    )
    if found.lost:
        text += (
            f" {len(found.lost)} nodes of the model are in no layer: they were folded away or fused beyond recognition."
        )
    return text


def html(found: LayerProfile, *, number: int = 0) -> str:
    """A profile as HTML without scripts: a table that sorts by a click, time by operator and kind, and changes of format.

    ``number`` tells several of them on one page apart.
    """
    kinds = ", ".join(f"{KIND_WORDS[kind]} {found.share(kind):.0%}" for kind in KINDS if found.share(kind) >= 0.005)
    changes = transitions(found)
    parts = [
        f"<h4>{escape(found.label)}, batch {found.batch}</h4>",
        f"<p>{escape(summary(found))} By what they do: {escape(kinds)}.</p>",
        sortable(found.layers, f"wb-layers-{number}"),
        _folded("Time by operator", grouped(found, "op")),
        _folded("Time by the model's own layers", grouped(found, "scope")),
        _folded("Time by number format", grouped(found, "precision")),
    ]
    if len(changes):
        parts.append(_folded(f"Changes of number format ({len(changes)})", changes))
    return f'<div class="wb-layers">{"".join(parts)}</div>'


def _folded(title: str, frame: pd.DataFrame) -> str:
    table = frame.to_html(index=False, border=0, float_format=lambda value: f"{value:.3g}", classes="wb-small")
    return f"<details><summary>{escape(title)}</summary>{table}</details>"


_HEADS = ("layer", "type", "precision", "ms", "share %", "model layer", "from")


def sortable(layers: Iterable[LayerTime], name: str) -> str:
    """A table of layers in the order in which they run; buttons above it sort it by time, type, format or model layer.

    Without scripts: each button is a radio button that switches which of the rows' stored places orders them.
    """
    found = list(enumerate(layers))
    total = sum(each.median_s for _, each in found)
    keys = {
        "order": lambda pair: pair[0],
        "time": lambda pair: -pair[1].median_s,
        "type": lambda pair: (pair[1].op, -pair[1].median_s),
        "format": lambda pair: (pair[1].precision, -pair[1].median_s),
        "model layer": lambda pair: (pair[1].scope, pair[0]),
    }
    kept = sorted(sorted(found, key=keys["time"])[:SHOWN])
    places = {key: {n: place for place, (n, _) in enumerate(sorted(kept, key=rule))} for key, rule in keys.items()}
    buttons, styles, rows = [], [], []
    for count, key in enumerate(keys):
        ident = f"{name}-{count}"
        checked = " checked" if count == 0 else ""
        buttons.append(f'<input type="radio" name="{name}" id="{ident}"{checked}><label for="{ident}">{key}</label> ')
        styles.append(f"#{ident}:checked~.wb-grid>div{{order:var(--o{count})}}")
    for number, each in kept:
        order = ";".join(f"--o{count}:{places[key][number] + 1}" for count, key in enumerate(keys))
        share = 100 * each.median_s / total if total else 0.0
        cells = (
            each.name, each.op, each.precision or "–", f"{each.median_s * 1e3:.3f}", f"{share:.1f}", each.scope,
            ", ".join(each.origin),
        )  # fmt: skip
        rows.append(f'<div style="{order}" role="row">{_cells(cells)}</div>')
    head = f'<div class="wb-head" role="row">{_cells(_HEADS)}</div>'
    left = len(found) - len(kept)
    note = f"<p>The {left} layers that take least are left out here.</p>" if left else ""
    style = (
        ".wb-grid{display:grid;grid-template-columns:minmax(8em,2fr) auto auto auto auto minmax(6em,1fr) minmax(8em,2fr);"
        "font-size:85%;max-height:26em;overflow:auto;column-gap:.8em}"
        ".wb-grid>div{display:grid;grid-column:1/-1;grid-template-columns:subgrid;border-bottom:1px solid #8884}"
        ".wb-grid>.wb-head{order:0!important;font-weight:bold;position:sticky;top:0;background:var(--jp-layout-color0,#fff)}"
        ".wb-grid span{overflow-wrap:anywhere}.wb-grid span:nth-child(4),.wb-grid span:nth-child(5){text-align:right}"
        + "".join(styles)
    )
    grid = f'<div class="wb-grid" role="table">{head}{"".join(rows)}</div>'
    return f"<div><style>{style}</style>sorted by: {''.join(buttons)}{grid}{note}</div>"


def _cells(texts: Iterable[str]) -> str:
    return "".join(f'<span role="cell">{escape(text)}</span>' for text in texts)
