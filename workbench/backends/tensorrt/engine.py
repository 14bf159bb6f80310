"""Running a TensorRT plan: the runtime, the engine, and one execution context for each stream.

Nothing clever: shapes, addresses, enqueue. Buffers, copies, events and graphs are ``workbench.cuda.gpu``'s. A plan is code as
much as data; only plans that the store wrote, and whose digest it checked, are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.tensorrt.build import DTYPES
from workbench.backends.tensorrt.flavours import Flavour, checked, library, made, why
from workbench.errors import RunError
from workbench.system.machine import this_machine

if TYPE_CHECKING:
    import numpy as np

# what the diagnostics of TensorRT for RTX mean, by the name of the bit
INVALID = {
    "VERSION_MISMATCH": ("the engine was built with another release of TensorRT for RTX", "build it again here"),
    "UNSUPPORTED_CC": (
        "the engine was not built for this GPU's generation",
        "name that with target=..., or use another backend: there is none for compute capability 9.0",
    ),
    "OLD_CUDA_DRIVER": ("the NVIDIA driver is too old for the engine", "update the driver"),
    "OLD_CUDA_RUNTIME": ("the CUDA runtime is too old for the engine", "update TensorRT for RTX"),
    "INSUFFICIENT_GPU_MEMORY": ("the GPU's memory does not suffice", "choose a smaller batch or model"),
    "MALFORMED_ENGINE": ("the file is not an engine of TensorRT for RTX", "build it again here"),
    "CUDA_ERROR": ("the GPU or its driver could not be asked", "look at the log"),
}

_broken: list[Any] = []


class EnginePlan:
    """An engine in device memory, deserialized at the first :meth:`context`, when the CUDA context is current."""

    def __init__(
        self, flavour: Flavour, plan: Path | bytes, *, host_code: bool = False, streaming: bool = False
    ) -> None:
        self._flavour, self._host_code, self._streaming = flavour, host_code, streaming
        self._plan = plan
        self.trt: Any = None
        self.log: Any = None
        self.engine: Any = None  # the library's own object
        self._runtime: Any = None
        self._open = 0  # contexts

    def context(self, stream: int) -> PlanContext:
        """One execution context: the ``make`` of ``workbench.cuda.gpu.CudaSession``.

        Raises:
            RunError: no GPU, or the library does not take the plan; the text says why.
        """
        if self.engine is None:
            self.load()
        what = f"{self._flavour.title} could not prepare the engine to run"
        context = made(self._context, what, self.log, RunError)
        if context.active_optimization_profile < 0:  # before 10.0; asking it for shapes would end the process
            raise RunError(
                f"{self._flavour.title}: this plan serves one stream, because its optimization profile is in use. "
                "Choose one stream, or build it again with TensorRT 8.6 or later."
            )
        opened = PlanContext(self.trt, self.engine, context, self.log, self._release, stream)
        if self._streaming:
            opened.no_graph = "weights are streamed, and such launches cannot be captured"
        self._open += 1
        return opened

    def _context(self) -> Any:
        """Of TensorRT for RTX with its kernels compiled for the shapes at hand before the first launch returns.

        Left to itself it runs fallback kernels with free shapes until the others are ready: early samples would not be those
        of later runs, and a graph captured in the meantime would repeat the fallback for good.
        """
        strategies = getattr(self.trt, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return self.engine.create_execution_context()
        config = checked(self.engine.create_runtime_config(), "The engine gave no configuration", self.log, RunError)
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return self.engine.create_execution_context(config)

    def load(self) -> None:
        """Deserialize the plan.

        Raises:
            RunError: as :meth:`context`.
        """
        if not this_machine().gpu:  # the lean runtime would end the process (SIGSEGV) instead of saying so
            raise RunError(f"{self._flavour.title} runs on NVIDIA GPUs, and this machine has none.")
        self.trt, self.log = library(self._flavour)
        data = self._plan if isinstance(self._plan, bytes) else self._plan.read_bytes()
        self._runtime = made(
            lambda: self.trt.Runtime(self.log), f"{self._flavour.title} could not start", self.log, RunError
        )
        if self.log.errors():
            # the lean runtime comes back even where it could not start, and ends the process when it is used or freed
            _broken.append(self._runtime)
            self._runtime = None
            raise RunError(f"{self._flavour.title} could not start: {why(self.log)}.", log=self.log.text())
        if self._host_code:
            self._runtime.engine_host_code_allowed = True
        if problem := validity(self.trt, self._runtime, data):
            raise RunError(f"{self._flavour.title} cannot run the engine here: {problem}.", log=self.log.text())
        engine = self._runtime.deserialize_cuda_engine(data)
        self.engine = checked(engine, f"{self._flavour.title} could not open the engine", self.log, RunError)
        if self._streaming and hasattr(self.engine, "weight_streaming_budget_v2"):
            # what the library itself would keep on the device; it must be set before there are contexts
            self.engine.weight_streaming_budget_v2 = self.engine.get_weight_streaming_automatic_budget()

    def _release(self) -> None:
        """A context is gone. With the last one the engine goes, and only then the runtime."""
        self._open -= 1
        if not self._open:
            self.unload()

    def unload(self) -> None:
        """Free the engine, and only then the runtime; to be called when there is no context."""
        self.engine = None
        self._runtime = None


def validity(trt: Any, runtime: Any, plan: bytes) -> str:
    """The reason why TensorRT for RTX would not run the plan here; "" if it would, or if the library cannot say."""
    if not hasattr(runtime, "get_engine_validity"):
        return ""
    verdict, bits = runtime.get_engine_validity(plan)
    if verdict != trt.EngineValidity.INVALID:
        return ""
    found = [
        INVALID.get(name, (name.lower(), "look at the log"))
        for name, member in trt.EngineInvalidityDiagnostics.__members__.items()
        if int(member) & bits
    ]
    if not found:
        return "the GPU's driver could not be asked; look at the log"
    gpu = this_machine().gpu
    return "; ".join(f"{plain}; {do}" for plain, do in found) + (f" (this GPU: {gpu})" if gpu else "")


class PlanContext:
    """One execution context: the ``Engine`` of ``workbench.cuda.gpu``."""

    def __init__(
        self, trt: Any, engine: Any, context: Any, log: Any, closed: Callable[[], None], stream: int = 0
    ) -> None:
        self._trt, self._engine, self._context, self._log, self._closed = trt, engine, context, log, closed
        self._stream = stream
        self.no_graph = ""  # why its launches must not be captured
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        for name in names:
            if engine.get_tensor_location(name) == trt.TensorLocation.HOST:
                raise RunError(
                    f"'{name}' decides shapes and must lie in host memory, which this version does not serve. "
                    "Make it a constant of the model."
                )

    def shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Set the shape of every input; shape and dtype of every input and output: TensorRT sees bytes and checks nothing.

        Raises:
            RunError: a size outside the range that the engine was built for, an input that is missing, or an output
                whose size depends on the data.
        """
        self._log.lines.clear()
        for name, shape in inputs.items():
            taken = self._context.set_input_shape(name, shape)
            checked(taken, f"The shape {tuple(shape)} of input '{name}' was refused", self._log, RunError)
        if missing := self._context.infer_shapes():
            raise RunError(f"The engine needs the inputs {', '.join(missing)} too. Give every input of the model.")
        # TensorRT for RTX says whether a launch can be captured
        ask = getattr(self._context, "is_stream_capturable", None)
        if ask is not None and not ask(self._stream):
            self.no_graph = self.no_graph or "TensorRT says that these launches cannot be captured"
        found = {name: (tuple(shape), _numpy(self._engine.get_tensor_dtype(name))) for name, shape in inputs.items()}
        for name in self._outputs:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
            if any(size < 0 for size in shape):
                raise RunError(f"The size of output '{name}' depends on the data, which this version does not serve.")
            found[name] = (shape, _numpy(self._engine.get_tensor_dtype(name)))
        return found

    def bind(self, name: str, address: int) -> None:
        """Where an input or output lies in device memory."""
        checked(self._context.set_tensor_address(name, address), f"'{name}' could not be bound", self._log, RunError)

    def enqueue(self, stream: int) -> None:
        """Launch once on the stream, without waiting."""
        if not self._context.execute_async_v3(stream):
            raise RunError(f"The engine could not be run: {why(self._log)}.", log=self._log.text())

    def profile(self, profiler: Any) -> None:
        """Let the library time each layer from now on, and report to an ``IProfiler`` when :meth:`report` is called.

        If it were recorded as soon as it is launched, every launch would wait for its own end.
        """
        self._context.profiler = profiler
        self._context.enqueue_emits_profile = False

    def report(self) -> None:
        """Tell the profiler of the last launch, which must have ended.

        Raises:
            RunError: the library reports nothing.
        """
        checked(self._context.report_to_profiler(), "The profiler reported nothing", self._log, RunError)

    def close(self) -> None:
        """Free the context; with the plan's last one, the engine and the runtime too."""
        if self._context is not None:
            self._context = self._engine = None
            self._closed()


def _numpy(dtype: Any) -> np.dtype[Any]:
    """NumPy's dtype; TensorRT's own translation raises for BF16."""
    import ml_dtypes
    import numpy as np

    name = DTYPES.get(dtype.name)
    if name is None:
        raise RunError(f"A tensor has the type {dtype.name}, which arrays do not have. Cast it in the model.")
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def inspection_json(
    flavour: Flavour, plan: bytes, shapes: Mapping[str, tuple[int, ...]], *, host_code: bool = False
) -> str:
    """The engine inspector's description of a plan, as JSON, with its inputs at ``shapes``.

    Without shapes the formats of an engine with dynamic ones are "N/A".

    Raises:
        RunError: no GPU, or one that the plan does not run on.
    """
    opened = EnginePlan(flavour, plan, host_code=host_code)
    context = opened.context(0)
    inspector = None
    try:
        context.shapes(shapes)
        inspector = opened.engine.create_engine_inspector()
        inspector.execution_context = context._context  # noqa: SLF001 - of this file
        text: str = inspector.get_engine_information(opened.trt.LayerInformationFormat.JSON)
        return text
    finally:
        del inspector
        context.close()
