"""TensorFlow on the CPU, the baseline: a ``tf.function`` on the model, plain or compiled by XLA, and ``model.predict``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.engines.tf_profile import ProfiledTensorFlow
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

if TYPE_CHECKING:
    import numpy as np

PREDICT = "predict"
XLA = "xla"
FOLDER = "saved_model"
KERAS = "model"  # with the ending that the user's file has
SIGNATURE = "signature.txt"
WEIGHTED = {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2",
            "BatchMatMulV3", "Einsum", "CudnnRNN"}  # fmt: skip


class TensorFlow:
    name = "tensorflow"
    title = "TensorFlow"
    modes = {
        "": "the model as one tf.function, what a careful user runs: the baseline",
        XLA: "the same function compiled by XLA (jit_compile=True)",
        PREDICT: "Keras' model.predict: a call with a large fixed cost, shown as what it is",
    }
    distributions = ("tensorflow-cpu", "tensorflow")
    imports = ("tensorflow", "numpy")
    mode_imports: dict[str, tuple[str, ...]] = {}
    devices: Mapping[str, str] = {}
    settings = {"threads": "threads inside one operator (intra-op); operators run one after another"}
    without = {
        "optimization_level": "TensorFlow has no such levels",
        "workspace": "TensorFlow has no workspace limit on a CPU",
        "build_options": "TensorFlow has none to choose by name",
        **ON_CPU,
    }

    def status(self, mode: str = "") -> Availability:  # noqa: ARG002 - the contract
        if find_spec("tensorflow") is None:
            return no("the package 'tensorflow' is not installed", "pip install tensorflow-cpu")
        return YES

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if not model.is_tensorflow:
            kind = "ONNX model" if model.format == "onnx" else "TensorFlow Lite file"
            return no(
                f"TensorFlow cannot run an {kind}".replace("an T", "a T"), "open the Keras or SavedModel form of it"
            )
        if spec.asked != Precision.FP32:
            return no("the model runs as it was saved; TensorFlow offers no rewrite to this precision", "use fp32")
        if spec.mode == PREDICT and model.format != "keras":
            return no("model.predict needs a Keras file; this is another form of a model")
        if spec.mode == PREDICT and spec.batch is not None:
            return no("model.predict chooses its own shapes", "use dynamic shapes")
        return YES

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if spec.mode == PREDICT and region == Region.COMPUTE:
            return no("model.predict always converts its inputs and outputs", "use the region host-to-host")
        return on_cpu(region)

    def source(self, spec: EngineSpec, model: Model) -> str:  # noqa: ARG002 - the contract
        return "keras" if spec.mode == PREDICT else "saved_model"

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:  # noqa: ARG002 - it runs the model, not its ONNX form
        return ()

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import tensorflow as tf

        progress("read back precision")
        if spec.mode == PREDICT:
            copy = (into / KERAS).with_suffix(source.path.suffix.lower())
            shutil.copyfile(source.path, copy)
            realized = _realized_keras(_load_keras(copy))
        else:
            shutil.copytree(source.path, into / FOLDER)
            (into / SIGNATURE).write_text(source.signature, encoding="utf-8")
            realized = _realized_graph(tf.saved_model.load(str(into / FOLDER)).signatures[source.signature])
        return Built(library="TensorFlow", library_version=tf.__version__, realized=realized)

    def open(self, engine: Path, record: EngineRecord) -> FunctionSession | PredictSession:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(record.spec.threads)
        # the graph runs in threads of this pool, not in those of its callers: with one they would wait for each other
        tf.config.threading.set_inter_op_parallelism_threads(record.spec.streams)
        if record.spec.mode == PREDICT:
            return PredictSession(_load_keras(next(engine.glob(f"{KERAS}.*"))))
        loaded = tf.saved_model.load(str(engine / FOLDER))
        name = (engine / SIGNATURE).read_text(encoding="utf-8")
        return FunctionSession(loaded, loaded.signatures[name], record.spec)

    def profiles(self, spec: EngineSpec) -> Availability:
        if spec.mode:
            return no(f"its profiler does not see layers inside tensorflow:{spec.mode}", "profile the plain mode")
        return YES

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        return ProfiledTensorFlow(self.open(engine, record))


class FunctionSession:
    """One ``tf.function`` around a signature. ``loaded`` is kept, or its variables would be freed."""

    def __init__(self, loaded: Any, signature: Any, spec: EngineSpec) -> None:
        import tensorflow as tf

        self._loaded = loaded
        wanted = signature.structured_input_signature[1]
        self._names = sorted(wanted)
        shapes = [wanted[name].shape.as_list() for name in self._names]
        if spec.batch is not None:
            shapes = [[spec.batch, *shape[1:]] if shape and shape[0] is None else shape for shape in shapes]
        specs = [tf.TensorSpec(shape, wanted[name].dtype) for name, shape in zip(self._names, shapes, strict=True)]

        def function(*tensors: Any) -> Any:
            return signature(**dict(zip(self._names, tensors, strict=True)))

        # XLA compiles for each shape it meets; the plain graph is traced once for all of them
        compiled = tf.function(function, jit_compile=spec.mode == XLA, autograph=False, input_signature=specs)
        self._compiled = compiled
        self._function = compiled.get_concrete_function()
        self._between = spec.streams
        self._jit = spec.mode == XLA

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._function, self._compiled, self._loaded

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        outputs = self._function(*(tf.convert_to_tensor(feeds[name]) for name in self._names))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(feeds[name]) for name in self._names]
        function = self._function
        return lambda: function(*tensors)

    def callers(self, count: int) -> Callers:
        """All call the one concrete function, which holds nothing of a call."""
        note = f"one function, {self._between} threads between operators"
        return Callers((Caller(self.run, self.stage),) * count, note.replace("1 threads", "1 thread"))

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(feeds[name]) for name in self._names]
        compiled = self._compiled
        return lambda: compiled(*tensors), "the tf.function: tensors in, tensors out; each call looks up its trace"

    def in_effect(self) -> tuple[InEffect, ...]:
        return _found(jit=self._jit)


class PredictSession:
    """``model.predict`` as users call it, with ``batch_size`` set to the whole input and no progress bar.

    For one caller: predict() keeps its progress on the model, and Keras does not say that threads may share that.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._inputs = [tensor.name for tensor in model.inputs]
        self._outputs = output_names(model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._model

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = list(feeds.values())
        given = arrays[0] if len(arrays) == 1 else dict(feeds)
        outputs = self._model.predict(given, batch_size=len(arrays[0]), verbose=0)
        if isinstance(outputs, dict):
            return dict(outputs)
        if not isinstance(outputs, list | tuple):
            outputs = [outputs]
        return dict(zip(self._outputs, outputs, strict=True))

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self.run(feeds)

    def in_effect(self) -> tuple[InEffect, ...]:
        return _found(jit=False)


def _found(*, jit: bool) -> tuple[InEffect, ...]:
    """TensorFlow's settings as they are in this process; what its threads do with denormals is tried."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.util import _pywrap_util_port as port

    threading = tf.config.threading
    smallest = tf.constant(np.full(16, np.finfo(np.float32).tiny, np.float32))
    halved = tf.function(lambda x: x * 0.5, jit_compile=jit, autograph=False)(smallest).numpy()
    flushed = bool((halved.view(np.uint32) == 0).all())
    tried = f"a denormal made by a tf.function{' compiled by XLA' if jit else ''}"
    return (
        InEffect("threads", str(threading.get_intra_op_parallelism_threads()), "tf.config.threading"),
        InEffect("operators side by side", str(threading.get_inter_op_parallelism_threads()), "tf.config.threading"),
        InEffect("denormals", "flushed to zero" if flushed else "kept", tried),
        InEffect("oneDNN", "on" if port.IsMklEnabled() else "off", "IsMklEnabled of TensorFlow"),
    )


def output_names(model: Any) -> list[str]:
    """The names that Keras gives to outputs on export: ``output_0``, ``output_1`` ... in order."""
    return [f"output_{number}" for number in range(len(model.outputs))]


def _load_keras(path: Path) -> Any:
    import keras

    return keras.models.load_model(path, compile=False, safe_mode=True)


def _realized_graph(function: Any) -> RealizedPrecision:
    """Count the weighted operators of the function and of those it calls, by their type attribute."""
    names = {1: "fp32", 2: "fp64", 14: "bf16", 19: "fp16"}
    graph = function.graph.as_graph_def()
    counts: Counter[str] = Counter()
    for node in (*graph.node, *(node for one in graph.library.function for node in one.node_def)):
        if node.op in WEIGHTED and "T" in node.attr:
            counts[names.get(node.attr["T"].type, "other")] += 1
    return RealizedPrecision(dict(counts), "operator types of the TensorFlow graph")


def _realized_keras(model: Any) -> RealizedPrecision:
    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
    layers = [layer for layer in model._flatten_layers(recursive=True, include_self=False) if hasattr(layer, "kernel")]  # noqa: SLF001
    counts = Counter(names.get(layer.compute_dtype, layer.compute_dtype) for layer in layers)
    return RealizedPrecision(dict(counts), "compute type of each Keras layer that has a kernel")


BACKEND = TensorFlow()
