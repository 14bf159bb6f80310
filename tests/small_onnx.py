"""Small ONNX models made by hand, for what only one library is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from workbench.protocols import Source
from workbench.records import TensorSpec

NAMES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16",
         TensorProto.DOUBLE: "float64", TensorProto.INT64: "int64", TensorProto.STRING: "str"}  # fmt: skip


def saved(path: Path, nodes, inputs, outputs, initializers=(), opset: int = 22) -> Path:
    """A model of these nodes; inputs and outputs are (name, type, shape), a None in a shape the batch."""

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, ["n" if size is None else size for size in shape])

    graph = helper.make_graph(
        nodes, "small", [value(*one) for one in inputs], [value(*one) for one in outputs], list(initializers)
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("made.up", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def source(path: Path, *inputs: tuple[str, int, tuple[int | None, ...]]) -> Source:
    return Source(path, tuple(TensorSpec(name, NAMES[kind], shape) for name, kind, shape in inputs), ())


def weights(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT):
    values = np.random.default_rng(0).standard_normal(shape).ravel()
    return helper.make_tensor(name, kind, shape, values.tolist())


def convolution(path: Path, kind: int = TensorProto.FLOAT) -> Source:
    """One 3 × 3 convolution of a batch of images, in one format throughout."""
    image, result = ("x", kind, (None, 3, 16, 16)), ("y", kind, (None, 8, 16, 16))
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])]
    return source(saved(path, nodes, [image], [result], [weights("w", (8, 3, 3, 3), kind)]), image)


def quantized(path: Path) -> Source:
    """A convolution between Q and DQ: symmetric, the weights by channel."""
    image, result = ("x", TensorProto.FLOAT, (None, 16, 16, 16)), ("y", TensorProto.FLOAT, (None, 16, 16, 16))
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(-127, 128, (16, 16, 3, 3)).astype(np.int8),
        "w_scale": np.full(16, 0.01, np.float32),
        "w_zero": np.zeros(16, np.int8),
        "x_scale": np.float32(0.05),
        "x_zero": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_d"], name="dequantize"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"], name="weights", axis=0),
        helper.make_node("Conv", ["x_d", "w_d"], ["y"], name="conv", pads=[1, 1, 1, 1]),
    ]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    return source(saved(path, nodes, [image], [result], held), image)


def tower(path: Path, layers: int, width: int = 256) -> Source:
    """Matrix products one after another: takes a while to build."""
    row = ("x", TensorProto.FLOAT, (None, width))
    nodes = []
    for number in range(layers):
        into = f"h{number}" if number < layers - 1 else "y"
        before = "x" if number == 0 else f"r{number - 1}"
        nodes.append(helper.make_node("MatMul", [before, f"w{number}"], [into], name=f"dense_{number}"))
        if number < layers - 1:
            nodes.append(helper.make_node("Tanh", [into], [f"r{number}"]))
    held = [weights(f"w{number}", (width, width)) for number in range(layers)]
    return source(saved(path, nodes, [row], [("y", TensorProto.FLOAT, (None, width))], held), row)
