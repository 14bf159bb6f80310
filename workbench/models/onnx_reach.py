"""Sources of an ONNX graph's outputs: weights, random numbers, integers with a scale.

They are found by following nodes back from the outputs. A node with branches or a loop body depends on all of their contents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from workbench.models.onnx_file import CONSTANT_SIZE, branches, graphs, inputs_of
from workbench.models.onnx_repair import reads

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
"""ONNX operators that draw random numbers; ``Dropout`` does so in training mode only."""

MOVES = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "MaxPool", "Expand"}
)
"""Operators that pass integers through unchanged, so that their scale stays."""

SCALES = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6}
"""Index of the input that is the scale of a node's integer output; the next input is the zero point."""


def unreached(graph: Any) -> dict[str, str]:
    """Outputs that do not depend on weights, with the reason.

    Weights are stored floats and integers of 8 or 16 bits. Single numbers count as settings, and 32- and 64-bit integers as shapes
    and indices.
    """
    weights = {name for part in graphs(graph) for name in _weights(part)}
    given = {value.name for value in inputs_of(graph)}
    found = {}
    for value in graph.output:
        behind = ancestors(graph, value.name)
        if not behind & weights:
            sources = " and ".join(f"'{name}'" for name in sorted(behind & given))
            found[value.name] = (
                f"it does not depend on weights, only on {f'the input {sources}' if sources else 'constants'}"
            )
    return found


def drawn(graph: Any) -> dict[str, str]:
    """Outputs that depend on random numbers, with the node that draws them: ``{"o": "RandomNormalLike 'noise'"}``."""
    makers = {
        node.output[0]: node for part in graphs(graph) for node in part.node if node.output and _draws(node, graph)
    }
    found = {}
    for value in graph.output:
        first = next((makers[name] for name in sorted(ancestors(graph, value.name) & set(makers))), None)
        if first is not None:
            found[value.name] = f"{first.op_type} '{first.name or first.output[0]}'"
    return found


def scales(graph: Any) -> dict[str, tuple[float, int]]:
    """Scale and zero point of outputs whose integers represent real numbers, where the graph stores one of each per tensor.

    Such an output is the result of a quantizing node, with no computation after it.
    """
    import onnx

    stored = {tensor.name: tensor for tensor in graph.initializer}
    stored |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    }
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for value in graph.output:
        node = makers.get(value.name)
        while node is not None and node.op_type in MOVES:
            node = makers.get(node.input[0])
        if node is None or node.op_type not in SCALES or node.domain not in ("", "ai.onnx"):
            continue
        place = SCALES[node.op_type]
        names = list(node.input[place : place + 2])
        if not names or any(name not in stored for name in names if name):
            continue
        numbers = [onnx.numpy_helper.to_array(stored[name]).reshape(-1) for name in names if name]
        if all(array.size == 1 for array in numbers):
            found[value.name] = (float(numbers[0][0]), int(numbers[1][0]) if len(numbers) > 1 else 0)
    return found


def ancestors(graph: Any, name: str) -> set[str]:
    """The tensors that ``name`` is computed from, including itself and those inside of branches and loop bodies."""
    makers = {output: node for node in graph.node for output in node.output if output}
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        found = waiting.pop()
        if not found or found in seen:
            continue
        seen.add(found)
        node = makers.get(found)
        if node is not None:
            for part in (part for inner in branches(node) for part in graphs(inner)):
                seen.update(name for each in part.node for name in each.output if name)
                seen.update(tensor.name for tensor in part.initializer)
            waiting += reads(node)
    return seen


def _weights(part: Any) -> Iterator[str]:
    """Names of stored tensors that are weights."""
    import onnx

    kinds = onnx.TensorProto
    others = (kinds.INT64, kinds.INT32, kinds.UINT32, kinds.UINT64, kinds.BOOL, kinds.STRING)
    for tensor in part.initializer:
        if tensor.data_type not in others and (len(tensor.dims) > 1 or math.prod(tensor.dims) > 1):
            yield tensor.name
    for node in part.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            large = math.prod(attribute.t.dims) >= CONSTANT_SIZE
            if attribute.type == onnx.AttributeProto.TENSOR and large and attribute.t.data_type not in others:
                yield node.output[0]


def _draws(node: Any, graph: Any) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return node.op_type in RANDOM
    import onnx

    training = {tensor.name: tensor for tensor in graph.initializer}.get(node.input[2])
    return training is not None and bool(onnx.numpy_helper.to_array(training).any())
