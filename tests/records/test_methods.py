"""Ways to a number format: what a name asks for, what is made, and what really computes or is stored in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import model_zoo
import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper

from workbench.backends.onnxruntime import backend as ort_backend
from workbench.backends.openvino import backend as openvino_backend
from workbench.backends.tensorrt import backend as tensorrt_backend
from workbench.backends.tensorrt.flavours import RTX
from workbench.data.samples import Samples
from workbench.errors import ExportError, InputError
from workbench.precision.rewrite import judge, rewrite
from workbench.precision.selection import Selection
from workbench.protocols import Source
from workbench.records import Calibration, EngineSpec, Precision, RealizedPrecision, TensorSpec
from workbench.records.methods import METHODS
from workbench.settings.experiment import Experiment

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((32, 96)).astype(np.float32)
SAMPLES = Samples("random", {"x": X})


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """Two matrix products: a MatMul, and a Gemm with transposed weights as PyTorch writes it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b"], ["y"], name="second", transB=1),
    ]
    weights = {
        "w1": (GENERATOR.standard_normal((96, 256)) / 10).astype(np.float32),
        "w2": (GENERATOR.standard_normal((64, 256)) / 16).astype(np.float32),
        "b": np.linspace(-1, 1, 64, dtype=np.float32),
    }
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": ("batch", 96)}, outputs={"y": ("batch", 64)}, opset=17)
    return model_zoo.save(proto, tmp_path_factory.mktemp("mlp") / "mlp.onnx")


def made(source, form, into, selection=None, samples=SAMPLES):
    return rewrite(
        source, form, into, calibration=samples, method=Calibration.MINMAX, progress=lambda _: None,
        selection=selection or Selection(),
    )  # fmt: skip


def apart(source, path):
    wanted = model_zoo.run_onnx(source, {"x": X})["y"]
    return float(np.abs(model_zoo.run_onnx(path, {"x": X})["y"] - wanted).max() / np.abs(wanted).max())


def built(backend, path, spec, folder):
    tensors = (TensorSpec("x", "float32", (None, 96)),), (TensorSpec("y", "float32", (None, 64)),)
    return backend.build(Source(path, *tensors), spec, folder, lambda _: None)


