"""Types and shapes of outputs that an ONNX file does not declare: libraries infer them, and ONNX's checker requires them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief

FOLDER = "session.model_external_initializers_file_folder_path"
"""The setting of ONNX Runtime for the folder of weights in separate files, where a model is given as bytes."""


def untyped(graph: Any) -> list[Any]:
    """The outputs without a type: those of no kind, and tensors of no element type."""
    return [value for value in graph.output if not _is_typed(value.type)]


def _is_typed(kind: Any) -> bool:
    held = kind.WhichOneof("value")
    return held is not None and (held != "tensor_type" or kind.tensor_type.elem_type != 0)


def without_shape(graph: Any) -> list[Any]:
    """The outputs that are tensors without a shape."""
    tensors = [value for value in graph.output if value.type.WhichOneof("value") == "tensor_type"]
    return [value for value in tensors if not value.type.tensor_type.HasField("shape")]


def check_model(model: Any) -> None:
    """ONNX's checker, which accepts outputs without a shape here."""
    import onnx

    bare = [value.type.tensor_type for value in without_shape(model.graph)]
    for tensor in bare:
        tensor.shape.SetInParent()  # a shape without axes satisfies the checker
    try:
        onnx.checker.check_model(model)
    finally:
        for tensor in bare:
            tensor.ClearField("shape")


def add_types(model: Any, path: Path) -> bool:
    """Give outputs without a type what ONNX's shape inference says, or else ONNX Runtime; return whether there were any.

    Raises:
        InputError: neither determines the type of an output.
    """
    import onnx

    bare = untyped(model.graph)
    if not bare:
        return False
    for value in bare:
        value.ClearField("type")
    reason = "ONNX's shape inference does not say"
    try:
        inferred = {value.name: value.type for value in onnx.shape_inference.infer_shapes(model).graph.output}
    except Exception as cause:
        inferred, reason = {}, f"ONNX's shape inference failed: {brief(cause, 100)}"
    for value in bare:
        if value.name in inferred and _is_typed(inferred[value.name]):
            value.type.CopyFrom(inferred[value.name])
    if rest := untyped(model.graph):
        _ask_runtime(model, path, rest, reason)
    return True


def _ask_runtime(model: Any, path: Path, bare: list[Any], reason: str) -> None:
    """Set the types that ONNX Runtime determines when it opens the model."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(FOLDER, str(path.resolve().parent))
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        raise InputError(
            f"'{path}' declares no type for the output '{bare[0].name}'; {reason}, and ONNX Runtime does not open the file: "
            f"{brief(cause, 200)} Export it again, with types of its outputs."
        ) from cause
    types = {value.name: value.type for value in session.get_outputs()}
    for value in bare:
        name = types[value.name]
        if not name.startswith("tensor("):
            raise InputError(
                f"The output '{value.name}' is of the type {name}, not a tensor. Export the model with plain tensors."
            )
        value.type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(name[len("tensor(") : -1].upper())
