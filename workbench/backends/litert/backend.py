"""LiteRT (TensorFlow Lite) on the CPU. The engine is the ``.tflite`` file that TensorFlow's own converter writes.

A ``.tflite`` file given by the user is an engine already and is not converted.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.backends.base import BaseBackend, Deployed
from workbench.backends.litert.convert import converted
from workbench.backends.litert.session import LiteRtSession
from workbench.errors import BuildError
from workbench.models.formats import tflite
from workbench.protocols import AVAILABLE, TF_WORKER, Availability, Built, Progress, Source, unavailable
from workbench.records import (
    TEXT,
    Calibration,
    EngineRecord,
    EngineSpec,
    Model,
    Precision,
    RealizedPrecision,
)
from workbench.records.methods import method_of
from workbench.store import file_digest
from workbench.system.machine import version_of

METHODS = ("fp32", "int8", "int8-minmax", "int8-dynamic", "fp16-weights")
"""The precisions of the converter, which has one method to choose ranges."""
FILE = "engine.tflite"
NAMES = "names.json"
DEPLOYED = "model.tflite"
EDGE = (
    f"`{DEPLOYED}` is a TensorFlow Lite file. The self-test runs on the device too, with `ai-edge-litert` or `tflite-runtime`. "
    f"TensorFlow's own tool times it without Python: `benchmark_model --graph={DEPLOYED} --num_threads={{threads}}`."
)


class LiteRt(BaseBackend):
    name = "litert"
    title = "LiteRT"
    runner = Path(__file__).with_name("runner.py")
    modes = {
        "": "float, INT8 with calibrated ranges, INT8 with dynamic ranges (small layers stay FP32), or 16-bit weights"
    }
    distributions = ("ai-edge-litert",)
    builders = ("tensorflow-cpu", "tensorflow")  # its converter
    builds_in = TF_WORKER
    imports = ("ai_edge_litert.interpreter", "numpy")
    own_formats = ("tflite",)
    settings = {"threads": "threads inside one operator; operators run one after another"}

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if model.format == "onnx":
            return unavailable("LiteRT cannot run an ONNX model", "open the model as Keras or SavedModel")
        if spec.asked in (Precision.FP16, Precision.BF16):
            return unavailable(
                "its CPU kernels compute in FP32 or INT8; 16-bit weights only make the file smaller",
                "use fp16-weights for the smaller file, or OpenVINO to compute in 16 bits",
            )
        if spec.asked not in METHODS:
            return unavailable(
                f"TensorFlow Lite's converter does not make {spec.asked}", f"choose from {', '.join(METHODS)}"
            )
        if model.format == "tflite":
            held = Precision.INT8 if model.quantized == "int8" else Precision.FP32
            if spec.asked != held:
                return unavailable(f"this TensorFlow Lite file holds {held} and is not converted again", f"use {held}")
            return AVAILABLE
        if find_spec("tensorflow") is None:
            return unavailable(
                "its converter is a part of TensorFlow, which is not installed",
                'pip install "inference-workbench[tensorflow]"',
            )
        if any(tensor.dtype == TEXT for tensor in (*model.inputs, *model.outputs)):
            return unavailable(
                "TensorFlow Lite's converter leaves out operations on text", "choose a signature without text"
            )
        return AVAILABLE

    def source(self, spec: EngineSpec, model: Model) -> str:
        if model.format == "tflite":
            return "tflite"
        return "saved_model+calibration" if method_of(spec.asked).calibrated else "saved_model"

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        note = ""
        if source.path.is_file():
            shutil.copyfile(source.path, into / FILE)
        else:
            (into / FILE).write_bytes(converted(source, spec, into, progress))
            if method_of(spec.asked).calibrated and spec.calibration != Calibration.MINMAX:
                note = "ranges: smallest and largest values; the calibration method has no effect here"
        progress("read back precision")
        graph = tflite.graph_of(into / FILE)
        signature = source.signature if source.path.is_file() else ""
        names = _names(graph, signature)
        order = [output.name for output in source.outputs if output.name in names["outputs"]]
        names["outputs"] = {name: names["outputs"][name] for name in order} | names["outputs"]
        names["scales"] = tflite.scales_of(graph.Subgraphs(0), names["outputs"])
        (into / NAMES).write_text(json.dumps(names), encoding="utf-8")
        return Built(
            library="LiteRT",
            library_version=version_of("ai-edge-litert"),
            realized=_realized(graph, spec),
            note=note,
            file_sha256=file_digest(into / FILE),
        )

    def deploys(self, spec: EngineSpec) -> Availability:
        return AVAILABLE

    def deployed(self, engine: Path, record: EngineRecord, origin: Path, scratch: Path) -> Deployed:
        """The engine itself, which runs on any device with an interpreter."""
        names = json.loads((engine / NAMES).read_text(encoding="utf-8"))
        options = {"file": DEPLOYED, "threads": record.spec.threads, **names}
        return Deployed({DEPLOYED: engine / FILE}, options, "", edge=EDGE.format(threads=record.spec.threads))

    def open(self, engine: Path, record: EngineRecord) -> LiteRtSession:
        from ai_edge_litert.interpreter import Interpreter

        def make() -> Any:
            return Interpreter(model_path=str(engine / FILE), num_threads=record.spec.threads)

        return LiteRtSession(make, json.loads((engine / NAMES).read_text(encoding="utf-8")))


def _names(graph: Any, signature: str) -> dict[str, Any]:
    """Tensor numbers in the main graph by the names of the signature, or by those of the tensors if there is no signature.

    Raises:
        BuildError: the signature belongs to a graph other than the main one.
    """
    main = graph.Subgraphs(0)
    tensors = [main.Tensors(number) for number in range(main.TensorsLength())]
    found: dict[str, Any] = {"variables": any(tensor.IsVariable() for tensor in tensors)}
    first = tflite.main_signature(graph)
    if tflite.subgraph_of(graph, signature) != 0:
        raise BuildError(
            f"The signature '{signature}' is not the main one of this TensorFlow Lite file, and only the main one can be run. "
            f"Set 'signature' to '{first}'."
        )
    chosen = tflite.signatures_of(graph).get(signature or first)
    if chosen is None:
        numbers = {"inputs": main.InputsAsNumpy(), "outputs": main.OutputsAsNumpy()}
        return found | {key: {tensors[at].Name().decode(): int(at) for at in each} for key, each in numbers.items()}
    inputs = map(chosen.Inputs, range(chosen.InputsLength()))
    outputs = map(chosen.Outputs, range(chosen.OutputsLength()))
    named = {"inputs": inputs, "outputs": outputs}
    return found | {key: {one.Name().decode(): one.TensorIndex() for one in each} for key, each in named.items()}


def _realized(graph: Any, spec: EngineSpec) -> RealizedPrecision:
    """Count the layers with weights, including those in bodies of loops, by the types of their data and weights."""
    counts: Counter[str] = Counter()
    hybrid = wide = halves = 0
    for data, weights, stored in tflite.layers(graph):
        half = stored == "FLOAT16" and method_of(spec.asked).weights_only
        counts[spec.asked if half else _computed_in(data, weights)] += 1
        hybrid += data in tflite.FLOATS and weights not in tflite.FLOATS
        wide += data == "INT16" and weights in tflite.BYTES
        halves += stored == "FLOAT16"
    basis = "tensor types of the TensorFlow Lite file"
    if hybrid:
        basis += f"; {hybrid} hybrid: INT8 weights, activations are float between layers and quantized in each call"
    if wide:
        basis += f"; {wide} with INT8 weights and 16-bit activations ({tflite.INT16X8})"
    if halves:
        basis += f"; {halves} with weights stored as 16-bit floats and computed with in FP32"
    return RealizedPrecision(dict(counts), basis)


def _computed_in(data: str, weights: str) -> str:
    """The name of a layer's precision: that of its weights if they have 8 bits and the data are floats or 16-bit integers."""
    if data in tflite.FLOATS:
        return "fp32" if weights in tflite.FLOATS else "int8" if weights in tflite.BYTES else weights.lower()
    return "int8" if data in tflite.BYTES or (data == "INT16" and weights in tflite.BYTES) else data.lower()


BACKEND = LiteRt()
