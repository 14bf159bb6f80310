"""LiteRT (TensorFlow Lite) on the CPU. The engine is the ``.tflite`` file that TensorFlow's own converter writes.

A ``.tflite`` file of the user's is an engine already and runs as it is.

Integer outputs of a quantized file are given as the real numbers that they stand for, ``scale × (stored - zero_point)`` with the
file's own numbers, as every other engine gives them. That scaling is part of the region host-to-host: a user of real numbers
has to do it in every call, and an engine made from the ONNX form of the same file does it in its last node. It is not part of the
region compute. Integer outputs without a scale (class numbers, indices) or with one scale for each channel are given as stored.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.choices.methods import method_of
from workbench.errors import BuildError, brief
from workbench.models.formats import tflite
from workbench.protocols import ON_CPU, YES, Availability, Built, Caller, Callers, Progress, Refusal, Source, no, on_cpu
from workbench.records import (
    TEXT,
    Calibration,
    EngineRecord,
    EngineSpec,
    InEffect,
    Model,
    Precision,
    RealizedPrecision,
    Region,
    TensorSpec,
    real_numbers,
)
from workbench.store import file_digest
from workbench.system.machine import version_of

if TYPE_CHECKING:
    import numpy as np

METHODS = ("fp32", "int8", "int8-minmax", "int8-dynamic", "fp16-weights")
"""What it is converted to; the converter knows one way to choose ranges."""
FILE = "engine.tflite"
NAMES = "names.json"


class LiteRt:
    name = "litert"
    title = "LiteRT"
    modes = {
        "": "float, INT8 with calibrated ranges, INT8 with dynamic ranges (small layers stay FP32), or 16-bit weights"
    }
    distributions = ("ai-edge-litert",)
    imports = ("ai_edge_litert.interpreter", "numpy")
    mode_imports: dict[str, tuple[str, ...]] = {}
    devices: Mapping[str, str] = {}
    settings = {"threads": "threads inside one operator; operators run one after another"}
    without = {
        "optimization_level": "TensorFlow Lite's converter has no such levels",
        "workspace": "its CPU kernels have no workspace limit",
        "build_options": "TensorFlow Lite's converter has none to choose by name",
        **ON_CPU,
    }

    def status(self, mode: str = "") -> Availability:  # noqa: ARG002 - the contract
        if find_spec("ai_edge_litert") is None:
            return no("the package 'ai-edge-litert' is not installed", "pip install ai-edge-litert")
        return YES

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if model.format == "onnx":
            return no("LiteRT cannot run an ONNX model", "open the Keras or SavedModel form of it")
        if spec.asked in (Precision.FP16, Precision.BF16):
            return no(
                "its CPU kernels compute in FP32 or INT8; 16-bit weights only make the file smaller",
                "use fp16-weights for the smaller file, or OpenVINO to compute in 16 bits",
            )
        if spec.asked not in METHODS:
            return no(f"TensorFlow Lite's converter does not make {spec.asked}", f"choose from {', '.join(METHODS)}")
        if model.format == "tflite":
            return _runs_as_it_is(spec, model)
        if any(tensor.dtype == TEXT for tensor in (*model.inputs, *model.outputs)):
            return no("TensorFlow Lite's converter leaves out operations on text", "choose a signature without text")
        return YES

    def measures(self, spec: EngineSpec, region: Region) -> Availability:  # noqa: ARG002 - the contract
        return on_cpu(region)

    def source(self, spec: EngineSpec, model: Model) -> str:
        if model.format == "tflite":
            return "tflite"
        return "saved_model+calibration" if method_of(spec.asked).calibrated else "saved_model"

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        note = ""
        if source.path.is_file():
            shutil.copyfile(source.path, into / FILE)
        else:
            (into / FILE).write_bytes(_converted(source, spec, into, progress))
            if method_of(spec.asked).calibrated and spec.calibration != Calibration.MINMAX:
                note = "ranges: smallest and largest values, whatever method is set"
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

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:  # noqa: ARG002 - the contract
        return ()

    def open(self, engine: Path, record: EngineRecord) -> LiteRtSession:
        from ai_edge_litert.interpreter import Interpreter

        def make() -> Any:
            return Interpreter(model_path=str(engine / FILE), num_threads=record.spec.threads)

        return LiteRtSession(make, json.loads((engine / NAMES).read_text(encoding="utf-8")))


class LiteRtSession:
    """One interpreter, allocated anew whenever the shapes of the inputs change."""

    def __init__(self, make: Callable[[], Any], names: dict[str, Any]) -> None:
        self._make, self._names = make, names
        self._interpreter = make()
        self._inputs: dict[str, int] = names["inputs"]
        self._outputs: dict[str, int] = names["outputs"]
        self._scales: dict[str, tuple[float, int]] = {
            name: (pair[0], pair[1]) for name, pair in names["scales"].items()
        }
        # a recurrent layer keeps its state in a variable; the source model begins every call without one
        self._reset: bool = names["variables"]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._owner: object = None  # whose inputs lie in the interpreter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._interpreter

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Host in, host out, in real numbers; scaling integer outputs is part of the call."""
        self._fill(feeds, None)
        self._invoke()
        found = {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
        for name, (scale, zero_point) in self._scales.items():
            found[name] = real_numbers(found[name], scale, zero_point)
        return found

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        owner = object()
        self._fill(feeds, owner)

        def call() -> None:
            if self._owner is not owner:  # something else ran in between
                self._fill(feeds, owner)
            self._invoke()

        return call

    def callers(self, count: int) -> Callers:
        """An interpreter is for one thread at a time, so each caller has its own; the weights are mapped from one file."""
        each = [LiteRtSession(self._make, self._names) for _ in range(count)]
        return Callers(tuple(Caller(one.run, one.stage) for one in each), "an interpreter for each")

    def in_effect(self) -> tuple[InEffect, ...]:
        """Its interpreter tells no threads. XNNPACK, to which it hands most operations, switches denormals off in each thread
        that computes (``PTHREADPOOL_FLAG_DISABLE_DENORMALS`` in XNNPACK's operator-run.c).
        """
        names = [each["op_name"] for each in self._interpreter._get_ops_details()]  # noqa: SLF001 - no other way
        handed = names.count("DELEGATE")
        found = [InEffect("delegate", f"{handed} parts" if handed else "none", "operations of the open interpreter")]
        if handed:
            found.append(InEffect("denormals", "flushed to zero", "XNNPACK's source, for what was handed to it"))
        return tuple(found)

    def _fill(self, feeds: Mapping[str, np.ndarray], owner: object) -> None:
        shapes = {name: feeds[name].shape for name in self._inputs}
        if shapes != self._shapes:
            self._shapes = {}
            for name, index in self._inputs.items():
                self._interpreter.resize_tensor_input(index, shapes[name])
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, feeds[name])
        self._owner = owner

    def _invoke(self) -> None:
        if self._reset:
            self._interpreter.reset_all_variables()
        self._interpreter.invoke()


