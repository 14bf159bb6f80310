"""The largest value of a pixel that a model itself scales down."""

from __future__ import annotations

from typing import Any

from workbench.models.onnx_file import attribute, readers_of

MOVED = ("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")
"""Operators after which values are the same, elsewhere."""
IMAGE_AXES = 4


def white(scale: float) -> int | None:
    """The value of white where pixels are multiplied by ``scale`` first: 255 for 1/255, 1/128 or 1/127.5, 65535 for images of 16 bits;
    ``None`` for factors that scale no pixels.

    >>> white(1 / 127.5), white(1 / 65535), white(2.0)
    (255, 65535, None)
    """
    if not 1 / 65536 <= scale <= 1 / 100:
        return None
    return 255 if scale >= 1 / 256 else 65535


def scaled_images(graph: Any) -> dict[str, int]:
    """Inputs of an ONNX graph with the axes of images that nothing reads but one multiplication or division that scales pixels down, with
    the value of white.
    """
    from onnx import TensorProto, numpy_helper

    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    numbers = {
        tensor.name: float(numpy_helper.to_array(tensor).reshape(()))
        for tensor in (*graph.initializer, *_constants(graph))
        if tensor.data_type in kinds
        and all(size == 1 for size in tensor.dims)
        and tensor.data_location != TensorProto.EXTERNAL
    }
    readers = readers_of(graph)
    images = [value.name for value in graph.input if len(value.type.tensor_type.shape.dim) == IMAGE_AXES]
    return {name: found for name in images if (found := _white_of(name, readers, numbers))}


def _constants(graph: Any) -> list[Any]:
    """Tensors of the nodes Constant, by the name of the node's output."""
    from onnx import TensorProto

    found = []
    for node in graph.node:
        value = attribute(node, "value", None) if node.op_type == "Constant" else None
        if value is not None:
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            found.append(tensor)
    return found


def _white_of(name: str, readers: dict[str, list[Any]], numbers: dict[str, float]) -> int | None:
    while True:
        found = readers.get(name, [])
        if len(found) != 1:
            return None
        (node,) = found
        if node.op_type not in MOVED:
            break
        name = node.output[0]
    other = next((numbers[each] for each in node.input if each in numbers), 0.0)
    if node.op_type == "Mul":
        return white(other)
    return white(1 / other) if node.op_type == "Div" and other and node.input[0] == name else None
