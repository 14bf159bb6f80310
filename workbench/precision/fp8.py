"""ONNX in FP8 (E4M3): Q/DQ around the layers with weights, as TensorRT takes it on GPUs from Ada on.

ONNX Runtime's own way to FP8 knows one calibration method and fails on many graphs. So the symmetric INT8 form is made
first, and its integers are replaced: a range of ±127 steps becomes one of ±448, the largest number of E4M3.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.models.onnx_repair import raise_opset
from workbench.precision.integers import WEIGHTED, static
from workbench.precision.selection import Selection
from workbench.records import Calibration

if TYPE_CHECKING:
    from workbench.data.samples import Samples

LARGEST = 448.0
"""Of E4M3FN (IEEE-like, no infinities): Micikevicius et al. 2022, FP8 Formats for Deep Learning, table 1."""
OPSET = 19
"""The first whose QuantizeLinear and DequantizeLinear know E4M3."""


def fp8(
    source: Path,
    into: Path,
    samples: Samples,
    method: Calibration,
    selection: Selection,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Write ``source`` in FP8; convolutions and matrix products alone, with the ranges that INT8 would have.

    Raises:
        InputError, ExportError: as for INT8; and where the model cannot be raised to opset 19.
    """
    import onnx

    draft = into.with_name("int8.onnx")
    done = static(source, "int8-s8", draft, samples, method, selection, progress, ops=WEIGHTED)
    progress("writing FP8")
    model = raise_opset(onnx.load(draft), OPSET)
    _replace_integers(model.graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as cause:
        raise ExportError(f"The FP8 form of the model is not valid: {cause} Choose another precision.") from cause
    onnx.save(model, into)
    return done | {"opset": OPSET}


def _replace_integers(graph: Any) -> None:
    """In every Q and DQ: zero points and weights of FP8 for those of INT8, and scales for ±448 steps instead of ±127."""
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
            # an integer of the old scale is this many of the new: 127 becomes 448
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
