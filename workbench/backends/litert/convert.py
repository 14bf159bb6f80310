"""Convert a SavedModel to TensorFlow Lite with TensorFlow's converter."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import BuildError, brief
from workbench.protocols import Progress, Source
from workbench.records import EngineSpec, Precision, TensorSpec
from workbench.records.methods import method_of

if TYPE_CHECKING:
    import numpy as np


def converted(source: Source, spec: EngineSpec, into: Path, progress: Progress) -> bytes:
    """Convert one signature of the SavedModel; return the content of the ``.tflite`` file.

    Raises:
        BuildError: the model has operations that TensorFlow Lite lacks, or calibration samples are missing.
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
        # an operation without an INT8 kernel stays float; the precision is read back and checked afterwards
        kinds = tf.lite.OpsSet
        converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS_INT8, kinds.TFLITE_BUILTINS]
        converter.representative_dataset = _feeds(source, spec, size or 1)
    try:
        with warnings.catch_warnings():
            # the converter uses the deprecated interpreter itself; the second message is that of TensorFlow 2.18
            warnings.filterwarnings(
                "ignore",
                message=r"(?s).*(tf.lite.Interpreter is deprecated|Please use the LiteRT interpreter)",
                category=UserWarning,
            )
            content: bytes = converter.convert()
    except Exception as cause:
        raise BuildError(_reason(cause, size)) from cause
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return content


def _batch(source: Source, spec: EngineSpec) -> int | None:
    """The batch that the engine or the model is fixed to; ``None``: it is free."""
    known = (tensor.shape[tensor.batch_axis] for tensor in source.inputs if tensor.batch_axis is not None)
    return spec.batch or next((size for size in known if size), None)


def _check_loops(source: Source) -> None:
    """Refuse models on which the calibration of TensorFlow 2.21 crashes with a segmentation fault.

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
    if missing := sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", text))):
        return f"TensorFlow Lite has no kernel for {', '.join(missing)}, which this model uses. Choose another backend."
    return f"TensorFlow's converter to TensorFlow Lite failed: {brief(cause, 300)} Choose another backend."


def _fix_batch(source: Source, batch: int, into: Path) -> None:
    """Save the signature again as ``serving_default`` with its batch axis fixed; the loop of a layer may need that."""
    import tensorflow as tf

    module = tf.Module()
    module.origin = tf.saved_model.load(str(source.path))  # the reference keeps its variables
    function = module.origin.signatures[source.signature]
    specs = {tensor.name: tf.TensorSpec(_sized(tensor, batch), tensor.dtype, tensor.name) for tensor in source.inputs}
    # a call by keywords keeps the names of the inputs
    fixed = tf.function(lambda **inputs: function(**inputs), autograph=False).get_concrete_function(**specs)  # noqa: PLW0108
    tf.saved_model.save(module, str(into), signatures={"serving_default": fixed})


def _sized(tensor: TensorSpec, batch: int) -> list[int | None]:
    """The shape with the batch axis fixed; other dynamic axes stay dynamic.

    Raises:
        BuildError: the model has another fixed batch.
    """
    shape = list(tensor.shape)
    if tensor.batch_axis is not None:
        found = shape[tensor.batch_axis]
        if found not in (None, batch):
            raise BuildError(
                f"A batch of {batch} was requested, but the model has the fixed batch {found}. Set 'batches' to {found}."
            )
        shape[tensor.batch_axis] = batch
    return shape


def _feeds(source: Source, spec: EngineSpec, size: int) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """Return a generator function of calibration feeds, each with a batch of ``size`` samples."""
    from workbench.data.samples import load_samples

    if source.samples is None:
        raise BuildError(
            "INT8 needs calibration samples, and no data was given. Give data as an .npz file, or use int8-dynamic."
        )
    samples = load_samples(source.samples)

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, min(samples.count, spec.calibration_samples or samples.count), size):
            yield samples.feeds(start, size)

    return feeds
