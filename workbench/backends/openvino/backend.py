"""OpenVINO on the CPU. The engine is the blob that OpenVINO exports after compiling."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.base import BaseBackend, BaseSession, Deployed
from workbench.backends.openvino.profile import ProfiledOpenVino
from workbench.data.samples import load_samples
from workbench.errors import brief
from workbench.models.onnx_file import graphs, weights_beside
from workbench.models.openvino_tensors import FILE as NAMES
from workbench.models.openvino_tensors import Names, by_place, reader, tensor_of, writer
from workbench.models.operators import format_of
from workbench.precision.nncf_int8 import quantized
from workbench.precision.seven_bits import multiplies_signed_activations, seven_bits
from workbench.protocols import (
    AVAILABLE,
    Availability,
    Built,
    Caller,
    Callers,
    ProfiledSession,
    Progress,
    Refusal,
    Source,
    unavailable,
)
from workbench.records import EngineRecord, EngineSpec, InEffect, Model, Precision, RealizedPrecision
from workbench.records.methods import CONTROL, MODELOPT, NNCF, WEIGHTS
from workbench.system.machine import MULTIPLY, int8_saturates, this_machine, version_of

if TYPE_CHECKING:
    import numpy as np

FILE = "engine.blob"
DEPLOYED = "model.onnx"
CONTAINER = 'backend: "openvino"\ndefault_model_filename: "model.onnx"'
# On CPUs with BF16, OpenVINO computes in BF16 by default, so the format is always set.
HINTS = {Precision.FP16: "f16", Precision.BF16: "bf16"}  # "f32" for all others
STORED = {"u8": "int8-weights", "i8": "int8-weights", "u4": "int4-weights", "i4": "int4-weights"}
"""The precision that is reported for a layer with float inputs, by the type of its weights, although it computes in floats."""
REFUSED = {
    "int8-dynamic": ("it turns ONNX' dynamic INT8 back into floats", "use int8, or onnxruntime"),
    "fp8": ("its CPU plugin computes FP8 in FP32 between conversions", "use int8 or bf16"),
    "fp16-weights": (
        "its precision hint sets the format that it computes in, and the format of the stored weights has no effect",
        "use fp16 or bf16",
    ),
}
WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "Gemm", "RNNSeq", "RNNCell"}
# its ONNX reader's placeholders for nodes that it cannot convert
UNCONVERTED = ("ONNXFrameworkNode", "NotSupportedONNXNode")
DENORMALS = "CPU_DENORMALS_OPTIMIZATION"
SEVEN_BITS = "weights have 7 bits, because 8-bit products saturate in OpenVINO on this CPU, which has no VNNI"
SATURATES = (
    "this CPU has no VNNI: 8-bit products of two signed activations saturate in OpenVINO, which can cost accuracy"
)


class OpenVino(BaseBackend):
    name = "openvino"
    title = "OpenVINO"
    runner = Path(__file__).with_name("runner.py")
    modes = {"": "CPU plugin, one stream"}
    distributions = ("openvino", "nncf")
    imports = ("openvino", "numpy")
    searches_mixed_precision = True
    recipe = "7-bit weights without VNNI"
    settings = {"threads": "INFERENCE_NUM_THREADS, with one stream"}

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if spec.asked in REFUSED:
            return unavailable(*REFUSED[spec.asked])
        if spec.method == MODELOPT:
            return unavailable("ModelOpt rewrites for TensorRT", "use tensorrt")
        if spec.method in (NNCF, CONTROL) and find_spec("nncf") is None:
            return unavailable("the package 'nncf' is not installed", 'pip install "inference-workbench[nncf]"')
        needed = MULTIPLY.get(spec.precision, ()) if spec.precision in HINTS else ()
        if needed and not set(needed) & set(this_machine().instructions):
            wanted = " or ".join(needed)
            return unavailable(
                f"this CPU has none of {wanted}, so OpenVINO would silently use another format than {spec.precision.upper()}"
            )
        return AVAILABLE

    def reference_for(self, model: Model) -> Precision | None:
        """BF16 for models stored in BF16, for which few other libraries have CPU kernels."""
        brain = model.format == "onnx" and model.quantized == Precision.BF16
        return Precision.BF16 if brain and self.status() else None

    def source(self, spec: EngineSpec, model: Model) -> str:
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
            return (
                Refusal("", "", f"OpenVINO cannot list the nodes that its CPU plugin supports: {brief(cause, 300)}"),
            )
        return tuple(
            Refusal(op.get_friendly_name(), op.get_type_name(), "OpenVINO's CPU plugin has no kernel for it")
            for op in model.get_ops()
            if op.get_friendly_name() not in taken
        )

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import openvino

        core = openvino.Core()
        origin, notes = _origin(source, spec, into)
        model: Any = core.read_model(str(origin))
        names = Names.of_onnx(origin, model)
        if source.samples is not None:
            seven = int8_saturates()
            model, note = quantized(
                model, load_samples(source.samples), spec.method, progress, names.inputs, seven_bits=seven
            )
            notes += [note, SEVEN_BITS if seven else ""]
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
            note="; ".join(filter(None, notes)),
        )

    def open(self, engine: Path, record: EngineRecord) -> OpenVinoSession:
        import openvino

        core, spec = openvino.Core(), record.spec

        def compiled(streams: int) -> Any:
            return core.import_model((engine / FILE).read_bytes(), "CPU", _config(spec, streams))

        one = compiled(1)
        return OpenVinoSession(one, Names.read(engine, one), compiled)

    def deploys(self, spec: EngineSpec) -> Availability:
        return AVAILABLE

    def deployed(self, engine: Path, record: EngineRecord, origin: Path, scratch: Path) -> Deployed:
        """The model that the engine was compiled from, which OpenVINO compiles where it is opened; for a model that NNCF quantized,
        which exists as a blob only, the blob.
        """
        spec = record.spec
        names = json.loads((engine / NAMES).read_text(encoding="utf-8"))
        options = {"config": _config(spec), "inputs": names["inputs"], "outputs": names["outputs"]}
        if spec.method in (NNCF, CONTROL):
            bound = "OpenVINO exported it after compiling for this type of CPU; it was quantized by NNCF in the build"
            return Deployed({FILE: engine / FILE}, {"file": FILE, "compiled": True, **options}, "", bound)
        options |= {"file": DEPLOYED, "compiled": False}
        if (engine / DEPLOYED).is_file():  # with weights of 7 bits
            return Deployed({DEPLOYED: engine / DEPLOYED}, options, CONTAINER)
        return Deployed({DEPLOYED: origin, **weights_beside(origin)}, options, CONTAINER)

    def profiles(self, spec: EngineSpec) -> Availability:
        return AVAILABLE

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        import openvino

        config = _config(record.spec) | {"PERF_COUNT": True}
        compiled = openvino.Core().import_model((engine / FILE).read_bytes(), "CPU", config)
        return ProfiledOpenVino(compiled, Names.read(engine, compiled))


class OpenVinoSession(BaseSession):
    """One infer request. ``again`` compiles the engine for another number of streams."""

    def __init__(self, compiled: Any, names: Names, again: Callable[[int], Any]) -> None:
        self._compiled, self._names, self._again = compiled, names, again
        self._request = compiled.create_infer_request()
        self._read = reader(names, compiled)
        # by input: the last shape, and a function that writes into the request's memory
        self._inputs: dict[str, tuple[tuple[int, ...], Callable[[np.ndarray], None]]] = {}
        # OpenVINO 2026.4 crashes if a request is used after another one that shared its caller's memory was freed
        self._kept: list[Any] = []

    def close(self) -> None:
        del self._inputs, self._request, self._kept, self._compiled

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As ``infer(feeds)``, but without its look-up of every tensor, type and shape, which takes about 30 µs in each call."""
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
        # a separate request: run() would copy its inputs into this memory, with any shape
        request, ports = self._compiled.create_infer_request(), self._compiled.inputs
        places = {self._names.place(name): array for name, array in feeds.items()}
        own = {place: tensor_of(array, ports[place]) for place, array in places.items()}
        self._kept.append((request, own, places))  # it borrows their memory and does not keep them alive
        for place, tensor in own.items():
            request.set_input_tensor(place, tensor)
        # start_async and wait would pass the call to another thread and back, which takes about 10 µs
        return lambda: request.infer(share_outputs=True)

    def callers(self, count: int) -> Callers:
        """Create an infer request for each caller, as an AsyncInferQueue does. The engine is compiled again with as many streams,
        each with the threads of one call, because requests beyond the streams wait; OpenVINO limits the streams to its cores.
        """
        shared = self._compiled if count == 1 else self._again(count)
        each = [OpenVinoSession(shared, self._names, self._again) for _ in range(count)]
        self._kept.extend(each)  # with their requests
        streams = shared.get_property("NUM_STREAMS")
        note = f"{streams} {'stream' if streams == 1 else 'streams'}, an infer request for each"
        return Callers(tuple(Caller(one.run, one.stage) for one in each), note)

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        request, own = self._compiled.create_infer_request(), by_place(self._names, self._compiled, feeds)
        self._kept.append((request, own))
        return (
            lambda: request.infer(own, share_inputs=True, share_outputs=True),
            "infer with shared inputs and outputs: a dictionary of arrays in, a dictionary of views out, no copies",
        )

    def in_effect(self) -> tuple[InEffect, ...]:
        read = self._compiled.get_property
        hint = re.search(r"\w+(?='>)", str(read("INFERENCE_PRECISION_HINT")))
        values = {
            "threads": ("INFERENCE_NUM_THREADS", str(read("INFERENCE_NUM_THREADS"))),
            "denormals": (DENORMALS, "flushed to zero" if read(DENORMALS) else "kept"),
            "thread pinning": ("ENABLE_CPU_PINNING", "on" if read("ENABLE_CPU_PINNING") else "off"),
            "streams": ("NUM_STREAMS", str(read("NUM_STREAMS"))),
            "precision hint": ("INFERENCE_PRECISION_HINT", hint[0] if hint else "none"),
            "hyper-threading": ("ENABLE_HYPER_THREADING", "used" if read("ENABLE_HYPER_THREADING") else "not used"),
        }
        return tuple(InEffect(name, value, f"property {key}") for name, (key, value) in values.items())


