"""Draw a graph as one SVG picture, without scripts, styles or external resources, for the panel and the report.

Netron would show more, but it needs a separate port and scripts, which a report without scripts and a JupyterLab on another
machine cannot use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from workbench.graph import shapes
from workbench.graph.folding import Box, Folded, folded, label
from workbench.graph.shapes import Shapes
from workbench.models.onnx_file import graph_of

MOST = 40
"""The most boxes in a picture; more are folded."""

LOOKS = {  # letter, name in the legend, fill, edge
    "input": ("→", "input", "#ffffff", "#455a64"),
    "output": ("⇥", "output", "#ffffff", "#455a64"),
    "weights": ("W", "layers with weights", "#cfe2ff", "#1f5fbf"),
    "activation": ("A", "activation", "#ffe0cc", "#b3541e"),
    "normalize": ("N", "normalization", "#e3d5f7", "#6a3fa0"),
    "pool": ("P", "pooling, reduction, resizing", "#cdeede", "#1e7a4c"),
    "math": ("+", "arithmetic", "#fff2b3", "#8a6d00"),
    "move": ("M", "moves data", "#e4e7ea", "#56616b"),
    "quantize": ("Q", "quantization", "#ffd3df", "#a52650"),
    "flow": ("?", "branches and loops", "#c9f0f2", "#0f7078"),
}
INK, SOFT, LINE, PAPER = "#1b1f23", "#4a5560", "#80868c", "#ffffff"
CHARACTER = 6.9  # pixels, of a wide sans-serif at 12 px
STRIP, ROW, GAP_X, GAP_Y, MARGIN = 20, 15, 26, 26, 14
NARROWEST = 430
NAMED = 12
"""The most nodes that the tooltip of a box lists."""


@dataclass
class _Slot:
    """A position in a layer: a box, or a point of an edge (``box`` is ``None``)."""

    box: Box | None
    lines: tuple[str, ...] = ()
    shape: str = ""
    x: float = 0.0  # of its middle
    y: float = 0.0  # of its top
    height: float = 0.0

    @property
    def pull(self) -> float:
        """The weight in the alignment: boxes are aligned before edges, otherwise every skipped block would shift what follows."""
        return 0.02 if self.box is None else 1.0

    @property
    def width(self) -> float:
        if self.box is None:
            return 6.0
        longest = max((*map(len, self.lines), len(self.shape) * 0.9))
        return max(74.0, longest * CHARACTER + STRIP + 16)


def svg(onnx_path: Path, title: str, max_nodes: int = MOST, work: Mapping[str, int] | None = None) -> str:
    """Return the graph in ``onnx_path`` as an ``<svg>`` element, top to bottom, in at most about ``max_nodes`` boxes.

    Colors are fixed, so that it is readable on light and dark pages; each color also has a letter. Every box has a
    tooltip with the names, operators, shapes and operations (``work``: FLOPs by the name of a node) of its nodes. Shapes are those
    of the file: ``?`` is a dynamic axis. An attribute ``data-nodes`` of each box has the names of its nodes, one a line.

    Raises:
        InputError: the file cannot be read as ONNX.
    """
    import onnx.inliner

    proto = graph_of(onnx_path)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    graph = shapes.inferred_or_same(proto).graph  # a picture without shapes is better than none
    drawn = folded(graph, Shapes(graph), max_nodes)
    slots, layers, paths = _layered(drawn)
    _order(layers, paths)
    _place(slots, layers, paths)
    return _written(drawn, slots, paths, title, work or {})


def _layered(drawn: Folded) -> tuple[dict[int, _Slot], list[list[int]], list[list[int]]]:
    """Slots by number, the numbers in each layer, and every edge as a list of slots."""
    depth: dict[int, int] = {}
    order = drawn.order()
    for number in order:
        depth[number] = max((depth[b] + 1 for b in drawn.before[number]), default=0)
    for number in reversed(order):  # a box without predecessors is placed just above its first use
        if not drawn.before[number] and drawn.after[number]:
            depth[number] = min(depth[a] for a in drawn.after[number]) - 1
    slots = {}
    layers: list[list[int]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for number in order:
        box = drawn.boxes[number]
        lines = tuple(label(box))
        slots[number] = _Slot(box, lines, box.nodes[-1].shape)
        slots[number].height = 12 + ROW * len(lines) + (ROW if slots[number].shape else 0)
        layers[depth[number]].append(number)
    paths = []
    for number in order:
        for other in sorted(drawn.after[number]):
            path = [number]
            for level in range(depth[number] + 1, depth[other]):
                passing = max(slots) + 1
                slots[passing] = _Slot(None)
                layers[level].append(passing)
                path.append(passing)
            paths.append([*path, other])
    return slots, layers, paths


def _neighbours(paths: Sequence[Sequence[int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for path in paths:
        for upper, lower in pairwise(path):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def _order(layers: list[list[int]], paths: Sequence[Sequence[int]]) -> None:
    """Order each layer by the mean place of its neighbours, down and up in turn (Sugiyama's barycentre method)."""
    above, below = _neighbours(paths)
    place = {number: index for layer in layers for index, number in enumerate(layer)}
    for sweep in range(10):
        near = below if sweep % 2 else above
        for layer in reversed(layers) if sweep % 2 else layers:
            mean = {n: sum(place[o] for o in near[n]) / len(near[n]) if n in near else place[n] for n in layer}
            layer.sort(key=lambda n, mean=mean: mean[n])  # type: ignore[misc]
            place.update({number: index for index, number in enumerate(layer)})


def _place(slots: Mapping[int, _Slot], layers: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]) -> None:
    """Coordinates: layers from top to bottom; within a layer as close to the neighbours as the widths allow."""
    above, below = _neighbours(paths)
    top = 0.0
    for layer in layers:
        tallest = max(slots[n].height for n in layer)
        for number in layer:
            slot = slots[number]
            slot.height = tallest if slot.box is None else slot.height
            slot.y = top + (tallest - slot.height) / 2
        top += tallest + GAP_Y
    for sweep in range(16):
        for layer in reversed(layers) if sweep % 2 else layers:
            near = below if sweep % 2 else above
            wanted = [_mean([slots[o] for o in near.get(n, ())], slots[n].x) for n in layer]
            weights = [slots[n].pull for n in layer]
            offsets = [0.0]
            for left, right in pairwise(layer):
                offsets.append(offsets[-1] + (slots[left].width + slots[right].width) / 2 + GAP_X)
            for number, x, offset in zip(layer, _spread(wanted, offsets, weights), offsets, strict=True):
                slots[number].x = x + offset


