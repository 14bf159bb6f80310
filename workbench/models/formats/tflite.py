"""TensorFlow Lite files: float, float16 weights, dynamic-range, full int8, and int8 with 16-bit activations.

The interpreter runs them. The content of a file is read from its flatbuffer by the schema in the interpreter's package.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief, optional
from workbench.models.formats import Runner, check_dtype
from workbench.models.pixels import DIVIDE, MOVE, MULTIPLY, Step, white_of, with_white
from workbench.records import Model, TensorSpec

IDENTIFIER = b"TFL3"
# indices of data and weights among the inputs of a layer with weights (TensorFlow Lite's schema, builtin operators)
WEIGHTED = {
    "CONV_2D": (0, 1), "DEPTHWISE_CONV_2D": (0, 1), "CONV_3D": (0, 1), "FULLY_CONNECTED": (0, 1), "BATCH_MATMUL": (0, 1),
    "TRANSPOSE_CONV": (2, 1), "CONV_3D_TRANSPOSE": (2, 1), "LSTM": (0, 2), "UNIDIRECTIONAL_SEQUENCE_LSTM": (0, 2),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (0, 2), "RNN": (0, 1), "UNIDIRECTIONAL_SEQUENCE_RNN": (0, 1),
    "BIDIRECTIONAL_SEQUENCE_RNN": (0, 1), "SVDF": (0, 1),
}  # fmt: skip
FLOATS = {"FLOAT32", "FLOAT16"}  # also 16-bit weights: the kernels convert them to 32 bits before they compute
BYTES = {"INT8", "UINT8"}
INT16X8 = "int16x8"
NO_WEIGHTS = {"INT32", "INT64", "BOOL"}  # biases of integer layers, shapes and indices
MOVED = {"CAST", "DEQUANTIZE", "EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
"""Operators after which values are the same, elsewhere."""
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
    graph = graph_of(path)
    main = main_signature(graph)
    chosen = signature or ("serving_default" if "serving_default" in names else main or next(iter(names), ""))
    part = graph.Subgraphs(subgraph_of(graph, chosen))
    inputs, outputs = tensors_of(interpreter, chosen)
    quantized, how = _quantized(graph)
    return {
        "inputs": tuple(
            with_white(_spec(name, tensor, "input"), white_of(tensor["index"], _Readers(graph, part)))
            for name, tensor in inputs.items()
        ),
        "outputs": tuple(_spec(name, tensor, "output") for name, tensor in outputs.items()),
        "parameters": _parameters(part),
        "signature": chosen,
        "signatures": names,
        "quantized": quantized,
        "quantized_how": how,
        "exportable": _no_main(graph, chosen, main) or _obstacle(ops_of(interpreter), how),
    }


def open(path: Path, model: Model) -> Runner:  # noqa: A001 - the name every format has
    return runner(path, model.signature, model.name)


def runner(path: Path, signature: str, name: str) -> Runner:
    """A runner of the file in the interpreter, which allocates tensors again for every new shape.

    A signature runs its own graph. A single signature is used whatever name is given, and without signatures the main graph runs.
    """
    interpreter = interpreter_of(path)
    names = list(interpreter.get_signature_list())
    signature = signature if signature in names else names[0] if len(names) == 1 else ""
    called = interpreter.get_signature_runner(signature) if signature else None
    inputs, outputs = tensors_of(interpreter, signature)

    def run(feeds: Any) -> dict[str, Any]:
        try:
            if called is not None:
                found = called(**{known: feeds[known] for known in inputs})
                return {known: found[known] for known in outputs}
            invoke(interpreter, inputs, feeds)
            return {known: interpreter.get_tensor(tensor["index"]) for known, tensor in outputs.items()}
        except Exception as cause:
            raise InputError(f"TensorFlow Lite could not run '{name}': {brief(cause, 250)}") from cause

    return run


def invoke(interpreter: Any, inputs: Mapping[str, Any], feeds: Mapping[str, Any]) -> None:
    """Run the interpreter once; ``inputs`` are the details of its input tensors by name."""
    for name, tensor in inputs.items():
        interpreter.resize_tensor_input(tensor["index"], list(feeds[name].shape))
    interpreter.allocate_tensors()
    for name, tensor in inputs.items():
        interpreter.set_tensor(tensor["index"], feeds[name])
    interpreter.invoke()


def interpreter_of(path: Path, *, keep: bool = False) -> Any:
    """An interpreter of the file, with tensors not yet allocated; with ``keep`` it keeps inner values after a run.

    Raises:
        InputError: the file is not a TensorFlow Lite file, is damaged, or has operations that the interpreter does not have.
        MissingPackageError: neither LiteRT nor TensorFlow is installed.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != IDENTIFIER:
            raise InputError(
                f"'{path}' is not a TensorFlow Lite file, although its ending is .tflite. Convert the model again."
            )
    kind = _interpreter_class()
    try:
        return kind(model_path=str(path), num_threads=1, experimental_preserve_all_tensors=keep)
    except Exception as cause:
        raise InputError(
            f"TensorFlow Lite could not open '{path}': {brief(cause, 250)} Convert the model again."
        ) from cause


