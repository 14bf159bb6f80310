"""Ways from a model file to ONNX, each a function that writes one file and says what it did; nothing is checked here.

Tried by :mod:`workbench.export.convert` in the order of :data:`ROUTES`. Runs in a child process.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ExportError, brief
from workbench.models.formats import quiet
from workbench.records import Model

OPSET = 17
"""From 18 on, tf2onnx writes global average pooling as a transposed ReduceMean, which quantizers pass over."""


@dataclass(frozen=True)
class Origin:
    """What a route starts from: the model, its SavedModel form where it has one, and a folder for what lies between."""

    model: Model
    saved_model: Path | None
    scratch: Path

    @property
    def signature(self) -> str:
        """Of the SavedModel form."""
        return self.model.signature if self.model.signed else "serving_default"


@dataclass(frozen=True)
class Route:
    """``convert`` writes the ONNX file and returns the graph's own names for the model's inputs and outputs where it
    knows them; ``between`` names a form on the way that is compared as well.
    """

    title: str
    convert: Callable[[Origin, Path], dict[str, str]]
    between: str = ""  # "saved_model" or "tflite"


def keras_native(origin: Origin, into: Path) -> dict[str, str]:
    """Keras' own exporter, which wants a model that has been called."""
    import keras
    import numpy as np

    from workbench.models.formats import keras as keras_format

    loaded = keras_format.load(Path(origin.model.path))
    one = keras.tree.map_structure(
        lambda t: np.zeros([size or 1 for size in t.shape], t.dtype), keras_format.structure_of(loaded)
    )
    with _converting(origin.model):
        loaded(one, training=False)
        loaded.export(into, format="onnx", verbose=False, opset_version=OPSET)
    return {}


def saved_model_tf2onnx(origin: Origin, into: Path) -> dict[str, str]:
    """``python -m tf2onnx.convert --saved-model``, inside this process, where TensorFlow is already loaded."""
    words = ["--saved-model", str(origin.saved_model), "--signature_def", origin.signature, "--opset", str(OPSET)]
    with _converting(origin.model), _arguments(["tf2onnx.convert", *words, "--output", str(into)]):
        runpy.run_module("tf2onnx.convert", run_name="__main__", alter_sys=True)
    return {}


def frozen_graph(origin: Origin, into: Path) -> dict[str, str]:
    """The graph with its variables as constants, handed to tf2onnx."""
    graph_def, inputs, outputs = _frozen(origin)
    import tf2onnx

    with _converting(origin.model):
        tf2onnx.convert.from_graph_def(
            graph_def,
            input_names=list(inputs.values()),
            output_names=list(outputs.values()),
            opset=OPSET,
            output_path=str(into),
        )
    return {tensor: name for name, tensor in (*inputs.items(), *outputs.items())}


def _frozen(origin: Origin) -> tuple[Any, dict[str, str], dict[str, str]]:
    from workbench.models.formats import frozen_graph as frozen_format
    from workbench.models.formats import saved_model as saved_format

    model = origin.model
    if model.format == "frozen_graph":
        return frozen_format.load(Path(model.path), model.signature)
    if model.legacy:
        return saved_format.legacy_graph(Path(model.path), model.signature)
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    assert origin.saved_model is not None
    loaded = saved_format.load(origin.saved_model)
    function = loaded.signatures[origin.signature]
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    given = [tensor for tensor in frozen.inputs if tensor.dtype.name != "resource"]
    names = {spec.name: next(t.name for t in given if _stem(t.name) in (spec.name, f"{origin.signature}_{spec.name}"))
             for spec in model.inputs}  # fmt: skip
    # a signature's outputs come in the order of their names
    outputs = dict(zip(sorted(function.structured_outputs), (t.name for t in frozen.outputs), strict=True))
    return frozen.graph.as_graph_def(), names, outputs


def _stem(tensor: str) -> str:
    return tensor.partition(":")[0]


def through_tflite(origin: Origin, into: Path) -> dict[str, str]:
    """TensorFlow's converter to TensorFlow Lite, and from there to ONNX."""
    import tensorflow as tf

    middle = origin.scratch / "model.tflite"
    with _converting(origin.model):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(origin.saved_model), [origin.signature])
        middle.write_bytes(converter.convert())
    return _from_tflite(middle, into, origin.signature, origin.model)


def tflite_file(origin: Origin, into: Path) -> dict[str, str]:
    """tf2onnx on the user's TensorFlow Lite file."""
    return _from_tflite(Path(origin.model.path), into, origin.model.signature, origin.model)


def _from_tflite(path: Path, into: Path, signature: str, model: Model) -> dict[str, str]:
    import tf2onnx

    from workbench.models.formats import tflite

    interpreter = tflite.interpreter_of(path)
    listed = interpreter.get_signature_list()
    inputs, outputs = tflite.tensors_of(interpreter, signature if signature in listed else "")
    with _converting(model):
        tf2onnx.convert.from_tflite(str(path), opset=OPSET, output_path=str(into))
    return {detail["name"]: known for known, detail in (*inputs.items(), *outputs.items())}


def onnx_file(origin: Origin, into: Path) -> dict[str, str]:
    """The user's ONNX file with its weights inside."""
    import onnx

    from workbench.errors import InputError
    from workbench.models.onnx_file import load_onnx

    source = Path(origin.model.path)
    proto = load_onnx(source)
    if proto.ByteSize() > LIMIT_BYTES:
        raise InputError(
            f"'{source.name}' holds {proto.ByteSize() / 2**30:.1f} GiB with its weights; one ONNX file ends at 2 GiB. "
            "Choose a smaller model."
        )
    onnx.save(proto, into)
    return {}


