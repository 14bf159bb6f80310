"""ONNX files: any opset, weights inside or in separate files, with or without local functions."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.data import bfloat16
from workbench.errors import ExportError, InputError, brief
from workbench.models.bfloat16_models import holds_bfloat16
from workbench.models.bfloat16_models import runner as bfloat16_runner
from workbench.models.exact_int8 import exact_session
from workbench.models.formats import Runner, check_dtype, running
from workbench.models.onnx_file import (
    attribute,
    cast_weights,
    doubtful_inputs,
    graphs,
    inputs_of,
    load_onnx,
    quantized_ops,
    stored_onnx,
    weight_tensors,
)
from workbench.models.onnx_old_operators import old_operators
from workbench.models.onnx_reach import drawn, unreached
from workbench.models.onnx_reach import scales as onnx_scales
from workbench.models.onnx_repair import inline_functions, overridden, override_shapes
from workbench.models.onnx_types import untyped
from workbench.models.onnx_upgrade import OLDEST_OPSET, opset_of, upgraded
from workbench.models.ort_values import runner
from workbench.models.pixels import scaled_images, with_white
from workbench.records import Model, TensorSpec

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft",
                    "com.microsoft.nchwc")  # fmt: skip


def read(path: Path, _signature: str) -> dict[str, Any]:
    stored = stored_onnx(path)
    opset = opset_of(stored)
    model = upgraded(stored, path.name)
    try:
        inline_functions(model)
    except ExportError as error:
        raise InputError(f"'{path.name}' could not be read. {error.message}") from error
    inputs = inputs_of(model.graph)
    _infer_outputs(model)
    quantized, how = already_quantized(model)
    tables, pixels = _tables(model.graph), scaled_images(model.graph)
    random = [
        f"The output '{n}' depends on random numbers: {node} draws them." for n, node in drawn(model.graph).items()
    ]
    untouched, scales = unreached(model.graph), onnx_scales(model.graph)
    outputs = [
        replace(
            _with_free_rows(_value_spec(value, "output"), model.graph),
            unreached=untouched.get(value.name, ""),
            scale=scales.get(value.name, (0.0, 0))[0],
            zero_point=scales.get(value.name, (0.0, 0))[1],
        )
        for value in model.graph.output
    ]
    return {
        "inputs": tuple(_with_range(_value_spec(v, "input"), tables.get(v.name), pixels.get(v.name)) for v in inputs),
        "outputs": tuple(outputs),
        "parameters": sum(math.prod(tensor.dims) for tensor in weight_tensors(model.graph)),
        "quantized": quantized,
        "quantized_how": how,
        "exportable": _custom_op(model),
        "without_shape": tuple(v.name for v in model.graph.output if not v.type.tensor_type.HasField("shape")),
        "axis_names": {v.name: tuple(d.dim_param for d in v.type.tensor_type.shape.dim) for v in inputs},
        "notes": (*_age(path, opset), *_brains(path, stored), *random, *doubtful_inputs(model.graph)),
    }


def _with_free_rows(spec: TensorSpec, graph: Any) -> TensorSpec:
    """``spec`` with the axis whose size follows the data, where an operation with such an output produces it.

    The first column of NonMaxSuppression is the batch index (ONNX Operator Schemas, NonMaxSuppression-11). NonZero gives indices
    along all axes of its input, of which the first need not be the batch.
    """
    kind = next(
        (node.op_type for node in graph.node if spec.name in node.output and node.domain in ("", "ai.onnx")), ""
    )
    if kind == "NonMaxSuppression":
        return replace(spec, batch_axis=None, ragged_axis=0, index_output=spec.name)
    return replace(spec, batch_axis=None, ragged_axis=1) if kind == "NonZero" else spec


def _brains(path: Path, stored: Any) -> tuple[str, ...]:
    """A note about a model in bfloat16 that ONNX Runtime does not open."""
    import onnxruntime

    if not holds_bfloat16(stored):
        return ()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:
        other = _in_bfloat16(path)
        return (f"ONNX Runtime has no kernels for its bfloat16, so {other[1]} runs the source model",) if other else ()
    return ()


def _age(path: Path, opset: int) -> tuple[str, ...]:
    """A note about a file of an opset below 7."""
    if opset >= OLDEST_OPSET:
        return ()
    by = _original(path)[1]
    compared = (
        f"exporting compares it with the file as it is, run by {by}"
        if by
        else "no installed library runs the file as it is, so the two could not be compared"
    )
    return (f"The file has ONNX opset {opset}; ONNX's converter upgrades it to {OLDEST_OPSET}, and {compared}",)


def old_form(path: Path) -> str:
    """What :func:`open` runs of a file of an opset below 7, the source of the comparison; "" for a file of a later opset."""
    opset = opset_of(stored_onnx(path))
    if opset >= OLDEST_OPSET:
        return ""
    return f"ONNX opset {opset}" if _original(path)[0] else f"ONNX upgraded to opset {OLDEST_OPSET}"


def _original(path: Path) -> tuple[Runner | None, str]:
    """A runner of a file of an opset below 7 as it is, and the name of its library; ``None`` and "" where no library runs it."""
    from onnx.reference import ReferenceEvaluator

    try:
        return session_runner(path, path.name), "ONNX Runtime"
    except InputError:
        pass
    proto = stored_onnx(path)
    try:
        reference = ReferenceEvaluator(proto, new_ops=old_operators())
    except Exception:  # the evaluator does not have one of the operators
        return None, ""
    names = [value.name for value in proto.graph.output]

    def run(feeds: Any) -> dict[str, Any]:
        try:
            return dict(zip(names, reference.run(names, dict(feeds)), strict=True))
        except Exception as cause:
            raise InputError(f"ONNX's reference evaluator could not run '{path.name}': {brief(cause, 200)}") from cause

    return run, "ONNX's reference evaluator"


def open(path: Path, model: Model) -> Runner:  # noqa: A001 - the name every format has
    """The file as it is, with the sizes of ``model`` instead of its own where these differ, because ONNX Runtime checks them.
    A file of an opset below 7 is run as it is where a library does so, else after the upgrade.

    Raises:
        InputError: ONNX Runtime does not accept the file, or not with these sizes.
    """
    import onnx

    declared = onnx.load(path, load_external_data=False)
    sizes = overridden(declared.graph, model.inputs)
    if not sizes and opset_of(declared) < OLDEST_OPSET:
        return _original(path)[0] or session_runner(load_onnx(path).SerializeToString(), model.name)
    if not sizes:
        try:
            # ONNX Runtime does not open a file with a tensor of no element type
            typed = load_onnx(path).SerializeToString() if untyped(declared.graph) else path
            return session_runner(typed, model.name)
        except InputError as error:
            proto = load_onnx(path)
            inline_functions(proto)  # ONNX Runtime does not name missing operators inside of functions
            if custom := _custom_op(proto):
                raise InputError(
                    f"ONNX Runtime could not open '{model.name}': {custom}. Export it again without that operation."
                ) from error
            raise
    proto = load_onnx(path)
    override_shapes(proto, sizes)
    try:
        content = proto.SerializeToString()
    except Exception as cause:  # the limit of one protobuf message is 2 GiB
        raise InputError(
            f"'{model.name}' is too large to get other sizes ({brief(cause, 100)}). Leave 'input_shapes' empty, or export it "
            "with those sizes."
        ) from cause
    return session_runner(content, model.name, "Give other sizes as 'input_shapes', or none.")


def session_runner(source: Path | bytes, name: str, otherwise: str = "Export it again.") -> Runner:
    """A file, or its content, in ONNX Runtime with one thread and without changes of its graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = exact_session(source, options)
    except Exception as cause:
        other = _in_bfloat16(source)
        if other is None:
            raise InputError(f"ONNX Runtime could not open '{name}': {brief(cause, 300)} {otherwise}") from cause
        by_name, library = other
    else:
        by_name, library = runner(session), "ONNX Runtime"

    def run(feeds: Any) -> dict[str, Any]:
        with running(library, name, feeds, _said):
            return by_name(feeds)

    return run


