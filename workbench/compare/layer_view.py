"""Layers by operator, by format and by the model's own layers, where formats change, and two engines side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.graph.provenance import plain
from workbench.records.layers import CONVERT, WEIGHTS, LayerProfile, LayerTime

if TYPE_CHECKING:
    import pandas as pd

KIND_WORDS = {
    "weights": "compute with weights",
    "convert": "convert between formats",
    "layout": "move data",
    "other": "other",
}


def grouped(profile: LayerProfile, by: str = "op") -> pd.DataFrame:
    """Layers and time by ``op``, ``kind``, ``precision`` or ``scope`` (the model's own layers), the longest first.

    Columns: the group, "layers" (how many), "ms" (sum of their medians) and "share %" of all layers' time.
    """
    import pandas as pd

    total = sum(each.median_s for each in profile.layers)
    rows: dict[str, list[float]] = {}
    for each in profile.layers:
        entry = rows.setdefault(getattr(each, by) or "–", [0, 0.0])
        entry[0] += 1
        entry[1] += each.median_s
    ordered = sorted(rows.items(), key=lambda item: -item[1][1])
    return pd.DataFrame(
        [(name, int(count), s * 1e3, 100 * s / total if total else 0.0) for name, (count, s) in ordered],
        columns=[by, "layers", "ms", "share %"],
    )


def transitions(profile: LayerProfile) -> pd.DataFrame:
    """Changes of the number format, in order: the layers before and after each, its conversions, and the time that these take.
    Columns: "after", "before", "from", "to", "through", "ms", "share %".

    Conversions between layers of the same format (a model whose input is quantized and dequantized at once) are included.
    """
    import pandas as pd

    total = sum(each.median_s for each in profile.layers)
    rows, last, waiting = [], None, list[LayerTime]()
    for each in profile.layers:
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
    """Two engines of one model side by side: a row is the smallest group of layers that computes the same nodes in both.

    Layers of unknown origin, such as changes of layout, are grouped by what they do, in the last rows. If no layer of one engine
    has a known origin (TensorFlow's engine is not built from ONNX), rows are the model's own layers.

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
    """For every node the first node of its group. Nodes that are in one layer of either engine are in one group (union-find)."""
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


def summary(profile: LayerProfile) -> str:
    """What the profile covers and what profiling costs, in two or three sentences."""
    text = (
        f"{len(profile.layers)} layers take {profile.layers_s * 1e3:.3g} ms of a call at batch {profile.batch}; a call takes "
        f"{profile.plain_s * 1e3:.3g} ms without profiling and {profile.profiled_s * 1e3:.3g} ms with it ({profile.overhead:+.0%}), "
        f"medians of {len(profile.plain_ns)} and {len(profile.profiled_ns)} calls on {profile.samples}. {profile.basis}."
    )
    if profile.lost:
        text += f" {len(profile.lost)} nodes of the model are in no layer: they were folded away or fused beyond recognition."
    return text