def _mean(near: Sequence[_Slot], default: float) -> float:
    return sum(s.x * s.pull for s in near) / sum(s.pull for s in near) if near else default


def _spread(wanted: Sequence[float], offsets: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Ascending positions minus offsets, closest to ``wanted`` by least squares (pool adjacent violators)."""
    pools: list[list[float]] = []  # value, weight, members
    for want, offset, weight in zip(wanted, offsets, weights, strict=True):
        pools.append([want - offset, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            value, heavy, members = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + value * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += members
    return [value for value, _, members in pools for _ in range(int(members))]


def _written(
    drawn: Folded, slots: Mapping[int, _Slot], paths: Sequence[Sequence[int]], title: str, work: Mapping[str, int]
) -> str:
    left = min((s.x - s.width / 2 for s in slots.values()), default=0.0)
    right = max((s.x + s.width / 2 for s in slots.values()), default=0.0)
    width = max(right - left + 2 * MARGIN, NARROWEST)
    head, head_height = _head(drawn, title, width)
    shift_x, shift_y = (width - (right + left)) / 2, head_height + MARGIN
    for slot in slots.values():
        slot.x += shift_x
        slot.y += shift_y
    height = max((s.y + s.height for s in slots.values()), default=shift_y) + MARGIN
    edges = "".join(_edge(slots, path) for path in paths)
    boxes = "".join(_box(slot, work) for slot in slots.values() if slot.box is not None)
    name = f"Graph of {title}: {drawn.nodes} nodes in {len(drawn.boxes)} boxes"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(name)}" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, sans-serif" '
        f'font-size="12">{head}<g fill="none" stroke="{LINE}" stroke-width="1.4">{edges}</g><g fill="{INK}">{boxes}</g></svg>'
    )


def _head(drawn: Folded, title: str, width: float) -> tuple[str, float]:
    """Title, counts of what is shown and left out, and the legend, on a background; and the height."""
    boxes = [box for box in drawn.boxes.values() if not box.kind]
    lines = [
        f"{_counted(drawn.nodes - drawn.hidden, 'node')} in {_counted(len(boxes), 'box', 'es')}; shapes are results, ? is any size"
    ]
    left_out = [f"{_counted(drawn.hidden, 'node')} preparing shapes or weights"] if drawn.hidden else []
    left_out += [_counted(drawn.constants, "constant")] if drawn.constants else []
    lines += [f"left out: {' and '.join(left_out)}"] if left_out else []
    lines += ["thick edge: the nodes branch inside the box"] if any(box.block or box.again for box in boxes) else []
    y = 24.0 + ROW * len(lines)
    text = f'<text x="12" y="22" font-size="14" font-weight="600">{escape(_cut(title, width))}</text>'
    text += "".join(
        f'<text x="12" y="{24 + ROW * (n + 1)}" fill="{SOFT}">{line}</text>' for n, line in enumerate(lines)
    )
    seen = Counter(box.look for box in drawn.boxes.values())
    x, y = 12.0, y + 10
    for look, (letter, words, fill, edge) in LOOKS.items():
        if look not in seen:
            continue
        need = 24 + len(words) * 6.4 + 14
        if x + need > width and x > 12:
            x, y = 12.0, y + 22
        text += (
            f'<rect x="{x:.0f}" y="{y:.0f}" width="18" height="16" rx="3" fill="{fill}" stroke="{edge}"/>'
            f'<text x="{x + 9:.0f}" y="{y + 12:.0f}" text-anchor="middle" font-weight="600" fill="{edge}">{letter}</text>'
            f'<text x="{x + 23:.0f}" y="{y + 12:.0f}">{words}</text>'
        )
        x += need
    height = y + 26
    paper = (
        f'<rect x="1" y="1" width="{width - 2:.0f}" height="{height - 2:.0f}" rx="6" fill="{PAPER}" stroke="{LINE}"/>'
    )
    return f'<g fill="{INK}">{paper}{text}</g>', height


def _counted(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _cut(text: str, width: float) -> str:
    most = int((width - 24) / 8)
    return text if len(text) <= most else text[: most - 1] + "…"


def _edge(slots: Mapping[int, _Slot], path: Sequence[int]) -> str:
    start = slots[path[0]]
    x, y = start.x, start.y + start.height
    line = f"M{x:.0f} {y:.0f}"
    for number in path[1:]:
        slot = slots[number]
        tip = slot.y - (5 if slot.box is not None else 0)
        if abs(x - slot.x) < 0.5:
            line += f"V{tip:.0f}"
        else:
            bend = GAP_Y * 0.6
            line += f"C{x:.0f} {y + bend:.0f} {slot.x:.0f} {tip - bend:.0f} {slot.x:.0f} {tip:.0f}"
        x, y = slot.x, slot.y + slot.height
        if slot.box is None:
            line += f"V{y:.0f}"
    end = slots[path[-1]]
    head = f"M{end.x - 4:.0f} {end.y - 7:.0f}L{end.x:.0f} {end.y:.0f}L{end.x + 4:.0f} {end.y - 7:.0f}z"
    return f'<path d="{line}"/><path d="{head}" fill="{LINE}" stroke="none"/>'


def _box(slot: _Slot, work: Mapping[str, int]) -> str:
    box = slot.box
    if box is None:
        return ""
    letter, _, fill, edge = LOOKS[box.look]
    x, y, width, height = slot.x - slot.width / 2, slot.y, slot.width, slot.height
    thick = 2.5 if box.block or box.again else 1
    frame = f'x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="5"'
    sign = f'x="{x + 12:.0f}" y="{y + height / 2 + 4:.0f}" text-anchor="middle" font-weight="700" fill="{edge}"'
    parts = [
        f'<rect {frame} fill="{fill}" stroke="{edge}" stroke-width="{thick}"/>',
        f"<text {sign}>{letter}</text>",
    ]
    middle = x + STRIP + (width - STRIP - 6) / 2
    for number, line in enumerate(slot.lines):
        parts.append(
            f'<text x="{middle:.0f}" y="{y + 18 + ROW * number:.0f}" text-anchor="middle">{escape(line)}</text>'
        )
    if slot.shape:
        below = y + 18 + ROW * len(slot.lines)
        parts.append(
            f'<text x="{middle:.0f}" y="{below:.0f}" text-anchor="middle" font-size="11" fill="{SOFT}">{escape(slot.shape)}</text>'
        )
    names = "\n".join(node.name for node in box.nodes)
    return f'<g data-nodes="{escape(names)}"><title>{escape(_tooltip(box, work))}</title>{"".join(parts)}</g>'


def _tooltip(box: Box, work: Mapping[str, int]) -> str:
    if box.kind:
        return f"{box.kind} {box.nodes[0].name}\n{box.nodes[0].shape}"
    lines = [
        f"{n.op}  {n.name[:80]}{f'  → {n.shape}' if n.shape else ''}{f'  ({n.note})' if n.note else ''}{f'  {n.detail}' if n.detail else ''}"
        for n in box.nodes
    ]
    more = len(lines) - NAMED
    flops = sum(work.get(node.name, 0) for node in box.nodes)
    done = [f"{flops / 1e6:,.3g} MFLOPs for one sample"] if flops else []
    return "\n".join([*lines[:NAMED], *([f"… and {more} more"] if more > 0 else []), *done])
