"""Sessions of ONNX Runtime, their options, and those of its CUDA provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.base import BaseSession
from workbench.errors import BuildError, RunError, brief
from workbench.models import ort_values
from workbench.models.exact_int8 import EXACT_INT8
from workbench.models.onnx_file import graphs
from workbench.protocols import Caller, Callers
from workbench.records import EngineSpec, InEffect
from workbench.system.in_effect import denormals

if TYPE_CHECKING:
    import numpy as np

FILE = "engine.onnx"
UNOPTIMIZED = "unoptimized.onnx"
"""The engine's file if the optimized one holds copies between devices, which ONNX Runtime adds and cannot read back."""
CUDA = "cuda"
CUDA_PROVIDER = "CUDAExecutionProvider"
CUDA_LIBRARY = "libonnxruntime_providers_cuda.so"
DENORMALS = "session.set_denormal_as_zero"
SPINNING = "session.intra_op.allow_spinning"
"""Names and defaults (0 and 1): onnxruntime_session_options_config_keys.h of ONNX Runtime."""
COPIES = {"MemcpyFromHost", "MemcpyToHost"}
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


GPU_PACKAGE = "onnxruntime-gpu"
OVERWRITTEN = f"the package 'onnxruntime' was installed over '{GPU_PACKAGE}' and replaced its files"
REPAIR = f"pip install --force-reinstall --no-deps {GPU_PACKAGE}"


def overwritten() -> bool:
    """Whether files of the package with the CUDA provider were replaced by those of ``onnxruntime``; imports neither.

    Both packages install the same folder, and pip replaces the files of one by those of the other without a warning. The
    provider's library stays, while the rest is that of the CPU package. Detected by the sizes in the record of the installation.
    """
    from importlib import metadata

    try:
        files = metadata.files(GPU_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return False
    for file in files:
        if file.suffix == ".so" and file.parent.name == "capi" and file.size is not None:
            place = Path(str(file.locate()))
            if not place.is_file() or place.stat().st_size != file.size:
                return True
    return False


def level_of(spec: EngineSpec) -> Any:
    import onnxruntime as ort

    level = len(LEVELS) - 1 if spec.optimization_level is None else spec.optimization_level
    return getattr(ort.GraphOptimizationLevel, LEVELS[level])


def options_of(spec: EngineSpec) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = spec.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # as TensorFlow and TensorFlow Lite do, where it cannot be changed
    options.add_session_config_entry(DENORMALS, "1")
    if spec.mode != CUDA:  # on a GPU its kernels are not used, and its conversion does not open every file
        options.add_session_config_entry(*EXACT_INT8)
    return options


def settings_in_effect(session: Any) -> tuple[InEffect, ...]:
    """Settings of an open session, from the options that it holds."""
    options = session.get_session_options()

    def entry(key: str, default: str) -> str:
        try:
            return str(options.get_session_config_entry(key))
        except Exception:  # it was not set
            return default

    values = {
        "threads": str(options.intra_op_num_threads),
        "memory arena": "on" if options.enable_cpu_mem_arena else "off",
        "memory pattern": "on" if options.enable_mem_pattern else "off",
        "idle threads": "spin" if entry(SPINNING, "1") == "1" else "sleep",
        "operators side by side": "no" if options.execution_mode.name == "ORT_SEQUENTIAL" else "yes",
    }
    found = [InEffect(name, value, "SessionOptions of the open session") for name, value in values.items()]
    # the option sets the threads of this session; the calling thread computes too, and only a process's first session sets it
    asked, caller = "flushed to zero" if entry(DENORMALS, "0") == "1" else "kept", denormals()
    one = options.intra_op_num_threads == 1 or asked == caller
    value = caller if one else f"{asked}, but {caller} in the calling thread"
    return (
        *found,
        InEffect("denormals", value, "SessionOptions, and a denormal made and multiplied in the calling thread"),
    )


def on_cuda(path: Path, spec: EngineSpec, options: Any, *, stream: int = 0, graph: bool = False) -> Any:
    """Open a session that prefers the CUDA provider.

    Raises:
        BuildError: the provider is installed but did not start.
    """
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN from NVIDIA's packages, if pip installed them
    settings = {"device_id": "0", "use_tf32": str(int(spec.tf32)), "do_copy_in_default_stream": "1"}
    if stream:
        settings["user_compute_stream"] = str(stream)
    if graph:
        settings["enable_cuda_graph"] = "1"
    providers = [(CUDA_PROVIDER, settings), "CPUExecutionProvider"]
    # otherwise ONNX Runtime retries on the CPU alone and only prints a message
    session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    if CUDA_PROVIDER not in session.get_providers():
        raise BuildError(
            "ONNX Runtime's CUDA provider did not start: a CUDA or cuDNN library that it needs is missing, or the driver is "
            "too old. Its log names the library."
        )
    return session


class OnnxRuntimeSession(BaseSession):
    """A session on the CPU."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._run = ort_values.runner(session)
        self._inputs = {value.name: value.type for value in session.get_inputs()}
        self._outputs = [output.name for output in session.get_outputs()]

    def close(self) -> None:
        del self._session, self._run

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._run(feeds)

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        binding = self._session.io_binding()
        for name, array in feeds.items():
            if self._inputs.get(name) == ort_values.BFLOAT16:
                binding.bind_ortvalue_input(name, ort_values.value_of(array, ort_values.BFLOAT16))
            else:
                binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        session = self._session
        return lambda: session.run_with_iobinding(binding)

    def callers(self, count: int) -> Callers:
        """All callers share the session, whose Run may be called by several threads at once (ONNX Runtime's C API documents it);
        each staged call has its own binding. Threads beyond the calling one come from the session's pool, which all share.
        """
        return Callers((Caller(self.run, self.stage),) * count, "one session")

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        session, outputs = self._session, self._outputs
        values = {name: ort_values.value_of(array, self._inputs.get(name, "")) for name, array in feeds.items()}
        return (
            lambda: session.run_with_ort_values(outputs, values),
            "run_with_ort_values: OrtValues in, OrtValues out, which each call creates",
        )

    def in_effect(self) -> tuple[InEffect, ...]:
        return settings_in_effect(self._session)


class CudaEngine:
    """One session of the CUDA provider on one stream: a :class:`workbench.cuda.gpu.Engine`."""

    def __init__(self, engine: Path, spec: EngineSpec, stream: int) -> None:
        import onnxruntime as ort

        options = options_of(spec)
        path, options.graph_optimization_level = engine / FILE, ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if not path.exists():
            path, options.graph_optimization_level = engine / UNOPTIMIZED, level_of(spec)
        self._stream = stream
        self.no_graph = ""
        if spec.cuda_graph:
            # the provider then keeps buffers that a captured run still uses, and rejects graphs that cannot be replayed
            try:
                self._session = on_cuda(path, spec, options, stream=stream, graph=True)
            except Exception as cause:
                self.no_graph = brief(cause)
        if not spec.cuda_graph or self.no_graph:
            self._session = on_cuda(path, spec, options, stream=stream)
        self._inputs = {each.name: _dtype(each) for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._run = ort.RunOptions()
        self._run.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._run.add_run_config_entry("gpu_graph_id", "-1")  # the caller decides when a run is captured
        self._binding = self._session.io_binding()
        self._known: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Determined by one run on zeros, because shapes of outputs may depend on operations that only a run evaluates."""
        import numpy as np
        import onnxruntime as ort

        binding = self._session.io_binding()
        kept = []
        for name, shape in inputs.items():
            if name not in self._inputs:
                raise RunError(f"The engine has no input '{name}'. It has: {', '.join(self._inputs)}.")
            kept.append(ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, self._inputs[name]), CUDA, 0))
            binding.bind_ortvalue_input(name, kept[-1])
        for name in self._outputs:
            binding.bind_output(name, CUDA, 0)
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")
        self._session.run_with_iobinding(binding, options)
        values = binding.get_outputs()
        found = {name: (tuple(value.shape()), _dtype(value)) for name, value in zip(self._outputs, values, strict=True)}
        self._known = found | {name: (tuple(shape), self._inputs[name]) for name, shape in inputs.items()}
        self._binding = self._session.io_binding()
        return self._known

    def bind(self, name: str, address: int) -> None:
        shape, dtype = self._known[name]
        put = self._binding.bind_input if name in self._inputs else self._binding.bind_output
        put(name, CUDA, 0, dtype, shape, address)

    def enqueue(self, stream: int) -> None:
        if stream != self._stream:
            raise RunError("An engine of ONNX Runtime launches only on the stream that it was created with.")
        self._session.run_with_iobinding(self._binding, self._run)

    def close(self) -> None:
        del self._binding, self._session


