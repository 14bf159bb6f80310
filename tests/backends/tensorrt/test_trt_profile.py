"""TensorRT's profiler up to the GPU: the library's own profiler class, the order of calls, and what is made of its times."""

from __future__ import annotations

import pytest
from test_trt_engine import Gpu, needs_rtx, opened

from workbench.backends.tensorrt.flavours import RTX, library
from workbench.backends.tensorrt.inspector import Inspection, Layer, Tensor
from workbench.backends.tensorrt.profile import ProfiledPlan, reporter
from workbench.errors import RunError
from workbench.records.layers import LAYOUT, WEIGHTS, CallTimes


class LayerTimings(Gpu):
    """A context that runs two layers, the second of them twice, and tells of them when it is asked."""

    tells = True
    profiler = None

    class IProfiler:
        pass

    def report_to_profiler(self):
        assert self.enqueue_emits_profile is False
        for name, ms in (("conv_a", 0.5), ("reformat", 0.125), ("reformat", 0.125)):
            self.profiler.report_layer_time(name, ms * len(self.launched))
        return self.tells


class OneStream:
    """A session on one stream, as far as a profile needs it."""

    def __init__(self, make):
        self.context = make(7)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.context.close()

    def stage(self, feeds):
        self.context.shapes({name: array.shape for name, array in feeds.items()})
        for address, name in enumerate("xy", start=1):
            self.context.bind(name, address)
        return lambda: self.context.enqueue(7)


FOUND = Inspection(
    (
        Layer("conv_a", "CaskConvolution", (Tensor("x", "fp16", (1, 3)),), (Tensor("t", "fp16", (1, 3)),), "fp16", "", ("a", "relu")),
        Layer("reformat", "Reformat", (Tensor("t", "fp16", (1, 3)),), (Tensor("y", "fp32", (1, 3)),)),
    )
)  # fmt: skip


def profiled(gpu, inspection=FOUND):
    plan = opened(gpu)
    plan.trt = LayerTimings
    return ProfiledPlan(plan, inspection, OneStream)


def test_layers_are_reported_call_by_call_with_what_the_inspector_knows_of_them():
    import numpy as np

    with profiled(LayerTimings()) as session:
        call = session.stage({"x": np.zeros((1, 3), np.float32)})
        call()
        session.collect()  # warming up
        session.begin()
        for _ in range(2):
            call()
            session.collect()
        said_texts = session.end()
    first, second = said_texts.layers
    assert (first.name, first.op, first.kind, first.precision) == ("conv_a", "CaskConvolution", WEIGHTS, "fp16")
    assert first.times_ns == (1_000_000, 1_500_000)  # of the second and the third launch
    assert (second.kind, second.times_ns) == (LAYOUT, (500_000, 750_000))
    assert (first.inputs, second.outputs) == ("fp16 1×3", "fp32 1×3")
    assert said_texts.words["conv_a"] == ("a", "relu")


def test_a_layer_that_the_inspector_does_not_know_goes_by_its_name():
    import numpy as np

    with profiled(LayerTimings(), None) as session:
        call = session.stage({"x": np.zeros((1, 3), np.float32)})
        session.begin()
        call()
        session.collect()
        said_texts = session.end()
    assert [(each.name, each.kind) for each in said_texts.layers] == [("conv_a", WEIGHTS), ("reformat", LAYOUT)]


def test_a_profiler_that_got_nothing_is_an_error():
    gpu = LayerTimings()
    gpu.tells = False
    with pytest.raises(RunError, match="The profiler reported nothing"), profiled(gpu) as session:
        session.collect()


def test_a_layer_that_is_not_reported_in_a_call_took_none_of_it():
    times = CallTimes()
    times.add("a", 5)
    times.next_call()
    times.add("b", 7)
    times.next_call()
    times.add("b", 9)  # of a call that was not ended
    assert (times.of("a"), times.of("b")) == ((5, 0), (0, 7))


@needs_rtx
def test_the_librarys_own_profiler_class_is_implemented():
    trt, _ = library(RTX)
    times = CallTimes()
    found = reporter(trt, times)
    assert isinstance(found, trt.IProfiler)
    found.report_layer_time("conv_a", 0.25)
    times.next_call()
    assert times.of("conv_a") == (250_000,)
    assert callable(trt.IExecutionContext.report_to_profiler)
    assert {"profiler", "enqueue_emits_profile"} <= set(dir(trt.IExecutionContext))
