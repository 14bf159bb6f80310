"""TF-TRT: TensorFlow with TensorRT inside its graph, where the TensorFlow at hand still has it.

TensorFlow 2.17 was the last release built with TensorRT. Later ones still have the class ``TrtGraphConverterV2``, and
constructing it raises; what replaced it is the backend ``tensorrt``, built from the same Keras model or SavedModel by way
of ONNX. The converter's whole interface is ``convert``, ``build``, ``summary`` and ``save``: the
``get_converted_network`` of some older tutorials has never been part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.base import BaseBackend, BaseSession
from workbench.errors import BuildError
from workbench.models.operators import TENSORFLOW_WEIGHTED, format_of
from workbench.protocols import AVAILABLE, TF_WORKER, Availability, Built, Progress, Source, unavailable
from workbench.records import EngineRecord, EngineSpec, Model, Precision, RealizedPrecision, Region, TensorSpec
from workbench.system.machine import this_machine, version_of

if TYPE_CHECKING:
    import numpy as np

FOLDER = "saved_model"
SIGNATURE = "signature.txt"
LAST = (2, 17)
UNCOUNTED = ("TRTEngineOp", "Placeholder", "Const", "NoOp", "Identity", "StatefulPartitionedCall", "PartitionedCall")
REPLACED = "use tensorrt or tensorrt:rtx, which build from the same model through ONNX"


class TfTrt(BaseBackend):
    name = "tftrt"
    title = "TF-TRT"
    modes = {"": "TensorRT engines inside a TensorFlow graph; TensorFlow had them up to 2.17"}
    distributions = ("tensorflow", "tensorflow-cpu")
    builds_in = TF_WORKER
    imports = ("tensorflow", "numpy")
    session_imports: tuple[str, ...] = ()  # TensorFlow has its own streams and copies
    settings = {
        "workspace": "upper limit of TensorRT's workspace",
        "batches": "range of the engines' optimization profiles",
        "tf32": "whether FP32 matrix products may round their inputs to TF32",
    }
    without = {
        "threads": "the engines run on a GPU",
        "optimization_level": "TF-TRT passes no builder optimization level on",
        "cuda_graph": "TensorFlow launches its own kernels",
        "streams": "TensorFlow chooses its own streams",
        "build_options": "TF-TRT passes none on",
    }
    devices = {"": "cuda:0"}

    def status(self, mode: str = "") -> Availability:
        return _available(version_of("tensorflow"), version_of("tensorflow-cpu"))

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if not model.is_tensorflow:
            return unavailable("TF-TRT converts TensorFlow models, and this is not one", "use tensorrt")
        if not this_machine().gpu:
            return unavailable("TF-TRT converts on the GPU that it runs on, and this machine has none", REPLACED)
        if spec.asked not in ("fp32", "fp16", "int8"):
            return unavailable("TF-TRT knows FP32, FP16 and INT8", "use fp16")
        if spec.batch is not None:
            return unavailable("TF-TRT takes its shapes from the model", "use dynamic shapes")
        if spec.build_options or spec.cuda_graph or spec.streams > 1:
            return unavailable(
                "TF-TRT has no build options, CUDA graphs or streams to choose", "leave them out, or use tensorrt"
            )
        return AVAILABLE

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if region == Region.DEVICE:
            return unavailable("TensorFlow gives no stream that CUDA events could be put on", "use the region compute")
        return AVAILABLE

    def source(self, spec: EngineSpec, model: Model) -> str:
        return "saved_model+calibration" if spec.precision == Precision.INT8 else "saved_model"

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import tensorflow as tf

        _prepare(tf, tf32=spec.tf32)
        limit = {} if spec.workspace_bytes is None else {"max_workspace_size_bytes": spec.workspace_bytes}
        try:
            converter = tf.experimental.tensorrt.Converter(
                input_saved_model_dir=str(source.path),
                input_saved_model_signature_key=source.signature,
                precision_mode=spec.precision.upper(),
                use_dynamic_shape=True,
                dynamic_shape_profile_strategy="Range",
                use_calibration=spec.precision == Precision.INT8,
                **limit,
            )
        except RuntimeError as cause:  # "Tensorflow has not been built with TensorRT support."
            raise BuildError(_refusal(tf)) from cause
        progress("convert")
        calibration = _calibration(source, spec) if spec.precision == Precision.INT8 else None
        converter.convert(calibration_input_fn=calibration)
        progress("build engines")
        converter.build(input_fn=lambda: _inputs(source.inputs, spec.batches))
        progress("save")
        converter.save(output_saved_model_dir=str(into / FOLDER))
        (into / SIGNATURE).write_text(source.signature, encoding="utf-8")
        progress("read back precision")
        converted = tf.saved_model.load(str(into / FOLDER)).signatures[source.signature]
        graph = converted.graph.as_graph_def()
        return Built("TF-TRT", tf.__version__, realized(graph), note=share(graph))

    def open(self, engine: Path, record: EngineRecord) -> TfTrtSession:
        import tensorflow as tf

        _prepare(tf, tf32=record.spec.tf32)
        loaded = tf.saved_model.load(str(engine / FOLDER))
        return TfTrtSession(loaded, loaded.signatures[(engine / SIGNATURE).read_text(encoding="utf-8")])


class TfTrtSession(BaseSession):
    """The converted signature. ``loaded`` is kept, or its variables would be freed."""

    def __init__(self, loaded: Any, signature: Any) -> None:
        self._loaded, self._signature = loaded, signature

    def close(self) -> None:
        del self._signature, self._loaded

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._signature(**_tensors(feeds))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        import tensorflow as tf

        tensors, signature = _tensors(feeds), self._signature

        def call() -> None:
            signature(**tensors)
            tf.test.experimental.sync_devices()  # a call on a GPU comes back before its work is done

        return call


def _tensors(feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.convert_to_tensor(array) for name, array in feeds.items()}


def _available(version: str, cpu_version: str) -> Availability:
    """From the versions of the two wheels of TensorFlow, or ""; the CPU wheel has never had TensorRT."""
    if find_spec("tensorflow") is None:
        return unavailable("the package 'tensorflow' is not installed", REPLACED)
    numbers = tuple(int(part) for part in (version or cpu_version).split(".")[:2] if part.isdigit())
    if len(numbers) < 2 or numbers > LAST:
        found = f", and this is {version or cpu_version}" if numbers else ""
        return unavailable(f"TensorFlow dropped TF-TRT after 2.17{found}", REPLACED)
    if not version:
        return unavailable("TensorFlow's CPU build has no TF-TRT", REPLACED)
    return AVAILABLE


def _refusal(tf: Any) -> str:
    """Why the converter cannot be made. It says that TensorFlow was built without TensorRT where the library is only absent."""
    if tf.sysconfig.get_build_info().get("is_tensorrt_build"):
        return (
            f"TensorFlow {tf.__version__} was built with TensorRT and does not find its libraries (libnvinfer.so.8 of TensorRT 8.6, "
            f"on LD_LIBRARY_PATH). Install those, or {REPLACED}."
        )
    return f"TensorFlow {tf.__version__} was built without TensorRT; {REPLACED}."


def _inputs(specs: tuple[TensorSpec, ...], batches: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """One feed of zeros for each batch size: the range of the profiles is taken from their shapes."""
    import numpy as np

    for batch in batches:
        yield _tensors({one.name: np.zeros(one.sized(batch), one.dtype) for one in specs})


def _calibration(source: Source, spec: EngineSpec) -> Callable[[], Iterator[dict[str, Any]]]:
    from workbench.data.samples import load_samples

    if source.samples is None:
        raise BuildError("INT8 needs real calibration samples, and the data has none. Give data as an .npz file.")
    samples = load_samples(source.samples)
    batch = spec.batches[-1]
    return lambda: (_tensors(samples.feeds(start, batch)) for start in range(0, samples.count, batch))


def share(graph: Any) -> str:
    """The part of a converted ``GraphDef`` that TensorRT computes, as text: its engines and their nodes."""
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    every = [node for part in (graph.node, *functions.values()) for node in part]
    engines = [node for node in every if node.op == "TRTEngineOp"]
    segments = {node.attr["segment_func"].func.name for node in engines}
    inside = sum(len(functions.get(name, ())) for name in segments)
    outside = (graph.node, *(body for name, body in functions.items() if name not in segments))
    left = [node.op for part in outside for node in part if node.op not in UNCOUNTED]
    kinds = f"; left to TensorFlow: {', '.join(sorted(set(left))[:5])}" if left else ""
    return (
        f"{len(engines)} TensorRT engine{'s' * (len(engines) != 1)} with {inside} of {inside + len(left)} nodes{kinds}"
    )


def _prepare(tf: Any, *, tf32: bool) -> None:
    """Leave the GPU's memory to the other processes of a run: by default TensorFlow takes nearly all of it."""
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def realized(graph: Any) -> RealizedPrecision:
    """Count the weighted operators of a converted ``GraphDef``: those inside a TensorRT segment by the precision of its
    engine, those that stayed TensorFlow's by their own type.
    """
    import tensorflow as tf

    functions = {function.signature.name: function.node_def for function in graph.library.function}
    counts: Counter[str] = Counter()
    nodes = list(graph.node)
    segments = set()
    for node in (node for part in (graph.node, *functions.values()) for node in part):
        if node.op == "TRTEngineOp":
            segment = node.attr["segment_func"].func.name
            segments.add(segment)
            inside = sum(one.op in TENSORFLOW_WEIGHTED for one in functions.get(segment, ()))
            counts[node.attr["precision_mode"].s.decode().lower()] += inside
    nodes += [node for name, body in functions.items() if name not in segments for node in body]
    for node in nodes:
        if node.op in TENSORFLOW_WEIGHTED:
            counts[format_of(tf.dtypes.as_dtype(node.attr["T"].type).name, "other")] += 1
    return RealizedPrecision(dict(+counts), "operators inside and outside the TensorRT segments of the graph")


BACKEND = TfTrt()
