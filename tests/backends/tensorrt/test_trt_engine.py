"""Opening plans: everything that can go wrong before a GPU is needed. Running is for machines that have one."""

from dataclasses import replace

import pytest
import small_onnx

from workbench.backends.tensorrt import build
from workbench.backends.tensorrt import engine as trt_engine
from workbench.backends.tensorrt.engine import INVALID, EnginePlan, PlanContext, validity
from workbench.backends.tensorrt.flavours import LEAN, RTX, library
from workbench.errors import RunError
from workbench.records import EngineSpec, Precision
from workbench.system.machine import this_machine

needs_rtx = pytest.mark.skipif(not RTX.installed, reason=RTX.installed.reason)
without_gpu = pytest.mark.skipif(bool(this_machine().gpu), reason="there is a GPU")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    source = small_onnx.convolution(tmp_path_factory.mktemp("plan") / "m.onnx")
    spec = EngineSpec("tensorrt", Precision.FP32, "rtx", batches=(1, 4))
    return build.build_plan(RTX, source, spec, lambda _: None).plan


@without_gpu
@pytest.mark.parametrize("flavour", [RTX, LEAN])
def test_without_a_gpu_no_library_is_even_loaded(tmp_path, flavour):
    """The lean runtime ends the process where there is no driver, instead of refusing."""
    with pytest.raises(RunError) as caught:
        EnginePlan(flavour, tmp_path / "absent.plan").context(0)
    assert str(caught.value) == f"{flavour.title} runs on NVIDIA GPUs, and this machine has none."


@needs_rtx
def test_a_file_that_is_not_an_engine_is_recognized_by_its_first_bytes():
    trt, log = library(RTX)
    said = validity(trt, trt.Runtime(log), b"x" * 100)
    assert said.startswith("the file is not an engine of TensorRT for RTX; build it again here")


@needs_rtx
@without_gpu
def test_a_good_engine_without_a_driver_is_not_called_damaged(plan):
    trt, log = library(RTX)
    assert validity(trt, trt.Runtime(log), plan) == "the GPU's driver could not be asked; look at the log"


@needs_rtx
def test_every_diagnosis_has_words():
    trt, _ = library(RTX)
    assert set(trt.EngineInvalidityDiagnostics.__members__) == set(INVALID)


@needs_rtx
def test_all_that_is_wrong_is_reported():
    trt, _ = library(RTX)

    class Runtime:
        def get_engine_validity(self, _):
            bits = trt.EngineInvalidityDiagnostics.VERSION_MISMATCH, trt.EngineInvalidityDiagnostics.UNSUPPORTED_CC
            return trt.EngineValidity.INVALID, int(bits[0]) | int(bits[1])

    said = validity(trt, Runtime(), b"")
    assert said.startswith("the engine was built with another release of TensorRT for RTX; build it again here; ")
    assert "the engine was not built for this GPU's generation" in said


@needs_rtx
@pytest.mark.parametrize("verdict", ["VALID", "SUBOPTIMAL"])
def test_an_engine_that_runs_here_is_not_refused(verdict):
    trt, _ = library(RTX)

    class Runtime:
        def get_engine_validity(self, _):
            return trt.EngineValidity.__members__[verdict], 0

    assert validity(trt, Runtime(), b"") == ""


def test_a_runtime_that_could_not_start_is_neither_used_nor_freed(monkeypatch, tmp_path):
    """The lean runtime 11.4 without a driver: the object comes back, its errors are in the log, and any use is a crash."""

    class Broken:
        def __init__(self, log):
            log.lines.append("CUDA initialization failure with error: 35")

        def __getattr__(self, name):
            raise AssertionError(name)

        def __del__(self):
            freed.append(self)

    freed, log = [], Gpu()
    monkeypatch.setattr(trt_engine, "this_machine", lambda: replace(this_machine(), gpu="some"))
    monkeypatch.setattr(trt_engine, "library", lambda _: (type("Module", (), {"Runtime": Broken}), log))
    (tmp_path / "engine.plan").write_bytes(b"plan")
    plan = EnginePlan(LEAN, tmp_path / "engine.plan")
    with pytest.raises(RunError, match="TensorRT lean runtime could not start: "):
        plan.context(0)
    del plan
    assert freed == []


def test_a_library_that_cannot_be_asked_is_not_asked():
    assert validity(None, object(), b"") == ""


