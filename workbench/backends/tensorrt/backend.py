"""TensorRT in three flavours through one code path: the full library, TensorRT for RTX, and the lean runtime.

Precision comes from the ONNX file alone (casts or Q/DQ): networks are strongly typed and there are no precision flags, except in 8.x,
where the flags that the file needs are set and the engine's inspector decides whether it was obeyed.
The full library builds on the GPU that it builds for. TensorRT for RTX builds ahead of time, on any CPU, for the GPUs
that are named; without a GPU such an engine is a row that says "built", never a latency. The lean runtime opens
version-compatible plans of the full library, which builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from workbench.backends.base import BaseBackend, Deployed
from workbench.backends.tensorrt import build as trt_build
from workbench.backends.tensorrt import layers, weak_typing
from workbench.backends.tensorrt import options as trt_options
from workbench.backends.tensorrt import refit as trt_refit
from workbench.backends.tensorrt.engine import EnginePlan, inspection_json
from workbench.backends.tensorrt.flavours import FLAVOURS, FULL, LEAN, RTX, Flavour, numbers_of
from workbench.backends.tensorrt.inspector import Inspection, load, of_weighted_layers, read, realized
from workbench.backends.tensorrt.profile import ProfiledPlan
from workbench.cuda import gpu as cuda
from workbench.errors import BuildError, WorkbenchError
from workbench.precision import modelopt
from workbench.protocols import (
    AVAILABLE,
    Availability,
    Built,
    LayerTimings,
    ProfiledSession,
    Progress,
    Refusal,
    Session,
    Source,
    unavailable,
)
from workbench.records import EngineRecord, EngineSpec, Model, Precision, RealizedPrecision, Region
from workbench.records.methods import MODELOPT, WEIGHTS
from workbench.system.machine import this_machine

FILE = "engine.plan"
MAX_LEVEL = 5
NO_GPU = "built for NVIDIA GPUs; this machine has none"
VERSION_COMPATIBLE, STREAMING = "version-compatible", "weight-streaming"
CONTAINER = f'platform: "tensorrt_plan"\ndefault_model_filename: "{FILE}"'
REFUSED = {
    "int8-dynamic": ("TensorRT's parser takes neither DynamicQuantizeLinear nor integer operations", "use int8"),
    "int8-nncf": ("NNCF quantizes for OpenVINO, with ranges that TensorRT does not take", "use int8"),
    "int8-nncf-control": ("NNCF quantizes for OpenVINO, with ranges that TensorRT does not take", "use int8"),
    "fp16-weights": ("networks are strongly typed: 16-bit weights are computed with in 16 bits", "use fp16"),
}
WITHOUT_FP8 = ("SM75", "SM80", "SM86", "SM87")
RTX_INT8 = "TensorRT for RTX documents INT8 for weights only: expect no faster arithmetic"


class TensorRT(BaseBackend):
    name = "tensorrt"
    recipe = "shared profile"
    title = "TensorRT"
    modes = {
        "": "the full library, 8.5 to 11.x: builds on the GPU that it runs on",
        RTX.mode: f"TensorRT for RTX: built ahead of time, without a GPU, for {', '.join(trt_options.TARGETS)}",
        LEAN.mode: "the lean runtime: opens version-compatible engines of the full library",
    }
    distributions = tuple(name for flavour in FLAVOURS.values() for name in flavour.distributions)
    imports = ("numpy", "ml_dtypes")
    build_imports = ("onnx",)
    mode_imports = {mode: (flavour.module,) for mode, flavour in FLAVOURS.items()}
    build_options: Mapping[str, str] = {
        **{name: option.help for name, option in trt_options.OPTIONS.items()},
        trt_options.TARGET: f"TensorRT for RTX builds for this GPU generation, such as {trt_options.TARGET}SM89",
    }
    settings = {
        "optimization_level": "builder optimization level, 0 to 5",
        "workspace": "upper limit of the workspace memory pool",
        "batches": "range of the optimization profile",
        "tf32": "whether FP32 matrix products may round their inputs to TF32",
        "cuda_graph": "replay one captured run instead of launching every kernel again",
        "streams": "calls in flight at once, each with a separate execution context",
        "build_options": "; ".join(f"{name}: {text}" for name, text in build_options.items()),
    }
    without = {"threads": "the engine runs on a GPU"}
    devices = dict.fromkeys(modes, cuda.DEVICE)
    runner = Path(__file__).with_name("runner.py")

    def status(self, mode: str = "") -> Availability:
        return FLAVOURS[mode].installed

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        flavour, builder = FLAVOURS[spec.mode], _builder(spec)
        if not flavour.installed:
            return flavour.installed
        gpu = bool(this_machine().gpu)
        if flavour == LEAN and not gpu:
            return unavailable(f"{LEAN.title} runs on NVIDIA GPUs, and this machine has none", "use tensorrt:rtx")
        if builder == FULL and not gpu:
            return unavailable(
                "TensorRT builds on the GPU that it builds for, and this machine has none", "use tensorrt:rtx"
            )
        able = _has_format(spec)
        if not able:
            return able
        if spec.optimization_level is not None and spec.optimization_level > MAX_LEVEL:
            return unavailable(
                f"TensorRT's optimization levels are 0 to {MAX_LEVEL}", f"choose a level of at most {MAX_LEVEL}"
            )
        if wide := [one.name for one in model.inputs if one.dtype == "float64"]:
            return unavailable(
                f"TensorRT takes the FP64 input '{wide[0]}' for FP32 without a word", "cast it to float32"
            )
        return trt_options.refusal(spec.build_options, builder, gpu=gpu)

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if not this_machine().gpu:
            return unavailable(NO_GPU, "run it where there is one")
        if "strip-plan" in spec.build_options:
            return unavailable(trt_options.NEEDS_WEIGHTS, "leave out the option 'strip-plan'")
        able = cuda.here()
        return cuda.measures(spec, region) if able else able

    def portable(self, spec: EngineSpec) -> EngineSpec | None:
        spec = _completed(spec)
        if spec.mode == RTX.mode or VERSION_COMPATIBLE not in spec.build_options:
            return None
        return replace(
            spec,
            mode=FULL.mode,
            batches=(spec.batches[0], spec.batches[-1]),  # the ends of the profile's range
            threads=1,
            calibration=None,  # what it led to is in the ONNX file
            calibration_samples=0,
            cuda_graph=False,
            streams=1,
            build_options=tuple(sorted(spec.build_options)),
        )

    def builds(self, spec: EngineSpec) -> Availability:
        builder = _builder(spec)
        if builder.installed:
            return AVAILABLE
        opens = f"{FLAVOURS[spec.mode].title} opens engines and builds none"
        newest = ".".join(map(str, FLAVOURS[spec.mode].version)) or "this runtime's version"
        return unavailable(
            f"{opens}, {builder.title}, which builds them, is not installed here",
            f"on a GPU of this kind with {builder.title} up to {newest}: {_how(spec)}",
        )

    def opens(self, spec: EngineSpec, built: EngineRecord) -> Availability:
        found, theirs = FLAVOURS[spec.mode].version, numbers_of(built.library_version)
        here = ".".join(map(str, found))
        both = f"it was built by TensorRT {built.library_version}, and this runtime is {here}, which opens"
        if found and theirs[:2] > found[:2]:
            fix = f"install a runtime of at least {theirs[0]}.{theirs[1]}"
            return unavailable(f"{both} older engines, and no newer ones", fix)
        if found and found[0] > theirs[0] + 1:
            why = f"{both} engines of its own major version and of the one before"
            return unavailable(why, "build it again with a newer TensorRT")
        return AVAILABLE

    def source(self, spec: EngineSpec, model: Model) -> str:
        if spec.method in (WEIGHTS, MODELOPT):
            return f"onnx:{spec.asked}{'-dq' if spec.method == WEIGHTS else ''}"
        if spec.precision == model.quantized:
            return "onnx:fp32"
        return "onnx:int8-s8" if spec.precision == Precision.INT8 else f"onnx:{spec.precision}"

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        if RTX.installed:
            return trt_build.refused_nodes(RTX, onnx)
        if FULL.installed and this_machine().gpu:
            return trt_build.refused_nodes(FULL, onnx)
        raise BuildError(f"Only the parser of {RTX.title} can be asked without a GPU, and it is not installed.")

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        spec = _completed(spec)
        refit = _Refit(spec, source, progress)
        outcome = trt_build.build_plan(_builder(spec), source, spec, progress, refit.instead)
        refit.keep(outcome)
        (into / FILE).write_bytes(outcome.plan)
        progress("read back precision")
        inspection, found = _read_back(outcome, source, spec)
        inspection.save(into)
        able = self.measures(spec, Region.HOST_TO_HOST)
        notes = [
            *outcome.notes,
            *refit.notes,
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
        return cuda.CudaSession(_plan(engine, spec).context, streams=spec.streams, graph=spec.cuda_graph)

    def deploys(self, spec: EngineSpec) -> Availability:
        """Where there is a GPU: before a deployment appears, its plan answers the reference."""
        if STREAMING in spec.build_options:
            why = "its weights are streamed, which the deployment's runner does not do"
            return unavailable(why, f"leave out the option '{STREAMING}'")
        if VERSION_COMPATIBLE in _completed(spec).build_options:
            why = "a version-compatible plan holds code for the CPU, which is not run where it is deployed"
            return unavailable(why, f"choose a variant of tensorrt without the option '{VERSION_COMPATIBLE}'")
        return self.measures(spec, Region.HOST_TO_HOST)

    def deployed(self, engine: Path, record: EngineRecord, origin: Path, scratch: Path) -> Deployed:
        """The plan, which is bound to this kind of GPU and this release of the library."""
        import onnx

        outputs = {
            value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
            for value in onnx.load(origin, load_external_data=False).graph.output
        }
        options = {"file": FILE, "module": FLAVOURS[record.spec.mode].module, "outputs": outputs}
        bound = f"{record.library} {record.library_version} built it for the GPU {this_machine().gpu}"
        return Deployed({FILE: engine / FILE}, options, CONTAINER, bound)

    def inspected(self, engine: Path) -> LayerTimings | None:
        found = load(engine)
        return found.table() if found else None

    def profiles(self, spec: EngineSpec) -> Availability:
        return self.measures(spec, Region.HOST_TO_HOST)

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        return ProfiledPlan(_plan(engine, _completed(record.spec)), load(engine), cuda.CudaSession)


def _plan(engine: Path, spec: EngineSpec) -> EnginePlan:
    options = spec.build_options
    return EnginePlan(
        FLAVOURS[spec.mode],
        engine / FILE,
        host_code=VERSION_COMPATIBLE in options,
        streaming=STREAMING in options,
    )


class _Refit:
    """Part of a build with the option ``refit``: an earlier engine of the same structure gets this model's weights."""

    def __init__(self, spec: EngineSpec, source: Source, progress: Progress) -> None:
        self._spec, self._source, self._progress = spec, source, progress
        self._kept: trt_refit.KeptEngine | None = None
        self.notes: list[str] = []

    def instead(self, version: str) -> bytes | None:
        if trt_refit.OPTION not in self._spec.build_options:
            return None
        spec = replace(self._spec, cuda_graph=False, streams=1)  # ways of running
        self._kept = trt_refit.KeptEngine(_builder(spec), version, spec, self._source.path)
        earlier = self._kept.find()
        if earlier is None:
            return None
        self._progress("replace weights")
        host_code = VERSION_COMPATIBLE in spec.build_options
        try:
            plan = trt_refit.refitted(_builder(spec), earlier, self._source.path, host_code=host_code)
        except WorkbenchError as error:
            self.notes.append(
                f"built again: an earlier engine's weights could not be replaced ({error.message.rstrip('.')})"
            )
            return None
        self._kept = None  # what it came from is kept already
        self.notes.append("not built: the weights of an earlier engine of the same structure were replaced")
        return plan

    def keep(self, outcome: trt_build.BuiltPlan) -> None:
        if self._kept:
            self._kept.keep(outcome.plan)


