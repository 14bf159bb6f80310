"""TensorFlow on the CPU, the default baseline: a ``tf.function``, plain or compiled by XLA, and ``model.predict``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.base import BaseBackend, BaseSession, Deployed
from workbench.backends.tensorflow.profile import ProfiledTensorFlow
from workbench.models.operators import TENSORFLOW_WEIGHTED, format_of
from workbench.protocols import (
    AVAILABLE,
    TF_WORKER,
    Availability,
    Built,
    Caller,
    Callers,
    ProfiledSession,
    Progress,
    Source,
    unavailable,
)
from workbench.records import EngineRecord, EngineSpec, InEffect, Model, Precision, RealizedPrecision, Region

if TYPE_CHECKING:
    import numpy as np

PREDICT = "predict"
XLA = "xla"
FOLDER = "saved_model"
KERAS = "model"  # with the ending that the user's file has
SIGNATURE = "signature.txt"
DEPLOYED = "model.savedmodel"
CONTAINER = 'platform: "tensorflow_savedmodel"'


class TensorFlow(BaseBackend):
    name = "tensorflow"
    title = "TensorFlow"
    runner = Path(__file__).with_name("runner.py")
    modes = {
        "": "the model as one tf.function, as recommended for inference: the baseline",
        XLA: "the same function compiled by XLA (jit_compile=True)",
        PREDICT: "Keras' model.predict: a call with a large fixed cost",
    }
    distributions = ("tensorflow-cpu", "tensorflow")
    builds_in = TF_WORKER
    rank = 0
    imports = ("tensorflow", "numpy")
    own_formats = ("keras", "saved_model", "frozen_graph")
    settings = {"threads": "threads inside one operator (intra-op); operators run one after another"}

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if not model.is_tensorflow:
            other = "open the model as Keras or SavedModel"
            if model.format == "onnx":
                return unavailable("TensorFlow cannot run an ONNX model", other)
            return unavailable("TensorFlow cannot run a TensorFlow Lite file", f"choose the backend litert, or {other}")
        if spec.asked != Precision.FP32:
            return unavailable(
                "TensorFlow runs the model as it was saved and cannot convert it to this precision", "use fp32"
            )
        if spec.mode == PREDICT and model.format != "keras":
            return unavailable("model.predict needs a Keras file; this model has another format")
        if spec.mode == PREDICT and spec.batch is not None:
            return unavailable("model.predict chooses its own shapes", "use dynamic shapes")
        return AVAILABLE

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if spec.mode == PREDICT and region == Region.COMPUTE:
            return unavailable("model.predict always converts its inputs and outputs", "use the region host-to-host")
        return super().measures(spec, region)

    def source(self, spec: EngineSpec, model: Model) -> str:
        return "keras" if spec.mode == PREDICT else "saved_model"

    def check_files(self, place: Path) -> None:
        """Check graphs, which can write files, and Keras configurations, which can name code. Files of the other libraries can only
        compute: ONNX, OpenVINO's IR and TensorFlow Lite name operations that are built into the library.
        """
        from workbench.models import safety
        from workbench.models.formats import keras, saved_model

        for graph in (place / "saved_model.pb", *place.rglob("*/saved_model.pb")):
            if graph.is_file():
                safety.check_folder(graph.parent)
                saved_model.check_graphs(graph.parent)
        files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
        for path in files:
            if path.suffix.lower() in (".keras", *keras.HDF5_ENDINGS) and place in (path, path.parent):
                keras.check(path)

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
        # the graph runs in threads of this pool, not in those of the callers: with one thread, callers would wait for each other
        tf.config.threading.set_inter_op_parallelism_threads(record.spec.streams)
        if record.spec.mode == PREDICT:
            return PredictSession(_load_keras(next(engine.glob(f"{KERAS}.*"))))
        loaded = tf.saved_model.load(str(engine / FOLDER))
        name = (engine / SIGNATURE).read_text(encoding="utf-8")
        return FunctionSession(loaded, loaded.signatures[name], record.spec)

    def deploys(self, spec: EngineSpec) -> Availability:
        if spec.mode == PREDICT:
            return unavailable(
                "model.predict needs Keras where the model is deployed",
                "choose the plain mode, which runs the same model",
            )
        return AVAILABLE

    def deployed(self, engine: Path, record: EngineRecord, origin: Path, scratch: Path) -> Deployed:
        """The engine itself, which is a SavedModel."""
        spec = record.spec
        options = {
            "file": DEPLOYED,
            "signature": (engine / SIGNATURE).read_text(encoding="utf-8"),
            "threads": spec.threads,
            "xla": spec.mode == XLA,
            "batch": spec.batch,
        }
        return Deployed({DEPLOYED: engine / FOLDER}, options, CONTAINER)

    def profiles(self, spec: EngineSpec) -> Availability:
        if spec.mode:
            return unavailable(
                f"its profiler does not see layers inside tensorflow:{spec.mode}", "profile the plain mode"
            )
        return AVAILABLE

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        return ProfiledTensorFlow(self.open(engine, record))


class FunctionSession(BaseSession):
    """One ``tf.function`` around a signature. The reference to ``loaded`` keeps its variables."""

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

        # XLA compiles once for each shape; the plain graph is traced once for all shapes
        self._jit = spec.mode == XLA
        self._compiled = tf.function(function, jit_compile=self._jit, autograph=False, input_signature=specs)
        self._function = self._compiled.get_concrete_function()
        self._between = spec.streams

    def close(self) -> None:
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
        """All callers share the concrete function, which keeps no state between calls."""
        note = f"one function, {self._between} threads between operators"
        return Callers((Caller(self.run, self.stage),) * count, note.replace("1 threads", "1 thread"))

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(feeds[name]) for name in self._names]
        compiled = self._compiled
        return lambda: compiled(*tensors), "the tf.function: tensors in, tensors out; each call looks up its trace"

    def in_effect(self) -> tuple[InEffect, ...]:
        return _settings_in_effect(jit=self._jit)


class PredictSession(BaseSession):
    """``model.predict`` as users call it, with ``batch_size`` set to the whole input and no progress bar.

    For one caller: predict() keeps its progress on the model, and Keras does not document that threads may share it.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._inputs = [tensor.name for tensor in model.inputs]
        # the names that Keras gives to outputs on export
        self._outputs = [f"output_{number}" for number in range(len(model.outputs))]

    def close(self) -> None:
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

    def in_effect(self) -> tuple[InEffect, ...]:
        return _settings_in_effect(jit=False)


