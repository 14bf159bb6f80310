"""ONNX files of opsets below 7, which engines do not take, brought to opset 7 by ONNX's own converter."""

from __future__ import annotations

from typing import Any

from workbench.errors import InputError, brief

OLDEST_OPSET = 7
"""Engines begin here. Before it, binary operators broadcast by attributes."""


def opset_of(model: Any) -> int:
    """The opset of ONNX's own operators; :data:`OLDEST_OPSET` for a file that names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OLDEST_OPSET)


def upgraded(model: Any, name: str) -> Any:
    """The model in opset 7, or the same object where it is there already, or above.

    What it computes is compared with the file as it is when the model is exported: see ``workbench.models.formats.onnx``.

    Raises:
        InputError: the converter does not take it.
    """
    import onnx
    from onnx import version_converter

    found = opset_of(model)
    if found >= OLDEST_OPSET:
        return model
    try:
        raised = version_converter.convert_version(model, OLDEST_OPSET)
        _spread_slopes(raised)
        onnx.checker.check_model(raised)
    except Exception as cause:
        raise InputError(
            f"'{name}' uses ONNX opset {found}, engines begin at {OLDEST_OPSET}, and ONNX's converter does not bring it there: "
            f"{brief(cause, 200)} Export it again, at opset 13 or later."
        ) from cause
    return raised


def _spread_slopes(model: Any) -> None:
    """Give a PRelu's slopes, one per channel before opset 7, the axes that broadcasting needs since then.

    The converter leaves them as they are, so that they would belong to the last axis.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {value.name: value.type.tensor_type.shape for value in (*graph.input, *graph.value_info, *graph.output)}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    declared = {value.name: value for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type != "PRelu" or node.input[1] not in stored or node.input[0] not in known:
            continue
        slopes, rank = stored[node.input[1]], len(known[node.input[0]].dim)
        if len(slopes.dims) != 1 or rank < 3 or slopes.dims[0] == 1:
            continue
        array = numpy_helper.to_array(slopes).reshape(-1, *[1] * (rank - 2))
        slopes.CopyFrom(numpy_helper.from_array(array, slopes.name))
        if slopes.name in declared:
            declared[slopes.name].CopyFrom(
                onnx.helper.make_tensor_value_info(slopes.name, slopes.data_type, array.shape)
            )