def _has_format(spec: EngineSpec) -> Availability:
    """Whether the library that builds this variant has its precision and method."""
    if spec.asked in REFUSED:
        return unavailable(*REFUSED[spec.asked])
    if spec.method == MODELOPT and not modelopt.available():
        return modelopt.available()
    if spec.precision == Precision.FP8 and spec.mode == RTX.mode:
        old = [name for name in trt_options.targets(_completed(spec).build_options) if name in WITHOUT_FP8]
        if old:
            return unavailable(
                f"the target {old[0]} has no FP8", f"name only newer ones, such as {trt_options.TARGET}SM89"
            )
    return weak_typing.refusal(FULL.version, spec) if _builder(spec) == FULL else AVAILABLE


def _builder(spec: EngineSpec) -> Flavour:
    """The library that builds for a mode."""
    return FULL if spec.mode == LEAN.mode else FLAVOURS[spec.mode]


def _how(spec: EngineSpec) -> str:
    """The options that build elsewhere what the lean runtime opens here."""
    options = ",".join(_completed(spec).build_options)
    words = [
        "report --backends tensorrt", f"--precisions {spec.asked}", f"--batches {','.join(map(str, spec.batches))}",
        f"--build-options {options}",
    ]  # fmt: skip
    words += ["--shapes fixed"] if spec.batch is not None else []
    words += ["--tf32 false"] if not spec.tf32 else []
    words += [f"--optimization-level {spec.optimization_level}"] if spec.optimization_level is not None else []
    words += [f"--workspace-mib {spec.workspace_bytes // 2**20}"] if spec.workspace_bytes is not None else []
    return " ".join([*words, "with the same model"])


