"""Reading of untrusted ONNX files: no file outside the model's folder is opened."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief
from workbench.models.onnx_types import add_types, check_model, without_shape
from workbench.models.onnx_upgrade import upgraded

# The protobuf encoding of the entry {key: "location", value: <path>} of a tensor with external data.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])")

# Operations on integers of 8 bits or fewer, and conversions between these and floats, of ONNX and of ONNX Runtime
# (its ContribOperators.md): QLinearAdd, QGemm, QAttention, QOrderedMatMul, ConvInteger, MatMulIntegerToFloat,
# DynamicQuantizeLSTM, MatMulNBits, MatMulBnb4, MatMulFpQ4, GatherBlockQuantized, and more of their families.
_QUANTIZED = re.compile(
    r"(Quantize|Dequantize)(Linear|BFP|WithOrder)|DynamicQuantize\w+|Q(Linear|Ordered)\w+|\w+Integer\w*"
    r"|Q(Gemm|Attention|EmbedLayerNormalization|MoE)|MatMul(NBits\w*|Bnb4|FpQ4)|\w+BlockQuantized\w*"
)
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft", "com.microsoft.nchwc")

CONSTANT_SIZE = 32
"""Constants of fewer elements count as settings, not as weights."""


def external_files(path: Path) -> list[Path]:
    """The files in the folder of the ``.onnx`` file ``path`` that hold its weights, sorted; nothing is parsed."""
    folder = path.resolve().parent
    found = set()
    content = path.read_bytes()
    for match in _EXTERNAL.finditer(content):
        length = match[1][0] if len(match[1]) == 1 else (match[1][0] & 0x7F) | match[1][1] << 7
        name = content[match.end() : match.end() + length].decode("utf-8", "replace")
        place = folder / name if "\0" not in name else folder
        if place.is_file() and place.resolve().is_relative_to(folder):
            found.add(place)
    return sorted(found)


def weights_beside(path: Path) -> dict[str, Path]:
    """The :func:`external_files` by their paths relative to the ``.onnx`` file, with ``/`` between folders."""
    folder = path.resolve().parent
    return {place.resolve().relative_to(folder).as_posix(): place for place in external_files(path)}


def load_onnx(path: Path) -> Any:
    """The ``ModelProto`` in ``path``, checked, with its weights loaded, and upgraded from an opset below 7.

    Raises:
        InputError: as :func:`stored_onnx`, or it is too old to be upgraded.
    """
    return upgraded(stored_onnx(path), path.name)


def graph_of(path: Path) -> Any:
    """The ``ModelProto`` in ``path`` without its weights, not checked.

    Raises:
        InputError: the file cannot be read as ONNX.
    """
    import onnx

    try:
        return onnx.load(path, load_external_data=False)
    except Exception as cause:
        raise InputError(f"'{path.name}' cannot be read as ONNX ({brief(cause, 120)}). Export it again.") from cause


def stored_onnx(path: Path) -> Any:
    """The ``ModelProto`` in ``path`` as it is, checked, with its weights loaded, and with types of outputs that the
    file does not declare.

    Raises:
        InputError: the file is not ONNX, truncated or not valid, the type of an output is not known, or weights are missing or
            outside its folder.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as cause:
        raise InputError(
            f"'{path}' is not a complete ONNX file ({brief(cause, 120)}). It may be truncated or of another format; "
            "export it again."
        ) from cause
    if not model.graph.output:
        raise InputError(
            f"'{path}' is not an ONNX network: it has no outputs. It may be of another format; export it again."
        )
    _check_external(path, model)
    try:
        _check(path, model)
        onnx.load_external_data_for_model(model, str(path.parent))
    except InputError:
        raise
    except Exception as cause:
        raise InputError(f"'{path}' is not a valid ONNX model: {brief(cause, 300)} Export it again.") from cause
    return model


def _check(path: Path, model: Any) -> None:
    """ONNX's checker, with types and shapes of outputs that the file does not declare: it requires them, and libraries do not."""
    import onnx

    if not add_types(model, path) and not without_shape(model.graph):
        onnx.checker.check_model(str(path))
        return
    checked = copy.deepcopy(model)
    for tensor in tensors(checked.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:  # the checker would look for it in the current folder
            tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0], raw_data=b""))
    check_model(checked)


def _check_external(path: Path, model: Any) -> None:
    import onnx

    folder = path.resolve().parent
    for tensor in tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = folder / next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if not place.resolve().is_relative_to(folder) or place == folder:
            raise InputError(
                f"The tensor '{tensor.name}' of '{path}' refers to data in '{place}', outside the model's folder. "
                "Put the data file into the model's folder and export it again."
            )
        if not place.is_file():
            raise InputError(
                f"'{path}' has its weights in '{place.name}', which is missing. Put that file into the model's folder."
            )


def graphs(graph: Any) -> Iterator[Any]:
    """``graph`` and every graph inside it: branches and bodies of loops."""
    yield graph
    for node in graph.node:
        for inner in branches(node):
            yield from graphs(inner)


def branches(node: Any) -> list[Any]:
    """The graphs inside a node: branches of an If, the body of a loop."""
    import onnx

    found = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return found + [g for a in node.attribute if a.type == onnx.AttributeProto.GRAPHS for g in a.graphs]