def _runs_as_it_is(spec: EngineSpec, model: Model) -> Availability:
    held = Precision.INT8 if model.quantized == "int8" else Precision.FP32
    if spec.asked != held:
        return no(f"this TensorFlow Lite file holds {held} and is not converted again", f"use {held}")
    return YES


def _converted(source: Source, spec: EngineSpec, into: Path, progress: Progress) -> bytes:
    """The SavedModel as TensorFlow Lite, from one signature.

    Raises:
        BuildError: it has operations that TensorFlow Lite lacks, or calibration samples are missing.
    """
    import tensorflow as tf

    folder, signature, size = str(source.path), source.signature, _batch(source, spec)
    draft = into / "fixed"
    method = method_of(spec.asked)
    if method.calibrated:
        _check_loops(source)
    if spec.batch is not None:
        progress(f"fix batch to {spec.batch}")
        _fix_batch(source, spec.batch, draft)
        folder, signature = str(draft), "serving_default"
    progress("convert to TensorFlow Lite")
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[signature])
    if spec.asked != Precision.FP32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # lists whose elements have an unknown batch, as in the loop of a recurrent layer, then get a batch of 1
    converter._experimental_default_to_single_batch_in_tensor_list_ops = size == 1  # noqa: SLF001 - no other way
    if method.precision == Precision.FP16:
        converter.target_spec.supported_types = [tf.float16]
    if method.calibrated:
        # an operation without an INT8 kernel stays float; what is left of INT8 is read back and judged
        kinds = tf.lite.OpsSet
        converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS_INT8, kinds.TFLITE_BUILTINS]
        converter.representative_dataset = _feeds(source, spec, size or 1)
    try:
        with warnings.catch_warnings():
            # the converter itself uses the interpreter that this warning tells others not to use
            warnings.filterwarnings("ignore", message=r"(?s).*tf.lite.Interpreter is deprecated", category=UserWarning)
            content: bytes = converter.convert()
    except Exception as cause:
        raise BuildError(_reason(cause, size)) from cause
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return content


def _batch(source: Source, spec: EngineSpec) -> int | None:
    """The one batch that the engine or the model is fixed to, if any."""
    known = (tensor.shape[tensor.batch_axis] for tensor in source.inputs if tensor.batch_axis is not None)
    return spec.batch or next((size for size in known if size), None)


