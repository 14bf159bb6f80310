"""Helpers of the handlers: write nodes into tf2onnx's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tf2onnx import utils
from tf2onnx.handler import tf_op

FLOAT, INT64, BOOL = 1, 7, 9
"""ONNX type numbers."""


Handler = Callable[["Writer"], None]


class Writer:
    """Writes the ONNX nodes that replace one TensorFlow node.

    Methods take and return names of tensors. ``finish`` removes the TensorFlow node and gives its name to the result.
    ``more`` are tf2onnx's further arguments of a handler.
    """

    def __init__(self, ctx: Any, node: Any, more: Mapping[str, Any]) -> None:
        self.ctx, self.node, self.more = ctx, node, more

    def op(self, kind: str, *inputs: str, dtype: int | None = None, **attr: Any) -> str:
        """Add a node with one output; ``dtype`` is its ONNX type number, needed if tf2onnx cannot infer it."""
        made = self.ctx.make_node(kind, list(inputs), attr=attr, dtypes=[dtype] if dtype is not None else None)
        return str(made.output[0])

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant tensor; ``dtype`` is a NumPy type, or the ONNX type number of another tensor."""
        if isinstance(dtype, int):
            dtype = utils.map_onnx_to_numpy_type(dtype)
        return str(self.ctx.make_const(utils.make_name("constant"), np.asarray(value, dtype)).output[0])

    def floats(self, value: Any) -> str:
        """Add a constant of ``float32``, a number or an array."""
        return self.constant(value, "float32")

    def integer(self, value: int) -> str:
        """Add a constant number of ``int64``."""
        return self.constant(value, "int64")

    def integers(self, *values: int) -> str:
        """Add a constant vector of ``int64``."""
        return self.constant(values, "int64")

    def cast(self, tensor: str, dtype: int) -> str:
        return self.op("Cast", tensor, dtype=dtype, to=dtype)

    def squeeze(self, tensor: str, axis: int) -> str:
        return self.op("Squeeze", tensor, self.integers(axis))

    def unsqueeze(self, tensor: str, axis: int) -> str:
        return self.op("Unsqueeze", tensor, self.integers(axis))

    def slice(self, tensor: str, axis: int, start: int, end: int) -> str:
        return self.op("Slice", tensor, self.integers(start), self.integers(end), self.integers(axis))

    def dtype(self, number: int) -> int:
        """The ONNX type number of the node's input ``number``."""
        return int(self.ctx.get_dtype(self.node.input[number]))

    def rank(self, number: int) -> int:
        """The number of axes of the node's input ``number``.

        Raises:
            ValueError: the number is not known.
        """
        shape = self.ctx.get_shape(self.node.input[number])
        if shape is None:
            raise ValueError(f"the number of axes of the input of {self.node.type} is not known")
        return len(shape)

    def sizes(self, number: int, axes: Sequence[int]) -> list[int]:
        """The sizes of some axes of the node's input ``number``.

        Raises:
            ValueError: one of them is not fixed.
        """
        shape = self.ctx.get_shape(self.node.input[number])
        found = [shape[axis] for axis in axes] if shape is not None else [-1]
        if any(size is None or size < 0 for size in found):
            raise ValueError(f"{self.node.type} can be converted only for inputs of a fixed size")
        return [int(size) for size in found]

    def value(self, number: int) -> np.ndarray:
        """The node's constant input ``number`` as an array.

        Raises:
            ValueError: the input is not constant.
        """
        given = self.node.inputs[number]
        while given is not None and given.type == "Identity":
            given = given.inputs[0]
        if given is None or not given.is_const():
            raise ValueError(f"{self.node.type} can be converted only if its input {number} is constant")
        return np.asarray(given.get_tensor_value(as_list=False))

    def finish(self, kind: str, *inputs: str, dtype: int | None = None, **attr: Any) -> None:
        """Remove the TensorFlow node and write its last ONNX node, whose output takes the name of the first output."""
        self.finish_all([(kind, inputs, attr)], [dtype] if dtype is not None else None)

    def finish_all(
        self, made: Sequence[tuple[str, Sequence[str], dict[str, Any]]], dtypes: Sequence[int] | None = None
    ) -> None:
        """As :meth:`finish`, for a node with several outputs, with one ONNX node for each."""
        node, ctx = self.node, self.ctx
        outputs, shapes, kinds = list(node.output), node.output_shapes, dtypes or node.output_dtypes
        name = node.name
        ctx.remove_node(name)
        for number, (kind, inputs, attr) in enumerate(made):
            ctx.make_node(
                kind,
                list(inputs),
                attr=attr,
                name=name if number == 0 else f"{name}_{number}",
                outputs=[outputs[number]],
                shapes=[shapes[number]],
                dtypes=[kinds[number]],
            )


def replaces(*operations: str) -> Callable[[Handler], Handler]:
    """Decorate a function that replaces nodes of these TensorFlow operations by nodes of opset 17."""

    def register(handler: Handler) -> Handler:
        def version_17(ctx: Any, node: Any, **more: Any) -> None:
            handler(Writer(ctx, node, more))

        tf_op(list(operations)).register_compat_handler(version_17, 17)
        return handler

    return register