def placement(session: Any) -> str:
    """A sentence about the nodes that run on the CPU; ``""``: none."""
    parts = session.get_provider_graph_assignment_info()
    places = Counter({True: 0, False: 0})
    fallen: Counter[str] = Counter()
    for part in parts:
        on_gpu = part.ep_name == CUDA_PROVIDER
        for node in part.get_nodes():
            places[on_gpu] += 1
            if not on_gpu:
                fallen[node.op_type] += 1
    if not fallen:
        return ""
    kinds = ", ".join(f"{count} {op}" for op, count in fallen.most_common(5))
    more = f" and {len(fallen) - 5} more kinds" if len(fallen) > 5 else ""
    return f"{places[False]} of {places.total()} nodes run on the CPU ({kinds}{more})"


def holds_copies(path: Path) -> bool:
    import onnx

    model = onnx.load(path, load_external_data=False)
    return any(node.op_type in COPIES for part in graphs(model.graph) for node in part.node)


def _dtype(tensor: Any) -> np.dtype[Any]:
    """NumPy's dtype for the type of an input, an output or a value of ONNX Runtime.

    Raises:
        RunError: NumPy has no such dtype, as for text and bfloat16.
    """
    import numpy as np

    kind = tensor.type if hasattr(tensor, "type") else tensor.data_type()
    name = str(kind).removeprefix("tensor(").removesuffix(")")
    try:
        dtype: np.dtype[Any] = np.dtype({"float": "float32", "double": "float64"}.get(name, name))
    except TypeError as cause:
        raise RunError(f"An input or output of the type {kind} cannot be bound to a GPU's memory.") from cause
    return dtype
