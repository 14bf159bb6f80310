"""TensorFlow Lite files: float, float16 weights, dynamic-range and full int8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief
from workbench.formats import Runner, check_dtype
from workbench.records import Model, TensorSpec

IDENTIFIER = b"TFL3"
WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D"}
STATEFUL = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM",
            "BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"}  # fmt: skip


def read(path: Path, signature: str) -> dict[str, Any]:
    interpreter = interpreter_of(path)
    names = tuple(sorted(interpreter.get_signature_list()))
    if signature and signature not in names:
        raise InputError(
            f"'{path.name}' has no signature '{signature}'; it has: {', '.join(names) or 'none at all'}. "
            "Leave 'signature' empty, or set it to one of those."
        )
    chosen = signature or ("serving_default" if "serving_default" in names else names[0] if names else "")
    inputs, outputs = tensors_of(interpreter, chosen)
    operations = ops_of(interpreter)
    quantized, how = _quantized(interpreter)
    return {
        "inputs": tuple(_spec(name, tensor, "input") for name, tensor in inputs.items()),
        "outputs": tuple(_spec(name, tensor, "output") for name, tensor in outputs.items()),
        "parameters": _parameters(interpreter),
        "signature": chosen,
        "signatures": names,
        "quantized": quantized,
        "quantized_how": how,
        "exportable": _obstacle(operations),
    }


def open(path: Path, model: Model) -> Runner:  # noqa: A001 - the name every format has
    return runner(path, model.signature, model.name)


def runner(path: Path, signature: str, name: str) -> Runner:
    """The file in the interpreter; tensors are allocated again for every new shape."""
    interpreter = interpreter_of(path)
    inputs, outputs = tensors_of(interpreter, signature if signature in interpreter.get_signature_list() else "")

    def run(feeds: Any) -> dict[str, Any]:
        try:
            for known, tensor in inputs.items():
                interpreter.resize_tensor_input(tensor["index"], list(feeds[known].shape))
            interpreter.allocate_tensors()
            for known, tensor in inputs.items():
                interpreter.set_tensor(tensor["index"], feeds[known])
            interpreter.invoke()
            return {known: interpreter.get_tensor(tensor["index"]) for known, tensor in outputs.items()}
        except Exception as cause:
            raise InputError(f"TensorFlow Lite could not run '{name}': {brief(cause, 250)}") from cause

    return run


def interpreter_of(path: Path, *, keep: bool = False) -> Any:
    """An interpreter on the file, tensors not yet allocated; with ``keep`` it keeps inner values after a run.

    Raises:
        InputError: not a TensorFlow Lite file, damaged, or with operations that the interpreter does not have.
        MissingPackageError: neither LiteRT nor TensorFlow is installed.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != IDENTIFIER:
            raise InputError(
                f"'{path}' is not a TensorFlow Lite file, whatever its ending says. Convert the model again."
            )
    kind = _interpreter_class()
    try:
        return kind(model_path=str(path), num_threads=1, experimental_preserve_all_tensors=keep)
    except Exception as cause:
        raise InputError(
            f"TensorFlow Lite could not open '{path}': {brief(cause, 250)} Convert the model again."
        ) from cause


def _interpreter_class() -> Any:
    from importlib.util import find_spec

    from workbench.errors import optional

    if find_spec("ai_edge_litert") is not None:
        return optional("ai_edge_litert.interpreter", "pip install ai-edge-litert").Interpreter
    return optional("tensorflow", "pip install ai-edge-litert").lite.Interpreter


def tensors_of(interpreter: Any, signature: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Details of input and output tensors by name: the signature's names, or the tensors' own where there is none."""
    inputs = {detail["index"]: detail for detail in interpreter.get_input_details()}
    outputs = {detail["index"]: detail for detail in interpreter.get_output_details()}
    if not signature:
        return {d["name"]: d for d in inputs.values()}, {d["name"]: d for d in outputs.values()}
    # the runner knows which tensor each name of the signature stands for
    runner = interpreter.get_signature_runner(signature)
    return dict(sorted(runner.get_input_details().items())), dict(sorted(runner.get_output_details().items()))


def ops_of(interpreter: Any) -> Counter[str]:
    """How many operations of each kind the main graph has."""
    return Counter(op["op_name"] for op in interpreter._get_ops_details())  # noqa: SLF001 - the only list of operations


def _spec(name: str, detail: Any, role: str) -> TensorSpec:
    import numpy as np

    signature = list(detail["shape_signature"]) if len(detail["shape_signature"]) else list(detail["shape"])
    dtype = check_dtype(name, np.dtype(detail["dtype"]).name if detail["dtype"] is not np.bytes_ else "string", role)
    low = high = None
    if role == "input" and dtype in ("int8", "uint8"):
        info = np.iinfo(dtype)
        low, high = float(info.min), float(info.max)
    return TensorSpec(name, dtype, tuple(int(s) if s > 0 else None for s in signature), low=low, high=high)


def _parameters(interpreter: Any) -> int:
    """Elements of the constant tensors that an operation reads, without 32- and 64-bit integers (biases and shapes)."""
    import numpy as np

    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    made = {int(i) for op in interpreter._get_ops_details() for i in op["outputs"]}  # noqa: SLF001
    fed = {detail["index"] for detail in interpreter.get_input_details()}
    read = {int(i) for op in interpreter._get_ops_details() for i in op["inputs"]} - made - fed  # noqa: SLF001
    kinds = [(details[i]["dtype"], details[i]["shape"]) for i in read if i in details]
    return int(
        sum(np.prod(shape, dtype=np.int64) for dtype, shape in kinds if dtype not in (np.int32, np.int64, np.bool_))
    )


def _quantized(interpreter: Any) -> tuple[str, str]:
    import numpy as np

    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    hybrid = full = 0
    for op in interpreter._get_ops_details():  # noqa: SLF001
        kinds = [details[int(i)]["dtype"] for i in op["inputs"] if int(i) in details]
        if op["op_name"] in WEIGHTED and len(kinds) > 1 and kinds[1] in (np.int8, np.uint8):
            full, hybrid = full + (kinds[0] in (np.int8, np.uint8)), hybrid + (kinds[0] == np.float32)
    halves = sum(d["dtype"] == np.float16 for d in details.values())
    if full:
        return "int8", f"{full} of its layers take 8-bit weights and activations"
    if hybrid:
        return "int8", f"{hybrid} of its layers have 8-bit weights and float activations (dynamic range)"
    # float16 weights are turned back into 32 bits before they are used: it computes in FP32
    return "", f"{halves} of its weights are stored as 16-bit floats and computed with in FP32" if halves else ""


def _obstacle(operations: Counter[str]) -> str:
    stateful = sorted(STATEFUL & set(operations))
    if stateful:
        return f"it keeps state between calls ({', '.join(stateful)}), which an ONNX graph cannot"
    if "DENSIFY" in operations:
        return f"its weights are stored sparsely ({operations['DENSIFY']} DENSIFY operations), which the converter cannot read"
    custom = sorted(name for name in operations if name.startswith(("CUSTOM", "Flex")) or not name.isupper())
    if custom:
        return f"it has the custom operation {', '.join(custom)}, which has no ONNX form"
    return ""
