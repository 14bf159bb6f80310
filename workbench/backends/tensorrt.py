"""TensorRT for RTX: engines are built ahead of time, on any CPU, for the NVIDIA GPUs named below.

Precision comes from the ONNX file alone (casts or Q/DQ): networks are strongly typed and there are no precision flags.
Building needs no GPU; running does, so an engine built here is a row that says "built", never a latency.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.errors import BuildError, RunError
from workbench.machine import version_of
from workbench.protocols import YES, Availability, Built, Progress, Refusal, Session, Source, no
from workbench.records import EngineRecord, EngineSpec, Model, Precision, RealizedPrecision, Region

FILE = "engine.plan"
# Ampere to Blackwell. Naming several costs neither time nor size: kernels are compiled when the engine is loaded.
TARGETS = ("SM80", "SM86", "SM89", "SM120")
MAX_LEVEL = 5
NOT_RUN = "built for NVIDIA GPUs, not run: this version runs no TensorRT engine"


class TensorRT:
    name = "tensorrt"
    title = "TensorRT for RTX"
    modes = {"": f"ahead of time, for {', '.join(TARGETS)}"}
    distributions = ("tensorrt-rtx-cu13",)
    imports = ("tensorrt_rtx",)
    settings = {
        "optimization_level": "builder optimization level, 0 to 5",
        "workspace": "upper limit of the workspace memory pool",
        "batches": "range of the optimization profile",
    }
    without = {
        "threads": "the engine runs on a GPU",
        "tf32": "not yet",
        "cuda_graph": "its engines are not run yet",
        "streams": "its engines are not run yet",
        "build_options": "not yet",
    }
    devices = {"": "cuda:0"}

    def status(self, mode: str = "") -> Availability:  # noqa: ARG002 - the contract
        if find_spec("tensorrt_rtx") is None:
            return no("the package 'tensorrt-rtx-cu13' is not installed", 'pip install "inference-workbench[rtx]"')
        return YES

    def supports(self, spec: EngineSpec, model: Model) -> Availability:  # noqa: ARG002 - the contract
        if spec.precision == Precision.BF16:
            return no("the ONNX rewrite to BF16 is not part of this version", "use fp16")
        if spec.optimization_level is not None and spec.optimization_level > MAX_LEVEL:
            return no(f"TensorRT's optimization levels are 0 to {MAX_LEVEL}", f"choose a level of at most {MAX_LEVEL}")
        return YES

    def measures(self, spec: EngineSpec, region: Region) -> Availability:  # noqa: ARG002 - the contract
        return no(NOT_RUN)

    def source(self, spec: EngineSpec, model: Model) -> str:  # noqa: ARG002 - the contract
        return {Precision.INT8: "onnx:int8-s8", Precision.FP16: "onnx:fp16"}.get(spec.precision, "onnx:fp32")

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        import tensorrt_rtx as trt

        log = _Log.only(trt)
        builder = trt.Builder(log)
        network = builder.create_network(_flags(trt))
        parser = trt.OnnxParser(network, log)
        if parser.supports_model_v2(onnx.read_bytes(), str(onnx)):
            return ()
        problems = [parser.get_error(number) for number in range(parser.num_errors)]
        found = {(p.node_name(), p.node_operator()): _why(p) for p in problems}
        refused = tuple(Refusal(node, op, why) for (node, op), why in found.items())
        return refused or (Refusal("", "", f"TensorRT's parser refuses the file: {log.last()}"),)

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import tensorrt_rtx as trt

        log = _Log.only(trt)
        builder = trt.Builder(log)
        network = _network(trt, builder, source, log, progress)
        config = _config(trt, builder, network, spec, source)
        config.progress_monitor = _Monitor.make(trt, progress)
        progress("build engine")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildError(f"TensorRT for RTX could not build '{spec.label}': {log.last()}.", log=log.text())
        (into / FILE).write_bytes(plan)
        return Built(
            library="TensorRT for RTX",
            library_version=version_of("tensorrt-rtx-cu13"),
            realized=_declared(trt, network),
            runnable=False,
            note=NOT_RUN,
        )

    def open(self, engine: Path, record: EngineRecord) -> Session:  # noqa: ARG002 - the contract
        raise RunError(f"'{record.spec.label}' cannot be run: it was {NOT_RUN}.")


class _Log:
    """TensorRT's messages. The class is made when the library is there, because it must derive from the library's.

    TensorRT keeps the first logger of a process and ignores later ones, so there is one, emptied for each build.
    """

    instance: Any = None

    @classmethod
    def only(cls, trt: Any) -> Any:
        if cls.instance is None:
            cls.instance = cls._make(trt)
        cls.instance.lines.clear()
        return cls.instance

    @staticmethod
    def _make(trt: Any) -> Any:
        class Log(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.lines: list[tuple[Any, str]] = []

            def log(self, severity: Any, message: str) -> None:
                print(severity, message, flush=True)
                self.lines.append((severity, message))

            def last(self) -> str:
                errors = [text for severity, text in self.lines if severity <= trt.ILogger.Severity.ERROR]
                return errors[-1].rstrip(". ") if errors else "it gave no reason"

            def text(self) -> str:
                return "\n".join(text for _, text in self.lines[-40:])

        return Log()


class _Monitor:
    """Reports the phases of a build; called from TensorRT's own threads."""

    @staticmethod
    def make(trt: Any, progress: Progress) -> Any:
        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
                progress(phase_name)

            def phase_finish(self, phase_name: str) -> None:
                pass

            def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002
                return True

        return Monitor()


