"""8-bit products in ONNX Runtime are exact, whichever constants the file shares."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from small_onnx import saved, source

from workbench import backends
from workbench.backends.onnxruntime import runner
from workbench.models.exact_int8 import exact_session, separate, separate_file
from workbench.models.formats.onnx import session_runner
from workbench.records import EngineRecord, EngineSpec, Precision, RealizedPrecision

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(8, 3, 12, 12)).astype(np.float32)
INPUT, OUTPUT = ("x", TensorProto.FLOAT, (None, 3, 12, 12)), ("y", TensorProto.FLOAT, (None, 10))
FORMATS = list(itertools.product(("QDQ", "QOperator"), ("QInt8", "QUInt8"), (False, True)))


class Calibration(CalibrationDataReader):
    def __init__(self) -> None:
        self._samples = iter([{"x": X}])

    def get_next(self):
        return next(self._samples, None)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A residual network in which two convolutions, and two matrix products, share their weights."""

    def weight(name, *shape):
        return numpy_helper.from_array(
            (RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name
        )

    node, conv = helper.make_node, {"pads": [1] * 4}
    nodes = [
        node("Conv", ["x", "first"], ["c0"], "c0", **conv),
        node("Relu", ["c0"], ["r0"], "r0"),
        node("Conv", ["r0", "shared"], ["c1"], "c1", **conv),
        node("Conv", ["c1", "shared"], ["c2"], "c2", **conv),
        node("Add", ["c2", "r0"], ["a"], "a"),
        node("Concat", ["a", "c1"], ["cc"], "cc", axis=1),
        node("GlobalAveragePool", ["cc"], ["p"], "p"),
        node("Flatten", ["p"], ["f"], "f"),
        node("MatMul", ["f", "last"], ["g"], "g"),
        node("MatMul", ["g", "tied"], ["m"], "m"),
        node("MatMul", ["m", "tied"], ["y"], "y"),
    ]
    weights = [
        weight("first", 8, 3, 3, 3),
        weight("shared", 8, 8, 3, 3),
        weight("last", 16, 10),
        weight("tied", 10, 10),
    ]
    return saved(tmp_path_factory.mktemp("network") / "n.onnx", nodes, [INPUT], [OUTPUT], weights)


@pytest.fixture
def quantized(network, tmp_path):
    def make(form, activations, per_channel):
        quantize_static(
            network,
            tmp_path / "q.onnx",
            Calibration(),
            quant_format=QuantFormat[form],
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
        )
        return tmp_path / "q.onnx"

    return make


def computed(path, level="ORT_DISABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]


def far(found, expected):
    """The largest difference, as a share of the range."""
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("form", "activations", "per_channel"), FORMATS)
def test_the_source_and_the_engine_compute_what_the_file_says(form, activations, per_channel, quantized, tmp_path):
    path = quantized(form, activations, per_channel)
    # without optimization the products of a QDQ file are those of 32-bit floats
    expected = computed(quantized("QDQ", activations, per_channel))
    path = quantized(form, activations, per_channel)
    assert far(session_runner(path, "q")({"x": X})["y"], expected) < 0.03
    spec, folder = EngineSpec("onnxruntime", Precision.INT8), tmp_path / "engine"
    folder.mkdir()
    backend = backends.get("onnxruntime")
    built = backend.build(source(path, INPUT), spec, folder, lambda _: None)
    record = EngineRecord(spec, "", built.library, built.library_version, RealizedPrecision({}, ""), 0, 0.0)
    with backend.open(folder, record) as session:
        assert far(session.run({"x": X})["y"], expected) < 0.03
    for name in ("scratch", "deployed"):
        (tmp_path / name).mkdir()
    parts = backend.deployed(folder, record, path, tmp_path / "scratch")
    for name, file in parts.files.items():
        shutil.copyfile(file, tmp_path / "deployed" / name)
    run = runner.open_model(tmp_path / "deployed", parts.options)
    assert far(run({"x": X})["y"], expected) < 0.03


def test_dynamic_quantization_with_shared_weights(network, tmp_path):
    quantize_dynamic(network, tmp_path / "d.onnx")
    assert far(session_runner(tmp_path / "d.onnx", "d")({"x": X})["y"], computed(network)) < 0.05


def test_separating_changes_no_value(quantized, tmp_path):
    path = quantized("QDQ", "QInt8", per_channel=True)
    assert separate_file(path, tmp_path / "s.onnx")
    onnx.checker.check_model(tmp_path / "s.onnx")
    np.testing.assert_array_equal(computed(tmp_path / "s.onnx"), computed(path))
    assert not separate_file(tmp_path / "s.onnx", tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_constants_of_branches_are_separated_too(tmp_path):
    """A constant that a branch reads from outside stays; other readers get copies."""
    stored = numpy_helper.from_array(np.array([[3, -4], [5, 6]], np.int8), "w")
    scale = numpy_helper.from_array(np.float32(0.5), "s")
    branches = []
    for name in ("then_branch", "else_branch"):
        nodes = [
            helper.make_node("DequantizeLinear", ["w", "s"], [f"{name}_w"]),
            helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_m"]),
            helper.make_node("MatMul", [f"{name}_m", f"{name}_w"], [f"{name}_y"]),
        ]
        result = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        branches.append(helper.make_graph(nodes, name, [], [result]))
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["m"]),
        helper.make_node("If", ["c"], ["i"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Add", ["m", "i"], ["y"]),
    ]
    square = (2, 2)
    path = saved(
        tmp_path / "b.onnx",
        nodes,
        [("x", TensorProto.FLOAT, square), ("c", TensorProto.BOOL, ())],
        [("y", TensorProto.FLOAT, square)],
        [stored, scale],
    )
    model, x = onnx.load(path), np.array([[1.0, 2.0], [-3.0, 4.0]], np.float32)
    assert separate(model) == 3  # one node in each branch, one constant outside
    onnx.checker.check_model(model)
    w = numpy_helper.to_array(stored) * np.float32(0.5)
    for content in (path, model.SerializeToString()):
        found = exact_session(content, ort.SessionOptions()).run(None, {"x": x, "c": np.array(True)})[0]
        np.testing.assert_allclose(found, x @ w + x @ w @ w)


def test_a_file_that_no_option_helps_gives_the_first_error(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"none")
    with pytest.raises(Exception, match=r"bad\.onnx"):
        exact_session(tmp_path / "bad.onnx", ort.SessionOptions())
