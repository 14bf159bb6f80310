"""ONNX Runtime on the CPU, and on an NVIDIA GPU in the mode "cuda".

The engine is the optimized ONNX file that ONNX Runtime itself writes. On the GPU its nodes are counted by where they run:
those without a CUDA kernel fall back to the CPU, which is slow and otherwise silent.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.choices.methods import DYNAMIC, MODELOPT, WEIGHTS
from workbench.cuda import gpu
from workbench.engines.ort_profile import ProfiledOrt
from workbench.engines.ort_session import (
    CUDA,
    CUDA_LIBRARY,
    FILE,
    LEVELS,
    REPAIR,
    UNOPTIMIZED,
    CudaEngine,
    found_in,
    holds_copies,
    level_of,
    on_cuda,
    options_of,
    overwritten,
    placement,
)
from workbench.errors import BuildError
from workbench.models import ort_values
from workbench.models.onnx_file import graphs
from workbench.precision.kept import REQUANTIZERS, came_out_in_int8, hold, release
from workbench.protocols import (
    YES,
    Availability,
    Built,
    Caller,
    Callers,
    ProfiledSession,
    Progress,
    Refusal,
    Session,
    Source,
    no,
    on_cpu,
)
from workbench.records import TEXT, EngineRecord, EngineSpec, InEffect, Model, Precision, RealizedPrecision, Region

if TYPE_CHECKING:
    import numpy as np


INT8_OPS = {"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul",
            "DynamicQuantizeLSTM", "QAttention"}  # fmt: skip
FLOAT_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul", "GRU", "LSTM", "RNN"}


REFUSED = {
    "fp8": (
        "its CPU kernels compute FP8 models in FP32 between conversions, and its default optimization gets them wrong",
        "use TensorRT on an NVIDIA GPU of the Ada generation or later",
    ),
    "int8-nncf": ("NNCF quantizes for OpenVINO", "use openvino"),
    "int8-nncf-control": ("NNCF quantizes for OpenVINO", "use openvino"),
    "fp16-weights": ("it turns 16-bit weights into FP32 when it opens the file", "use litert for the smaller file"),
}


class OnnxRuntime:
    name = "onnxruntime"
    title = "ONNX Runtime"
    modes = {"": "CPU execution provider", CUDA: "CUDA execution provider, on the first NVIDIA GPU"}
    devices = {CUDA: gpu.DEVICE}
    distributions = ("onnxruntime", "onnxruntime-gpu")
    imports = ("onnxruntime", "numpy")
    mode_imports: dict[str, tuple[str, ...]] = {}
    settings = {
        "threads": "threads inside one operator (intra-op); operators run one after another",
        "optimization_level": "graph optimization: 0 none, 1 basic, 2 extended, 3 all (default)",
        "tf32": "use_tf32 of the CUDA provider",
        "cuda_graph": "one run is captured and replayed, where all nodes have CUDA kernels",
        "streams": "one session per stream, each with its own weights",
    }
    without = {
        "workspace": "its kernels have no workspace limit",
        "build_options": "ONNX Runtime has none to choose by name",
    }

    def status(self, mode: str = "") -> Availability:
        package = find_spec("onnxruntime")
        if package is None:
            return no("the package 'onnxruntime' is not installed", "pip install onnxruntime")
        if mode != CUDA:
            return YES
        able = gpu.here()
        places = package.submodule_search_locations or ()
        if able and not any((Path(place) / "capi" / CUDA_LIBRARY).is_file() for place in places):
            return no(
                "the installed ONNX Runtime has no CUDA provider",
                REPAIR,
            )
        if able and overwritten():
            return no("the package 'onnxruntime' was installed over 'onnxruntime-gpu' and replaced its files", REPAIR)
        return able

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if spec.optimization_level is not None and spec.optimization_level >= len(LEVELS):
            return no(f"ONNX Runtime's optimization levels are 0 to {len(LEVELS) - 1}", "choose a level of at most 3")
        if spec.mode == CUDA:
            return _cuda_supports(spec, model)
        if spec.asked in REFUSED:
            return no(*REFUSED[spec.asked])
        if spec.method == MODELOPT:
            return no("ModelOpt rewrites for TensorRT", "use tensorrt")
        if spec.precision == Precision.FP16:
            return no(
                "its CPU kernels compute FP16 models in FP32 between casts, which is slower", "use INT8, or OpenVINO"
            )
        if spec.precision == Precision.BF16:
            return no("its CPU provider has no BF16 kernels for convolution", "use OpenVINO for BF16")
        return YES

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if spec.mode != CUDA:
            return on_cpu(region)
        return gpu.measures(spec, region)

    def source(self, spec: EngineSpec, model: Model) -> str:  # noqa: ARG002 - the contract
        if spec.method in (DYNAMIC, WEIGHTS):
            return f"onnx:{spec.asked}"
        return {Precision.INT8: "onnx:int8-u8", Precision.FP16: "onnx:fp16"}.get(spec.precision, "onnx:fp32")

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        except Exception as cause:
            return _without_kernel(onnx) or (_refusal(str(cause)),)
        return ()

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import onnxruntime as ort

        options = options_of(spec)
        options.graph_optimization_level = level_of(spec)
        options.optimized_model_filepath = str(into / FILE)
        progress("optimize graph")
        if spec.mode == CUDA:
            return _built_for_cuda(source.path, spec, into, options, progress)
        _optimized(source, spec, into, options)
        progress("read back precision")
        return Built(
            library="ONNX Runtime",
            library_version=ort.__version__,
            realized=_realized(into / FILE),
        )

    def open(self, engine: Path, record: EngineRecord) -> Session:
        import onnxruntime as ort

        spec = record.spec
        if spec.mode == CUDA:
            return gpu.CudaSession(
                lambda stream: CudaEngine(engine, spec, stream), streams=spec.streams, graph=spec.cuda_graph
            )
        options = options_of(spec)
        # the file is already optimized; doing it again could give another engine than the one that was inspected
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return OnnxRuntimeSession(ort.InferenceSession(str(engine / FILE), options, providers=["CPUExecutionProvider"]))

    def profiles(self, spec: EngineSpec) -> Availability:
        if spec.mode == CUDA:
            return no("its profiler times the launching of a kernel on a GPU, not the kernel", "profile the plain mode")
        return YES

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        return ProfiledOrt(engine / FILE, record.spec)


class OnnxRuntimeSession:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._run = ort_values.runner(session)
        self._inputs = {value.name: value.type for value in session.get_inputs()}
        self._outputs = [output.name for output in session.get_outputs()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
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
        """All in the one session, whose Run may be called by several threads at once (ONNX Runtime's C API says so); what is
        staged has a binding of its own. Threads beyond a call's own are those of the session's pool, which all share.
        """
        return Callers((Caller(self.run, self.stage),) * count, "one session")

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        session, outputs = self._session, self._outputs
        values = {name: ort_values.value_of(array, self._inputs.get(name, "")) for name, array in feeds.items()}
        return (
            lambda: session.run_with_ort_values(outputs, values),
            "run_with_ort_values: OrtValues in, OrtValues out that each call makes",
        )

    def in_effect(self) -> tuple[InEffect, ...]:
        return found_in(self._session)


def _optimized(source: Source, spec: EngineSpec, into: Path, options: Any) -> None:
    """Write the optimized file, with the nodes that are to stay in FP32 left alone (:mod:`workbench.precision.kept`).

    Raises:
        BuildError: such a node came out in INT8 all the same.
    """
    import onnxruntime as ort

    held = into / "held.onnx"
    kept = hold(source.path, held) if spec.precision == Precision.INT8 else ()
    path, disabled = (held, list(REQUANTIZERS)) if kept else (source.path, None)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
    if not kept:
        return
    del session
    held.unlink()
    release(into / FILE, [spec.name for spec in source.outputs])
    if wrong := came_out_in_int8(source.path, into / FILE):
        raise BuildError(
            f"These nodes were to stay in FP32, and ONNX Runtime's optimizer built them in INT8: {', '.join(wrong)}. Set "
            "'optimization_level' to 1, or leave them out of 'keep'."
        )


def _cuda_supports(spec: EngineSpec, model: Model) -> Availability:
    if any(tensor.dtype == TEXT for tensor in (*model.inputs, *model.outputs)):
        return no("text cannot lie in a GPU's memory", "use the plain mode, which runs on the CPU")
    if spec.asked not in ("fp32", "fp16", "bf16") and spec.precision != Precision.INT8:
        return no("only FP32 and FP16 were tried with its CUDA kernels", "use fp16")
    if spec.precision == Precision.INT8:
        return no("its CUDA kernels compute convolutions of INT8 models in FP32 between conversions", "use fp16")
    if spec.precision == Precision.BF16:
        return no("BF16 was not tried with its CUDA kernels", "use fp16")
    return YES


def _built_for_cuda(path: Path, spec: EngineSpec, into: Path, options: Any, progress: Progress) -> Built:
    import onnxruntime as ort

    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = on_cuda(path, spec, options)
    progress("read back precision and placement")
    realized, note = _realized(into / FILE), placement(session)
    del session
    if holds_copies(into / FILE):
        (into / FILE).unlink()
        shutil.copyfile(path, into / UNOPTIMIZED)
    return Built(
        library="ONNX Runtime",
        library_version=ort.__version__,
        realized=realized,
        note=note,
    )


def _realized(path: Path) -> RealizedPrecision:
    """Count the layers with weights in the optimized graph, bodies of loops included, by the format they compute in."""
    import onnx

    parts = list(graphs(onnx.load(path).graph))
    types: dict[str, str] = {}
    for part in parts:
        types |= _tensor_types(part)
    counts: Counter[str] = Counter()
    for node in (node for part in parts for node in part.node):
        if node.op_type in INT8_OPS:
            counts["int8"] += 1
        elif node.op_type == "MatMulNBits":
            counts[f"int{next(a.i for a in node.attribute if a.name == 'bits')}-weights"] += 1
        elif node.op_type in FLOAT_OPS:
            counts[types.get(node.input[1], "fp32")] += 1
    return RealizedPrecision(dict(counts), "node types of the optimized ONNX graph")


def _tensor_types(graph: Any) -> dict[str, str]:
    """Number format of every tensor that is an initializer, an input or the output of a cast or DequantizeLinear."""
    import onnx

    names = {
        onnx.TensorProto.FLOAT: "fp32",
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.BFLOAT16: "bf16",
        onnx.TensorProto.DOUBLE: "fp64",
    }
    types = {tensor.name: names.get(tensor.data_type, "int") for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info):
        types[value.name] = names.get(value.type.tensor_type.elem_type, "int")
    for node in graph.node:
        if node.op_type == "Cast":
            to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
            types[node.output[0]] = names.get(to, "int")
    return types


def _without_kernel(path: Path) -> tuple[Refusal, ...]:
    """The nodes that no CPU kernel is registered for and that are not made of others that have one."""
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for kernel in state.get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider":
            kernels.setdefault((kernel.domain, kernel.op_name), []).append(kernel.version_range)
    proto = onnx.load(path, load_external_data=False)
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in proto.opset_import}
    own = {(function.domain, function.name) for function in proto.functions}
    refused = []
    for node in (node for part in graphs(proto.graph) for node in part.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = opsets.get(domain, 1)
        try:
            schema: Any = onnx.defs.get_schema(node.op_type, version, domain)
            version, composed = schema.since_version, schema.has_function or schema.has_context_dependent_function
        except onnx.defs.SchemaError:
            composed = False
        known = any(low <= version <= high for low, high in kernels.get((domain, node.op_type), ()))
        if not known and not composed and (domain, node.op_type) not in own:
            found = "of another opset" if (domain, node.op_type) in kernels else "for it"
            name = node.name or next(iter(node.output), "")
            op = f"{domain}.{node.op_type}" if domain else node.op_type
            refused.append(
                Refusal(
                    name,
                    op,
                    f"ONNX Runtime has no CPU kernel {found}".replace("no CPU kernel of", "CPU kernels only of"),
                )
            )
    return tuple(refused)


def _refusal(text: str) -> Refusal:
    """What ONNX Runtime says when it opens no session, with the node and operator that it names in some of its ways."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", " ".join(text.split()))
    kernel = re.search(r"implementation for ([\w.:]+)\(\d+\) node with name '([^']*)'", text)
    if kernel:
        return Refusal(kernel[2], kernel[1], "ONNX Runtime has no CPU kernel for it with these types")
    typed = re.search(r"of operator \((\w+)\) in node:? \(([^)]*)\)", text)
    inferred = re.search(r"[Nn]ode ?\(([^)]*)\) Op \((\w+)\)", text)
    node, op = (typed[2], typed[1]) if typed else (inferred[1], inferred[2]) if inferred else ("", "")
    return Refusal(node, op, f"ONNX Runtime does not open it: {text[:300]}")


BACKEND = OnnxRuntime()