def _in_bfloat16(source: Path | bytes) -> tuple[Runner, str] | None:
    """A runner of a model in bfloat16 that ONNX Runtime does not open, and the name of its library; ``None`` for other models."""
    import onnx

    if isinstance(source, bytes) or not holds_bfloat16(onnx.load(source, load_external_data=False)):
        return None
    try:
        return bfloat16_runner(source)
    except Exception:  # the message gives ONNX Runtime's reason
        return None


def already_quantized(model: Any) -> tuple[str, str]:
    """The lower precision that the graph already has, and the evidence for it; empty texts where there is none.

    "int8" means integers of 8 bits or fewer; "int8-weights" and similar names mean weights that are stored in the format and are
    converted to floats before a layer computes with them.
    """
    import onnx

    found = quantized_ops(model.graph)
    if found:
        return "int8", "it holds " + ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    stored = cast_weights(model.graph)
    if stored:
        counts = " and ".join(f"{count} of its weights are {kind}" for kind, count in sorted(stored.items()))
        return f"{stored.most_common(1)[0][0]}-weights", f"{counts}, converted to floats by Cast and a scale"
    kinds = Counter(tensor.data_type for part in graphs(model.graph) for tensor in part.initializer)
    if halves := kinds[onnx.TensorProto.FLOAT16]:
        return "fp16", f"{halves} of its weights are 16-bit floats"
    if brains := kinds[onnx.TensorProto.BFLOAT16]:
        return "bf16", f"{brains} of its weights are bfloat16"
    return "", ""