def _check_loops(source: Source) -> None:
    """Refuse what TensorFlow 2.21's calibration ends the whole process on, with a segmentation fault.

    Raises:
        BuildError: the model collects results of a loop in a list, as Keras' recurrent layers do.
    """
    import tensorflow as tf

    graph = tf.saved_model.load(str(source.path)).signatures[source.signature].graph.as_graph_def()
    nodes = (*graph.node, *(node for function in graph.library.function for node in function.node_def))
    if any(node.op == "TensorListReserve" for node in nodes):
        raise BuildError(
            "TensorFlow Lite cannot calibrate a model with such a loop (a recurrent layer). "
            "Use int8-dynamic, which needs no calibration."
        )


def _reason(cause: Exception, size: int | None) -> str:
    text = str(cause)
    if "TensorList" in text and size != 1:
        return (
            "TensorFlow Lite converts a loop such as a recurrent layer's only for a batch of 1. "
            "Set 'shapes' to fixed and 'batches' to 1, or choose another backend."
        )
    missing = sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", text)))
    if missing:
        return f"TensorFlow Lite has no kernel for {', '.join(missing)}, which this model uses. Choose another backend."
    return f"TensorFlow's converter to TensorFlow Lite failed: {brief(cause, 300)} Choose another backend."


def _fix_batch(source: Source, batch: int, into: Path) -> None:
    """Save the signature again as ``serving_default`` with its batch axis fixed; a layer's loop may need that."""
    import tensorflow as tf

    module = tf.Module()
    module.origin = tf.saved_model.load(str(source.path))  # kept, or its variables would be left out
    function = module.origin.signatures[source.signature]
    specs = {tensor.name: tf.TensorSpec(_sized(tensor, batch), tensor.dtype, tensor.name) for tensor in source.inputs}
    # called with keywords, or the inputs would lose their names
    fixed = tf.function(lambda **inputs: function(**inputs), autograph=False).get_concrete_function(**specs)  # noqa: PLW0108
    tf.saved_model.save(module, str(into), signatures={"serving_default": fixed})


def _sized(tensor: TensorSpec, batch: int) -> list[int | None]:
    """The shape with the batch axis fixed; other dynamic axes stay so.

    Raises:
        BuildError: the model is fixed to another batch.
    """
    shape = list(tensor.shape)
    if tensor.batch_axis is not None:
        found = shape[tensor.batch_axis]
        if found not in (None, batch):
            raise BuildError(
                f"A batch of {batch} was asked for, but the model is fixed to {found}. Set 'batches' to {found}."
            )
        shape[tensor.batch_axis] = batch
    return shape


def _feeds(source: Source, spec: EngineSpec, size: int) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """Calibration samples as the converter wants them: one feed at a time, in the batch that the model takes."""
    from workbench.data.samples import load_samples

    if source.samples is None:
        raise BuildError(
            "INT8 needs real calibration samples, and none were given. Give data as an .npz file, or use int8-dynamic."
        )
    samples = load_samples(source.samples)

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, min(samples.count, spec.calibration_samples or samples.count), size):
            yield samples.feeds(start, size)

    return feeds


def _names(graph: Any, signature: str) -> dict[str, Any]:
    """Tensor numbers in the main graph by the signature's names, or by the tensors' own where there is no signature.

    Raises:
        BuildError: the signature belongs to another graph of the file.
    """
    main = graph.Subgraphs(0)
    tensors = [main.Tensors(number) for number in range(main.TensorsLength())]
    found = {"variables": any(tensor.IsVariable() for tensor in tensors)}
    first = tflite.main_signature(graph)
    listed = tflite.signatures_of(graph)
    if tflite.subgraph_of(graph, signature) != 0:
        raise BuildError(
            f"The signature '{signature}' is not the main one of this TensorFlow Lite file, and only that is run here. "
            f"Set 'signature' to '{first}'."
        )
    chosen = listed.get(signature or first)
    if chosen is None:
        own = {tensors[index].Name().decode(): int(index) for index in main.InputsAsNumpy()}
        outs = {tensors[index].Name().decode(): int(index) for index in main.OutputsAsNumpy()}
        return {**found, "inputs": own, "outputs": outs}
    inputs = [chosen.Inputs(number) for number in range(chosen.InputsLength())]
    outputs = [chosen.Outputs(number) for number in range(chosen.OutputsLength())]
    return {
        **found,
        "inputs": {one.Name().decode(): one.TensorIndex() for one in inputs},
        "outputs": {one.Name().decode(): one.TensorIndex() for one in outputs},
    }


def _realized(graph: Any, spec: EngineSpec) -> RealizedPrecision:
    """Count the layers with weights, bodies of loops included, by the types of their data and their weights."""
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
    """The name of a layer's precision: that of its weights, where these are of 8 bits and meet floats or 16-bit integers."""
    if data in tflite.FLOATS:
        return "fp32" if weights in tflite.FLOATS else "int8" if weights in tflite.BYTES else weights.lower()
    return "int8" if data in tflite.BYTES or (data == "INT16" and weights in tflite.BYTES) else data.lower()


BACKEND = LiteRt()
