"""ONNX Runtime on the CPU, and on an NVIDIA GPU in the mode "cuda".

The engine is the optimized ONNX file that ONNX Runtime writes. On the GPU the nodes are counted by device: nodes without a
CUDA kernel run on the CPU, which is slow, and which ONNX Runtime does not report by itself.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.backends.base import BaseBackend, Deployed
from workbench.backends.onnxruntime.preflight import refusals
from workbench.backends.onnxruntime.profile import ProfiledOrt
from workbench.backends.onnxruntime.session import (
    CUDA,
    CUDA_LIBRARY,
    FILE,
    LEVELS,
    OVERWRITTEN,
    REPAIR,
    UNOPTIMIZED,
    CudaEngine,
    OnnxRuntimeSession,
    holds_copies,
    level_of,
    on_cuda,
    options_of,
    overwritten,
    placement,
)
from workbench.cuda import gpu
from workbench.errors import BuildError
from workbench.models.exact_int8 import exact_session, separate_file
from workbench.models.onnx_file import weights_beside
from workbench.precision.kept import REQUANTIZERS, came_out_in_int8, hold, release
from workbench.precision.read_back import formats_of
from workbench.protocols import (
    AVAILABLE,
    Availability,
    Built,
    ProfiledSession,
    Progress,
    Refusal,
    Session,
    Source,
    unavailable,
)
from workbench.records import TEXT, EngineRecord, EngineSpec, Model, Precision, Region
from workbench.records.methods import DYNAMIC, MODELOPT, WEIGHTS

BASIS = "node types of the optimized ONNX graph"
DEPLOYED = "model.onnx"
CONTAINER = 'backend: "onnxruntime"'
REFUSED = {
    "fp8": (
        "its CPU kernels compute FP8 models in FP32 between conversions, and its default optimization gives wrong outputs",
        "use TensorRT on an NVIDIA GPU of the Ada generation or later",
    ),
    "int8-nncf": ("NNCF quantizes for OpenVINO", "use openvino"),
    "int8-nncf-control": ("NNCF quantizes for OpenVINO", "use openvino"),
    "fp16-weights": ("it turns 16-bit weights into FP32 when it opens the file", "use litert for the smaller file"),
}


class OnnxRuntime(BaseBackend):
    name = "onnxruntime"
    title = "ONNX Runtime"
    runner = Path(__file__).with_name("runner.py")
    modes = {"": "CPU execution provider", CUDA: "CUDA execution provider, on the first NVIDIA GPU"}
    devices = {CUDA: gpu.DEVICE}
    distributions = ("onnxruntime", "onnxruntime-gpu")
    imports = ("onnxruntime", "numpy")
    build_imports = ("onnx",)
    own_formats = ("onnx",)
    recipe = "exact INT8"
    searches_mixed_precision = True
    settings = {
        "threads": "threads inside one operator (intra-op); operators run one after another",
        "optimization_level": "graph optimization: 0 none, 1 basic, 2 extended, 3 all (default)",
        "tf32": "use_tf32 of the CUDA provider",
        "cuda_graph": "one run is captured and replayed, where all nodes have CUDA kernels",
        "streams": "one session per stream, each with its own weights",
    }

    def status(self, mode: str = "") -> Availability:
        able = super().status()
        if mode != CUDA or not able:
            return able
        able = gpu.here()
        package = find_spec("onnxruntime")
        places = (package.submodule_search_locations if package else None) or ()
        if able and not any((Path(place) / "capi" / CUDA_LIBRARY).is_file() for place in places):
            return unavailable("the installed ONNX Runtime has no CUDA provider", REPAIR)
        if able and overwritten():
            return unavailable(OVERWRITTEN, REPAIR)
        return able

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if spec.optimization_level is not None and spec.optimization_level >= len(LEVELS):
            return unavailable(
                f"ONNX Runtime's optimization levels are 0 to {len(LEVELS) - 1}", "choose a level of at most 3"
            )
        if spec.mode == CUDA:
            return _cuda_supports(spec, model)
        if spec.asked in REFUSED:
            return unavailable(*REFUSED[spec.asked])
        if spec.method == MODELOPT:
            return unavailable("ModelOpt rewrites for TensorRT", "use tensorrt")
        if spec.precision == Precision.FP16:
            return unavailable(
                "its CPU kernels compute FP16 models in FP32 between casts, which is slower", "use INT8, or OpenVINO"
            )
        if spec.precision == Precision.BF16:
            return unavailable("its CPU provider has no BF16 kernels for the usual layers", "use OpenVINO for BF16")
        return AVAILABLE

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if spec.mode != CUDA:
            return super().measures(spec, region)
        return gpu.measures(spec, region)

    def source(self, spec: EngineSpec, model: Model) -> str:
        if spec.method in (DYNAMIC, WEIGHTS):
            return f"onnx:{spec.asked}"
        return {Precision.INT8: "onnx:int8-u8", Precision.FP16: "onnx:fp16"}.get(spec.precision, "onnx:fp32")

    def problem(self) -> Availability:
        if not overwritten():
            return AVAILABLE
        return unavailable(f"{OVERWRITTEN}: ONNX Runtime cannot use the GPU", REPAIR)

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        return refusals(onnx)

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
            realized=formats_of(into / FILE, BASIS),
        )

    def open(self, engine: Path, record: EngineRecord) -> Session:
        import onnxruntime as ort

        spec = record.spec
        if spec.mode == CUDA:
            return gpu.CudaSession(
                lambda stream: CudaEngine(engine, spec, stream), streams=spec.streams, graph=spec.cuda_graph
            )
        options = options_of(spec)
        # the file is optimized; optimizing again could give an engine that differs from the inspected one
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return OnnxRuntimeSession(ort.InferenceSession(str(engine / FILE), options, providers=["CPUExecutionProvider"]))

    def deploys(self, spec: EngineSpec) -> Availability:
        if spec.mode == CUDA:
            return unavailable("deployments run on the CPU", "choose the plain mode")
        return AVAILABLE

    def deployed(self, engine: Path, record: EngineRecord, origin: Path, scratch: Path) -> Deployed:
        """The prepared model, which the library optimizes where it is opened: the engine itself holds kernels for this type of CPU.
        With nodes kept in FP32, which are protected while the engine is built, it is the engine.
        """
        spec = record.spec
        options = {"file": DEPLOYED, "threads": spec.threads, "level": level_of(spec).name, "without": []}
        if spec.precision == Precision.INT8 and (spec.keep or spec.quantize):
            bound = "its nodes in FP32 were protected while the engine was built, so the engine itself is deployed"
            options["level"] = "ORT_DISABLE_ALL"
            return Deployed({DEPLOYED: engine / FILE}, options, CONTAINER, bound)
        if separate_file(origin, scratch / DEPLOYED):
            return Deployed({DEPLOYED: scratch / DEPLOYED}, options, CONTAINER)
        return Deployed({DEPLOYED: origin, **weights_beside(origin)}, options, CONTAINER)

    def profiles(self, spec: EngineSpec) -> Availability:
        if spec.mode == CUDA:
            return unavailable(
                "its profiler times the launching of a kernel on a GPU, not the kernel", "profile the plain mode"
            )
        return AVAILABLE

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        return ProfiledOrt(engine / FILE, record.spec)


def _optimized(source: Source, spec: EngineSpec, into: Path, options: Any) -> None:
    """Write the optimized file; the nodes to keep in FP32 are protected from fusion (:mod:`workbench.precision.kept`).

    Raises:
        BuildError: the optimizer built such a node in INT8.
    """
    held = into / "held.onnx"
    kept = hold(source.path, held) if spec.precision == Precision.INT8 else ()
    path, disabled = (held, list(REQUANTIZERS)) if kept else (source.path, None)
    session = exact_session(path, options, disabled_optimizers=disabled)
    if not kept:
        return
    del session
    held.unlink()
    release(into / FILE, [spec.name for spec in source.outputs])
    if wrong := came_out_in_int8(source.path, into / FILE):
        raise BuildError(
            f"These nodes are in 'keep', but ONNX Runtime's optimizer built them in INT8: {', '.join(wrong)}. Set "
            "'optimization_level' to 1, or remove them from 'keep'."
        )


def _cuda_supports(spec: EngineSpec, model: Model) -> Availability:
    if any(tensor.dtype == TEXT for tensor in (*model.inputs, *model.outputs)):
        return unavailable("text cannot be stored in a GPU's memory", "use the plain mode, which runs on the CPU")
    if spec.asked not in ("fp32", "fp16", "bf16") and spec.precision != Precision.INT8:
        return unavailable("only FP32 and FP16 are tested with its CUDA kernels", "use fp16")
    if spec.precision == Precision.INT8:
        return unavailable(
            "its CUDA kernels compute convolutions of INT8 models in FP32 between conversions", "use fp16"
        )
    if spec.precision == Precision.BF16:
        return unavailable("BF16 is not tested with its CUDA kernels", "use fp16")
    return AVAILABLE


def _built_for_cuda(path: Path, spec: EngineSpec, into: Path, options: Any, progress: Progress) -> Built:
    import onnxruntime as ort

    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = on_cuda(path, spec, options)
    progress("read back precision and placement")
    found, note = formats_of(into / FILE, BASIS), placement(session)
    del session
    if holds_copies(into / FILE):
        (into / FILE).unlink()
        shutil.copyfile(path, into / UNOPTIMIZED)
    return Built(
        library="ONNX Runtime",
        library_version=ort.__version__,
        realized=found,
        note=note,
    )


BACKEND = OnnxRuntime()
