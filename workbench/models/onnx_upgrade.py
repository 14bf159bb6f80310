"""Upgrade of ONNX files from opsets below 7, which engines do not support, to opset 7 by ONNX's own converter."""

from __future__ import annotations

import copy
from typing import Any

from workbench.errors import InputError, brief
from workbench.models.onnx_types import check_model

OLDEST_OPSET = 7
"""The oldest opset that engines support. Before it, binary operators broadcast by attributes."""

CONVERTED_SIZE = 32
"""Size of free axes, other than the first, during the conversion. Any that convolutions and pooling accept would do."""


def opset_of(model: Any, default: int = OLDEST_OPSET) -> int:
    """The opset of ONNX's own operators; ``default`` for a file that names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default)


def upgraded(model: Any, name: str) -> Any:
    """The model in opset 7; the same object where it has that opset or a later one.

    The export compares its outputs with those of the original file: see ``workbench.models.formats.onnx``.

    Raises:
        InputError: the converter does not accept it.
    """
    found = opset_of(model)
    if found >= OLDEST_OPSET:
        return model
    try:
        raised = _converted(model)
        _spread_slopes(raised)
        check_model(raised)
    except Exception as cause:
        raise InputError(
            f"'{name}' uses ONNX opset {found}, engines need {OLDEST_OPSET} or later, and ONNX's converter does not convert it: "
            f"{brief(cause, 200)} Export it again, at opset 13 or later."
        ) from cause
    return raised


def _converted(model: Any) -> Any:
    """The model in opset 7. The converter needs sizes: free axes get one for the conversion, and are free again afterwards.

    Shapes are inferred before each opset, because the definitions of the oldest operators do not infer all of them. The comparison of
    the export, at several batches and sizes, finds what the converter may have made of these sizes.
    """
    from onnx import shape_inference, version_converter

    raised = _with_sizes(model)
    for opset in range(opset_of(model) + 1, OLDEST_OPSET):
        raised = version_converter.convert_version(shape_inference.infer_shapes(raised), opset)
    _align_inputs(raised)
    raised = version_converter.convert_version(shape_inference.infer_shapes(raised), OLDEST_OPSET)
    del raised.graph.value_info[:]  # shapes of these sizes
    for new, old in ((raised.graph.input, model.graph.input), (raised.graph.output, model.graph.output)):
        declared = {value.name: value for value in old}
        for value in new:
            if value.name in declared:
                value.CopyFrom(declared[value.name])
    return raised


def _align_inputs(model: Any) -> None:
    """Give the second input of a binary operator the axes of size 1 that its attribute ``axis`` stands for, by an ``Unsqueeze``.

    The converter does so itself, at a wrong place where both inputs have other axes behind.
    """
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.value_info, *graph.output)
    }
    ranks |= {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for number, node in enumerate(nodes):
        axis = next((attribute for attribute in node.attribute if attribute.name == "axis"), None)
        broadcast = any(attribute.name == "broadcast" and attribute.i for attribute in node.attribute)
        if axis is not None and broadcast and node.input[0] in ranks and node.input[1] in ranks:
            first, second = (ranks[name] for name in node.input)
            behind = first - second - axis.i % first
            if second and behind > 0:
                aligned = f"{node.input[1]}_aligned_{number}"
                axes = list(range(second, second + behind))
                model.graph.node.append(onnx.helper.make_node("Unsqueeze", [node.input[1]], [aligned], axes=axes))
                node.input[1] = aligned
            node.attribute.remove(axis)
        model.graph.node.append(node)


def _with_sizes(model: Any) -> Any:
    """A copy with sizes in the free axes of its inputs and outputs, and without shapes of other values."""
    sized = copy.deepcopy(model)
    del sized.graph.value_info[:]
    for value in sized.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value <= 0:
                dim.dim_value = CONVERTED_SIZE if axis else 1
    for value in sized.graph.output:  # inferred
        value.type.tensor_type.ClearField("shape")
    return sized


def _spread_slopes(model: Any) -> None:
    """Give a PRelu's slopes, one per channel before opset 7, the axes that broadcasting needs from then on.

    The converter does not change them, so that they would apply to the last axis.
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