def inputs_of(graph: Any) -> list[Any]:
    """The inputs without the stored tensors that old exporters list among them."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    import onnx

    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def readers_of(graph: Any) -> dict[str, list[Any]]:
    """The nodes that read each tensor, by its name."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def drop_unread(graph: Any) -> None:
    """Remove the stored tensors of a graph that no node and no output reads, also inside branches and loops."""
    read = {name for part in graphs(graph) for node in part.node for name in node.input}
    read |= {value.name for part in graphs(graph) for value in part.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def doubtful_inputs(graph: Any) -> tuple[str, ...]:
    """Sentences about inputs that no node reads, and about those that may be constants which a converter has lost: all sizes are fixed,
    and another input has a free batch.
    """
    read = {name for part in graphs(graph) for node in part.node for name in node.input}
    read |= {value.name for value in graph.output}
    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs_of(graph)}
    free = any(shape and not shape[0] for shape in sizes.values())
    lost = [name for name, shape in sizes.items() if free and name in read and shape and all(shape) and shape[0] == 1]
    unread = [f"The input '{name}' is read by no node." for name in sizes if name not in read]
    return (
        *unread,
        *(
            f"The input '{name}' has the fixed shape [{' × '.join(map(str, sizes[name]))}], and another input takes any number of samples. If it is a "
            "constant that the conversion to ONNX has lost, such as a mean, convert the model again; else give its values with 'input_values'."
            for name in lost
        ),
    )


def quantized_ops(graph: Any) -> Counter[str]:
    """Number of nodes of each quantized operation, also inside branches and loops; empty for a model of floats."""
    return Counter(
        node.op_type
        for part in graphs(graph)
        for node in part.node
        if node.domain in _KNOWN_DOMAINS and _QUANTIZED.fullmatch(node.op_type)
    )


def cast_weights(graph: Any) -> Counter[str]:
    """Number of weights that are stored in 8 bits or fewer and converted to floats by Cast and a scale, by number format.

    This is the form of weight-only quantization without DequantizeLinear: the weight is cast to float, a zero point may be
    subtracted, and the result is multiplied or divided by a constant, before its layer or, with one scale for each output of the
    layer, right after it. Weights have two axes or more; the layers compute in floats.
    """
    import onnx

    names = onnx.TensorProto.DataType
    small = {number: name for name, number in names.items() if re.fullmatch(r"U?INT[248]|FLOAT[48]\w+", name)}
    found: Counter[str] = Counter()
    for part in graphs(graph):
        stored = {tensor.name: tensor for tensor in part.initializer}
        for node in part.node:
            if node.op_type == "Constant":
                stored.update((node.output[0], a.t) for a in node.attribute if a.type == onnx.AttributeProto.TENSOR)
        readers = readers_of(part)
        for name, tensor in stored.items():
            if tensor.data_type in small and len(tensor.dims) > 1 and _scaled_after_cast(name, readers, set(stored)):
                kind = small[tensor.data_type].lower()
                found[
                    "fp8" if kind.startswith("float8") else "fp4" if kind.startswith("float") else kind.lstrip("u")
                ] += 1
    return found


_PASSES_ON = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather")


def _scaled_after_cast(name: str, readers: dict[str, list[Any]], constants: set[str]) -> bool:
    """Whether a stored tensor is cast to float and then multiplied or divided by a constant; operations that move data are ignored."""
    import onnx

    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    waiting, seen = [(name, False)], set()
    while waiting:
        tensor, is_float = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        for node in readers.get(tensor, ()):
            others = [each for each in node.input if each != tensor]
            if node.op_type in _PASSES_ON and node.input[0] == tensor:
                waiting.append((node.output[0], is_float))
            elif node.op_type == "Cast":
                waiting.append((node.output[0], attribute(node, "to", 0) in floats))
            elif is_float and node.op_type in ("Sub", "Add") and _constant(others, readers, constants):
                waiting.append((node.output[0], True))
            elif is_float and node.op_type in ("Mul", "Div") and _constant(others, readers, constants):
                return True
            elif is_float and node.op_type in ("MatMul", "Conv") and node.input[1] == tensor:
                # a scale of each output may follow the layer
                after = readers.get(node.output[0], [])
                scales = [[each for each in later.input if each != node.output[0]] for later in after
                          if later.op_type in ("Mul", "Div")]  # fmt: skip
                if any(_constant(each, readers, constants) for each in scales):
                    return True
    return False


def _constant(names: list[str], readers: dict[str, list[Any]], constants: set[str]) -> bool:
    """Whether all of these are stored tensors, or stored tensors after an operation that only moves or casts them."""
    made = {
        node.output[0] for name in constants for node in readers.get(name, ()) if node.op_type in ("Cast", *_PASSES_ON)
    }
    return all(name in constants or name in made for name in names)


def tensors(graph: Any) -> Iterator[Any]:
    """Every tensor stored in ``graph``: initializers, then constants, also inside branches and loops."""
    import onnx

    for part in graphs(graph):
        yield from part.initializer
        for node in part.node:
            yield from (a.t for a in node.attribute if a.type == onnx.AttributeProto.TENSOR)
            for attribute in node.attribute:
                yield from attribute.tensors


def weight_tensors(graph: Any) -> Iterator[Any]:
    """The tensors that hold weights, without 32- and 64-bit integers (shapes, axes, indices) and small constants."""
    import onnx

    indices = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    for part in graphs(graph):
        yield from (tensor for tensor in part.initializer if tensor.data_type not in indices)
        for node in part.node:
            for attribute in node.attribute:
                large = math.prod(attribute.t.dims) >= CONSTANT_SIZE
                if attribute.type == onnx.AttributeProto.TENSOR and large and attribute.t.data_type not in indices:
                    yield attribute.t
