"""Nodes that stay in FP32 in a file with Q/DQ: recorded in the file, protected from ONNX Runtime's optimizer, and read back.

A node that is not rewritten between quantized ones has DequantizeLinear before it and QuantizeLinear after it, because its
neighbours need 8 bits there. ONNX Runtime's optimizer takes this pattern for a quantized node. Operations without weights become one
8-bit kernel (QLinearAdd). For those with weights it quantizes the weights itself (WeightBiasQuantization), with one scale for the
whole tensor, which is less accurate than the scales by channel of plain INT8.

Two measures prevent it. WeightBiasQuantization is disabled by its name (:data:`REQUANTIZERS`). And the tensor that is quantized after
such a node becomes an output of the graph while the optimizer runs: fusions into 8 bits skip nodes whose result has another reader.
Afterwards the additional outputs are removed, so that the measured engine does not compute them.

Operations that only move values (Reshape, Transpose, MaxPool) may still run on 8 bits, because they give the same values there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from workbench.models.onnx_file import drop_unread, graphs

REQUANTIZERS = ("WeightBiasQuantization",)
"""Names of ONNX Runtime's optimizers that quantize weights of nodes that the file has in FP32."""

_KEY = "workbench.kept"
_MELTING = ("Relu", "Clip")  # fused into the Q after the preceding node
_IN_INT8 = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger", "DynamicQuantize")
_TOKEN = re.compile(r"(_token_\d+)+$")
_TILED = "_nchwc"  # ONNX Runtime names a convolution in its blocked layout after the tensor that it writes


def note_kept(path: Path, names: Collection[str]) -> None:
    """Record in an ONNX file the names of its nodes that stay in FP32."""
    import onnx

    model = onnx.load(path)
    found = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, found | {_KEY: json.dumps(sorted(names))})
    onnx.save(model, path)


def kept_in(model: Any) -> tuple[str, ...]:
    """The names that :func:`note_kept` recorded in a model and that it has nodes of; may be empty."""
    text = next((entry.value for entry in model.metadata_props if entry.key == _KEY), "[]")
    names = set(json.loads(text))
    return tuple(node.name for node in model.graph.node if node.name in names)


def hold(path: Path, into: Path) -> tuple[str, ...]:
    """Write the model for the optimizer to ``into``, with additional outputs where results of kept nodes are quantized.

    Returns:
        The kept nodes of the model. If there are none, no file is written.
    """
    import onnx

    model = onnx.load(path)
    kept = kept_in(model)
    if kept:
        outputs = {value.name for value in model.graph.output}
        held = [name for name in _before_int8(model.graph, kept) if name not in outputs]
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in held
        )
        onnx.save(model, into)
    return kept


def release(optimized: Path, outputs: Sequence[str]) -> None:
    """Remove the additional outputs from the optimized file, and nodes that only they needed; ``outputs`` are the model's own."""
    import onnx

    model = onnx.load(optimized)
    graph = model.graph
    for value in [value for value in graph.output if value.name not in outputs]:
        graph.output.remove(value)
    while dead := _unread(graph):
        for node in dead:
            graph.node.remove(node)
    drop_unread(graph)
    onnx.save(model, optimized)


def came_out_in_int8(source: Path, optimized: Path) -> tuple[str, ...]:
    """Kept nodes of the file ``source`` that compute in 8 bits, or with 8-bit weights, in the optimized file: ``conv1 (QLinearConv)``."""
    import onnx

    model, after = onnx.load(source), onnx.load(optimized).graph
    kept = set(kept_in(model))
    every = {node.name for node in model.graph.node}
    stored = {tensor.name for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.name in kept]
    made = {name: node.name for node in nodes for name in node.output}
    with_weights = {node.name for node in nodes if stored & set(node.input[1:2])}
    dequantized = {name for node in after.node if node.op_type == "DequantizeLinear" for name in node.output}
    found = []
    for node in after.node:
        plain = node.name if node.name in every else _TOKEN.sub("", node.name)
        name = plain if plain in kept else made.get(node.name.removesuffix(_TILED), "")
        weights = name in with_weights and bool(dequantized & set(node.input[1:2]))
        if name and (node.op_type.startswith(_IN_INT8) or weights):
            found.append(f"{name} ({node.op_type}{' with 8-bit weights' if weights else ''})")
    return tuple(found)


def _before_int8(graph: Any, kept: Collection[str]) -> list[str]:
    """Tensors that QuantizeLinear reads and that a kept node, or an activation after it, wrote."""
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        maker = makers.get(node.input[0])
        while maker is not None and maker.op_type in _MELTING and maker.name not in kept:
            maker = makers.get(maker.input[0])
        if maker is not None and maker.name in kept:
            found.append(node.input[0])
    return list(dict.fromkeys(found))


def _unread(graph: Any) -> list[Any]:
    read = {name for part in graphs(graph) for node in part.node for name in node.input}
    read |= {value.name for value in graph.output}
    return [node for node in graph.node if not read & set(node.output)]
