"""Outputs whose type an ONNX file does not declare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import InputError
from workbench.export.convert import export
from workbench.models.formats import open_model
from workbench.models.inspection import inspect_model

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def saved(path: Path, nodes, *outputs: onnx.ValueInfoProto, external=False) -> Path:
    graph = helper.make_graph(
        nodes,
        "untyped",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        list(outputs),
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(proto, path, save_as_external_data=external, location="weights", size_threshold=0)
    return path


PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])
FUSED = helper.make_node(
    "FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft"
)  # ONNX's shape inference does not have it
WITHOUT = onnx.ValueInfoProto(name="y")
UNDEFINED = helper.make_tensor_value_info("y", TensorProto.UNDEFINED, ["N", 3])


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("output", [WITHOUT, UNDEFINED])
@pytest.mark.parametrize("node", [PRODUCT, FUSED])
def test_the_type_is_inferred_and_the_model_runs_and_converts(tmp_path, node, output, external):
    model = inspect_model(saved(tmp_path / "m.onnx", [node], output, external=external))
    (spec,) = model.outputs
    assert (spec.dtype, spec.shape) == ("float32", (None, 3))
    assert model.probe.worked == (1, 2, 3)
    x = np.random.default_rng(0).random((2, 4), dtype=np.float32)
    np.testing.assert_allclose(open_model(model)({"x": x})["y"], x @ WEIGHTS, rtol=1e-6)
    assert export(model, None, None, tmp_path / "out.onnx", lambda _: None).max_rel_diff < 1e-6


def test_class_numbers_keep_their_type(tmp_path):
    nodes = [PRODUCT, helper.make_node("ArgMax", ["y"], ["class"], axis=1)]
    model = inspect_model(saved(tmp_path / "m.onnx", nodes, WITHOUT, onnx.ValueInfoProto(name="class")))
    assert [spec.dtype for spec in model.outputs] == ["float32", "int64"]


def test_a_type_that_nothing_determines_is_refused_with_the_output(tmp_path):
    node = helper.make_node("Unknown", ["x", "w"], ["y"], domain="own")
    with pytest.raises(InputError, match=r"declares no type for the output 'y'; .* with types of its outputs"):
        inspect_model(saved(tmp_path / "m.onnx", [node], WITHOUT))
