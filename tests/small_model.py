"""A model small enough to be built and measured in a blink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx


def small_onnx(path: Path) -> str:
    """A product of matrices and a softmax: 4 numbers in, 3 classes out."""
    weights = onnx.numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
    shapes = {"x": ["n", 4], "y": ["n", 3]}
    values = {name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in shapes}
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("Softmax", ["h"], ["y"], axis=1),
    ]
    graph = onnx.helper.make_graph(nodes, "small", [values["x"]], [values["y"]], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)
