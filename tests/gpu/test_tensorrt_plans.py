"""TensorRT's plans on a GPU, where a flavour of the library is installed: built, read back, run, against the CPU."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from kit import Kit
from onnx import numpy_helper

import workbench
from workbench import backends
from workbench.errors import WorkbenchError
from workbench.experiment import Experiment
from workbench.records import DeviceFacts, Region, Status, from_json
from workbench.runs.sources import read_model
from workbench.trt import timing_cache
from workbench.trt.flavours import FULL, LEAN, RTX
from workbench.trt.inspector import BASIS

needs_full = pytest.mark.skipif(not FULL.installed, reason=FULL.installed.reason)
needs_lean = pytest.mark.skipif(not LEAN.installed, reason=LEAN.installed.reason)
needs_rtx = pytest.mark.skipif(not RTX.installed, reason=RTX.installed.reason)
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2}


@pytest.fixture(scope="module")
def kit(pool_and_store, cnn):
    pool, store = pool_and_store
    return Kit(store, pool, read_model(store, pool, str(cnn)))


@pytest.fixture(scope="module")
def expected(kit, tmp_path_factory):
    with kit.open(kit.engine("onnxruntime")) as worker:
        return kit.outputs(worker, 1, tmp_path_factory.mktemp("expected"))["class"]


@needs_full
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("name", "precision", "tf32"), [("fp32", "fp32", False), ("tf32", "fp32", True), ("fp16", "fp16", True)]
)
def test_answers_are_those_of_the_cpu(kit, expected, tmp_path, name, precision, tf32, graph):
    engine = kit.engine("tensorrt", precision, tf32=tf32, cuda_graph=graph)
    assert (engine.device, engine.runnable) == ("cuda:0", True)
    assert engine.realized.layers == {precision: 3}
    assert engine.realized.basis == BASIS
    with kit.open(engine) as worker:
        for batch in (1, 3, 4):
            found = kit.outputs(worker, batch, tmp_path)["class"]
            np.testing.assert_allclose(found.astype(np.float32), expected, atol=TOLERANCE[name])
        kit.ready(worker, Region.COMPUTE)
        facts = from_json(DeviceFacts, worker.call("device"))
    assert (facts.graph, facts.graph_note) == (graph, "")


@needs_full
@pytest.mark.parametrize("region", list(Region))
def test_it_is_timed_over_every_region(kit, region):
    with kit.open(kit.engine("tensorrt")) as worker:
        kit.ready(worker, region)
        assert min(worker.call("block", seconds=0.1, min_calls=10)["samples_ns"]) > 1000


@needs_full
def test_a_batch_outside_the_range_is_refused(kit, tmp_path):
    with kit.open(kit.engine("tensorrt")) as worker, pytest.raises(WorkbenchError, match="outside the range"):
        kit.outputs(worker, 5, tmp_path)


@needs_full
@pytest.mark.parametrize("option", ["refit", "weight-streaming", "hardware-compatible", "same-compute-capability"])
def test_options_build_and_run(kit, expected, tmp_path, option):
    with kit.open(kit.engine("tensorrt", tf32=False, build_options=option)) as worker:
        np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["class"], expected, atol=1e-4)


@needs_full
def test_another_training_of_the_model_gets_its_weights_into_the_earlier_engine(pool_and_store, kit, cnn, tmp_path):
    kit.engine("tensorrt", tf32=False, build_options="refit")
    proto = onnx.load(cnn)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.5), tensor.name))
    onnx.save(proto, tmp_path / "trained.onnx")
    pool, store = pool_and_store
    trained = Kit(store, pool, read_model(store, pool, str(tmp_path / "trained.onnx")))
    with trained.open(trained.engine("onnxruntime")) as worker:
        wanted = trained.outputs(worker, 4, tmp_path)["class"]
    engine = trained.engine("tensorrt", tf32=False, build_options="refit")
    assert "not built: the weights of an earlier engine of the same structure were replaced" in engine.note
    with trained.open(engine) as worker:
        np.testing.assert_allclose(trained.outputs(worker, 4, tmp_path)["class"], wanted, atol=1e-4)


@needs_full
def test_a_second_build_knows_the_kernels_and_a_miss_is_an_error(kit):
    kit.engine("tensorrt", build_options="editable-timing-cache")
    table = timing_cache.table(kit.store)
    assert len(table) > 0
    assert (table["seconds"] > 0).all()
    again = kit.engine("tensorrt", build_options="editable-timing-cache,error-on-timing-cache-miss")
    assert again.realized.layers == {"fp32": 3}


@needs_full
@needs_lean
def test_the_lean_runtime_opens_what_the_full_library_built(kit, expected, tmp_path):
    with kit.open(kit.engine("tensorrt:lean", tf32=False)) as worker:
        np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["class"], expected, atol=1e-4)


@needs_rtx
def test_an_engine_of_tensorrt_for_rtx_runs_or_says_that_this_gpu_is_none_of_its(kit, expected, tmp_path):
    engine = kit.engine("tensorrt:rtx", tf32=False)
    try:
        worker = kit.open(engine)
    except WorkbenchError as refused:
        assert "the engine was not built for this GPU's generation" in refused.message  # noqa: PT017 - either is right
        assert "could not be read here" in engine.realized.basis
        return
    with worker:
        np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["class"], expected, atol=1e-4)


@needs_rtx
def test_a_run_with_it_ends_in_rows_that_say_what_happened(kit, cnn):
    asked = Experiment(
        model=str(cnn), data="random", backends="onnxruntime:cuda,tensorrt:rtx", precisions="fp32", batches="4", rounds=2,
        measure_s=0.05,
    )  # fmt: skip
    cuda, rtx = workbench.run(replace(asked), store=kit.store).rows
    assert cuda.status == Status.DONE
    assert rtx.status == Status.DONE or "for this GPU's generation" in rtx.failure.message


def test_what_is_missing_is_told_with_the_line_that_installs_it():
    for mode in ("", "rtx", "lean"):
        able = backends.get("tensorrt").status(mode)
        assert able or "pip install" in able.fix
