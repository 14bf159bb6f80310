"""A model whose samples have single numbers, which Triton takes and gives as columns."""

from __future__ import annotations

from pathlib import Path

import deployed
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from workbench.deploy.folder import deploy
from workbench.serving.server import served
from workbench.store import Store


def weighted_onnx(path: Path) -> Path:
    """The sum of each sample of "x", shape [n, 8], by its number in "weight", shape [n]: "y", shape [n]."""
    axis = onnx.numpy_helper.from_array(np.array([1]), "axis")
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "weight"], ["y"]),
    ]
    shapes = {"x": ["n", 8], "weight": ["n"], "y": ["n"]}
    x, weight, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "weighted", [x, weight], [y], [axis])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.long
def test_numbers_of_samples_are_sent_as_a_column(triton, tmp_path) -> None:
    draw = np.random.default_rng(0)
    x, weight = draw.normal(size=(40, 8)).astype(np.float32), draw.normal(size=40).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, weight=weight)
    store = Store(tmp_path / "store").prepare()
    asked = deployed.Experiment(
        model=str(weighted_onnx(tmp_path / "weighted.onnx")), data=str(tmp_path / "data.npz"), backends="onnxruntime", precisions="fp32",
        batches="4", measure_s=0.1, max_measure_s=0.1, rounds=6,
    )  # fmt: skip
    deployed.run(asked, store=store.root)
    deploy(tmp_path / "made", store=store)
    with served(tmp_path / "made") as server:
        assert max(server.checked.http, server.checked.grpc) < 1e-6
        for client in (server.http(), server.grpc()):
            feeds = {"x": x[:3], "weight": weight[:3]}
            answer = client.infer(feeds)["y"]
            assert answer.shape == (3, 1)
            np.testing.assert_allclose(answer[:, 0], x[:3].sum(1) * weight[:3], rtol=1e-5)
            client.prepared(feeds)()
            client.close()