def _origin(source: Source, spec: EngineSpec, into: Path) -> tuple[Path, list[str]]:
    """The ONNX file to compile, and notes about it: the prepared model, or, where 8-bit products would saturate, a copy in the engine's
    folder with weights of 7 bits.
    """
    if spec.precision != Precision.INT8 or spec.method == WEIGHTS or source.samples is not None or not int8_saturates():
        return source.path, []
    notes = [SATURATES] if multiplies_signed_activations(source.path) else []
    if seven_bits(source.path, into / DEPLOYED):
        return into / DEPLOYED, [SEVEN_BITS, *notes]
    return source.path, notes


def _config(spec: EngineSpec, streams: int = 1) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": HINTS.get(spec.precision, "f32"),
        "INFERENCE_NUM_THREADS": spec.threads * streams,
        "NUM_STREAMS": streams,
        "PERFORMANCE_HINT": "LATENCY",
        # as TensorFlow and TensorFlow Lite do, where it cannot be changed
        DENORMALS: True,
    }


def _realized(runtime_model: Any) -> RealizedPrecision:
    """Count the layers with weights by the precision that the compiled model reports for each."""
    counts: Counter[str] = Counter()
    for node in runtime_model.get_ops():
        info = node.get_rt_info()
        if info["layerType"].value in WEIGHTED:
            precision = info["runtimePrecision"].value
            names = STORED if node.input(0).get_element_type().is_real() else {}
            counts[names.get(precision, format_of(precision))] += 1
    return RealizedPrecision(dict(counts), "precision of each layer of OpenVINO's runtime model")


def _unconverted(path: Path, text: str) -> tuple[Refusal, ...]:
    """The nodes that OpenVINO's ONNX reader did not convert; it names them by their first output."""
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
    # the reader does not list nodes inside a branch, but each message names the first node of its operator
    refused = refused or [
        Refusal(inside[1], op, f"OpenVINO cannot convert it: {why.strip().splitlines()[-1]}")
        for op, why in reasons.items()
        if (inside := re.search(r"<Node\(\w+\): ([^>]+)>'", why))
    ]
    return tuple(refused) or (Refusal("", "", f"OpenVINO cannot read it: {' '.join(text.split())[-300:]}"),)


BACKEND = OpenVino()
