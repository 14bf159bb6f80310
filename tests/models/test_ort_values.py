"""bfloat16 through ONNX Runtime: as float32 outside, in the source model and in the engine."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from small_onnx import saved, source, weights

from workbench import backends
from workbench.export.convert import export
from workbench.models.inspection import inspect_model
from workbench.models.ort_values import runner
from workbench.records import EngineRecord, EngineSpec, Precision, RealizedPrecision

BRAIN = TensorProto.BFLOAT16
X = np.array([[1.0, -2.0, 3.140625]], np.float32)
ROUNDED = X.astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    """Computes in FP32 between a bfloat16 input and outputs of both types."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Neg", ["f"], ["plain"]),
        helper.make_node("Cast", ["plain"], ["brain"], to=BRAIN),
    ]
    shape = (None, 3)
    outputs = [("plain", TensorProto.FLOAT, shape), ("brain", BRAIN, shape)]
    return saved(tmp_path / "brain.onnx", nodes, [("x", BRAIN, shape)], outputs)


def engine(name: str, path, folder) -> EngineRecord:
    spec = EngineSpec(name, Precision.FP32)
    folder.mkdir()
    built = backends.get(name).build(source(path, ("x", BRAIN, (None, 3))), spec, folder, lambda _: None)
    return EngineRecord(spec, "", built.library, built.library_version, RealizedPrecision({}, ""), 0, 0.0)


def test_the_reader_says_float32_and_what_is_inside(path):
    model = inspect_model(path)
    assert str(model.inputs[0]) == "x: float32 [? × 3], bfloat16 inside"
    assert [(spec.dtype, spec.stored) for spec in model.outputs] == [("float32", ""), ("float32", "bfloat16")]
    assert model.probe.worked == (1, 2, 3)


def test_a_session_takes_and_gives_float32(path):
    run = runner(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]))
    found = run({"x": X})
    for name in ("plain", "brain"):
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], -ROUNDED)
    assert run({"x": np.zeros((0, 3), np.float32)})["brain"].shape == (0, 3)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_takes_and_gives_float32_in_every_way(name, path, tmp_path):
    pytest.importorskip(name)
    record = engine(name, path, tmp_path / "engine")
    backend = backends.get(name)
    with backend.open(tmp_path / "engine", record) as session:
        for x in (X, np.repeat(X, 4, axis=0), X):
            for array in session.run({"x": x}).values():
                assert array.dtype == np.float32
                np.testing.assert_array_equal(array, -x.astype(ml_dtypes.bfloat16).astype(np.float32))
        session.stage({"x": X})()
        session.library_call({"x": X})[0]()
        for caller in session.callers(1).each:
            np.testing.assert_array_equal(caller.run({"x": X})["brain"], -ROUNDED)
    with backend.profiled(tmp_path / "engine", record) as profiled:
        profiled.stage({"x": X})()


@pytest.fixture
def network(tmp_path):
    """A convolution in bfloat16 throughout, for which ONNX Runtime has no kernel."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    return saved(
        tmp_path / "network.onnx",
        nodes,
        [("x", BRAIN, (None, 3, 8, 8))],
        [("y", BRAIN, (None, 4, 1, 1))],
        [weights("w", (4, 3, 3, 3), BRAIN)],
    )


@pytest.mark.parametrize("library", ["OpenVINO", "ONNX's reference evaluator"])
def test_a_model_in_bfloat16_throughout_is_opened_and_exported(network, tmp_path, monkeypatch, library):
    pytest.importorskip("openvino")
    if library != "OpenVINO":
        monkeypatch.setattr("workbench.models.bfloat16_models.find_spec", lambda _: None)
    model = inspect_model(network)
    assert model.notes == (f"ONNX Runtime has no kernels for its bfloat16, so {library} runs the source model",)
    assert (model.quantized, model.quantized_how) == ("bf16", "1 of its weights are bfloat16")
    assert model.probe.worked == (1, 2, 3)
    check = export(model, None, None, tmp_path / "exported.onnx", lambda _: None)
    assert check.max_rel_diff < 0.02


@pytest.mark.slow
def test_openvino_runs_a_model_in_bfloat16_and_is_scored_against_it(network, tmp_path, store):
    openvino = pytest.importorskip("workbench.backends.openvino.backend")
    spec = EngineSpec("openvino", Precision.BF16)
    if not openvino.BACKEND.supports(spec, None):
        pytest.skip(openvino.BACKEND.supports(spec, None).reason)
    from workbench import Experiment
    from workbench.runs.pipeline import run

    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).random((40, 3, 8, 8), dtype=np.float32))
    asked = Experiment(
        model=str(network), data=str(tmp_path / "data.npz"), backends="openvino", precisions="bf16", batches="1",
        measure_s=0.05, max_measure_s=0.05, rounds=2,
    )  # fmt: skip
    (row,) = run(asked, store=store).rows
    assert (row.status, row.engine.realized.layers) == ("done", {"bf16": 1})
    assert row.accuracy.agreement == 1.0
