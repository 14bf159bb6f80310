"""From layers of an engine to the nodes that it was built from, and to the model's own layers."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import h5py
import onnx
import pytest
from onnx import TensorProto, helper

from workbench.graph.provenance import (
    attributed,
    kind_of,
    layer_names,
    plain,
    scope_of,
    source_graph,
    with_layer_names,
)
from workbench.records import TensorSpec
from workbench.records.layers import LayerTime

FLOAT = TensorProto.FLOAT
INPUTS = (TensorSpec("x", "float32", (None, 3, 8, 8)),)


@pytest.fixture
def path(tmp_path):
    """Conv + Relu + Reshape + MatMul, the convolution between conversions to 8 bits."""
    weights = helper.make_tensor("net/conv/kernel:0", FLOAT, [4, 3, 3, 3], [0.1] * 108)
    dense = helper.make_tensor("net/dense/kernel:0", FLOAT, [256, 2], [0.1] * 512)
    scale, zero = helper.make_tensor("s", FLOAT, [], [0.1]), helper.make_tensor("z", TensorProto.UINT8, [], [0])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 256])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"], "x_QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["x_q", "s", "z"], ["x_dq"], "x_DequantizeLinear"),
        helper.make_node("Conv", ["x_dq", "net/conv/kernel:0"], ["Conv__1:0"], "Conv__1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["Conv__1:0"], ["net/act/Relu:0"], "net/act/Relu"),
        helper.make_node("Reshape", ["net/act/Relu:0", "shape"], ["flat"], "net/flat/Reshape"),
        helper.make_node("MatMul", ["flat", "net/dense/kernel:0"], ["y"], "net/dense/MatMul"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 2])],
        [weights, dense, scale, zero, shape],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def layer(name: str, op: str) -> LayerTime:
    return LayerTime(name, op, kind_of(op), "fp32", (1000,))


def test_conversions_are_not_nodes_and_flops_are_those_of_one_sample(path):
    graph = source_graph(path, INPUTS)
    assert [node.op for node in graph.nodes] == ["Conv", "Relu", "Reshape", "MatMul"]
    assert graph.nodes[0].inputs == ("x", "net/conv/kernel:0")
    # 2 · 4 channels · 64 places · 27 kernel elements; 2 · 256 · 2
    assert [node.flops for node in graph.nodes] == [13824, None, None, 1024]
    assert [node.weight_elements for node in graph.nodes] == [108, 0, 2, 512]


@pytest.mark.parametrize(
    "name",
    [
        "net/act/Relu:0_nchwc",  # ONNX Runtime in blocks of channels: the tensor that the fused layer writes
        "Conv__1_token_7",  # its 8-bit kernels: the node, with a number
        "Conv__1/WithoutBiases",  # OpenVINO
        "fused Conv__1",  # ONNX Runtime, a convolution with its activation in one
    ],
)
def test_a_fused_layer_keeps_all_its_origins(path, name):
    reported = [layer(name, "Conv"), layer("net/dense/MatMul_quant", "QGemm")]
    found, lost = attributed(reported, source_graph(path, INPUTS), {}, batch=4)
    assert found[0].origin == ("Conv__1", "net/act/Relu")
    assert found[1].origin == ("net/flat/Reshape", "net/dense/MatMul")  # what no layer names goes with its reader
    assert [each.scope for each in found] == ["conv", "dense"]  # the node has no scope; its weights do
    assert [each.flops for each in found] == [4 * 13824, 4 * 1024]
    assert lost == ()


def test_what_the_library_says_of_a_layers_origin_is_used(path):
    reported = [layer("fused_3", "Convolution")]
    found, lost = attributed(reported, source_graph(path), {"fused_3": ("Conv__1", "net/act/Relu", "never heard of")})
    assert found[0].origin == ("Conv__1", "net/act/Relu")
    assert lost == ("net/flat/Reshape", "net/dense/MatMul")


def test_a_conversion_does_not_take_the_node_whose_tensor_it_converts(path):
    reported = [layer("net/act/Relu:0_DequantizeLinear", "DequantizeLinear"), layer("Conv__1", "QLinearConv")]
    found, _ = attributed(reported, source_graph(path), {})
    assert found[0].origin == ()
    assert found[0].scope == "act"
    assert found[1].origin == ("Conv__1", "net/act/Relu")


def test_without_a_source_graph_names_tell_the_model_layer():
    reported = [layer("net/conv/convolution", "Conv2D"), layer("net/dense/MatMul", "MatMul")]
    found, lost = attributed(reported, source_graph_without_nodes(), {})
    assert [each.scope for each in found] == ["conv", "dense"]
    assert lost == ()


def source_graph_without_nodes():
    from workbench.graph.provenance import SourceGraph

    return SourceGraph(())


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("demo_1/conv2d_1/convolution", "demo_1/conv2d_1"),
        ("demo_1/batch_normalization_1/batchnorm/mul_1__6", "demo_1/batch_normalization_1"),
        ("demo_1/digit_1/Cast/ReadVariableOp:0", "demo_1/digit_1"),
        ("/layer1/layer1.0/conv1/Conv", "layer1/layer1.0/conv1"),
        ("Conv__34", ""),
    ],
)
def test_scopes(name, scope):
    assert scope_of(name) == scope


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("QLinearConv", "weights"), ("FullyConnectedQuantizedLegacy", "weights"), ("_MklNativeFusedMatMul", "weights"),
        ("Convert", "convert"), ("FakeQuantize", "convert"), ("DequantizeLinear", "convert"), ("Cast", "convert"),
        ("ReorderOutput", "layout"), ("Transpose", "layout"), ("MaxPool", "other"), ("Relu", "other"),
    ],
)  # fmt: skip
def test_kinds(op, kind):
    assert kind_of(op) == kind


def test_two_forms_of_one_model_have_plain_names_in_common():
    assert plain("digit/MatMul/MatMulAddFusion") == plain("digit/MatMul") == "digit/MatMul"
    assert plain("fused digit/MatMul/MatMulAddFusion") == "digit/MatMul"
    assert plain("_quant") == "_quant"


def test_scopes_are_called_as_the_models_own_layers_are():
    """Keras' layers conv2d and conv2d_1 are conv2d_1 and conv2d_1_2 in its export: names alone would mislead."""
    reported = [
        replace(layer(scope, "Conv"), scope=scope) for scope in ("conv2d_1", "conv2d_1_2", "digit_1", "", "else")
    ]
    names = ("conv2d", "conv2d_1", "digit")
    assert [each.scope for each in with_layer_names(tuple(reported), names)] == [
        "conv2d",
        "conv2d_1",
        "digit",
        "",
        "else",
    ]
    plain_export = tuple(replace(layer(name, "Conv"), scope=f"net/{name}") for name in names)
    assert with_layer_names(plain_export, names) == plain_export
    assert with_layer_names(tuple(reported), ()) == tuple(reported)


def test_names_of_the_demos_layers(demo_folder, tmp_path):
    names = layer_names(demo_folder / "demo.keras")
    assert [name for name in names if name.startswith("conv2d")] == [
        "conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4",
    ]  # fmt: skip
    with zipfile.ZipFile(demo_folder / "demo.keras") as archive, h5py.File(tmp_path / "same.h5", "w") as file:
        file.attrs["model_config"] = archive.read("config.json").decode()
    assert layer_names(tmp_path / "same.h5") == names
    (tmp_path / "damaged.keras").write_bytes(b"PK")
    (tmp_path / "damaged.h5").write_bytes(b"PK")
    h5py.File(tmp_path / "weights.h5", "w").close()
    for name in ("damaged.keras", "damaged.h5", "weights.h5", "none.keras"):
        assert layer_names(tmp_path / name) == ()
    assert layer_names(demo_folder / "saved_model") == ()
