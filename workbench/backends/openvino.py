"""OpenVINO on the CPU. The engine is the blob that OpenVINO exports after compiling."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.choices.methods import CONTROL, MODELOPT, NNCF, WEIGHTS
from workbench.data.samples import load_samples
from workbench.engines.openvino_profile import ProfiledOpenVino
from workbench.errors import brief
from workbench.models.onnx_file import graphs
from workbench.models.openvino_tensors import Names, by_place, reader, tensor_of, writer
from workbench.precision.nncf_int8 import quantized
from workbench.protocols import (
    ON_CPU,
    YES,
    Availability,
    Built,
    Caller,
    Callers,
    ProfiledSession,
    Progress,
    Refusal,
    Source,
    no,
    on_cpu,
)
from workbench.records import EngineRecord, EngineSpec, InEffect, Model, Precision, RealizedPrecision, Region
from workbench.system.machine import this_machine, version_of

if TYPE_CHECKING:
    import numpy as np

FILE = "engine.blob"
# On CPUs with BF16, OpenVINO computes in BF16 unless it is told otherwise, so the format is always asked for.
HINTS = {Precision.FP16: "f16", Precision.BF16: "bf16"}  # "f32" for all others
FORMATS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
STORED = {"u8": "int8-weights", "i8": "int8-weights", "u4": "int4-weights", "i4": "int4-weights"}
"""What a layer that takes floats is reported as by the type of its weights, although it computes in floats."""
REFUSED = {
    "int8-dynamic": ("it turns ONNX' dynamic INT8 back into floats", "use int8, or onnxruntime"),
    "fp8": ("its CPU plugin computes FP8 in FP32 between conversions", "use int8 or bf16"),
    "fp16-weights": (
        "it computes in what its precision hint says, whatever the weights are stored in",
        "use fp16 or bf16",
    ),
}
WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "Gemm", "RNNSeq", "RNNCell"}
NEEDS = {
    Precision.FP16: ("avx512_fp16", "amx_fp16", "asimd"),
    Precision.BF16: ("avx512_bf16", "amx_bf16", "bf16"),
}
UNCONVERTED = ("ONNXFrameworkNode", "NotSupportedONNXNode")  # what its ONNX reader puts for what it cannot convert


class OpenVino:
    name = "openvino"
    title = "OpenVINO"
    modes = {"": "CPU plugin, one stream"}
    distributions = ("openvino", "nncf")
    imports = ("openvino", "numpy")
    mode_imports: dict[str, tuple[str, ...]] = {}
    devices: Mapping[str, str] = {}
    settings = {"threads": "INFERENCE_NUM_THREADS, with one stream"}
    without = {
        "optimization_level": "OpenVINO has no such levels",
        "workspace": "its CPU plugin has no workspace limit",
        "build_options": "OpenVINO has none to choose by name",
        **ON_CPU,
    }

    def status(self, mode: str = "") -> Availability:  # noqa: ARG002 - the contract
        if find_spec("openvino") is None:
            return no("the package 'openvino' is not installed", "pip install openvino")
        return YES

    def supports(self, spec: EngineSpec, model: Model) -> Availability:  # noqa: ARG002 - the contract
        if spec.asked in REFUSED:
            return no(*REFUSED[spec.asked])
        if spec.method == MODELOPT:
            return no("ModelOpt rewrites for TensorRT", "use tensorrt")
        if spec.method in (NNCF, CONTROL) and find_spec("nncf") is None:
            return no("the package 'nncf' is not installed", 'pip install "inference-workbench[nncf]"')
        needed = NEEDS.get(spec.precision, ())
        if needed and not set(needed) & set(this_machine().instructions):
            wanted = " or ".join(needed)
            return no(
                f"this CPU has none of {wanted}, so {spec.precision.upper()} would silently become another format"
            )
        return YES

    def measures(self, spec: EngineSpec, region: Region) -> Availability:  # noqa: ARG002 - the contract
        return on_cpu(region)

    def source(self, spec: EngineSpec, model: Model) -> str:  # noqa: ARG002 - the contract
        if spec.method == WEIGHTS:
            return f"onnx:{spec.asked}"
        if spec.method in (NNCF, CONTROL):
            return "onnx:fp32+calibration"
        return "onnx:int8-u8" if spec.precision == Precision.INT8 else "onnx:fp32"

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(str(onnx))
        except Exception as cause:
            return _unconverted(onnx, str(cause))
        try:
            taken = core.query_model(model, "CPU")
        except Exception as cause:
            return (Refusal("", "", f"OpenVINO cannot say what its CPU plugin takes: {brief(cause, 300)}"),)
        return tuple(
            Refusal(op.get_friendly_name(), op.get_type_name(), "OpenVINO's CPU plugin has no kernel for it")
            for op in model.get_ops()
            if op.get_friendly_name() not in taken
        )

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import openvino

        core, note = openvino.Core(), ""
        model: Any = core.read_model(str(source.path))
        names = Names.of_onnx(source.path, model)
        if source.samples is not None:
            model, note = quantized(model, load_samples(source.samples), spec.method, progress, names.inputs)
        progress("compile")
        compiled = core.compile_model(model, "CPU", _config(spec))
        progress("export blob")
        with (into / FILE).open("wb") as file:
            file.write(compiled.export_model().getvalue())
        names.write(into)
        progress("read back precision")
        return Built(
            library="OpenVINO",
            library_version=version_of("openvino"),
            realized=_realized(compiled.get_runtime_model()),
            note=note,
        )

    def open(self, engine: Path, record: EngineRecord) -> OpenVinoSession:
        import openvino

        core, spec = openvino.Core(), record.spec

        def compiled(streams: int) -> Any:
            return core.import_model((engine / FILE).read_bytes(), "CPU", _config(spec, streams))

        one = compiled(1)
        return OpenVinoSession(one, Names.read(engine, one), compiled)

    def profiles(self, spec: EngineSpec) -> Availability:  # noqa: ARG002 - the contract
        return YES

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        import openvino

        config = _config(record.spec) | {"PERF_COUNT": True}
        compiled = openvino.Core().import_model((engine / FILE).read_bytes(), "CPU", config)
        return ProfiledOpenVino(compiled, Names.read(engine, compiled))


class OpenVinoSession:
    """One infer request. ``again`` compiles the engine for a number of streams."""

    def __init__(self, compiled: Any, names: Names, again: Callable[[int], Any]) -> None:
        self._compiled, self._names, self._again = compiled, names, again
        self._request = compiled.create_infer_request()
        self._read = reader(names, compiled)
        # what writes into the request's own memory, and the shape that came last
        self._inputs: dict[str, tuple[tuple[int, ...], Callable[[np.ndarray], None]]] = {}
        # OpenVINO 2026.4 crashes where one request is used after another that shared its caller's memory was freed
        self._kept: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._inputs, self._request, self._kept, self._compiled

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As ``infer(feeds)``, which asks for every tensor, its type and its shape anew: about 30 µs in each call."""
        for name, array in feeds.items():
            shape, write = self._inputs.get(name) or (None, None)
            if write is None or shape != array.shape:
                write = self._resized(name, array.shape)
            write(array)
        return self._read(self._request.infer())  # copies

    def _resized(self, name: str, shape: tuple[int, ...]) -> Callable[[np.ndarray], None]:
        tensor = self._request.get_input_tensor(self._names.place(name))
        if tuple(tensor.shape) != shape:
            tensor.shape = shape
        self._inputs[name] = shape, writer(tensor)
        return self._inputs[name][1]

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        # a request of its own: run() would copy its inputs into this memory, whatever their shape
        request, ports = self._compiled.create_infer_request(), self._compiled.inputs
        places = {self._names.place(name): array for name, array in feeds.items()}
        own = {place: tensor_of(array, ports[place]) for place, array in places.items()}
        self._kept.append((request, own, places))  # it borrows their memory and does not keep them alive
        for place, tensor in own.items():
            request.set_input_tensor(place, tensor)
        # not start_async and wait, which hand the call to another thread and back: about 10 µs
        return lambda: request.infer(share_outputs=True)

    def callers(self, count: int) -> Callers:
        """An infer request for each, as an AsyncInferQueue has them. The engine is compiled again with as many streams, each
        with the threads of one call, because requests beyond the streams wait; OpenVINO makes no more than it has cores for.
        """
        shared = self._compiled if count == 1 else self._again(count)
        each = [OpenVinoSession(shared, self._names, self._again) for _ in range(count)]
        self._kept.extend(each)  # with the requests that they make
        streams = shared.get_property("NUM_STREAMS")
        note = f"{streams} {'stream' if streams == 1 else 'streams'}, an infer request for each"
        return Callers(tuple(Caller(one.run, one.stage) for one in each), note)

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        request, own = self._compiled.create_infer_request(), by_place(self._names, self._compiled, feeds)
        self._kept.append((request, own))
        return (
            lambda: request.infer(own, share_inputs=True, share_outputs=True),
            "infer with shared inputs and outputs: a dictionary of arrays in, one of views out, nothing copied",
        )

    def in_effect(self) -> tuple[InEffect, ...]:
        def read(key: str) -> Any:
            return self._compiled.get_property(key)

        hint = re.search(r"\w+(?='>)", str(read("INFERENCE_PRECISION_HINT")))
        told = {
            "threads": ("INFERENCE_NUM_THREADS", str(read("INFERENCE_NUM_THREADS"))),
            "denormals": (
                "CPU_DENORMALS_OPTIMIZATION",
                "flushed to zero" if read("CPU_DENORMALS_OPTIMIZATION") else "kept",
            ),
            "thread pinning": ("ENABLE_CPU_PINNING", "on" if read("ENABLE_CPU_PINNING") else "off"),
            "streams": ("NUM_STREAMS", str(read("NUM_STREAMS"))),
            "precision hint": ("INFERENCE_PRECISION_HINT", hint[0] if hint else "none"),
            "hyper-threading": ("ENABLE_HYPER_THREADING", "used" if read("ENABLE_HYPER_THREADING") else "not used"),
        }
        return tuple(InEffect(name, value, f"property {key}") for name, (key, value) in told.items())


