"""Shared by the benchmarks: the models that they work on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from record import ROOT

from workbench import open_model
from workbench.store import Store

SIZES = ((2, 16), (4, 160), (6, 384), (8, 640), (10, 1280))  # layers and width: about 0.01, 0.05, 0.3, 1 and 5 ms


def chain(path: Path, layers: int, width: int) -> Path:
    """``layers`` times MatMul and Relu; weights scaled so that values neither grow nor vanish into slow subnormals."""
    draw = np.random.default_rng(0)
    weights, nodes = [], []
    for layer in range(layers):
        weight = draw.standard_normal((width, width), dtype=np.float32) * np.float32((2 / width) ** 0.5)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"x{layer + 1}"]))
    ends = [helper.make_tensor_value_info(f"x{end}", TensorProto.FLOAT, ["n", width]) for end in (0, layers)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def store_with_demo(folder: Path) -> Store:
    """A store in ``folder`` with a copy of the demo from the repository's own store, where it is trained if need be."""
    own = Store(ROOT / ".workbench")
    open_model("demo", store=own)
    shutil.copytree(own.root / "demo", folder / "demo")
    return Store(folder)
