"""Facts of an ONNX graph: operators, parameters, floating-point operations, memory.

Operations are counted here, node by node, from the shapes of the tensors. The package onnx-tool was evaluated and not used: it
fails on If, Loop and some ordinary operators, and adds elementwise operators to its multiply-adds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import brief
from workbench.graph import shapes as graph_shapes
from workbench.graph.shapes import NodeShapes, Shape, Shapes, UnknownShapeError, title
from workbench.models.onnx_file import attribute, branches, graph_of, graphs, inputs_of, tensors, weight_tensors
from workbench.models.onnx_repair import reads
from workbench.records import Model

T = TypeVar("T")

MOVES = frozenset({
    "Cast", "CastLike", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Dropout", "Expand",
    "EyeLike", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "If", "Loop", "NonZero", "OneHot", "Pad",
    "Range", "Reshape", "Scan", "ScatterElements", "ScatterND", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
    "SequenceInsert", "SequenceLength", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "SplitToSequence", "Squeeze",
    "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that only create, move or select data, or that contain other graphs: they have no operations to count."""

VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Dropout"})
"""Operators whose result shares the memory of their first input."""

MOST_NAMES = 5000


@dataclass(frozen=True)
class GraphFacts:
    """Contents and costs of an ONNX graph. ``None``: unknown; the text field beside it has the reason."""

    opset: int
    nodes: int  # including those of branches and loop bodies, without constants
    ops: dict[str, int] = field(default_factory=dict)  # operator -> number of nodes, the most frequent first
    parameters: int = 0  # elements of the tensors that hold weights
    weight_bytes: int = 0  # as stored, including every constant
    flops: int | None = None  # of one sample; a multiply-add counts as two
    flops_source: str = ""  # how they were counted, or why they were not
    uncounted: tuple[str, ...] = ()  # operators with arithmetic that is not in ``flops``
    activation_bytes: int | None = None  # peak of live bytes for ``batch`` samples, in the order of the file
    activation_source: str = ""
    batch: int = 1  # samples in the counted run: 1, or the smallest batch size that the graph supports
    dynamic_axes: tuple[str, ...] = ()  # descriptions, inputs first
    names: tuple[str, ...] = ()  # of the nodes; empty where not all have one, or there are more than MOST_NAMES


def graph_facts(onnx_path: Path, model: Model) -> GraphFacts:
    """The facts of the graph in ``onnx_path``, for one sample of ``model`` with its free axes at their usual size.

    A graph with a fixed batch is counted at that batch; one that does not run at batch 1, at the smallest batch at which it runs.
    Its FLOPs are divided by the batch size; its activations cannot be divided exactly and are those of the whole batch
    (``batch``).

    FLOPs are those of convolutions, matrix products and recurrent layers, 2 for each multiply-add, without biases, as
    papers count them: ``Conv`` 2 · outputs · kernel elements · input channels / groups; ``ConvTranspose`` the same by
    inputs; ``MatMul`` and ``Gemm`` 2 · outputs · inner size; ``LSTM``, ``GRU`` and ``RNN`` 2 · steps · batch · elements
    of W and R; ``Einsum`` of two operands 2 · the product of all index sizes. Shapes come from ONNX shape inference. If it
    leaves one open, and for loops, they come from one run of ONNX Runtime on generated inputs.

    Raises:
        InputError: the file cannot be read as ONNX.
    """
    proto = graph_of(onnx_path)
    proto = graph_shapes.prepared(proto, model)
    nodes = [node for part in graphs(proto.graph) for node in part.node if node.op_type != "Constant"]
    names = Counter(title(node) for node in nodes)
    flops, flops_source, memory, memory_source = _costs(proto, onnx_path, model)
    batch = graph_shapes.counted_batch(model)
    return GraphFacts(
        opset=max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0),
        nodes=len(nodes),
        ops=dict(sorted(names.items(), key=lambda item: (-item[1], item[0]))),
        parameters=sum(math.prod(tensor.dims) for tensor in weight_tensors(proto.graph)),
        weight_bytes=sum(graph_shapes.size_bytes(tensor.dims, tensor.data_type) for tensor in tensors(proto.graph)),
        flops=None if flops is None else round(flops / batch),
        flops_source=flops_source,
        uncounted=tuple(sorted({title(n) for n in nodes if n.op_type not in COUNTED and n.op_type not in MOVES})),
        activation_bytes=memory,
        activation_source=memory_source,
        dynamic_axes=tuple(_dynamic(model)),
        batch=batch,
        names=tuple(node.name for node in nodes)
        if len(nodes) <= MOST_NAMES and all(node.name for node in nodes)
        else (),
    )


