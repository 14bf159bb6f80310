"""TF-TRT: when it is offered, and how a converted graph is read. Converting needs TensorFlow 2.17 or older and a GPU."""

from dataclasses import replace

import pytest

from workbench.backends.tftrt import backend as tftrt
from workbench.backends.tftrt.backend import REPLACED, TfTrt, _available, realized, share
from workbench.errors import BuildError
from workbench.protocols import Source
from workbench.records import EngineSpec, Model, Precision, Region, TensorSpec
from workbench.system.machine import this_machine


@pytest.mark.parametrize(
    ("version", "cpu_version", "reason"),
    [
        ("2.21.0", "", "TensorFlow dropped TF-TRT after 2.17, and this is 2.21.0"),
        ("2.18.0", "", "TensorFlow dropped TF-TRT after 2.17, and this is 2.18.0"),
        ("", "2.21.0", "TensorFlow dropped TF-TRT after 2.17, and this is 2.21.0"),
        ("", "2.17.1", "TensorFlow's CPU build has no TF-TRT"),
        ("", "", "TensorFlow dropped TF-TRT after 2.17"),
    ],
)
def test_it_says_why_it_is_not_there_and_what_replaced_it(version, cpu_version, reason):
    able = _available(version, cpu_version)
    assert able.reason == reason
    assert able.fix == REPLACED
    assert "tensorrt" in REPLACED


@pytest.mark.parametrize("version", ["2.17.1", "2.17.0", "2.16.2"])
def test_it_is_offered_where_tensorflow_still_has_it(version):
    assert _available(version, "")


def test_a_tensorflow_without_it_refuses_in_one_sentence(tmp_path):
    """The class is there in every version; constructing it raises."""
    source = Source(tmp_path, (TensorSpec("x", "float32", (None, 4)),), (), "serving_default")
    with pytest.raises(
        BuildError, match=r"^TensorFlow 2\.\S+ was built without TensorRT; use tensorrt or tensorrt:rtx"
    ):
        TfTrt().build(source, EngineSpec("tftrt", Precision.FP32), tmp_path, lambda _: None)


def test_a_tensorflow_that_finds_no_tensorrt_is_not_said_to_be_built_without():
    """TensorFlow 2.17.1 where the library is absent: ``is_tensorrt_build`` is True, and its converter says otherwise."""

    class Config:
        __version__ = "2.17.1"

        class sysconfig:  # noqa: N801 - TensorFlow's name
            @staticmethod
            def get_build_info():
                return {"is_tensorrt_build": True}

    said = tftrt._refusal(Config)
    assert said.startswith("TensorFlow 2.17.1 was built with TensorRT and does not find its libraries (libnvinfer.so.8")


def test_tutorials_that_call_another_method_are_wrong():
    import tensorflow as tf

    converter = tf.experimental.tensorrt.Converter
    assert not hasattr(converter, "get_converted_network")
    for name in ("convert", "build", "save", "summary"):
        assert callable(getattr(converter, name))
    assert "get_converted_network" in tftrt.__doc__


def test_it_is_not_timed_by_events():
    assert TfTrt().measures(EngineSpec("tftrt", Precision.FP32), Region.COMPUTE)
    assert not TfTrt().measures(EngineSpec("tftrt", Precision.FP32), Region.DEVICE)


KERAS = Model("m.keras", "m", "keras", (TensorSpec("x", "float32", (None, 4)),), (), 4, 16, "0" * 64)


@pytest.mark.parametrize(
    ("changes", "model", "gpu", "reason"),
    [
        ({}, replace(KERAS, format="onnx"), "some", "TF-TRT converts TensorFlow models, and this is not one"),
        ({}, KERAS, "", "TF-TRT converts on the GPU that it runs on, and this machine has none"),
        ({"precision": Precision.BF16}, KERAS, "some", "TF-TRT knows FP32, FP16 and INT8"),
        ({"batch": 4}, KERAS, "some", "TF-TRT takes its shapes from the model"),
        ({"build_options": ("refit",)}, KERAS, "some", "TF-TRT has no build options"),
        ({"streams": 4}, KERAS, "some", "TF-TRT has no build options"),
        ({}, KERAS, "some", ""),
    ],
)
def test_variants_are_refused_with_reason_and_fix(monkeypatch, changes, model, gpu, reason):
    found = replace(this_machine(), gpu=gpu)
    monkeypatch.setattr(tftrt, "this_machine", lambda: found)
    able = TfTrt().supports(EngineSpec("tftrt", **{"precision": Precision.FP32, **changes}), model)
    assert able.ok == (not reason)
    assert able.reason.startswith(reason)
    assert bool(able.fix) == bool(reason)


def graph(precision: bytes):
    """A converted graph: one segment of two convolutions, and a matrix product that stayed outside."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    found = GraphDef()
    segment = found.library.function.add()
    segment.signature.name = "TRTEngineOp_000_000_native_segment"
    for number in range(2):
        segment.node_def.add(name=f"conv_{number}", op="Conv2D").attr["T"].type = 1
    outer = found.library.function.add()
    outer.signature.name = "__inference_pruned_1"
    engine = outer.node_def.add(name="TRTEngineOp_000_000", op="TRTEngineOp")
    engine.attr["precision_mode"].s = precision
    engine.attr["segment_func"].func.name = segment.signature.name
    outer.node_def.add(name="dense", op="MatMul").attr["T"].type = 1
    found.node.add(name="call", op="PartitionedCall")
    return found


@pytest.mark.parametrize(
    ("precision", "layers"),
    [(b"FP32", {"fp32": 3}), (b"FP16", {"fp16": 2, "fp32": 1}), (b"INT8", {"int8": 2, "fp32": 1})],
)
def test_layers_count_by_the_engine_that_holds_them(precision, layers):
    assert realized(graph(precision)).layers == layers


def test_the_share_of_converted_nodes_is_reported_with_what_was_left():
    assert share(graph(b"FP16")) == "1 TensorRT engine with 2 of 3 nodes; left to TensorFlow: MatMul"


def test_a_graph_without_engines_is_tensorflows_own():
    found = graph(b"FP16")
    del found.library.function[0]
    found.library.function[0].node_def.pop(0)
    assert realized(found).layers == {"fp32": 1}