def _completed(spec: EngineSpec) -> EngineSpec:
    """The variant with what its mode implies: the lean runtime opens version-compatible plans only, and FP8 is built for
    the GPU generations that have it.
    """
    named = any(option.startswith(trt_options.TARGET) for option in spec.build_options)
    if spec.mode == RTX.mode and spec.precision == Precision.FP8 and not named:
        able = [f"{trt_options.TARGET}{name}" for name in trt_options.TARGETS if name not in WITHOUT_FP8]
        return replace(spec, build_options=(*spec.build_options, *able))
    if spec.mode != LEAN.mode or VERSION_COMPATIBLE in spec.build_options:
        return spec
    return replace(spec, build_options=(*spec.build_options, VERSION_COMPATIBLE))


def _read_back(outcome: trt_build.BuiltPlan, source: Source, spec: EngineSpec) -> tuple[Inspection, RealizedPrecision]:
    """The layers as the engine has them where a GPU lets it be opened, else as its network declared them."""
    declared = layers.declared(outcome.network)
    # the types of stored weights are the network's; the format of the computation is read from the engine
    if not this_machine().gpu or spec.method == WEIGHTS:
        return declared, layers.realized(declared)
    shapes = {one.name: one.sized(spec.batches[-1], "opt") for one in source.inputs}
    host_code = VERSION_COMPATIBLE in spec.build_options
    try:
        found = read(inspection_json(_builder(spec), outcome.plan, shapes, host_code=host_code))
    except WorkbenchError as error:
        if outcome.weak:  # only the inspector can say what the builder chose
            return declared, RealizedPrecision({}, f"nothing: the engine could not be read here ({error.message})")
        basis = f"types of the strongly typed network; the engine could not be read here ({error.message})"
        declared = replace(declared, basis=basis)
        return declared, layers.realized(declared)
    nodes = [node for layer in layers.weighted(declared) for node in layer.origin]
    counted = realized(found, nodes)
    if counted is None and outcome.weak:
        return found, of_weighted_layers(found)
    if counted is None:
        basis = "types of the strongly typed network; the engine's layers do not name every node"
        return found, layers.realized(replace(declared, basis=basis))
    return found, counted


BACKEND = TensorRT()