@needs_rtx
def test_the_library_has_what_running_calls():
    """Running needs a GPU; that every member is there, and takes what it is given, can be seen without one."""
    trt, _ = library(RTX)
    for member in ("set_input_shape", "infer_shapes", "get_tensor_shape", "set_tensor_address", "execute_async_v3"):
        assert callable(getattr(trt.IExecutionContext, member))
    for member in ("get_tensor_name", "get_tensor_mode", "get_tensor_location", "get_tensor_dtype",
                   "create_execution_context", "create_engine_inspector"):  # fmt: skip
        assert callable(getattr(trt.ICudaEngine, member))
    assert "stream_handle: typing.SupportsInt" in trt.IExecutionContext.execute_async_v3.__doc__
    assert {name for name in trt.DataType.__members__ if name in build.DTYPES} == set(build.DTYPES)
    assert {"shapes", "bind", "enqueue", "close"} <= set(dir(PlanContext))


class Gpu:
    """Stands for an engine and its context as the library documents them, on a machine that cannot run one: an input
    "x" of up to four rows, an output "y" with as many.
    """

    class TensorIOMode:
        INPUT, OUTPUT = "input", "output"

    class TensorLocation:
        HOST, DEVICE = "host", "device"

    active_optimization_profile = 0

    def __init__(self, location="device", rows=None, dtype="FLOAT"):
        self.location, self.rows, self.dtype = location, rows, dtype
        self.shape, self.addresses, self.launched, self.lines = None, {}, [], []
        self.num_io_tensors = 2

    def create_execution_context(self):
        return self

    def warnings(self):
        return []

    def errors(self):
        return self.lines

    def text(self):
        return "\n".join(self.lines)

    def get_tensor_name(self, number):
        return "xy"[number]

    def get_tensor_mode(self, name):
        return {"x": "input", "y": "output"}[name]

    def get_tensor_location(self, _):
        return self.location

    def get_tensor_dtype(self, _):
        return type("DataType", (), {"name": self.dtype})

    def set_input_shape(self, name, shape):
        if shape[0] > 4:
            self.lines.append("Static dimension mismatch: 9 does not satisfy any optimization profiles.")
            return False
        self.shape = shape
        return True

    def infer_shapes(self):
        return [] if self.shape else ["x"]

    def get_tensor_shape(self, _):
        return (self.rows or self.shape[0], 3)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream):
        self.launched.append(stream)
        return set(self.addresses) == {"x", "y"}


def opened(gpu):
    plan = EnginePlan(RTX, b"")
    plan.trt, plan.log, plan.engine = Gpu, gpu, gpu
    return plan


def test_a_context_without_a_profile_is_refused_before_it_is_asked_for_shapes():
    """A second context of a plan of TensorRT 8 that does not share its profile; its shapes end the process (SIGSEGV)."""
    gpu = Gpu()
    gpu.active_optimization_profile = -1
    with pytest.raises(RunError, match="this plan serves one stream, because its optimization profile is in use"):
        opened(gpu).context(0)


def test_shapes_go_in_and_come_out():
    context = opened(Gpu()).context(0)
    found = context.shapes({"x": (3, 3)})
    # inputs too: the caller can then refuse memory of another type, which TensorRT would misread
    assert {name: (shape, dtype.name) for name, (shape, dtype) in found.items()} == {
        "x": ((3, 3), "float32"),
        "y": ((3, 3), "float32"),
    }
    assert context.no_graph == ""


def test_launches_that_cannot_be_captured_say_so():
    gpu = Gpu()
    gpu.is_stream_capturable = lambda stream: stream != 7
    for stream, why in ((5, ""), (7, "TensorRT says that these launches cannot be captured")):
        context = opened(gpu).context(stream)
        context.shapes({"x": (1, 3)})
        assert context.no_graph == why
    plan = EnginePlan(RTX, b"", streaming=True)
    plan.trt, plan.log, plan.engine = Gpu, gpu, gpu
    context = plan.context(5)
    context.shapes({"x": (1, 3)})
    assert "weights are streamed" in context.no_graph


def test_bf16_outputs_have_a_dtype():
    context = opened(Gpu(dtype="BF16")).context(0)
    assert context.shapes({"x": (1, 3)})["y"][1].name == "bfloat16"


@pytest.mark.parametrize(
    ("gpu", "inputs", "message"),
    [
        (
            Gpu(),
            {"x": (9, 3)},
            r"The shape \(9, 3\) of input 'x' was refused: a size lies outside the range that the engine",
        ),
        (Gpu(), {}, r"The engine needs the inputs x too\. Give every input"),
        (Gpu(rows=-1), {"x": (1, 3)}, r"The size of output 'y' depends on the data"),
        (Gpu(dtype="FP8"), {"x": (1, 3)}, r"A tensor has the type FP8, which arrays do not have"),
    ],
)
def test_shapes_that_cannot_be_served_are_refused(gpu, inputs, message):
    with pytest.raises(RunError, match=message):
        opened(gpu).context(0).shapes(inputs)


def test_tensors_in_host_memory_are_refused():
    with pytest.raises(RunError, match="'x' decides shapes and must lie in host memory"):
        opened(Gpu(location="host")).context(0)


