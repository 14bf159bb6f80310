"""What the libraries' profiles are read into; the profiles themselves are made by the contract suite."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from workbench.backends.onnxruntime import profile as ort_profile
from workbench.backends.openvino import profile as openvino_profile
from workbench.backends.tensorflow import profile as tf_profile
from workbench.models.openvino_tensors import Names


def kernel(name, op, ts, dur, dtype="float"):
    shapes = {"input_type_shape": [{dtype: [1, 4]}], "output_type_shape": [{"float": [1, 2]}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"op_name": op, **shapes}}


def run(ts, dur):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def test_only_the_last_calls_of_a_profile_count():
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 5},
        kernel("a", "MatMul", 10, 900), run(9, 950),  # warm-up
        kernel("a", "MatMul", 1000, 7, "uint8"), kernel("b", "Relu", 1010, 2), run(999, 20),
        kernel("a", "MatMul", 2000, 9), kernel("b", "Relu", 2010, 1), run(1999, 20),
    ]  # fmt: skip
    reported = ort_profile.layers_of(events, 2)
    assert [(each.name, each.op, each.times_ns) for each in reported.layers] == [
        ("a", "MatMul", (7000, 9000)),
        ("b", "Relu", (2000, 1000)),
    ]
    assert reported.layers[0].precision == "int8"
    assert reported.layers[1].precision == "fp32"
    assert reported.layers[0].inputs == "uint8 1×4"


def test_a_loop_is_given_its_own_time_and_its_body_the_sum_over_its_turns():
    events = [
        kernel("loop", "Loop", 100, 50), kernel("body", "Gemm", 105, 10), kernel("body", "Gemm", 120, 12),
        kernel("after", "Softmax", 160, 3), run(99, 70),
    ]  # fmt: skip
    times = {each.name: each.times_ns for each in ort_profile.layers_of(events, 1).layers}
    assert times == {"loop": (28_000,), "body": (22_000,), "after": (3_000,)}


def space(*events):
    names = {1: "ExecutorState::Process", 2: "net/conv/Conv2D:Conv2D", 3: "StatefulPartitionedCall/net/d/MatMul:MatMul"}
    plane = SimpleNamespace(
        event_metadata={number: SimpleNamespace(name=name) for number, name in names.items()},
        lines=[
            SimpleNamespace(
                timestamp_ns=0,
                events=[SimpleNamespace(metadata_id=m, offset_ps=at, duration_ps=ps) for m, at, ps in events],
            )
        ],
    )
    return SimpleNamespace(planes=[plane])


def test_operations_of_tensorflow_in_the_order_of_the_calls():
    found = tf_profile.layers_of(space((3, 900, 7000), (2, 100, 5000), (1, 0, 9), (2, 1100, 6000), (3, 1900, 8000)), 2)
    assert [(each.name, each.op, each.times_ns) for each in found.layers] == [
        ("net/conv/Conv2D", "Conv2D", (5, 6)),
        ("net/d/MatMul", "MatMul", (7, 8)),
    ]


@pytest.mark.parametrize("events", [((2, 0, 1),), ((2, 0, 1), (2, 1, 1), (2, 2, 1))])
def test_an_operation_that_was_not_seen_in_every_call_is_left_out(events):
    assert tf_profile.layers_of(space(*events), 2).layers == ()


def counter(name, kind, primitive, microseconds):
    """As OpenVINO tells them: below one microsecond a primitive was "not run"."""
    return SimpleNamespace(
        node_name=name, node_type=kind, exec_type=primitive, real_time=timedelta(microseconds=microseconds),
        status=SimpleNamespace(name="EXECUTED" if microseconds else "NOT_RUN"),
    )  # fmt: skip


def test_a_layer_of_openvino_that_takes_no_whole_microsecond_is_a_layer():
    calls = iter(
        [
            [counter("conv", "Convolution", "brgconv_f32", 7), counter("dense", "FullyConnected", "brgemm_f32", 0),
             counter("relu", "Relu", "undef", 0), counter("flat", "Reshape", "unknown_f32", 0)]
        ] * 3
    )  # fmt: skip
    request = SimpleNamespace(get_profiling_info=lambda: next(calls))
    runtime = SimpleNamespace(get_ops=list)
    compiled = SimpleNamespace(create_infer_request=lambda: request, get_runtime_model=lambda: runtime)
    profiled = openvino_profile.ProfiledOpenVino(compiled, Names((), ()))
    profiled.begin()
    for _ in range(3):
        profiled.collect()
    reported = profiled.end()
    assert [(each.name, each.precision, each.times_ns) for each in reported.layers] == [
        ("conv", "fp32", (7000, 7000, 7000)),
        ("dense", "fp32", (0, 0, 0)),
    ]