def _dynamic(model: Model) -> Iterator[str]:
    for kind, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            for axis in spec.dynamic_axes:
                known = next((each for each in spec.ranges if each.axis == axis), None)
                used = f", used at {known.min} to {known.max}" if known else ""
                role = "the batch" if axis == spec.batch_axis else f"free{used}"
                yield f"{kind} '{spec.name}' axis {axis} ({role})"


def _costs(proto: Any, path: Path, model: Model) -> tuple[int | None, str, int | None, str]:
    """FLOPs and peak of activations with their sources: by shape inference, and by a run where that is incomplete."""
    note = "; of each If, the costlier branch" if any(n.op_type == "If" for n in proto.graph.node) else ""
    source = f"shapes by ONNX shape inference{note}"
    inferred, why = _attempt(lambda: graph_shapes.inferred(proto))
    graph = inferred.graph if inferred is not None else proto.graph
    flops, no_flops = _attempt(lambda: _flops(graph, Shapes(graph)))
    memory, no_memory = _attempt(lambda: _peak(graph, Shapes(graph)))
    if flops is not None and memory is not None:
        return flops, source, memory, source
    seen, not_run = _attempt(lambda: graph_shapes.observed(proto, path, model))
    batch = graph_shapes.counted_batch(model)
    ran = "one sample" if batch == 1 else f"one batch of {batch}"
    by_run = f"shapes seen while ONNX Runtime ran {ran} of generated inputs"
    flops_source = memory_source = source
    if flops is None and seen:
        flops, again = _attempt(lambda: _flops_seen(proto.graph, seen))
        flops_source, not_run = by_run, not_run or again
    if memory is None and seen:
        memory, again = _attempt(lambda: _peak(graph, Shapes(graph, seen=seen)))
        memory_source, not_run = by_run, not_run or again
    if flops is None:
        flops_source = f"not counted: {why or no_flops}, and a run did not show it: {not_run}"
    if memory is None:
        memory_source = f"unknown: {why or no_memory}, and a run did not show it: {not_run}"
    return flops, flops_source, memory, memory_source


def _attempt(call: Callable[[], T]) -> tuple[T | None, str]:
    """The result and "", or ``None`` and the reason."""
    try:
        return call(), ""
    except UnknownShapeError as cause:
        return None, brief(cause, 200).rstrip(".")
    except Exception as cause:  # shape inference and the run fail in many ways, which must not stop the other facts
        return None, f"{type(cause).__name__}: {brief(cause, 200)}".rstrip(".")


def _flops(graph: Any, shapes: Shapes) -> int:
    total = 0
    for node in graph.node:
        inner = branches(node)
        if node.op_type in COUNTED:
            total += flops_of(node, shapes)
        elif node.op_type == "If":
            total += max(_flops(part, shapes.inside(part)) for part in inner)
        elif any(each.op_type in COUNTED for part in inner for deep in graphs(part) for each in deep.node):
            raise UnknownShapeError(f"a {node.op_type} runs its layers an unknown number of times")
    return total


