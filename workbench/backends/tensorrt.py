"""TensorRT in three flavours through one code path: the full library, TensorRT for RTX, and the lean runtime.

Precision comes from the ONNX file alone (casts or Q/DQ): networks are strongly typed and there are no precision flags.
The full library builds on the GPU that it builds for. TensorRT for RTX builds ahead of time, on any CPU, for the GPUs
that are named; without a GPU such an engine is a row that says "built", never a latency. The lean runtime opens
version-compatible plans of the full library, which builds them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from workbench import cuda, modelopt, trt_build, trt_layers, trt_options
from workbench.errors import BuildError, WorkbenchError
from workbench.inspector import Inspection, read, realized
from workbench.machine import this_machine
from workbench.methods import MODELOPT, WEIGHTS
from workbench.protocols import Availability, Built, Progress, Refusal, Session, Source, no
from workbench.records import EngineRecord, EngineSpec, Model, Precision, RealizedPrecision, Region
from workbench.trt import FLAVOURS, FULL, LEAN, RTX, Flavour
from workbench.trt_engine import Plan, inspection_json

FILE = "engine.plan"
MAX_LEVEL = 5
NO_GPU = "built for NVIDIA GPUs; this machine has none"
VERSION_COMPATIBLE = "version-compatible"
REFUSED = {
    "int8-dynamic": ("TensorRT's parser takes neither DynamicQuantizeLinear nor integer operations", "use int8"),
    "int8-nncf": ("NNCF quantizes for OpenVINO, with ranges that TensorRT does not take", "use int8"),
    "int8-nncf-control": ("NNCF quantizes for OpenVINO, with ranges that TensorRT does not take", "use int8"),
    "fp16-weights": ("networks are strongly typed: 16-bit weights are computed with in 16 bits", "use fp16"),
}
WITHOUT_FP8 = ("SM75", "SM80", "SM86", "SM87")
RTX_INT8 = "TensorRT for RTX documents INT8 for weights only: expect no faster arithmetic"


class TensorRT:
    name = "tensorrt"
    title = "TensorRT"
    modes = {
        "": "the full library, 10.x or 11.x: builds on the GPU that it runs on",
        RTX.mode: f"TensorRT for RTX: built ahead of time, without a GPU, for {', '.join(trt_options.TARGETS)}",
        LEAN.mode: "the lean runtime: opens version-compatible engines of the full library",
    }
    distributions = tuple(name for flavour in FLAVOURS.values() for name in flavour.distributions)
    imports = ("numpy",)  # each mode has a library of its own, and another mode's may be absent or broken
    settings = {
        "optimization_level": "builder optimization level, 0 to 5",
        "workspace": "upper limit of the workspace memory pool",
        "batches": "range of the optimization profile",
        "tf32": "whether FP32 matrix products may round their inputs to TF32",
        "cuda_graph": "replay one captured run instead of launching anew",
        "streams": "calls in flight at once, each with an execution context of its own",
        "build_options": "; ".join(f"{name}: {option.help}" for name, option in trt_options.OPTIONS.items()),
    }
    without = {"threads": "the engine runs on a GPU"}
    devices = dict.fromkeys(modes, cuda.DEVICE)

    def status(self, mode: str = "") -> Availability:
        return FLAVOURS[mode].installed

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        flavour, builder = FLAVOURS[spec.mode], _builder(spec)
        if not flavour.installed:
            return flavour.installed
        gpu = bool(this_machine().gpu)
        if not builder.installed:
            found = f"{flavour.title} only opens engines, and {builder.title}, which builds them, is not installed"
            return no(found, builder.install)
        if builder == FULL and not gpu:
            return no("TensorRT builds on the GPU that it builds for, and this machine has none", "use tensorrt:rtx")
        if spec.asked in REFUSED:
            return no(*REFUSED[spec.asked])
        if spec.method == MODELOPT and not modelopt.available():
            return modelopt.available()
        if spec.precision == Precision.FP8 and spec.mode == RTX.mode:
            old = [name for name in trt_options.targets(_completed(spec).build_options) if name in WITHOUT_FP8]
            if old:
                return no(f"the target {old[0]} has no FP8", f"name only newer ones, such as {trt_options.TARGET}SM89")
        if spec.optimization_level is not None and spec.optimization_level > MAX_LEVEL:
            return no(f"TensorRT's optimization levels are 0 to {MAX_LEVEL}", f"choose a level of at most {MAX_LEVEL}")
        wide = [one.name for one in model.inputs if one.dtype == "float64"]
        if wide:
            return no(f"TensorRT takes the FP64 input '{wide[0]}' for FP32 without a word", "cast it to float32")
        return trt_options.refusal(spec.build_options, builder, gpu=gpu)

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if not this_machine().gpu:
            return no(NO_GPU, "run it where there is one")
        if "strip-plan" in spec.build_options:
            return no(trt_options.NEEDS_WEIGHTS, "leave out the option 'strip-plan'")
        able = cuda.here()
        return cuda.measures(spec, region) if able else able

    def source(self, spec: EngineSpec, model: Model) -> str:
        if spec.method in (WEIGHTS, MODELOPT):
            return f"onnx:{spec.asked}{'-dq' if spec.method == WEIGHTS else ''}"
        if spec.precision == model.quantized:
            return "onnx:fp32"
        return "onnx:int8-s8" if spec.precision == Precision.INT8 else f"onnx:{spec.precision}"

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        if not RTX.installed:
            raise BuildError(f"Only the parser of {RTX.title} can be asked without a GPU, and it is not installed.")
        return trt_build.refused_nodes(RTX, onnx)

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        spec = _completed(spec)
        outcome = trt_build.build_plan(_builder(spec), source, spec, progress)
        (into / FILE).write_bytes(outcome.plan)
        progress("read back precision")
        inspection, found = _read_back(outcome, source, spec)
        inspection.save(into)
        able = self.measures(spec, Region.HOST_TO_HOST)
        notes = [
            *outcome.notes,
            *([RTX_INT8] if (spec.mode, spec.precision) == (RTX.mode, Precision.INT8) and not spec.method else []),
        ]
        return Built(
            library=FLAVOURS[spec.mode].title,
            library_version=outcome.version,
            realized=found,
            runnable=bool(able),
            note="; ".join([*([] if able else [able.reason]), *notes]),
        )

    def open(self, engine: Path, record: EngineRecord) -> Session:
        spec = _completed(record.spec)
        options = spec.build_options
        plan = Plan(
            FLAVOURS[spec.mode],
            engine / FILE,
            host_code=VERSION_COMPATIBLE in options,
            streaming="weight-streaming" in options,
        )
        session: Session = cuda.CudaSession(plan.context, streams=spec.streams, graph=spec.cuda_graph)
        return session


def _builder(spec: EngineSpec) -> Flavour:
    """The library that builds for a mode."""
    return FULL if spec.mode == LEAN.mode else FLAVOURS[spec.mode]


def _completed(spec: EngineSpec) -> EngineSpec:
    """The variant with what its mode implies: the lean runtime opens version-compatible plans only, and FP8 is built for
    the GPU generations that have it.
    """
    if spec.mode == RTX.mode and spec.precision == Precision.FP8 and not _names_targets(spec):
        able = [f"{trt_options.TARGET}{name}" for name in trt_options.TARGETS if name not in WITHOUT_FP8]
        return replace(spec, build_options=(*spec.build_options, *able))
    if spec.mode != LEAN.mode or VERSION_COMPATIBLE in spec.build_options:
        return spec
    return replace(spec, build_options=(*spec.build_options, VERSION_COMPATIBLE))


def _names_targets(spec: EngineSpec) -> bool:
    return any(option.startswith(trt_options.TARGET) for option in spec.build_options)


def _read_back(outcome: trt_build.Outcome, source: Source, spec: EngineSpec) -> tuple[Inspection, RealizedPrecision]:
    """The layers as the engine has them where a GPU lets it be opened, else as its network declared them."""
    declared = trt_layers.declared(outcome.network)
    # the types of stored weights are the network's; the engine tells the format that is computed in
    if not this_machine().gpu or spec.method == WEIGHTS:
        return declared, trt_layers.realized(declared)
    shapes = {one.name: one.sized(spec.batches[-1], "opt") for one in source.inputs}
    host_code = VERSION_COMPATIBLE in spec.build_options
    try:
        found = read(inspection_json(_builder(spec), outcome.plan, shapes, host_code=host_code))
    except WorkbenchError as error:
        basis = f"types of the strongly typed network; the engine could not be read here ({error.message})"
        declared = replace(declared, basis=basis)
        return declared, trt_layers.realized(declared)
    nodes = [node for layer in trt_layers.weighted(declared) for node in layer.origin]
    counted = realized(found, nodes)
    if counted is None:
        basis = "types of the strongly typed network; the engine's layers do not name every node"
        return found, trt_layers.realized(replace(declared, basis=basis))
    return found, counted


BACKEND = TensorRT()
