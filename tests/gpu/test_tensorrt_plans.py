"""TensorRT's plans on a GPU, where a flavour of the library is installed: built, read back, run, against the CPU."""

import runpy
import threading
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
import small_onnx
from kit import Kit
from onnx import numpy_helper

import workbench
from workbench import backends
from workbench.backends.tensorrt import options, timing_cache
from workbench.backends.tensorrt.flavours import FULL, LEAN, RTX, numbers_of
from workbench.backends.tensorrt.inspector import BASIS
from workbench.errors import Cancelled, WorkbenchError
from workbench.records import DeviceFacts, Region, Result, Status, from_json, to_json
from workbench.runs.layer_pass import profile
from workbench.runs.sources import read_model
from workbench.settings.experiment import Experiment
from workbench.workers.pool import GPU_BUILDER, Pool

needs_full = pytest.mark.skipif(not FULL.installed, reason=FULL.installed.reason)
needs_lean = pytest.mark.skipif(not LEAN.installed, reason=LEAN.installed.reason)
needs_rtx = pytest.mark.skipif(not RTX.installed, reason=RTX.installed.reason)
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2}


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
def test_a_deployed_plan_gives_the_answers_of_the_engine(kit, expected, tmp_path):
    engine, backend = kit.engine("tensorrt", tf32=False), backends.get("tensorrt")
    assert backend.deploys(engine.spec)
    place = kit.store.path("engine", engine.key)
    parts = backend.deployed(place, engine, kit.store.root / engine.origin, tmp_path)
    run = runpy.run_path(str(backend.runner))["open_model"](place, parts.options)
    for batch in (4, 1, 3):
        found = run({"image": kit.samples.inputs["image"][:batch]})["class"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:batch], atol=TOLERANCE["fp32"])


@needs_full
@pytest.mark.parametrize("region", list(Region))
def test_it_is_timed_over_every_region(kit, region):
    with kit.open(kit.engine("tensorrt")) as worker:
        kit.ready(worker, region)
        assert min(worker.call("block", seconds=0.1, min_calls=10)["samples_ns"]) > 1000


@needs_full
@pytest.mark.parametrize("graph", [False, True])
def test_several_streams_share_an_engine_with_a_range_of_batches(kit, graph):
    """TensorRT 8.6 gives an optimization profile to one context only unless sharing is on."""
    if FULL.version < (8, 6):
        pytest.skip("TensorRT 8.5 has no shared profiles")
    with kit.open(kit.engine("tensorrt", streams=4, cuda_graph=graph)) as worker:
        for region in (Region.COMPUTE, Region.HOST_TO_HOST):
            kit.ready(worker, region)
            block = worker.call("block", seconds=0.2)
            answers = 4 * len(block["samples_ns"])
            assert answers * np.mean(block["samples_ns"]) * 1e-9 == pytest.approx(block["wall_s"], rel=0.2)


@needs_full
def test_a_batch_outside_the_range_is_refused(kit, tmp_path):
    with kit.open(kit.engine("tensorrt")) as worker, pytest.raises(WorkbenchError, match="outside the range"):
        kit.outputs(worker, 5, tmp_path)


def needs_option(option):
    """Skip where this version of the library has no such option."""
    able = options.refusal([option], FULL, gpu=True)
    if not able:
        pytest.skip(able.reason)


@needs_full
@pytest.mark.parametrize(
    "option",
    ["refit", "weight-streaming", "version-compatible", "hardware-compatible", "same-compute-capability", "allow-fp16"],
)
def test_options_build_and_run(kit, expected, tmp_path, option):
    needs_option(option)
    if option == "allow-fp16":
        with kit.open(kit.engine("tensorrt", "fp16", build_options=option)) as worker:
            np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["class"], expected, atol=2e-2)
        return
    try:
        engine = kit.engine("tensorrt", tf32=False, build_options=option)
    except WorkbenchError as refused:
        if "need the lean runtime" not in refused.message:
            raise
        pytest.skip(refused.message)  # the wheels of 8.6 do not hold it
    with kit.open(engine) as worker:
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
def test_the_version_that_is_recorded_begins_with_that_of_the_library(kit):
    engine = kit.engine("tensorrt")
    assert numbers_of(engine.library_version)[:2] == FULL.version[:2] or not FULL.version


@needs_full
@pytest.mark.parametrize("level", [0, 5])
def test_every_optimization_level_gives_the_same_answers(kit, expected, tmp_path, level):
    with kit.open(kit.engine("tensorrt", tf32=False, optimization_level=level)) as worker:
        np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["class"], expected, atol=1e-4)


@needs_full
def test_a_small_workspace_still_builds_or_says_that_it_is_too_small(kit, expected, tmp_path):
    try:
        engine = kit.engine("tensorrt", tf32=False, workspace_mib=1)
    except WorkbenchError as refused:
        assert "the workspace limit is too small" in refused.message  # noqa: PT017 - either is right
        return
    with kit.open(engine) as worker:
        np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["class"], expected, atol=1e-4)


@needs_full
def test_layers_are_timed_and_name_the_nodes_that_they_came_from(kit):
    engine = kit.engine("tensorrt", tf32=False)
    row = Result(engine.spec, 4, Status.BUILT, engine)
    found = profile(row, kit.store, samples=kit.executor.samples_file(kit.samples), say=lambda _: None, seconds=0.3)
    named = {node for layer in found.layers for node in layer.origin}
    assert {"a", "c"} <= named
    assert 0 < found.layers_s < found.profiled_s  # the device's time of all layers, within the host's of the call


@needs_full
def test_a_gpu_without_free_memory_is_one_plain_sentence(kit):
    from cuda.bindings import runtime

    engine = kit.engine("tensorrt", tf32=False)
    _, free, _ = runtime.cudaMemGetInfo()
    held = []
    for size in (free - 600 * 2**20, 128 * 2**20, 64 * 2**20, 32 * 2**20, 16 * 2**20):
        while (answer := runtime.cudaMalloc(size))[0] == 0:
            held.append(answer[1])
    try:
        with pytest.raises(WorkbenchError) as caught:
            kit.open(engine).close()
    finally:
        for address in held:
            runtime.cudaFree(address)
    assert "memory" in caught.value.message
    assert "\n" not in caught.value.message


@needs_full
def test_cancel_ends_a_build_at_once(kit, pool_and_store, tmp_path):
    cancel, asked_at = threading.Event(), []
    source = small_onnx.tower(tmp_path / "tower.onnx", 100, width=512)
    (spec,) = Experiment(backends="tensorrt", precisions="fp32", batches="1,4").variants()

    def progress(text):
        if text == "build engine":
            asked_at.append(time.monotonic())
            threading.Timer(0.5, cancel.set).start()

    (tmp_path / "engine").mkdir()
    with Pool(lambda _: tmp_path / "log", cancel) as pool, pytest.raises(Cancelled):
        pool.call(
            GPU_BUILDER, "build", progress=progress, source=to_json(source), spec=to_json(spec), into=str(tmp_path / "engine")
        )  # fmt: skip
    assert time.monotonic() - asked_at[0] < 2.5


@needs_full
def test_a_second_build_knows_the_kernels_and_a_miss_is_an_error(kit):
    needs_option("editable-timing-cache")
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


def test_what_is_missing_is_reported_with_the_line_that_installs_it():
    for mode in ("", "rtx", "lean"):
        able = backends.get("tensorrt").status(mode)
        assert able or "pip install" in able.fix