LIMIT_BYTES = 2**31 - 1  # of one protobuf message

_SAVED = Route("SavedModel → ONNX (tf2onnx)", saved_model_tf2onnx)
_FROZEN = Route("frozen graph → ONNX (tf2onnx)", frozen_graph)
_TFLITE = Route("TFLite → ONNX (tf2onnx)", through_tflite, "tflite")
ROUTES: dict[str, tuple[Route, ...]] = {
    "keras": (
        Route("Keras → ONNX (Keras' own export)", keras_native),
        Route(_SAVED.title, saved_model_tf2onnx, "saved_model"),
        Route(_FROZEN.title, frozen_graph, "saved_model"),
        _TFLITE,
    ),
    "saved_model": (_SAVED, _FROZEN, _TFLITE),
    "frozen_graph": (_FROZEN, _TFLITE),
    "tflite": (Route("TFLite → ONNX (tf2onnx)", tflite_file),),
    "onnx": (Route("ONNX as it is", onnx_file),),
}


def routes(model: Model) -> tuple[Route, ...]:
    """The ways from this model to ONNX, the first to be tried first."""
    return ROUTES[model.format][1:] if model.legacy else ROUTES[model.format]


def otherwise(model: Model) -> str:
    """What to do with a model that cannot become ONNX."""
    if model.is_tensorflow:
        return "Move that out of the model, or let TensorFlow itself run it: choose the backend 'tensorflow'."
    if model.format == "tflite" and "only the main signature" in model.exportable:
        return "Set 'signature' to that one, or convert the other by itself."
    if model.format == "tflite" and model.probe and not model.probe.worked:
        return "LiteRT does not run it here either: convert it again from the model it was made of, without that part."
    return "Choose the backend 'litert'." if model.format == "tflite" else "Export it again without that part."


@contextlib.contextmanager
def _converting(model: Model) -> Iterator[None]:
    """Turn whatever tf2onnx and its callers raise, exit with or only log into an :class:`ExportError`.

    tf2onnx writes a file and ends well also where it met operations that it cannot convert; only its log tells.
    """
    _learn_erfc()
    log = io.StringIO()
    with _listening(log), quiet(), _copying_once(), contextlib.redirect_stdout(io.StringIO()):
        try:
            yield
        except ExportError:
            raise
        except (Exception, SystemExit) as cause:
            _raise_unsupported(model, log.getvalue(), cause)
            raise ExportError(
                f"'{model.name}' could not be converted to ONNX: {brief(cause, 300)} {otherwise(model)}",
                log=log.getvalue(),
            ) from cause
    _raise_unsupported(model, log.getvalue(), None)


@contextlib.contextmanager
def _copying_once() -> Iterator[None]:
    """Let tf2onnx copy the weights once before it optimizes the graph.

    It copies the graph before each of its passes, in case one fails, and writes every constant anew after each, into memory
    that comes back only with the whole: fifty copies, gigabytes and seconds for a network of 25 million parameters. Here one
    copy takes the old way should a pass ever fail, and a constant is written when it changed.
    """
    from tf2onnx import optimizer
    from tf2onnx.graph import Node

    one_by_one, write = optimizer.optimize_graph, Node.update_proto

    def optimize(graph: Any, _catch_errors: bool = True, optimizers: Any = None) -> Any:
        spare = copy.deepcopy(graph)
        try:
            return one_by_one(graph, False, optimizers)
        except Exception:
            return one_by_one(spare, True, optimizers)

    def write_once(node: Any, *storage: Any, **more: Any) -> None:
        value = node.attr.get("value") if node.is_const() else None
        if value is None or getattr(node, "_written", None) is not value:
            write(node, *storage, **more)
            node._written = value  # noqa: SLF001 - ours

    optimizer.optimize_graph, Node.update_proto = optimize, write_once
    try:
        yield
    finally:
        optimizer.optimize_graph, Node.update_proto = one_by_one, write


def _raise_unsupported(model: Model, log: str, cause: BaseException | None) -> None:
    missing = re.findall(r"(?:Tensorflow|TFLite) op \[(.*?): (\w+)\] is not supported", log)
    if missing:
        ops = ", ".join(sorted({op for _, op in missing}))
        raise ExportError(
            f"'{model.name}' uses what ONNX has no form for: {ops} (first in '{missing[0][0]}'). {otherwise(model)}",
            log=log,
        ) from cause


def _learn_erfc() -> None:
    """Teach tf2onnx the one operation of Keras' exact GELU that it lacks: erfc(x) = 1 - erf(x)."""
    import numpy as np
    from tf2onnx import utils
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            dtype = ctx.get_dtype(node.output[0])
            shape = ctx.get_shape(node.output[0])
            one = ctx.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
            erf = ctx.make_node("Erf", [node.input[0]])
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub",
                [one.output[0], erf.output[0]],
                name=node.name,
                outputs=node.output,
                dtypes=[dtype],
                shapes=[shape],
            )


@contextlib.contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    before, level = sys.argv, os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = before
        if level is None:  # tf2onnx sets it for good
            os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        else:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = level


@contextlib.contextmanager
def _listening(log: io.StringIO) -> Iterator[None]:
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
