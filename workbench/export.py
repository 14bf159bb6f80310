"""Conversion to ONNX, checked: by the ONNX checker, and by numbers against the source at two batch sizes.

The route from TensorFlow is always the SavedModel: it is the only one that converts preprocessing layers such as
``Normalization`` correctly. Runs in a child process, because TensorFlow is loaded here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError, InputError, brief, during, writing
from workbench.models import load_keras, load_saved_model, quiet, write_saved_model
from workbench.onnx_file import graphs, load_onnx
from workbench.records import ExportCheck

if TYPE_CHECKING:
    import numpy as np

    from workbench.data import Samples
    from workbench.records import Model, TensorSpec

OPSET = 17
"""From 18 on, tf2onnx writes global average pooling as a transposed ReduceMean, which quantizers pass over."""

TOLERANCE = 1e-3
COMPARED_BATCHES = (1, 7)
BATCH = "batch"
"""The name of the dynamic first axis in every ONNX file that the workbench writes."""

_LIMIT_BYTES = 2**31 - 1  # of one protobuf message


def saved_model_from_keras(keras_path: Path, into: Path) -> None:
    """Export a ``.keras`` file into the folder ``into``; nothing is left there if it fails."""
    model = load_keras(keras_path)
    try:
        with writing(into):
            write_saved_model(model, into)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


def onnx_from_saved_model(
    saved_model: Path, model: Model, samples: Samples, real: bool, into: Path, progress: Callable[[str], None]
) -> ExportCheck:
    """Convert one signature of ``saved_model`` into the file ``into`` and compare the two on ``samples``.

    Raises:
        ExportError: an operation has no ONNX form, or the results differ by more than the tolerance. ``into`` is then
            not written.
    """
    import onnx

    signature = model.signature or "serving_default"
    with writing(into), tempfile.TemporaryDirectory(dir=into.parent, prefix=".onnx-") as scratch:
        draft = Path(scratch) / "model.onnx"
        progress("converting to ONNX")
        _convert(saved_model, signature, draft, model.name)
        graph = _load_converted(draft, model.name)
        _use_names(graph.graph, model)
        _name_axes(graph.graph, model.inputs, model.outputs)
        onnx.save(graph, draft)
        progress("comparing the ONNX file with its source")
        check = _compare(saved_model, signature, model, samples, real, draft)
        draft.replace(into)
    return check


def onnx_from_onnx(model: Model, into: Path) -> None:
    """Copy the user's ONNX file into ``into`` in the workbench's normal form.

    One file with all its weights; initializers that old exporters repeat among the inputs removed from there;
    constants lifted to initializers, because a quantizer looks for weights only there; the first dynamic axis named
    ``batch``.
    """
    import onnx

    source = Path(model.path)
    proto = load_onnx(source)
    if proto.ByteSize() > _LIMIT_BYTES:
        raise InputError(
            f"'{source.name}' holds {proto.ByteSize() / 2**30:.1f} GiB with its weights; one ONNX file ends at 2 GiB. "
            "Choose a smaller model."
        )
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    proto.ir_version = max(proto.ir_version, 4)  # before 4, initializers had to be inputs as well
    _lift_constants(graph)
    _name_axes(graph, model.inputs, model.outputs)
    _check(proto, model.name)
    with writing(into):
        draft = into.with_name(into.name + ".part")
        onnx.save(proto, draft)
        draft.replace(into)


def _convert(saved_model: Path, signature: str, output: Path, name: str) -> None:
    """Run ``python -m tf2onnx.convert`` inside this process, where TensorFlow is already loaded.

    It exits with 0 and writes a file also where it met operations that it cannot convert; only its log tells.
    """
    _learn_erfc()
    words = ["--saved-model", str(saved_model), "--signature_def", signature, "--opset", str(OPSET)]
    log = io.StringIO()
    with _listening(log), _arguments(["tf2onnx.convert", *words, "--output", str(output)]), quiet():
        try:
            runpy.run_module("tf2onnx.convert", run_name="__main__", alter_sys=True)
        except (Exception, SystemExit) as cause:
            raise ExportError(
                f"tf2onnx could not convert '{name}' to ONNX: {brief(cause, 300)} "
                "TensorFlow itself can still run it: choose the backend 'tensorflow'.",
                log=log.getvalue(),
            ) from cause
    missing = re.findall(r"Tensorflow op \[(.*?): (\w+)\] is not supported", log.getvalue())
    if missing:
        ops = ", ".join(sorted({op for _, op in missing}))
        raise ExportError(
            f"'{name}' uses what ONNX has no form for: {ops} (first in '{missing[0][0]}'). Move it out of the model, or "
            "choose the backend 'tensorflow'.",
            log=log.getvalue(),
        )
    if not output.is_file():
        raise ExportError(f"tf2onnx wrote no file for '{name}'. Its log tells more.", log=log.getvalue())


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


def _load_converted(path: Path, name: str) -> Any:
    import onnx

    with during("read back the conversion of", f"'{name}'", ExportError):
        proto = onnx.load(path)
    _check(proto, name)
    return proto


def _check(proto: Any, name: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(proto)
    except Exception as cause:
        raise ExportError(
            f"The ONNX form of '{name}' is not valid: {brief(cause, 300)} Choose the backend 'tensorflow', or export the "
            "model to ONNX with another tool and open that file."
        ) from cause


def _use_names(graph: Any, model: Model) -> None:
    """Give the graph's inputs and outputs the model's names; tf2onnx keeps them unless it had to invent one."""
    for role, values, specs in (("input", graph.input, model.inputs), ("output", graph.output, model.outputs)):
        found, wanted = [v.name for v in values], [s.name for s in specs]
        if sorted(found) == sorted(wanted):
            continue
        if len(found) != len(wanted):
            raise ExportError(
                f"The ONNX form of '{model.name}' has the {role}s {', '.join(found)}, but the model has "
                f"{', '.join(wanted)}. Rewrite the layer that '{(set(found) ^ set(wanted)).pop()}' comes from."
            )
        if len(found) > 1:
            raise ExportError(
                f"The ONNX form of '{model.name}' names its {role}s {', '.join(found)} instead of {', '.join(wanted)}. "
                f"Name the {role}s in the model (a dictionary of outputs keeps its keys)."
            )
        _rename(graph, found[0], wanted[0])


def _rename(graph: Any, old: str, new: str) -> None:
    for part in graphs(graph):
        for node in part.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in (*part.input, *part.output, *part.value_info):
            if value.name == old:
                value.name = new


def _name_axes(graph: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Call the first axis of every input and output ``batch`` where it is dynamic, and give other dynamic axes a name.

    Shapes inside the graph are dropped: they hold the old names, and every reader infers them again.
    """
    specs = {spec.name: spec for spec in (*inputs, *outputs)}
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        spec = specs[value.name]
        if not shape.dim:  # tf2onnx may leave an output's shape out
            shape.dim.extend([type(shape).Dimension() for _ in spec.shape])
        for axis, size in enumerate(spec.shape):
            dim = shape.dim[axis]
            if size is not None:
                dim.dim_value = size
            elif axis == 0:
                dim.dim_param = BATCH
            elif not dim.dim_param or dim.dim_param == BATCH:
                dim.dim_param = f"{value.name}_{axis}"


