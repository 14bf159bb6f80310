"""Routes from a model file to ONNX: functions that each write one file, without checking it.

:mod:`workbench.export.convert` tries them in the order of :data:`ROUTES`. Runs in a child process.
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

from workbench.errors import ExportError, InputError, brief
from workbench.export import blame, frozen
from workbench.export.handlers import register
from workbench.models.describe import AS_IT_IS
from workbench.models.formats import keras as keras_format
from workbench.models.formats import quiet, tflite
from workbench.models.formats.onnx import old_form
from workbench.models.onnx_file import load_onnx
from workbench.records import Model

OPSET = 17
"""From 18 on, tf2onnx writes global average pooling as a transposed ReduceMean, which quantizers skip."""


@dataclass(frozen=True)
class Origin:
    """The input of a route: the model, its SavedModel form if it has one, and a folder for intermediate files."""

    model: Model
    saved_model: Path | None
    scratch: Path

    @property
    def signature(self) -> str:
        """The signature of the SavedModel form."""
        return self.model.signature if self.model.signed else "serving_default"


@dataclass(frozen=True)
class Route:
    """``convert`` writes the ONNX file and returns the graph's names for the model's inputs and outputs, if it knows them;
    ``between`` names an intermediate form that is compared as well.
    """

    title: str
    convert: Callable[[Origin, Path], dict[str, str]]
    between: str = ""  # "saved_model" or "tflite"


def keras_tf2onnx(origin: Origin, into: Path) -> dict[str, str]:
    """Convert the Keras model, traced for inference in this process, by tf2onnx."""
    with _converting(origin.model):
        loaded = keras_format.load(Path(origin.model.path))
        return _convert(frozen.of_keras(frozen.traced(loaded), loaded), into)


def saved_model_tf2onnx(origin: Origin, into: Path) -> dict[str, str]:
    """``python -m tf2onnx.convert --saved-model``, in this process, where TensorFlow is already loaded."""
    words = ["--saved-model", str(origin.saved_model), "--signature_def", origin.signature, "--opset", str(OPSET)]
    with _converting(origin.model), _arguments(["tf2onnx.convert", *words, "--output", str(into)]):
        runpy.run_module("tf2onnx.convert", run_name="__main__", alter_sys=True)
    return {}


def frozen_graph(origin: Origin, into: Path) -> dict[str, str]:
    """Convert the graph, with its variables as constants, by tf2onnx."""
    with _converting(origin.model):
        return _convert(frozen.of_model(origin.model, origin.saved_model, origin.signature), into)


def _convert(graph: frozen.Frozen, into: Path) -> dict[str, str]:
    """Convert a frozen graph by tf2onnx; return the model's names of inputs and outputs by those of the graph."""
    import tf2onnx

    tf2onnx.convert.from_graph_def(
        graph.graph_def,
        input_names=list(graph.inputs.values()),
        output_names=list(graph.outputs.values()),
        opset=OPSET,
        output_path=str(into),
    )
    return {tensor: name for name, tensor in (*graph.inputs.items(), *graph.outputs.items())}


def through_tflite(origin: Origin, into: Path) -> dict[str, str]:
    """Convert to TensorFlow Lite by TensorFlow's converter, and from there to ONNX."""
    import tensorflow as tf

    middle = origin.scratch / "model.tflite"
    with _converting(origin.model):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(origin.saved_model), [origin.signature])
        middle.write_bytes(converter.convert())
    return _from_tflite(middle, into, origin.signature, origin.model)


def tflite_file(origin: Origin, into: Path) -> dict[str, str]:
    """Convert the user's TensorFlow Lite file by tf2onnx."""
    return _from_tflite(Path(origin.model.path), into, origin.model.signature, origin.model)


def _from_tflite(path: Path, into: Path, signature: str, model: Model) -> dict[str, str]:
    import tf2onnx

    interpreter = tflite.interpreter_of(path)
    listed = interpreter.get_signature_list()
    inputs, outputs = tflite.tensors_of(interpreter, signature if signature in listed else "")
    with _converting(model):
        tf2onnx.convert.from_tflite(str(path), opset=OPSET, output_path=str(into))
    return {detail["name"]: known for known, detail in (*inputs.items(), *outputs.items())}