def _flops_seen(graph: Any, seen: Mapping[str, NodeShapes]) -> int:
    """FLOPs of the nodes that a run executed, each as often as it ran."""
    nodes = {node.name: node for part in graphs(graph) for node in part.node}
    total = 0
    for name, facts in seen.items():
        node = nodes.get(name)
        if node is not None and node.op_type in COUNTED:
            total += facts.times * COUNTED[node.op_type](node, facts.inputs, facts.outputs)
    return total


def _peak(graph: Any, shapes: Shapes) -> int:
    """Peak of live bytes: inputs and results from creation to their last use, without weights."""
    roots: dict[str, str] = {}

    def root(name: str) -> str:
        return root(roots[name]) if name in roots else name

    for node in graph.node:
        if node.op_type in VIEWS and node.output and node.input and node.input[0] not in shapes.constants:
            roots[node.output[0]] = node.input[0]
    last = {root(name): place for place, node in enumerate(graph.node) for name in reads(node)}
    last |= {root(value.name): len(graph.node) for value in graph.output}
    live = {value.name: shapes.bytes_of(value.name) for value in inputs_of(graph)}
    peak = sum(live.values())
    for place, node in enumerate(graph.node):
        inner = 0
        for part in filter(shapes.ran, branches(node)):
            within = shapes.inside(part)
            inner = max(inner, _peak(part, within))
            if node.op_type == "If":
                shapes.adopt(node, part, within)
        for name in node.output:
            if name and name not in roots and name not in shapes.constants:
                live[name] = shapes.bytes_of(name)
        peak = max(peak, sum(live.values()) + inner)
        live = {name: size for name, size in live.items() if last.get(name, -1) > place}
    return peak


def _conv(weight: int) -> Callable[..., int]:
    def count(node: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:  # noqa: ARG001 - one signature for all
        return 2 * math.prod(outputs[0]) * math.prod(inputs[weight][1:])

    return count


def _conv_transpose(node: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:  # noqa: ARG001
    return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _matmul(node: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:  # noqa: ARG001
    return 2 * math.prod(outputs[0]) * inputs[0][-1]


def _gemm(node: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return 2 * math.prod(outputs[0]) * inputs[0][0 if attribute(node, "transA", 0) else -1]


def _recurrent(node: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:  # noqa: ARG001
    steps, batch = inputs[0][:2]  # or the other way round, by the attribute layout: the product is the same
    return 2 * steps * batch * (math.prod(inputs[1]) + math.prod(inputs[2]))


def _einsum(node: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:  # noqa: ARG001
    terms = attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    if len(terms) != 2 or any("." in term for term in terms):
        raise UnknownShapeError("an Einsum does not have two operands with every index named")
    sizes = {
        letter: size
        for term, shape in zip(terms, inputs, strict=False)
        for letter, size in zip(term, shape, strict=True)
    }
    return 2 * math.prod(sizes.values())


COUNTED: dict[str, Callable[..., int]] = {
    "Conv": _conv(1), "FusedConv": _conv(1), "ConvInteger": _conv(1), "DeformConv": _conv(1), "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose, "MatMul": _matmul, "MatMulInteger": _matmul, "QLinearMatMul": _matmul,
    "Gemm": _gemm, "FusedGemm": _gemm, "QGemm": _gemm, "LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent,
    "Einsum": _einsum,
}  # fmt: skip
BY_OUTPUT = frozenset(COUNTED) - {"ConvTranspose", "LSTM", "GRU", "RNN", "Einsum"}


_NEEDED = {"QLinearConv": 4, "LSTM": 3, "GRU": 3, "RNN": 3}
"""The number of leading inputs that a formula uses, where it is not 2."""


def flops_of(node: Any, shapes: Shapes) -> int:
    """FLOPs of a node in :data:`COUNTED`; raises :class:`UnknownShapeError` where a needed shape is not known."""
    outputs = [shapes.of(node.output[0])] if node.op_type in BY_OUTPUT else []
    inputs = [shapes.of(name) for name in node.input[: _NEEDED.get(node.op_type, 2)]]
    return COUNTED[node.op_type](node, inputs, outputs)