def _compare(saved_model: Path, signature: str, model: Model, samples: Samples, real: bool, path: Path) -> ExportCheck:
    import numpy as np

    function = load_saved_model(saved_model).signatures[signature]
    session = _session(path, model.name)
    fixed = model.inputs[0].shape[0]
    batches = COMPARED_BATCHES if fixed is None else (int(fixed),)
    largest_abs, largest_rel = 0.0, 0.0
    for batch in batches:
        feeds = samples.feeds(0, batch)
        wanted = _run_saved_model(function, feeds, model.name)
        with during("run the ONNX form of", f"'{model.name}'", ExportError):
            found = dict(zip(wanted, session.run(list(wanted), feeds), strict=True))
        for name, source in wanted.items():
            _check_rows(name, source, batch)
            difference, scale = _difference(name, source, found[name])
            largest_abs = max(largest_abs, difference)
            largest_rel = max(largest_rel, difference / scale if scale else difference)
    if not np.isfinite(largest_rel) or largest_rel > TOLERANCE:
        raise ExportError(
            f"The ONNX form of '{model.name}' does not compute what the model computes: the largest difference is "
            f"{largest_rel:.2g} of the output's range, allowed is {TOLERANCE:g}. Choose the backend 'tensorflow'; a layer "
            "with random or 16-bit results may be the cause."
        )
    return ExportCheck(
        route="SavedModel → ONNX (tf2onnx)",
        opset=OPSET,
        batches=batches,
        real_samples=real,
        max_abs_diff=largest_abs,
        max_rel_diff=largest_rel,
        tolerance=TOLERANCE,
    )


def _session(path: Path, name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    with during("open the ONNX form of", f"'{name}'", ExportError):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run_saved_model(function: Any, feeds: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    import tensorflow as tf

    try:
        found = function(**{key: tf.constant(array) for key, array in feeds.items()})
    except Exception as cause:
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in feeds.items())
        raise ExportError(
            f"TensorFlow could not run '{name}' on the samples ({shapes}): {brief(cause, 200)} "
            "Give data that the model accepts, as an .npz file."
        ) from cause
    return {key: tensor.numpy() for key, tensor in found.items()}


def _check_rows(name: str, array: np.ndarray, batch: int) -> None:
    if array.ndim == 0 or array.shape[0] != batch:
        raise ExportError(
            f"For a batch of {batch} the output '{name}' has the shape {list(array.shape)}: every output must begin with "
            "the batch axis. Export the model with one row of output per sample."
        )


def _difference(name: str, source: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Largest absolute difference, and the source's largest absolute value, both over values that are finite."""
    import numpy as np

    if source.shape != found.shape:
        raise ExportError(
            f"The output '{name}' has the shape {list(found.shape)} in ONNX and {list(source.shape)} in the model. "
            "Choose the backend 'tensorflow'."
        )
    a, b = source.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a)
    if a.size == 0 or not finite.any():
        return (0.0 if same.all() else float("inf")), 1.0
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max()), float(np.abs(a[finite]).max())


def _lift_constants(graph: Any) -> None:
    """Turn the ``Constant`` nodes of the main graph into initializers."""
    import onnx

    kept, lifted = [], []
    for node in graph.node:
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or "value" not in values:
            kept.append(node)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(values["value"])
        tensor.name = node.output[0]
        lifted.append(tensor)
    outputs = {value.name for value in graph.output}
    if not lifted or outputs & {tensor.name for tensor in lifted}:
        return
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(lifted)