def _flags(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _why(problem: Any) -> str:
    """A parser's error in words. Its text is often the bare condition that failed, such as ``false``."""
    said = re.search(r'&& "(.+)"$', problem.desc())
    text = said[1] if said else problem.desc()
    if " " not in text.strip():
        return f"TensorRT does not support it here ({problem.func()})"
    return f"TensorRT does not take it: {' '.join(text.split())[:300]}"


def _network(trt: Any, builder: Any, source: Source, log: Any, progress: Progress) -> Any:
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, log)
    progress("parse ONNX")
    if not parser.parse_from_file(str(source.path)) or network.num_outputs == 0:
        problems = [parser.get_error(number) for number in range(parser.num_errors)]
        text = "; ".join(f"{p.node_operator()} '{p.node_name()}': {p.desc()}" for p in problems[:3]) or log.last()
        raise BuildError(f"TensorRT's parser refused the ONNX file: {text}.", log=log.text())
    return network


def _config(trt: Any, builder: Any, network: Any, spec: EngineSpec, source: Source) -> Any:
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(TARGETS)
    for place, target in enumerate(TARGETS):
        if not config.set_compute_capability(getattr(trt.ComputeCapability, target), place):
            raise BuildError(f"TensorRT refused the target {target}.")
    if spec.optimization_level is not None:
        config.builder_optimization_level = spec.optimization_level
    if spec.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_bytes)
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        # a wrong name would be taken in silence; one that the model does not have raises here
        known = next(one for one in source.inputs if one.name == tensor.name)
        first, last = spec.batches[0], spec.batches[-1]
        profile.set_shape(tensor.name, known.sized(first, "min"), known.sized(last, "opt"), known.sized(last, "max"))
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(f"TensorRT refused the batch range {spec.batches[0]} to {spec.batches[-1]}.")
    return config


def _declared(trt: Any, network: Any) -> RealizedPrecision:
    """Formats of the weighted layers in the strongly typed network, which the builder may not change.

    An engine cannot be inspected without a GPU; the basis says so.
    """
    names = {trt.DataType.FLOAT: "fp32", trt.DataType.HALF: "fp16", trt.DataType.BF16: "bf16"}
    weighted = {trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY}
    dequantized: set[str] = set()
    counts: Counter[str] = Counter()
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    for layer in layers:
        # layers that only move data keep what was dequantized: the weights' path to a matrix product has some
        moves = layer.type in (trt.LayerType.SHUFFLE, trt.LayerType.IDENTITY)
        if layer.type == trt.LayerType.DEQUANTIZE or (moves and layer.get_input(0).name in dequantized):
            dequantized.add(layer.get_output(0).name)
    for layer in layers:
        if layer.type in weighted:
            tensor = layer.get_input(0)
            counts["int8" if tensor.name in dequantized else names.get(tensor.dtype, str(tensor.dtype))] += 1
    return RealizedPrecision(
        dict(counts), "types of the strongly typed network; the engine itself needs a GPU to be read"
    )


BACKEND = TensorRT()