def _config(spec: EngineSpec, streams: int = 1) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": HINTS.get(spec.precision, "f32"),
        "INFERENCE_NUM_THREADS": spec.threads * streams,
        "NUM_STREAMS": streams,
        "PERFORMANCE_HINT": "LATENCY",
        # as TensorFlow and TensorFlow Lite do it, which cannot be told otherwise
        "CPU_DENORMALS_OPTIMIZATION": True,
    }


def _realized(runtime_model: Any) -> RealizedPrecision:
    """Count the layers with weights by the precision that the compiled model reports for each."""
    counts: Counter[str] = Counter()
    for node in runtime_model.get_ops():
        info = node.get_rt_info()
        if info["layerType"].value in WEIGHTED:
            precision = info["runtimePrecision"].value
            names = STORED if node.input(0).get_element_type().is_real() else FORMATS
            counts[names.get(precision, FORMATS.get(precision, precision))] += 1
    return RealizedPrecision(dict(counts), "precision of each layer of OpenVINO's runtime model")


def _unconverted(path: Path, text: str) -> tuple[Refusal, ...]:
    """The nodes that OpenVINO's ONNX reader left as they were; it names them by their first result."""
    import onnx
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework("onnx")
    try:
        partial = reader.convert_partially(reader.load(str(path)))
        left = {op.get_friendly_name() for op in partial.get_ops() if op.get_type_name() in UNCONVERTED}
    except Exception:
        left = set()
    reasons = dict(re.findall(r"-- ([\w.]+?)(?:-\d+)? with a message:\n(.*?)(?=\n-- |\n\n|\Z)", text, re.DOTALL))
    refused = []
    for node in (node for part in graphs(onnx.load(path, load_external_data=False).graph) for node in part.node):
        op = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        if {node.name, *node.output} & left:
            why = reasons.get(op, "").strip().splitlines()
            reason = f"OpenVINO cannot convert it: {why[-1]}" if why else "OpenVINO has no conversion rule for it"
            refused.append(Refusal(node.name or node.output[0], op, reason))
    if refused:
        return tuple(refused)
    # what lies in a branch the reader keeps to itself, but each message names the first node of its operator
    for op, why in reasons.items():
        inside = re.search(r"<Node\(\w+\): ([^>]+)>'", why)
        if inside:
            refused.append(Refusal(inside[1], op, f"OpenVINO cannot convert it: {why.strip().splitlines()[-1]}"))
    if refused:
        return tuple(refused)
    return (Refusal("", "", f"OpenVINO does not read it: {' '.join(text.split())[-300:]}"),)


BACKEND = OpenVino()
