"""Rewrite ONNX without calibration: INT8 with dynamic ranges, and weights alone in 8 or 4 bits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import ExportError, during
from workbench.models.onnx_file import attribute, drop_unread, graphs
from workbench.models.onnx_repair import name_nodes, raise_opset
from workbench.models.onnx_upgrade import opset_of
from workbench.models.operators import WEIGHTED
from workbench.precision.calibration import less_logged
from workbench.precision.integers import check, prepared_for_int8, refuse_quantized
from workbench.precision.selection import Selection

BLOCK = 32
"""The number of weights that share a scale. The smallest that TensorRT supports too; larger ones cost accuracy and save little."""
_DQ_OPSET = {8: 13, 4: 21}  # DequantizeLinear by channel, and by block in 4 bits
_DYNAMIC = ("Conv", "MatMul", "LSTM", "Attention")
_AXIS = {"Conv": 0, "ConvTranspose": 1}  # of the output channels in the weights


def dynamic(source: Path, into: Path, selection: Selection, progress: Callable[[str], None]) -> dict[str, Any]:
    """Write ``source`` with INT8 weights, whose activations are quantized in every call.

    Raises:
        InputError: the model is quantized already, or an entry of the selection matches no node.
        ExportError: there is no layer to quantize.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    prepared, selection = prepared_for_int8(onnx.load(source), into.parent, selection, progress)
    held = onnx.load(prepared)
    _split_gemms(held.graph)
    onnx.save(held, prepared)
    chosen = [node.name for node in held.graph.node if node.op_type in _DYNAMIC and selection.takes(node)]
    if not chosen:
        raise ExportError("The model has no layer that INT8 with dynamic ranges supports. Choose fp32 or fp16.")
    progress("writing INT8 with dynamic ranges")
    with less_logged(logging.CRITICAL), during("quantize", "the model", ExportError):
        quantize_dynamic(
            prepared, into, nodes_to_quantize=chosen, weight_type=QuantType.QInt8, per_channel=True,
            op_types_to_quantize=list(_DYNAMIC),
        )  # fmt: skip
    check(into, "INT8")
    made = onnx.load(into).graph.node
    counted = sum(
        node.op_type in ("ConvInteger", "MatMulInteger", "DynamicQuantizeLSTM", "QAttention") for node in made
    )
    if not counted:
        raise ExportError("Quantizing changed none of the model's layers with weights. Choose fp32 or fp16.")
    return {"quantized_layers": counted, "weighted_layers": _layers(held.graph)}


def weights(source: Path, into: Path, bits: int, selection: Selection, *, standard: bool) -> dict[str, Any]:
    """Write ``source`` with the weights of its layers in ``bits`` (4 or 8) bits.

    ``standard`` False: matrix products become ONNX Runtime's ``MatMulNBits``, which OpenVINO supports too. True: weights go
    through ONNX's DequantizeLinear, symmetric, as TensorRT needs it: by output channel of every layer in 8 bits, by
    block of 32 of matrix products in 4 bits (opset 21).

    Raises:
        InputError: the model is quantized already, or an entry of the selection matches no node.
        ExportError: no layer supports it.
    """
    import onnx

    model = onnx.load(source)
    refuse_quantized(model)
    name_nodes(model)
    selection = selection.seen(model.graph.node)
    selection.check(model.graph.node)
    model = raise_opset(model, _DQ_OPSET[bits] if standard else _DQ_OPSET[8])
    total = _layers(model.graph)
    if standard and bits == 8:
        changed = _by_channel(model.graph, selection)
    else:
        _split_gemms(model.graph)
        model, changed = _by_block(model, bits, selection, standard=standard)
    if not changed:
        raise ExportError(
            f"Weight-only INT{bits} supports matrix products with constant weights, and none of the model's {total} layers "
            "with weights is one. Choose int8, which supports convolutions."
        )
    onnx.save(model, into)
    check(into, f"INT{bits}")
    return {"quantized_layers": changed, "weighted_layers": total, "opset": opset_of(model)}


def _layers(graph: Any) -> int:
    return sum(node.op_type in WEIGHTED for part in graphs(graph) for node in part.node)


def _by_block(model: Any, bits: int, selection: Selection, *, standard: bool) -> tuple[Any, int]:
    from onnxruntime.quantization import QuantFormat
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    held = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in held]
    left = [node.name for node in products if not selection.takes(node)]
    if len(left) == len(products):
        return model, 0
    with less_logged(logging.CRITICAL), during("quantize", "the weights", ExportError):
        quantizer = MatMulNBitsQuantizer(
            model,
            bits=bits,
            block_size=BLOCK,
            is_symmetric=standard,
            quant_format=QuantFormat.QDQ if standard else QuantFormat.QOperator,
            nodes_to_exclude=left,
        )
        quantizer.process()
    result = quantizer.model.model
    kind = "DequantizeLinear" if standard else "MatMulNBits"
    return result, sum(node.op_type == kind for part in graphs(result.graph) for node in part.node)


def _split_gemms(graph: Any) -> None:
    """Replace each Gemm with constant weights by MatMul and Add, which the library's quantizer supports."""
    from onnx import helper, numpy_helper

    held = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = settings.get("alpha", 1) == 1 and settings.get("beta", 1) == 1 and not settings.get("transA", 0)
        if node.op_type != "Gemm" or node.input[1] not in held or not plain:
            nodes.append(node)
            continue
        array = numpy_helper.to_array(held[node.input[1]])
        name = f"{node.name}_weights"
        graph.initializer.append(numpy_helper.from_array(array.T.copy() if settings.get("transB", 0) else array, name))
        bias = list(node.input[2:])
        product = f"{node.output[0]}_product" if bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], [node.output[0]], name=f"{node.name}/bias"))
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)


def _by_channel(graph: Any, selection: Selection) -> int:
    """Use symmetric INT8 weights with a scale for each output channel, through DequantizeLinear; return the number of layers."""
    import numpy as np
    from onnx import helper, numpy_helper

    held = {tensor.name: tensor for tensor in graph.initializer}
    nodes, changed = [], 0
    for node in graph.node:
        if node.op_type in WEIGHTED and node.input[1] in held and selection.takes(node):
            weight = numpy_helper.to_array(held[node.input[1]])
            axis = _AXIS.get(node.op_type, 0 if attribute(node, "transB", 0) else weight.ndim - 1)
            largest = np.abs(weight).max(axis=tuple(a for a in range(weight.ndim) if a != axis), keepdims=True)
            scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(127)
            names = [f"{node.name}_{part}" for part in ("int8", "scale", "zero", "weights")]
            arrays = (np.round(weight / scale).astype(np.int8), scale.ravel(), np.zeros(scale.size, np.int8))
            graph.initializer.extend(map(numpy_helper.from_array, arrays, names))
            nodes.append(helper.make_node("DequantizeLinear", names[:3], names[3:], name=f"{node.name}_dq", axis=axis))
            node.input[1] = names[3]
            changed += 1
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)
    return changed