def _settings_in_effect(*, jit: bool) -> tuple[InEffect, ...]:
    """TensorFlow's settings in this process; how its threads treat denormals is determined by a test."""
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


def _load_keras(path: Path) -> Any:
    import keras

    return keras.models.load_model(path, compile=False, safe_mode=True)


def _realized_graph(function: Any) -> RealizedPrecision:
    """Count the weighted operators of the function and of those it calls, by their type attribute."""
    import tensorflow as tf

    graph = function.graph.as_graph_def()
    counts: Counter[str] = Counter()
    for node in (*graph.node, *(node for one in graph.library.function for node in one.node_def)):
        if node.op in TENSORFLOW_WEIGHTED and "T" in node.attr:
            counts[format_of(tf.dtypes.as_dtype(node.attr["T"].type).name, "other")] += 1
    return RealizedPrecision(dict(counts), "operator types of the TensorFlow graph")


def _realized_keras(model: Any) -> RealizedPrecision:
    layers = [layer for layer in model._flatten_layers(recursive=True, include_self=False) if hasattr(layer, "kernel")]  # noqa: SLF001
    counts = Counter(format_of(layer.compute_dtype) for layer in layers)
    return RealizedPrecision(dict(counts), "compute type of each Keras layer that has a kernel")


BACKEND = TensorFlow()