def test_it_launches_on_the_stream_when_all_is_bound():
    gpu = Gpu()
    context = opened(gpu).context(0)
    context.bind("x", 256)
    with pytest.raises(RunError, match="The engine could not be run: the library gave no reason"):
        context.enqueue(77)
    context.bind("y", 512)
    context.enqueue(77)
    assert gpu.launched == [77, 77]
    with pytest.raises(RunError, match="'y' could not be bound"):
        context.bind("y", 0)


def test_the_engine_goes_with_its_last_context():
    plan = opened(Gpu())
    contexts = [plan.context(stream) for stream in range(2)]
    contexts[0].close()
    contexts[0].close()  # once more is no harm
    assert plan.engine is not None
    contexts[1].close()
    assert plan.engine is None


class Library:
    """Stands for a module of the full library as far as it is opened with: what is asked of it is noted."""

    LayerInformationFormat = type("LayerInformationFormat", (), {"JSON": "json"})
    TensorIOMode, TensorLocation = Gpu.TensorIOMode, Gpu.TensorLocation

    def __init__(self, engine):
        self.engine, self.runtimes = engine, []

    def Runtime(self, log):  # noqa: N802 - the library's name
        runtime = type("Runtime", (), {"engine_host_code_allowed": False})()
        runtime.deserialize_cuda_engine = lambda plan: self.deserialized(runtime, plan)
        self.runtimes.append(runtime)
        return runtime

    def deserialized(self, runtime, plan):
        self.allowed_then, self.plan = runtime.engine_host_code_allowed, plan
        return self.engine


def loaded(monkeypatch, engine, **how):
    """A plan whose library and GPU are pretended; the stand-in of its library."""
    found = Library(engine)
    monkeypatch.setattr(trt_engine, "this_machine", lambda: replace(this_machine(), gpu="some"))
    monkeypatch.setattr(trt_engine, "library", lambda _: (found, engine))
    return EnginePlan(LEAN, b"the plan", **how), found


@pytest.mark.parametrize("allowed", [False, True])
def test_code_inside_a_plan_is_allowed_before_it_is_opened_and_only_where_that_was_asked(monkeypatch, allowed):
    plan, found = loaded(monkeypatch, Gpu(), host_code=allowed)
    plan.context(0)
    assert (found.allowed_then, found.plan) == (allowed, b"the plan")


def test_the_budget_of_streamed_weights_is_set_before_there_is_a_context(monkeypatch):
    class Streaming(Gpu):
        weight_streaming_budget_v2 = 0

        def get_weight_streaming_automatic_budget(self):
            return 123

        def create_execution_context(self):
            self.budget_then = self.weight_streaming_budget_v2
            return self

    for streaming in (True, False):
        gpu = Streaming()
        plan, _ = loaded(monkeypatch, gpu, streaming=streaming)
        plan.context(0)
        assert gpu.budget_then == (123 if streaming else 0)


class Inspected(Gpu):
    """An inspector that knows the formats only where it was given a context whose inputs have shapes."""

    execution_context = None

    def create_engine_inspector(self):
        return self

    def get_engine_information(self, form):
        assert form == "json"
        return f"formats at {self.execution_context.shape}" if self.execution_context else "N/A"


def test_the_inspector_is_given_a_context_with_shapes(monkeypatch):
    _, _ = loaded(monkeypatch, Inspected())
    assert trt_engine.inspection_json(LEAN, b"the plan", {"x": (2, 3)}) == "formats at (2, 3)"


@needs_rtx
def test_kernels_of_tensorrt_for_rtx_are_compiled_before_the_first_launch():
    """Fallback kernels would be timed first, and captured into a graph for good."""
    trt, _ = library(RTX)

    class Rtx(Gpu):
        def create_runtime_config(self):
            self.config = type("Config", (), {"dynamic_shapes_kernel_specialization_strategy": "untouched"})()
            return self.config

        def create_execution_context(self, config=None):
            self.given = config
            return self

    gpu = Rtx()
    plan = EnginePlan(RTX, b"")
    plan.trt, plan.log, plan.engine = trt, gpu, gpu
    gpu.num_io_tensors = 0  # the modes of its tensors are not this library's
    plan.context(0)
    strategies = trt.DynamicShapesKernelSpecializationStrategy
    assert gpu.given.dynamic_shapes_kernel_specialization_strategy == strategies.EAGER
    assert hasattr(trt.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert callable(trt.ICudaEngine.create_runtime_config)


def test_other_flavours_have_no_such_strategy():
    gpu = Gpu()
    gpu.create_runtime_config = None  # newer releases of the full library have one, without the strategy
    assert opened(gpu).context(0).no_graph == ""
