"""The largest value of a pixel that a model itself scales down: the rule, and the steps of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from workbench.models.onnx_file import attribute, readers_of
from workbench.records import TensorSpec

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


class Step(NamedTuple):
    """One reader of a value: what becomes of it, and under which name it is there afterwards."""

    kind: str  # MOVE, MULTIPLY, DIVIDE, or "" for anything else
    value: Any = None
    number: float = 0.0  # that it is multiplied or divided by; 0: not a constant


MOVE, MULTIPLY, DIVIDE = "move", "multiply", "divide"


def white_of(value: Any, readers: Callable[[Any], list[Step]]) -> int | None:
    """The value of white of an input that nothing reads but one multiplication or division that scales pixels down; ``None`` for others."""
    while True:
        found = readers(value)
        if len(found) != 1:
            return None
        (step,) = found
        if step.kind == MULTIPLY:
            return white(step.number)
        if step.kind == DIVIDE:
            return white(1 / step.number) if step.number else None
        if step.kind != MOVE:
            return None
        value = step.value


def with_white(spec: TensorSpec, found: int | None) -> TensorSpec:
    """The input with the range of pixels, where it is an image of floating-point numbers that the model scales down from ``found``."""
    image = found and len(spec.shape) == IMAGE_AXES and "float" in spec.dtype
    return replace(spec, low=0.0, high=float(found)) if image and found else spec


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
    nodes = readers_of(graph)

    def readers(name: str) -> list[Step]:
        return [_step(node, name, numbers) for node in nodes.get(name, []) if node.op_type != "Shape"]

    images = [value.name for value in graph.input if len(value.type.tensor_type.shape.dim) == IMAGE_AXES]
    return {name: found for name in images if (found := white_of(name, readers))}


def _step(node: Any, name: str, numbers: dict[str, float]) -> Step:
    if node.op_type in MOVED:
        return Step(MOVE, node.output[0])
    number = next((numbers[each] for each in node.input if each in numbers), 0.0)
    if node.op_type == "Mul":
        return Step(MULTIPLY, number=number)
    return Step(DIVIDE, number=number) if node.op_type == "Div" and node.input[0] == name else Step("")


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
