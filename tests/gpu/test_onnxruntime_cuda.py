"""ONNX Runtime's CUDA provider through the whole pipeline, against the same models on the CPU."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import falls_to, memory_in_use, rested, written
from kit import Kit
from onnx import helper, numpy_helper

import workbench
from workbench import backends
from workbench.errors import WorkbenchError
from workbench.records import DeviceFacts, Region, Status, from_json, to_json
from workbench.runs.sources import read_model
from workbench.settings.experiment import Experiment
from workbench.workers.worker import Worker

TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2}


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("name", "precision", "tf32"), [("fp32", "fp32", False), ("tf32", "fp32", True), ("fp16", "fp16", True)]
)
def test_answers_are_those_of_the_cpu(kit, expected, tmp_path, name, precision, tf32, graph):
    engine = kit.engine(precision=precision, tf32=tf32, cuda_graph=graph)
    assert engine.device == "cuda:0"
    assert engine.realized.layers == {precision: 3}
    assert engine.note == ""  # every node runs on the GPU
    with kit.open(engine) as worker:
        for batch in (1, 4, 7):  # 30 samples: not a multiple of 4 or 7
            found = kit.outputs(worker, batch, tmp_path)["class"]
            assert found.shape == expected.shape
            np.testing.assert_allclose(found.astype(np.float32), expected, atol=TOLERANCE[name])


def test_tf32_is_really_switched(kit, tmp_path):
    found = []
    for tf32 in (False, True):
        with kit.open(kit.engine(tf32=tf32)) as worker:
            found.append(kit.outputs(worker, 4, tmp_path)["class"])
    assert np.abs(found[0] - found[1]).max() > 0


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("region", list(Region))
def test_it_is_timed_over_every_region(kit, region, graph):
    with kit.open(kit.engine(cuda_graph=graph)) as worker:
        kit.ready(worker, region)
        block = worker.call("block", seconds=0.1, min_calls=10)
        facts = from_json(DeviceFacts, worker.call("device"))
    assert len(block["samples_ns"]) >= 10
    assert min(block["samples_ns"]) > 1000
    assert block["gpu"]["sm_mhz"] > 100
    assert (facts.graph, facts.graph_note) == (graph, "")
    assert facts.memory_bytes > 100 * 2**20
    assert min(*facts.copy_in_ns, *facts.compute_ns, *facts.copy_out_ns) > 0


def test_a_region_that_holds_another_takes_longer(kit):
    medians = {}
    with kit.open(kit.engine(cuda_graph=True)) as worker:
        for region in Region:
            kit.ready(worker, region)
            medians[region] = np.median(worker.call("block", seconds=0.2)["samples_ns"])
    assert medians[Region.DEVICE] < medians[Region.COMPUTE] < medians[Region.HOST_TO_HOST]


def test_several_streams_answer_more_calls_and_say_so(kit):
    engine = kit.engine(streams=3)
    with kit.open(engine) as worker:
        kit.ready(worker, Region.COMPUTE)
        assert len(worker.call("block", seconds=0.1)["samples_ns"]) > 10
        kit.ready(worker, Region.HOST_TO_HOST)
        assert len(worker.call("block", seconds=0.1)["samples_ns"]) > 10
        with pytest.raises(WorkbenchError, match="Choose one stream"):
            kit.ready(worker, Region.DEVICE)
    assert not backends.get("onnxruntime").measures(engine.spec, Region.DEVICE)


def test_device_memory_comes_back_when_the_worker_ends(kit):
    engine = kit.engine()
    kit.pool.close()  # the builder holds some too
    before = rested()
    with kit.open(engine) as worker:
        kit.ready(worker, Region.COMPUTE)
        worker.call("block", seconds=0.05)
        assert memory_in_use() > before + 100 * 2**20
    assert falls_to(before)
    worker = kit.open(engine)
    kit.ready(worker, Region.COMPUTE)
    worker.kill()
    assert falls_to(before)


def test_nodes_on_the_cpu_are_reported_and_the_graph_is_given_up_with_a_reason(pool_and_store, tmp_path):
    """The CUDA provider has no kernel for Det."""
    pool, store = pool_and_store
    eye = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Det", ["a"], ["b"]),
        helper.make_node("Exp", ["b"], ["y"]),
    ]
    path = written(tmp_path / "det.onnx", nodes, ("x", ["n", 4, 4]), ("y", ["n"]), [eye])
    kit = Kit(store, pool, read_model(store, pool, str(path)))
    with kit.open(kit.engine("onnxruntime")) as worker:
        expected = kit.outputs(worker, 4, tmp_path)["y"]
    engine = kit.engine(cuda_graph=True)
    assert "1 Det" in engine.note
    assert "run on the CPU" in engine.note
    with kit.open(engine) as worker:
        kit.ready(worker, Region.COMPUTE)
        facts = from_json(DeviceFacts, worker.call("device"))
        np.testing.assert_allclose(kit.outputs(worker, 4, tmp_path)["y"], expected, rtol=1e-2)
    assert not facts.graph
    assert len(facts.graph_note) > 10


def test_int8_and_bf16_are_refused_with_the_reason(kit):
    for spec in Experiment(backends="onnxruntime:cuda", precisions="int8,bf16").variants():
        assert len(backends.get("onnxruntime").supports(spec, kit.model).reason) > 10


def test_a_damaged_engine_is_one_sentence(kit, tmp_path):
    engine = kit.engine()
    source = kit.store.path("engine", engine.key) / "engine.onnx"
    (tmp_path / "engine.onnx").write_bytes(source.read_bytes()[:100])
    with Worker(kit.store.log_path("damaged")) as worker, pytest.raises(WorkbenchError) as caught:
        worker.call("open_engine", engine=str(tmp_path), record=to_json(engine))
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["trtexec-10", "trtexec-11"])
def test_a_protocol_of_trtexec_sets_everything(kit, cnn, protocol):
    asked = Experiment(
        model=str(cnn), data="random", backends="onnxruntime,onnxruntime:cuda", precisions="fp32", batches="4", rounds=2,
        protocol=protocol, region="compute", measure_s=0.01, max_measure_s=0.01,
    )  # fmt: skip
    results = workbench.run(asked, store=kit.store)
    on_cpu, on_gpu = results.rows
    assert on_cpu.status == Status.FAILED
    assert "is timed by a GPU, and this runs on the CPU" in on_cpu.failure.message
    timing = on_gpu.timing
    assert timing.region == Region.DEVICE
    assert timing.device.graph == (protocol == "trtexec-11")
    assert sum(block.wall_s for block in timing.blocks) > 2.9
    assert timing.percentile_s(99) in timing.samples_s


def test_a_run_compares_the_devices_and_says_so(kit, cnn):
    asked = Experiment(
        model=str(cnn), data="random", backends="onnxruntime,onnxruntime:cuda", precisions="fp32,fp16", batches="1,4",
        measure_s=0.3, max_measure_s=0.3, rounds=6, baseline="onnxruntime fp32",
    )  # fmt: skip
    results = workbench.run(asked, store=kit.store)
    assert {row.status for row in results.rows} == {Status.DONE, Status.UNSUPPORTED}
    frame = results.table().frame()
    here = frame[frame["device"] == "cuda:0"]
    assert len(here) == 4
    assert all("across devices" in note for note in here["note"])
    assert all(note.count("GPU memory") for note in here["note"])
    again = workbench.run(asked, store=kit.store)
    assert all(row.reused for row in again.measured)
    with_graph = workbench.run(replace(asked, cuda_graph=True, batches=(4,)), store=kit.store)
    gpu_rows = [row for row in with_graph.measured if row.device == "cuda:0"]
    assert len(gpu_rows) == 2
    assert all(row.timing.device.graph and not row.reused for row in gpu_rows)
    assert with_graph.tally.built == 0  # a graph affects running, not building