def _interpreter_class() -> Any:
    if find_spec("ai_edge_litert") is None and find_spec("tensorflow") is not None:
        return optional("tensorflow", "pip install ai-edge-litert").lite.Interpreter
    return optional("ai_edge_litert.interpreter", "pip install ai-edge-litert").Interpreter


def tensors_of(interpreter: Any, signature: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Details of input and output tensors by name: the signature's names, or the tensors' own where there is none.

    Their indices refer to the signature's graph, whose number :func:`subgraph_of` returns.
    """
    if not signature:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        return {detail["name"]: detail for detail in inputs}, {detail["name"]: detail for detail in outputs}
    # the runner has the tensor for each name of the signature
    runner = interpreter.get_signature_runner(signature)
    return dict(sorted(runner.get_input_details().items())), dict(sorted(runner.get_output_details().items()))


def ops_of(interpreter: Any) -> Counter[str]:
    """Number of operations of each kind in the main graph."""
    return Counter(op["op_name"] for op in interpreter._get_ops_details())  # noqa: SLF001 - the only list of operations


def scales_of(part: Any, numbers: Mapping[str, int]) -> dict[str, tuple[float, int]]:
    """Scale and zero point of each integer tensor that has one of each for the whole tensor, by name.

    Args:
        part: a graph of the file.
        numbers: the tensors' numbers within it, by name.
    """
    types, found = _types(), {}
    for name, number in numbers.items():
        tensor = part.Tensors(number)
        held = tensor.Quantization()
        if held is None or held.ScaleLength() != 1 or not types[tensor.Type()].startswith(("INT", "UINT")):
            continue
        scale, zero_point = float(held.Scale(0)), int(held.ZeroPoint(0)) if held.ZeroPointLength() else 0
        if scale:
            found[name] = (scale, zero_point)
    return found


def _spec(name: str, detail: Any, role: str) -> TensorSpec:
    import numpy as np

    signature = list(detail["shape_signature"]) if len(detail["shape_signature"]) else list(detail["shape"])
    dtype = check_dtype(name, np.dtype(detail["dtype"]).name if detail["dtype"] is not np.bytes_ else "string", role)
    low = high = None
    if role == "input" and dtype in ("int8", "uint8"):
        info = np.iinfo(dtype)
        low, high = float(info.min), float(info.max)
    # the interpreter gives (0.0, 0) for tensors without a scale, or with one for each channel
    scale, zero = (detail.get("quantization") or (0.0, 0)) if "int" in dtype else (0.0, 0)
    return TensorSpec(
        name,
        dtype,
        tuple(int(s) if s > 0 else None for s in signature),
        low=low,
        high=high,
        scale=float(scale),
        zero_point=int(zero),
    )


def _schema() -> Any:
    """The schema's readers in the interpreter's package."""
    if find_spec("ai_edge_litert") is not None:
        from ai_edge_litert import schema_py_generated
    else:
        from tensorflow.lite.python import schema_py_generated
    return schema_py_generated


def graph_of(path: Path) -> Any:
    """The file as its schema's ``Model``, without checks: call :func:`interpreter_of` first."""
    return _schema().Model.GetRootAs(path.read_bytes(), 0)


def signatures_of(graph: Any) -> dict[str, Any]:
    """The schema's ``SignatureDef`` of every signature, by name, in the file's order."""
    listed = [graph.SignatureDefs(number) for number in range(graph.SignatureDefsLength())]
    return {one.SignatureKey().decode(): one for one in listed}


def subgraph_of(graph: Any, signature: str) -> int:
    """The number of a signature's graph; 0, the main graph, where the file does not have the signature."""
    found = signatures_of(graph).get(signature)
    return int(found.SubgraphIndex()) if found is not None else 0


def main_signature(graph: Any) -> str:
    """The first signature of the main graph, which is all that ``invoke`` runs and tf2onnx converts; "" for none."""
    return next((name for name, one in signatures_of(graph).items() if one.SubgraphIndex() == 0), "")


def layers(graph: Any) -> Iterator[tuple[str, str, str]]:
    """For each layer with weights, also in bodies of loops: the types of its data, of its weights, and of the weights as
    they are stored; names of the schema's ``TensorType``.
    """
    names, types = _kinds(graph), _types()
    for part in _parts(graph):
        dequantized: dict[int, int] = {}
        for operator in _operators(part):
            name = names[operator.OpcodeIndex()]
            if name == "DEQUANTIZE":
                dequantized[int(operator.Outputs(0))] = int(operator.Inputs(0))
            # an omitted input has the number -1
            if name in WEIGHTED and all(
                place < operator.InputsLength() and operator.Inputs(place) >= 0 for place in WEIGHTED[name]
            ):
                data, weights = (int(operator.Inputs(place)) for place in WEIGHTED[name])
                stored = dequantized.get(weights, weights)
                data_type, weight_type, stored_type = (
                    types[part.Tensors(number).Type()] for number in (data, weights, stored)
                )
                yield data_type, weight_type, stored_type


class _Readers:
    """What reads a tensor of a graph, by its number."""

    def __init__(self, graph: Any, part: Any) -> None:
        self._graph, self._part, self._names = graph, part, _kinds(graph)

    def __call__(self, number: int) -> list[Step]:
        return [
            self._step(name, operator, inputs.index(number))
            for operator in _operators(self._part)
            if number in (inputs := [operator.Inputs(place) for place in range(operator.InputsLength())])
            and (name := self._names[operator.OpcodeIndex()]) != "SHAPE"
        ]

    def _step(self, name: str, operator: Any, place: int) -> Step:
        if name in MOVED:
            return Step(MOVE, operator.Outputs(0))
        if name == "MUL":
            return Step(MULTIPLY, number=self._number(operator.Inputs(1 - place)))
        return Step(DIVIDE, number=self._number(operator.Inputs(1))) if name == "DIV" and place == 0 else Step("")

    def _number(self, number: int) -> float:
        """The value of a scalar constant of 32 bits; 0 for anything else."""
        import numpy as np

        tensor = self._part.Tensors(number)
        held = self._graph.Buffers(tensor.Buffer())
        if _types()[tensor.Type()] != "FLOAT32" or held is None or held.DataLength() != 4:
            return 0.0
        return float(held.DataAsNumpy().view(np.float32)[0])


def _kinds(graph: Any) -> list[str]:
    """The kinds of operators that a file lists, "" for custom ones; an operator has a number in this list."""
    operators = {code: name for name, code in vars(_schema().BuiltinOperator).items() if isinstance(code, int)}
    listed = [graph.OperatorCodes(number) for number in range(graph.OperatorCodesLength())]
    # numbers below 127 are in the older field, for older readers
    return [operators.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "") for code in listed]


