"""The boxes of a graph's picture: its nodes, or, if there are too many, folded chains and blocks of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

from workbench.graph.shapes import Shapes, title
from workbench.models.onnx_file import branches, graphs, inputs_of
from workbench.models.onnx_repair import reads
from workbench.models.operators import FUSED, INTEGER, RECURRENT, WEIGHTED

LONGEST = 12
"""The most boxes of a block that is folded."""

KINDS: dict[str, frozenset[str]] = {
    "flow": frozenset({"If", "Loop", "Scan"}),
    "weights": frozenset({
        *WEIGHTED, *RECURRENT, *FUSED, *INTEGER, "DeformConv", "Einsum", "Attention",
    }),
    "quantize": frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}),
    "normalize": frozenset({
        "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "LRN",
        "RMSNormalization", "LpNormalization", "MeanVarianceNormalization",
    }),
    "pool": frozenset({
        "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "ReduceMean", "ReduceSum",
        "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "Resize", "Upsample",
    }),
    "activation": frozenset({
        "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu",
        "Softmax", "LogSoftmax", "Softplus", "Softsign", "Mish", "Swish", "ThresholdedRelu", "Celu",
    }),
    "move": frozenset({
        "Cast", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
        "Identity", "Pad", "Reshape", "ScatterND", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
        "Unsqueeze", "ConstantOfShape", "Range", "OneHot",
    }),
}  # fmt: skip
ORDER = ("flow", "weights", "quantize", "normalize", "pool", "activation", "math", "move")
"""Order of precedence of the kinds that determine the color of a box with several operators."""


def kind_of(op: str) -> str:
    return next((kind for kind, ops in KINDS.items() if op.rpartition(".")[2] in ops), "math")


@dataclass(frozen=True)
class Node:
    """One node of the file: its operator, its name, and the shape of its result as text."""

    op: str
    name: str
    shape: str
    note: str = ""  # for branches: their number and contents
    detail: str = ""  # for tooltips: kernel, strides, groups


@dataclass(frozen=True)
class Box:
    """One box of the picture.

    Its nodes form a chain, or with ``block`` they branch. ``again``: the box's input is used again inside it.
    """

    nodes: tuple[Node, ...]
    place: int  # of its first node in the file
    block: bool = False
    again: bool = False
    times: int = 1  # number of equal consecutive parts in it
    kind: str = ""  # "input" or "output"; "": that of its operators

    @property
    def ops(self) -> tuple[str, ...]:
        return tuple(node.op for node in self.nodes)

    def alike(self, other: Box) -> bool:
        return not (self.kind or other.kind) and self.times == other.times == 1 and self.ops == other.ops

    @property
    def look(self) -> str:
        found = {kind_of(op) for op in self.ops}
        return self.kind or next(kind for kind in ORDER if kind in found)


@dataclass
class Folded:
    """Boxes by number, the edges between them, and counts of what was left out."""

    boxes: dict[int, Box] = field(default_factory=dict)
    after: dict[int, set[int]] = field(default_factory=dict)
    before: dict[int, set[int]] = field(default_factory=dict)
    nodes: int = 0
    hidden: int = 0  # nodes that only compute shapes
    constants: int = 0

    def add(self, box: Box, sources: Iterable[int]) -> int:
        number = len(self.boxes)
        self.boxes[number], self.after[number], self.before[number] = box, set(), set(sources)
        for source in self.before[number]:
            self.after[source].add(number)
        return number

    def merge(self, group: Sequence[int], *, block: bool) -> None:
        """Merge ``group`` into one box; it must be in topological order without other boxes in between."""
        first, inside = group[0], set(group)
        place = self.boxes[first].place
        nodes = tuple(node for number in group for node in self.boxes[number].nodes)
        branching = block or any(self.boxes[number].block for number in group)
        again = any(self.boxes[number].again or self.before[number] - inside for number in group[1:])
        before = {b for number in group for b in self.before[number]} - inside
        start = self.boxes[first].again
        after = {a for number in group for a in self.after[number]} - inside
        for number in group:
            for other in self.before.pop(number):
                self.after.get(other, set()).discard(number)
            for other in self.after.pop(number):
                self.before.get(other, set()).discard(number)
            del self.boxes[number]
        self.boxes[first] = Box(nodes, place, branching, again or start)
        self.before[first], self.after[first] = before, after
        for other in before:
            self.after[other].add(first)
        for other in after:
            self.before[other].add(first)

    def order(self) -> list[int]:
        """A topological order that keeps branches together."""
        sorter = TopologicalSorter(self.before)
        sorter.prepare()
        ready: list[int] = []
        found = []
        while sorter.is_active():
            ready += sorted(sorter.get_ready(), key=lambda n: -self.boxes[n].place)
            found.append(ready.pop())
            sorter.done(found[-1])
        return found


def folded(graph: Any, shapes: Shapes, most: int) -> Folded:
    """Fold ``graph`` into at most ``most`` boxes.

    Steps are applied in this order while there are too many boxes: fold operators without weights into the layer before them; fold
    whole chains; merge equal consecutive boxes; fold the smallest blocks with one entry and one exit, all equal ones together;
    merge neighbours in the order of the file.
    """
    result = _unfolded(graph, shapes)
    if len(result.boxes) > most:
        _fold_chains(result, weights=False)
    if len(result.boxes) > most:
        _fold_chains(result, weights=True)
    while len(result.boxes) > most and (_fold_repeats(result) or _fold_blocks(result)):
        pass
    while len(result.boxes) > most and _fold_neighbours(result):
        pass
    return result


def _unfolded(graph: Any, shapes: Shapes) -> Folded:
    result = Folded()
    made: dict[str, int] = {}

    def end(value: Any, place: int, kind: str) -> Box:
        return Box((Node(value.name, value.name, shapes.text(value.name)),), place, kind=kind)

    for value in inputs_of(graph):
        made[value.name] = result.add(end(value, 0, "input"), ())
    computed = _shape_arithmetic(graph, shapes.constants)
    for place, node in enumerate(graph.node, start=1):
        if node.op_type == "Constant":
            result.constants += 1
            continue
        result.nodes += 1
        if all(name in shapes.constants or name in computed for name in node.output if name):
            result.hidden += 1
            continue
        sources = {made[name] for name in reads(node) if name in made}
        inner = branches(node)
        count = sum(each.op_type != "Constant" for part in inner for deep in graphs(part) for each in deep.node)
        note = f"{len(inner)} {'branches' if node.op_type == 'If' else 'body'}, {count} nodes" if inner else ""
        shape = shapes.text(node.output[0]) if node.output else ""
        number = result.add(
            Box((Node(title(node), node.name or next(iter(node.output), ""), shape, note, _detail(node)),), place),
            sources,
        )
        made.update((name, number) for name in node.output if name)
    for value in graph.output:
        sources = {made[value.name]} if value.name in made else set()
        result.add(end(value, len(graph.node) + 1, "output"), sources)
    return result


def _detail(node: Any) -> str:
    found = {a.name: a for a in node.attribute}
    texts = []
    if "kernel_shape" in found:
        texts.append(f"kernel {'×'.join(map(str, found['kernel_shape'].ints))}")
    if "strides" in found and any(size > 1 for size in found["strides"].ints):
        texts.append(f"strides {'×'.join(map(str, found['strides'].ints))}")
    if "group" in found and found["group"].i > 1:
        texts.append(f"groups {found['group'].i}")
    return ", ".join(texts)


def _shape_arithmetic(graph: Any, constants: set[str]) -> set[str]:
    """Tensors that are computed from shapes and constants only, which would clutter the picture."""
    found: set[str] = set()
    for node in graph.node:
        steers = node.op_type in ("Shape", "Size")
        derived = node.input and all(not name or name in found or name in constants for name in node.input)
        if steers or (derived and not branches(node) and node.op_type not in ("ConstantOfShape", "Expand", "Tile")):
            found.update(node.output)
    return found - {value.name for value in graph.output}


def _fold_chains(result: Folded, *, weights: bool) -> None:
    """Merge each box into its only predecessor if it is the only successor of that; ``weights``: also layers with weights."""
    for number in result.order():
        before = result.before[number]
        if len(before) != 1:
            continue
        (source,) = before
        pair = (result.boxes[source], result.boxes[number])
        if len(result.after[source]) != 1 or any(box.kind or box.look == "flow" for box in pair):
            continue
        joins = len(result.before[source]) > 1  # the end of a block: the next layer gets a separate box
        if pair[1].look != "weights" or (weights and not joins):
            result.merge((source, number), block=False)


def _fold_blocks(result: Folded) -> bool:
    """Fold the smallest blocks with one entry and one exit, all that have the same operators."""
    order = result.order()
    for length in range(2, LONGEST + 1):
        found: dict[tuple[str, ...], list[list[int]]] = {}
        for start in range(len(order) - length + 1):
            group = order[start : start + length]
            if _is_block(result, group):
                found.setdefault(tuple(op for number in group for op in result.boxes[number].ops), []).append(group)
        if found:
            alike = min(found.items(), key=lambda item: (len(item[0]), -len(item[1])))[1]
            taken: set[int] = set()
            for group in alike:
                if not taken & set(group):
                    taken.update(group)
                    result.merge(group, block=length > 2)
            return True
    return False


def _fold_repeats(result: Folded) -> bool:
    """Merge three or more consecutive boxes with the same operators into one with their number."""
    done = False
    run: list[int] = []
    for number in [*result.order(), None]:
        same = run and number is not None and result.before[number] == {run[-1]} and result.after[run[-1]] == {number}
        if same and number is not None and result.boxes[number].alike(result.boxes[run[-1]]):
            run.append(number)
            continue
        if len(run) > 2:
            first = result.boxes[run[0]]
            result.merge(run, block=first.block)
            result.boxes[run[0]] = replace(result.boxes[run[0]], times=len(run), again=first.again)
            done = True
        run = [] if number is None else [number]
    return done


def _is_block(result: Folded, group: Sequence[int]) -> bool:
    inside = set(group)
    if any(result.boxes[number].kind or result.boxes[number].look == "flow" for number in group):
        return False
    entries = {b for number in group for b in result.before[number]} - inside
    exits = [number for number in group if result.after[number] - inside]
    joined = all((result.before[number] | result.after[number]) & inside for number in group)
    return len(entries) <= 1 and len(exits) <= 1 and joined


def _fold_neighbours(result: Folded) -> bool:
    """Merge two consecutive boxes; this can fold any graph."""
    pairs = [(a, b) for a, b in pairwise(result.order()) if not (result.boxes[a].kind or result.boxes[b].kind)]
    size = {n: len(box.nodes) for n, box in result.boxes.items()}
    if pairs:
        result.merge(min(pairs, key=lambda p: (p[1] not in result.after[p[0]], size[p[0]] + size[p[1]])), block=True)
    return bool(pairs)


def label(box: Box, width: int = 30, lines: int = 4) -> list[str]:
    """The text of a box, in lines of about ``width`` characters."""
    if box.nodes[0].note and len(box.nodes) == 1:
        return [f"{box.nodes[0].op}: {box.nodes[0].note}"]
    if box.kind:
        return [_short(box.nodes[0].op, width)]
    if box.times > 1:
        part = replace(box, nodes=box.nodes[: len(box.nodes) // box.times], times=1)
        return [*label(part, width, lines), f"× {box.times}, one after the other"]
    if box.block:
        counts = Counter(box.ops)
        ranked = sorted(counts, key=lambda op: (ORDER.index(kind_of(op)), -counts[op]))
        parts = [f"{op} ×{counts[op]}" if counts[op] > 1 else op for op in ranked]
        return _wrapped(parts, " · ", width, lines)
    return _wrapped(list(_runs(box.ops)), " → ", width, lines)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 2]}…{text[-width // 2 + 1 :]}"


def _runs(ops: Sequence[str]) -> Iterator[str]:
    """Operators in order, with repetitions written once: ``(Conv → Relu) ×3``."""
    place = 0
    while place < len(ops):
        best = (1, 1)
        for period in range(1, min(6, (len(ops) - place) // 2) + 1):
            times = 1
            pattern = ops[place : place + period]
            while ops[place + times * period : place + (times + 1) * period] == pattern:
                times += 1
            if times > 1 and period * times > best[0] * best[1]:
                best = (period, times)
        period, times = best
        text = " → ".join(ops[place : place + period])
        yield text if times == 1 else f"{text} ×{times}" if period == 1 else f"({text}) ×{times}"
        place += period * times


def _wrapped(parts: Sequence[str], joint: str, width: int, lines: int) -> list[str]:
    done: list[str] = []
    for number, part in enumerate(parts):
        if done and len(done[-1]) + len(joint) + len(part) <= width:
            done[-1] += joint + part
        elif len(done) == lines:
            done[-1] += f" … and {len(parts) - number} more"
            break
        else:
            done.append((joint.lstrip() if done else "") + part)
    return done
