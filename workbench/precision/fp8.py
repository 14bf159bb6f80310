"""Rewrite ONNX to FP8 (E4M3): Q/DQ around the layers with weights, as TensorRT supports it on GPUs since the Ada generation.

ONNX Runtime's own FP8 quantizer has one calibration method and fails on many graphs. Therefore the symmetric INT8 form is
created first, and its integers are replaced: a range of ±127 steps becomes one of ±448, the largest number of E4M3.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import ExportError
from workbench.models.onnx_repair import raise_opset
from workbench.models.operators import WEIGHTED
from workbench.precision.integers import static
from workbench.precision.options import RewriteOptions

LARGEST = 448.0
"""Of E4M3FN (IEEE-like, no infinities): Micikevicius et al. 2022, FP8 Formats for Deep Learning, table 1."""
OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear support E4M3."""


def fp8(source: Path, into: Path, options: RewriteOptions) -> dict[str, Any]:
    """Write ``source`` in FP8; only convolutions and matrix products, with the ranges of INT8.

    Raises:
        InputError, ExportError: as for INT8, and if the model cannot be raised to opset 19.
    """
    import onnx

    draft = into.with_name("int8.onnx")
    done = static(source, draft, replace(options, form="int8-s8"), ops=WEIGHTED)
    options.progress("writing FP8")
    model = raise_opset(onnx.load(draft), OPSET)
    _replace_integers(model.graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as cause:
        raise ExportError(f"The FP8 form of the model is not valid: {cause} Choose another precision.") from cause
    onnx.save(model, into)
    return done | {"opset": OPSET}


def _replace_integers(graph: Any) -> None:
    """Replace zero points and weights of INT8 by those of FP8 in every Q and DQ, and scale for ±448 steps instead of ±127."""
    import ml_dtypes
    import numpy as np
    from onnx import TensorProto, numpy_helper

    held = {tensor.name: tensor for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    shrink = np.float32(127 / LARGEST)
    changed: dict[str, Any] = {}
    for node in pairs:
        scale_name, zero_name = node.input[1], node.input[2]
        scale = numpy_helper.to_array(held[scale_name])
        changed[scale_name] = numpy_helper.from_array((scale * shrink).astype(np.float32), scale_name)
        zero = numpy_helper.to_array(held[zero_name])
        changed[zero_name] = numpy_helper.from_array(zero.astype(ml_dtypes.float8_e4m3fn), zero_name)
        stored = held.get(node.input[0])
        if stored is not None and stored.data_type == TensorProto.INT8:
            # convert integers to the new scale: 127 becomes 448
            wide = numpy_helper.to_array(stored).astype(np.float32) / shrink
            small = np.clip(wide, -LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn)
            changed[stored.name] = numpy_helper.from_array(small, stored.name)
    for place, tensor in enumerate(graph.initializer):
        if tensor.name in changed:
            graph.initializer[place].CopyFrom(changed[tensor.name])
    quantized = {name for node in pairs if node.op_type == "QuantizeLinear" for name in node.output}
    quantized |= set(changed)
    for value in graph.value_info:
        if value.name in quantized and value.type.tensor_type.elem_type == TensorProto.INT8:
            value.type.tensor_type.elem_type = TensorProto.FLOAT8E4M3FN
