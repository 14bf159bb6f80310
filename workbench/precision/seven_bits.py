"""Weights of 7 bits for CPUs whose 8-bit products saturate.

x86-64 CPUs without VNNI multiply unsigned activations by signed weights and add two products in 16 bits (VPMADDUBSW). With weights of at
most 64 in size, the largest sum is 2 · 255 · 64 = 32,640, which 16 bits hold. NNCF has the same remedy for the models that it
quantizes (``OverflowFix``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.models.onnx_file import attribute, drop_unread, graphs
from workbench.models.onnx_repair import lift_constants

if TYPE_CHECKING:
    import numpy as np

LARGEST = 64
"""The largest absolute value of a weight of 7 bits."""
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


def seven_bits(path: Path, into: Path) -> bool:
    """Write an ONNX file whose quantized weights have 7 bits, if some have more; return whether it was written.

    Each channel, or the whole tensor where it has one scale, is rounded to integers from -64 to 64, and its scale is enlarged. This
    applies to signed 8-bit weights in the Q/DQ format, stored as integers or as floats before a ``QuantizeLinear``. Unsigned weights
    and the operator format (QLinearConv) are left as they are: OpenVINO 2026.4 computes both without saturation.
    """
    import onnx

    model = onnx.load(path)
    lift_constants(model)
    if not sum(_in_graph(graph) for graph in graphs(model.graph)):
        return False
    onnx.save(model, into)
    return True


def multiplies_signed_activations(path: Path) -> bool:
    """Whether an ONNX file has a product of two quantized activations, one of them signed: no choice of weights prevents that it
    saturates.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    lift_constants(model)
    return any(_has_signed_product(graph) for graph in graphs(model.graph))


def _in_graph(graph: Any) -> int:
    """Round the weights of one graph; return the number of tensors that changed."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    changed = 0
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or attribute(node, "block_size", 0):
            continue
        weights, axis = _stored(node.input[0], constants, makers), attribute(node, "axis", 1)
        if weights is None or weights.dtype != "int8" or not _symmetric(node, constants):
            continue
        found = _rounded(weights, constants[node.input[1]], axis)
        if found is None:
            continue
        changed += 1
        for place, array in enumerate(found):
            name = f"{node.input[place]}/7-bit{changed}"
            graph.initializer.append(numpy_helper.from_array(array, name))
            node.input[place] = name
    _drop_quantized(graph)
    return changed


def _symmetric(node: Any, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether the scale is constant, and the zero point 0."""
    return set(node.input[1:]) <= set(constants) and not any(constants[name].any() for name in node.input[2:])


def _stored(name: str, constants: Mapping[str, np.ndarray], makers: Mapping[str, Any]) -> np.ndarray | None:
    """The integers that a ``DequantizeLinear`` reads, if they are constant: stored, or quantized from a constant."""
    import numpy as np

    node = makers.get(name)
    if node is None:
        return constants.get(name)
    known = len(node.input) == 3 and set(node.input) <= set(constants) and not attribute(node, "block_size", 0)
    if not known or constants[node.input[2]].dtype != "int8" or not _symmetric(node, constants):
        return None
    values, scale = constants[node.input[0]], constants[node.input[1]]
    if scale.size > 1:
        scale = scale.reshape(
            [-1 if each == attribute(node, "axis", 1) % values.ndim else 1 for each in range(values.ndim)]
        )
    stored: np.ndarray = np.clip(np.round(values / scale), -128, 127).astype(np.int8)
    return stored


def _rounded(weights: np.ndarray, scale: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights and scales of 7 bits; ``None`` where the weights are small enough."""
    import numpy as np

    wide = weights.astype(np.float64)
    others = None if scale.size == 1 else tuple(each for each in range(wide.ndim) if each != axis % wide.ndim)
    divisor = np.maximum(np.abs(wide).max(axis=others, initial=0, keepdims=True) / LARGEST, 1)
    if (divisor == 1).all():
        return None
    return np.round(wide / divisor).astype(np.int8), (scale * divisor.reshape(scale.shape)).astype(scale.dtype)


def _drop_quantized(graph: Any) -> None:
    """Remove constants that nothing reads any more, and the nodes that quantized them."""
    used = {name for part in graphs(graph) for node in part.node for name in node.input}
    used |= {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.output[0] not in used]:
        graph.node.remove(node)
    drop_unread(graph)


def _has_signed_product(graph: Any) -> bool:
    from onnx import TensorProto

    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    signs = {
        node.output[0]: len(node.input) > 2 and constants.get(node.input[2]) == TensorProto.INT8
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants
    }
    products = [
        node.input[:2] for node in graph.node if node.op_type in _PRODUCTS and set(node.input[:2]) <= set(signs)
    ]
    return any(signs[name] for names in products for name in names)
