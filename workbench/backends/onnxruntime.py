"""ONNX Runtime on the CPU. The engine is the optimized ONNX file that ONNX Runtime itself writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.machine import version_of
from workbench.onnx_file import graphs
from workbench.protocols import YES, Availability, Built, Progress, Source, no
from workbench.records import EngineRecord, EngineSpec, Model, Precision, RealizedPrecision, Region

if TYPE_CHECKING:
    import numpy as np

FILE = "engine.onnx"
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")

INT8_OPS = {"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul",
            "DynamicQuantizeLSTM", "QAttention"}  # fmt: skip
FLOAT_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul", "GRU", "LSTM", "RNN"}


class OnnxRuntime:
    name = "onnxruntime"
    title = "ONNX Runtime"
    modes = {"": "CPU execution provider"}
    distributions = ("onnxruntime", "onnxruntime-gpu")
    imports = ("onnxruntime", "numpy")
    settings = {
        "threads": "threads inside one operator (intra-op); operators run one after another",
        "optimization_level": "graph optimization: 0 none, 1 basic, 2 extended, 3 all (default)",
    }
    without = {"workspace": "its CPU kernels have no workspace limit"}

    def status(self) -> Availability:
        if find_spec("onnxruntime") is None:
            return no("the package 'onnxruntime' is not installed", "pip install onnxruntime")
        return YES

    def supports(self, spec: EngineSpec, model: Model) -> Availability:  # noqa: ARG002 - the contract
        if spec.optimization_level is not None and spec.optimization_level >= len(LEVELS):
            return no(f"ONNX Runtime's optimization levels are 0 to {len(LEVELS) - 1}", "choose a level of at most 3")
        if spec.precision == Precision.FP16:
            return no(
                "its CPU kernels compute FP16 models in FP32 between casts, which is slower", "use INT8, or OpenVINO"
            )
        if spec.precision == Precision.BF16:
            return no("its CPU provider has no BF16 kernels for convolution", "use OpenVINO for BF16")
        return YES

    def measures(self, spec: EngineSpec, region: Region) -> Availability:  # noqa: ARG002 - the contract
        return YES

    def source(self, spec: EngineSpec) -> str:
        return {Precision.INT8: "onnx:int8-u8", Precision.FP16: "onnx:fp16"}.get(spec.precision, "onnx:fp32")

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import onnxruntime as ort

        level = len(LEVELS) - 1 if spec.optimization_level is None else spec.optimization_level
        options = _options(spec)
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
        options.optimized_model_filepath = str(into / FILE)
        progress("optimize graph")
        ort.InferenceSession(str(source.path), options, providers=["CPUExecutionProvider"])
        progress("read back precision")
        return Built(
            library="ONNX Runtime",
            library_version=version_of("onnxruntime", "onnxruntime-gpu"),
            realized=_realized(into / FILE),
        )

    def open(self, engine: Path, record: EngineRecord) -> OnnxRuntimeSession:
        import onnxruntime as ort

        options = _options(record.spec)
        # the file is already optimized; doing it again could give another engine than the one that was inspected
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return OnnxRuntimeSession(ort.InferenceSession(str(engine / FILE), options, providers=["CPUExecutionProvider"]))


class OnnxRuntimeSession:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._session

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        session = self._session
        return lambda: session.run_with_iobinding(binding)


def _options(spec: EngineSpec) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = spec.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return options


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


BACKEND = OnnxRuntime()