def _tables(graph: Any) -> dict[str, int]:
    """Inputs that are row indices of a stored table, with its number of rows, above which values are not valid indices."""
    rows = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    origin = {value.name: value.name for value in graph.input}
    found: dict[str, int] = {}
    for node in graph.node:
        axis = attribute(node, "axis", 0)
        if node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and rows.get(node.input[0]):
            name = origin[node.input[1]]
            found[name] = min(found.get(name, 2**31), rows[node.input[0]][axis])
    return found


def _with_range(spec: TensorSpec, rows: int | None, white: int | None) -> TensorSpec:
    if rows and "int" in spec.dtype:
        return replace(spec, low=0.0, high=float(rows - 1))
    return with_white(spec, white)


def _custom_op(model: Any) -> str:
    for part in graphs(model.graph):
        for number, node in enumerate(part.node):
            if node.domain not in STANDARD_DOMAINS:
                return (
                    f"the node '{node.name or number}' is the custom operation {node.domain}.{node.op_type}, which no "
                    "installed library supports"
                )
    return ""


def _infer_outputs(model: Any) -> None:
    """Give outputs without a declared shape the result of ONNX shape inference, where there is one."""
    import onnx

    bare = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    if not bare or model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        return
    try:
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
    except Exception:  # opening the model shows the shape where it runs
        return
    for value in bare:
        found = inferred[value.name].type.tensor_type
        if found.HasField("shape"):
            value.type.tensor_type.shape.CopyFrom(found.shape)


def _value_spec(value: Any, role: str) -> TensorSpec:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise InputError(
            f"The {role} '{value.name}' is a {str(kind).removesuffix('_type')}, not a tensor. Export the model with plain "
            "tensors (with skl2onnx: the option zipmap=False)."
        )
    tensor = value.type.tensor_type
    held = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    brain = held == bfloat16.NAME  # sessions take and return it as float32
    dtype = check_dtype(value.name, "float32" if brain else held, role)
    if not tensor.HasField("shape") and role == "input":
        raise InputError(
            f"The input '{value.name}' has no known number of axes. Export the model with the shapes of its inputs."
        )
    # Some exporters write -1 for a dynamic axis.
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    return TensorSpec(value.name, dtype, shape, stored=held if brain else "")


def _said(cause: Exception) -> str:
    """The sentence of an ONNX Runtime error, without the location in its source code."""
    text = str(cause)
    node = re.search(r"while running (\w+) node\. Name:'([^']*)'", text)
    text = text.partition("Status Message: ")[2] or text
    where = f"{node[1]} '{node[2]}': " if node else ""
    return brief(ValueError(where + (text.partition(" was false. ")[2] or text)), 300)