def _types() -> dict[int, str]:
    return {code: name for name, code in vars(_schema().TensorType).items() if isinstance(code, int)}


def _parts(graph: Any) -> Iterator[Any]:
    yield from (graph.Subgraphs(number) for number in range(graph.SubgraphsLength()))


def _operators(part: Any) -> Iterator[Any]:
    yield from (part.Operators(number) for number in range(part.OperatorsLength()))


def _parameters(part: Any) -> int:
    """Number of elements of the constant tensors that operations of this graph read, without those that are not weights."""
    types = _types()
    made = {operator.Outputs(i) for operator in _operators(part) for i in range(operator.OutputsLength())}
    fed = {part.Inputs(number) for number in range(part.InputsLength())}
    read = {operator.Inputs(i) for operator in _operators(part) for i in range(operator.InputsLength())}
    tensors = [part.Tensors(number) for number in read - made - fed if number >= 0]  # -1: an omitted input
    return sum(
        math.prod(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
        for tensor in tensors
        if types[tensor.Type()] not in NO_WEIGHTS
    )


def _quantized(graph: Any) -> tuple[str, str]:
    found = [(data, weights) for data, weights, _ in layers(graph) if weights in BYTES]
    full = sum(data in BYTES for data, _ in found)
    wide = sum(data == "INT16" for data, _ in found)
    hybrid = sum(data in FLOATS for data, _ in found)
    half = _schema().TensorType.FLOAT16
    halves = sum(part.Tensors(i).Type() == half for part in _parts(graph) for i in range(part.TensorsLength()))
    if full:
        return "int8", f"{full} of its layers take 8-bit weights and activations"
    if wide:
        return "int8", f"{wide} of its layers have 8-bit weights and 16-bit activations ({INT16X8})"
    if hybrid:
        return "int8", f"{hybrid} of its layers have 8-bit weights and float activations (dynamic range)"
    # float16 weights are converted to 32 bits before they are used: it computes in FP32
    return "", f"{halves} of its weights are stored as 16-bit floats and computed with in FP32" if halves else ""


def _no_main(graph: Any, signature: str, main: str) -> str:
    if subgraph_of(graph, signature) == 0:
        return ""
    which = f"which is '{main}' here" if main else "and here the main graph has none"
    return f"only the main signature of a TensorFlow Lite file can be converted, {which}"


def _obstacle(operations: Counter[str], how: str) -> str:
    if INT16X8 in how:  # QuantizeLinear takes int16 from opset 21 on, later than tf2onnx writes
        return f"{how}, which ONNX cannot hold in the opsets that the converter writes"
    stateful = sorted(STATEFUL & set(operations))
    if stateful:
        return f"it keeps state between calls ({', '.join(stateful)}), which an ONNX graph cannot"
    if "DENSIFY" in operations:
        return f"its weights are stored sparsely ({operations['DENSIFY']} DENSIFY operations), which the converter cannot read"
    custom = sorted(name for name in operations if name.startswith(("CUSTOM", "Flex")) or not name.isupper())
    if custom:
        return f"it has the custom operation {', '.join(custom)}, which has no ONNX form"
    return ""