def onnx_file(origin: Origin, into: Path) -> dict[str, str]:
    """Copy the user's ONNX file, with its weights inside."""
    import onnx

    source = Path(origin.model.path)
    proto = load_onnx(source)
    if proto.ByteSize() > LIMIT_BYTES:
        raise InputError(
            f"'{source.name}' holds {proto.ByteSize() / 2**30:.1f} GiB with its weights; an ONNX file holds at most 2 GiB. "
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
        Route("Keras → ONNX (tf2onnx)", keras_tf2onnx),
        Route(_SAVED.title, saved_model_tf2onnx, "saved_model"),
        Route(_FROZEN.title, frozen_graph, "saved_model"),
        _TFLITE,
    ),
    "saved_model": (_SAVED, _FROZEN, _TFLITE),
    "frozen_graph": (_FROZEN, _TFLITE),
    "tflite": (Route("TFLite → ONNX (tf2onnx)", tflite_file),),
    "onnx": (Route(AS_IT_IS, onnx_file),),
}


def routes(model: Model) -> tuple[Route, ...]:
    """The routes from this model to ONNX, in the order in which they are tried."""
    if model.format == "onnx" and (old := old_form(Path(model.path))):
        return (Route(f"{old} → ONNX", onnx_file),)
    return ROUTES[model.format][1:] if model.legacy else ROUTES[model.format]


def otherwise(model: Model) -> str:
    """What to do with a model that cannot be converted to ONNX."""
    if model.is_tensorflow:
        return "Move that part out of the model, or choose the backend 'tensorflow', which runs it without conversion."
    if model.format == "tflite" and "only the main signature" in model.exportable:
        return "Set 'signature' to that one, or convert the other one separately."
    if model.format == "tflite" and model.probe and not model.probe.worked:
        return "LiteRT cannot run it here either: convert it again from the model that it was made from, without that part."
    return "Choose the backend 'litert'." if model.format == "tflite" else "Export it again without that part."


@contextlib.contextmanager
def _converting(model: Model) -> Iterator[None]:
    """Convert every error, exit or log entry of tf2onnx and its callers that reports a failure to an :class:`ExportError`.

    tf2onnx writes a file and ends successfully even if it cannot convert some operations; only its log shows it.
    """
    register()
    log = io.StringIO()
    with _listening(log), quiet(), _copying_once(), contextlib.redirect_stdout(io.StringIO()):
        try:
            yield
        except ExportError:
            raise
        except frozen.RestlessError as cause:
            raise blame.unrepeatable(model, cause.node, cause.operation, otherwise(model)) from cause
        except (Exception, SystemExit) as cause:
            _raise_unsupported(model, log.getvalue(), cause)
            raise ExportError(
                f"'{model.name}' could not be converted to ONNX: {brief(cause, 300)} {otherwise(model)}",
                log=log.getvalue(),
            ) from cause
    _raise_unsupported(model, log.getvalue(), None)


@contextlib.contextmanager
def _copying_once() -> Iterator[None]:
    """Let tf2onnx copy the weights only once before it optimizes the graph.

    It copies the graph before each of its passes, in case one fails, and writes every constant again after each, into memory that
    is freed only with the whole graph: fifty copies, gigabytes and seconds for a network of 25 million parameters. Here one copy
    is kept for the original procedure in case a pass fails, and a constant is written only when it has changed.
    """
    from tf2onnx import optimizer
    from tf2onnx.graph import Node

    one_by_one, write = optimizer.optimize_graph, Node.update_proto

    def optimize(graph: Any, _catch_errors: bool = True, optimizers: Any = None) -> Any:
        backup = copy.deepcopy(graph)
        try:
            return one_by_one(graph, False, optimizers)
        except Exception:
            return one_by_one(backup, True, optimizers)

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


_UNKNOWN = re.compile(r"(?:Tensorflow|TFLite) op \[(.*?): (\w+)\] is not supported")
_FAILED = re.compile(r"""Failed to convert node '(.*?)' .*?\n['"]OP=(\w+)""")


def _raise_unsupported(model: Model, log: str, cause: BaseException | None) -> None:
    """Raise if tf2onnx's log names operations that it does not know or could not convert."""
    missing = [*_UNKNOWN.findall(log), *_FAILED.findall(log)]
    if missing:
        raise blame.unsupported(model, missing, otherwise(model), log) from cause


@contextlib.contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    before, level = sys.argv, os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = before
        if level is None:  # tf2onnx sets it permanently
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