def ops(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_a_name_is_the_format_and_the_way():
    assert [str(METHODS[name].precision) for name in ("fp8", "int8-dynamic", "int4-weights")] == ["fp8", "int8", "int4"]
    assert all(method.name == name and method.help for name, method in METHODS.items())
    labels = [s.label for s in Experiment(backends="onnxruntime", precisions="int8-dynamic,int4-weights").variants()]
    assert labels == ["onnxruntime int8-dynamic", "onnxruntime int4-weights"]
    chosen = {s.asked: s.calibration for s in Experiment(backends="litert", precisions=tuple(METHODS)).variants()}
    assert chosen["int8-percentile"] == Calibration.PERCENTILE
    assert chosen["int8"] == chosen["int8-minmax"] == Calibration.MINMAX
    assert chosen["int8-dynamic"] is chosen["int4-weights"] is chosen["fp32"] is None


@pytest.mark.parametrize(("form", "kinds", "limit"), [
    ("int8-weights", {"MatMulNBits": 2}, 0.01),
    ("int4-weights", {"MatMulNBits": 2}, 0.15),
    ("int8-weights-dq", {"DequantizeLinear": 2, "MatMul": 1, "Gemm": 1}, 0.02),
    ("int4-weights-dq", {"DequantizeLinear": 2, "MatMul": 2}, 0.2),
    ("int8-dynamic", {"MatMulInteger": 2}, 0.03),
    ("fp8", {"Gemm": 1, "MatMul": 1, "QuantizeLinear": 2}, None),
])  # fmt: skip
def test_every_form_has_the_nodes_and_stays_near_the_source(mlp, tmp_path, form, kinds, limit):
    into = tmp_path / "made.onnx"
    made(mlp, form, into)
    found = ops(into)
    assert {kind: found[kind] for kind in kinds} == kinds
    if limit is not None:  # ONNX Runtime's default optimization computes garbage from FP8
        assert 0 < apart(mlp, into) < limit


@pytest.mark.parametrize("name", ["int8-weights", "int4-weights", "int8-dynamic"])
@pytest.mark.parametrize("backend", [ort_backend.BACKEND, openvino_backend.BACKEND], ids=lambda each: each.name)
def test_small_weights_are_read_back_as_what_they_are(mlp, tmp_path, backend, name):
    """Stored in few bits and computed with in floats is no INT8 arithmetic: it has a name of its own."""
    spec = EngineSpec(backend.name, METHODS[name].precision, method=METHODS[name].way)
    if not backend.supports(spec, None):
        assert (backend.name, name) == ("openvino", "int8-dynamic")
        return
    made(mlp, backend.source(spec, None).removeprefix("onnx:"), tmp_path / "made.onnx")
    layers = built(backend, tmp_path / "made.onnx", spec, tmp_path).realized
    assert layers.layers == {METHODS[name].realized: 2}
    assert judge(name, layers) == ""


@pytest.mark.parametrize("name", ["bf16", "fp8", "int8", "int8-weights", "int4-weights"])
@pytest.mark.skipif(not RTX.installed, reason="TensorRT for RTX is not installed")
def test_tensorrt_for_rtx_builds_every_form_and_declares_it(mlp, tmp_path, name):
    """FP8 for the generations that have it, without an option."""
    spec = EngineSpec("tensorrt", METHODS[name].precision, "rtx", batches=(1, 4), method=METHODS[name].way)
    backend = tensorrt_backend.BACKEND
    model = model_of(mlp)
    assert backend.supports(spec, model)
    made(mlp, backend.source(spec, model).removeprefix("onnx:"), tmp_path / "made.onnx")
    layers = built(backend, tmp_path / "made.onnx", spec, tmp_path).realized
    assert layers.layers == {METHODS[name].realized: 2}


def model_of(path):
    from workbench.models.inspection import inspect_model

    return inspect_model(path)


def test_weights_alone_are_not_the_arithmetic():
    stored = RealizedPrecision({"int8-weights": 2}, "somewhere")
    assert judge("int8-weights", stored) == ""
    assert judge("int8", stored).startswith("Asked for int8, but 0 of 2 layers with weights compute in it")
    mixed = RealizedPrecision({"int4-weights": 1, "fp32": 5}, "somewhere")
    assert "1 of 6 layers with weights store their weights in it" in judge("int4-weights", mixed)


def test_few_nodes_may_be_chosen():
    few = RealizedPrecision({"int8": 1, "fp32": 5}, "somewhere")
    assert judge("int8", few) != ""
    assert judge("int8", few, chosen=True) == ""
    assert judge("int8", RealizedPrecision({"fp32": 6}, "somewhere"), chosen=True) != ""


def test_bf16_computes_in_bf16_and_returns_fp32(mlp, tmp_path):
    import openvino

    into = tmp_path / "bf16.onnx"
    assert made(mlp, "bf16", into)["kept"] == 0
    graph = onnx.load(into).graph
    onnx.checker.check_model(onnx.load(into), full_check=True)
    assert {tensor.data_type for tensor in graph.initializer} == {TensorProto.BFLOAT16}
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
    wanted = model_zoo.run_onnx(mlp, {"x": X})["y"]
    found = next(iter(openvino.Core().compile_model(str(into), "CPU")({"x": X}).values()))
    assert 1e-4 < np.abs(found - wanted).max() / np.abs(wanted).max() < 0.03  # eight binary digits


def test_bf16_casts_around_what_onnx_does_not_define_for_it(tmp_path):
    """Celu takes no BF16, indices that were cast stay exact, and an output that is read inside is FP32 outside."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        helper.make_node("Celu", ["y"], ["bent"], name="bend"),
        helper.make_node("Cast", ["ids"], ["wide"], name="widen", to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["half"], value=onnx.numpy_helper.from_array(np.float32(0.5))),
        helper.make_node("Mul", ["wide", "half"], ["halves"], name="halve"),
        helper.make_node("Add", ["bent", "halves"], ["z"], name="join"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]), helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("y", "z")],
        [onnx.numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")],
    )  # fmt: skip
    source, into = tmp_path / "odd.onnx", tmp_path / "bf16.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), source)
    done = made(source, "bf16", into)
    model = onnx.shape_inference.infer_shapes(onnx.load(into), strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    assert done["kept_nodes"] == ["bend"]
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    made_by = {node.name: types[node.output[0]] for node in model.graph.node}
    assert made_by["product"] == made_by["join"] == made_by["halve"] == TensorProto.BFLOAT16
    assert made_by["bend"] == made_by["widen"] == TensorProto.FLOAT
    assert types["y"] == types["z"] == TensorProto.FLOAT


def test_bf16_does_not_reach_into_branches(tmp_path):
    given = helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.float32(1)))
    branch = helper.make_graph([given], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [])])
    nodes = [
        helper.make_node("Constant", [], ["p"], value=onnx.numpy_helper.from_array(np.bool_(True))),
        helper.make_node("If", ["p"], ["i"], then_branch=branch, else_branch=branch),
        helper.make_node("Mul", ["x", "i"], ["y"]),
    ]
    source = model_zoo.save(model_zoo.onnx_model(nodes, outputs={"y": ("n", 4)}), tmp_path / "if.onnx")
    with pytest.raises(ExportError, match="does not support branches and loops"):
        made(source, "bf16", tmp_path / "out.onnx")


def test_fp16_keeps_what_real_data_drive_beyond_its_range(tmp_path):
    """No weight is too large, but 96 products of 30 and 30 are, and only samples show it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="large"),
        helper.make_node("Mul", ["h", "small"], ["y"], name="scale"),
    ]
    weights = {"w": np.full((96, 8), 30, np.float32), "small": np.float32(1e-4)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": ("n", 96)}, outputs={"y": ("n", 8)}, opset=17)
    source = model_zoo.save(proto, tmp_path / "large.onnx")
    x = np.full((4, 96), 30, np.float32)
    blind, seen = tmp_path / "blind.onnx", tmp_path / "seen.onnx"
    made(source, "fp16", blind, samples=None)
    done = made(source, "fp16", seen, samples=Samples("s", {"x": x}))
    assert (done["kept_for_range"], done["checked_samples"]) == (["h"], 4)
    # by the definition itself: ONNX Runtime's CPU kernels compute in FP32 between casts, which it removes in pairs
    with np.errstate(over="ignore"):
        found = [onnx.reference.ReferenceEvaluator(str(path)).run(None, {"x": x})[0] for path in (blind, seen)]
    assert np.isinf(found[0]).all()
    for y in (found[1], model_zoo.run_onnx(seen, {"x": x})["y"]):
        np.testing.assert_allclose(y, 8.64, rtol=1e-3)


@pytest.mark.parametrize(
    "form",
    ["fp16", "bf16", "int8-u8", "int8-s8", "int8-dynamic", "int4-weights", "int4-weights-dq", "int8-weights-dq", "fp8"],
)
def test_lists_choose_the_nodes(mlp, tmp_path, form):
    """By operation or by name; a name that names nothing is refused with the nearest ones."""
    kept = made_nodes(mlp, tmp_path, form, Selection(keep=("second",)))
    only = made_nodes(mlp, tmp_path, form, Selection(quantize=("MatMul",), keep=("Gemm",)))
    assert kept == only == {"first"}
    with pytest.raises(
        InputError, match=r"'keep' names 'secnd', but the model's ONNX form has no .* Similar names: second"
    ):
        made(mlp, form, tmp_path / "out.onnx", Selection(keep=("secnd",)))


def made_nodes(source, folder, form, selection):
    """Which of the two layers read anything but floats of 32 bits."""
    into = folder / "chosen.onnx"
    made(source, form, into, selection)
    graph = onnx.load(into).graph
    floats = (tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1)
    float32 = {tensor.name for tensor in floats if not tensor.name.endswith("_scales")}
    names = {"first": ("first",), "second": ("second",)}
    lowered = set()
    for name, starts in names.items():
        layers = [node for node in graph.node if node.name.startswith(starts) and node.op_type in LAYERS]
        assert layers, (name, [(node.name, node.op_type) for node in graph.node])
        if not any(set(node.input) & float32 for node in layers):
            lowered.add(name)
    return lowered


LAYERS = ("MatMul", "Gemm", "MatMulNBits", "MatMulInteger")


def test_weight_only_says_that_a_network_of_convolutions_has_nothing_for_it(tmp_path):
    weight = GENERATOR.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    proto = model_zoo.onnx_model(nodes, {"w": weight}, inputs={"x": ("n", 3, 8, 8)}, outputs={"y": ("n", 4, 6, 6)})
    source = model_zoo.save(proto, tmp_path / "conv.onnx")
    with pytest.raises(ExportError, match=r"none of the model's 1 layers with weights is one. Choose int8"):
        made(source, "int4-weights", tmp_path / "out.onnx")


def test_a_backend_refuses_the_ways_it_has_not():
    refused = {
        ("onnxruntime", "fp8"): "computes FP8 models in FP32 between conversions",
        ("onnxruntime", "fp16-weights"): "turns 16-bit weights into FP32",
        ("openvino", "int8-dynamic"): "turns ONNX' dynamic INT8 back into floats",
        ("openvino", "fp8"): "computes FP8 in FP32 between conversions",
    }
    held = {"onnxruntime": ort_backend.BACKEND, "openvino": openvino_backend.BACKEND}
    for (name, asked), reason in refused.items():
        spec = EngineSpec(name, METHODS[asked].precision, method=METHODS[asked].way)
        assert reason.split(" ", 1)[1] in held[name].supports(spec, None).reason
        plain = replace(spec, precision=Precision.FP32, method="")
        assert held[name].supports(plain, None)
