"""Reading ONNX files that came from elsewhere: nothing outside the model's folder is ever opened."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief
from workbench.models.onnx_upgrade import upgraded

# How protobuf writes the entry {key: "location", value: <path>} of a tensor whose data lies in another file.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])")

# Operations on integers of 8 bits or fewer, and those that turn floats into them and back; by ONNX, and by ONNX Runtime
# (its ContribOperators.md): QLinearAdd, QGemm, QAttention, QOrderedMatMul, ConvInteger, MatMulIntegerToFloat,
# DynamicQuantizeLSTM, MatMulNBits, MatMulBnb4, MatMulFpQ4, GatherBlockQuantized, and more of their families.
_QUANTIZED = re.compile(
    r"(Quantize|Dequantize)(Linear|BFP|WithOrder)|DynamicQuantize\w+|Q(Linear|Ordered)\w+|\w+Integer\w*"
    r"|Q(Gemm|Attention|EmbedLayerNormalization|MoE)|MatMul(NBits\w*|Bnb4|FpQ4)|\w+BlockQuantized\w*"
)
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft", "com.microsoft.nchwc")

CONSTANT_SIZE = 32
"""Constants of fewer elements are taken for settings, not weights."""


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


def load_onnx(path: Path) -> Any:
    """The ``ModelProto`` in ``path``, checked, with its weights loaded; one of an opset below 7 is brought there.

    Raises:
        InputError: as :func:`stored_onnx`, or it is too old to be upgraded.
    """
    return upgraded(stored_onnx(path), path.name)


def stored_onnx(path: Path) -> Any:
    """The ``ModelProto`` in ``path`` as it is, checked, with its weights loaded.

    Raises:
        InputError: not ONNX, cut short, not valid, or with weights missing or outside its folder.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as cause:
        raise InputError(
            f"'{path}' is not a whole ONNX file ({brief(cause, 120)}). It may be cut short or of another kind; "
            "export it again."
        ) from cause
    if not model.graph.output:
        raise InputError(f"'{path}' holds no ONNX network (no outputs). It may be of another kind; export it again.")
    _check_external(path, model)
    try:
        onnx.checker.check_model(_with_output_shapes(model) or str(path))
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as cause:
        raise InputError(f"'{path}' is not a valid ONNX model: {brief(cause, 300)} Export it again.") from cause
    return model


def _with_output_shapes(model: Any) -> bytes | None:
    """The model as bytes, in which outputs without a shape have one; ``None`` where all have.

    ONNX's checker asks for the shapes of outputs and libraries do not; a shape without axes satisfies it.
    """
    bare = [value.type.tensor_type for value in model.graph.output if value.type.WhichOneof("value") == "tensor_type"]
    bare = [tensor for tensor in bare if not tensor.HasField("shape")]
    if not bare:
        return None
    for tensor in bare:
        tensor.shape.SetInParent()
    content: bytes = model.SerializeToString()
    for tensor in bare:
        tensor.ClearField("shape")
    return content


def _check_external(path: Path, model: Any) -> None:
    import onnx

    folder = path.resolve().parent
    for tensor in tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = folder / next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if not place.resolve().is_relative_to(folder) or place == folder:
            raise InputError(
                f"The tensor '{tensor.name}' of '{path}' wants its data from '{place}', outside the model's folder. "
                "Put the data file beside the model and export it again."
            )
        if not place.is_file():
            raise InputError(
                f"'{path}' keeps its weights in '{place.name}', which is missing. Put that file beside the model."
            )


def graphs(graph: Any) -> Iterator[Any]:
    """``graph`` and every graph inside it: branches and bodies of loops."""
    import onnx

    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                for inner in attribute.graphs:
                    yield from graphs(inner)


def quantized_ops(graph: Any) -> Counter[str]:
    """How many nodes of each kind belong to a quantized model, inside branches and loops too; empty for a model of floats."""
    return Counter(
        node.op_type
        for part in graphs(graph)
        for node in part.node
        if node.domain in _KNOWN_DOMAINS and _QUANTIZED.fullmatch(node.op_type)
    )


def cast_weights(graph: Any) -> Counter[str]:
    """How many weights are stored in 8 bits or fewer and become floats by Cast and a scale, by their number format.

    This is how a model whose weights alone are quantized looks where no DequantizeLinear was used: the weight is cast to
    float, a zero point may be subtracted, and the result is multiplied or divided by a constant, before its layer or, with one
    scale for each output of the layer, right after it. Weights have two axes or more; the layers compute in floats.
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
        readers: dict[str, list[Any]] = {}
        for node in part.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        for name, tensor in stored.items():
            if tensor.data_type in small and len(tensor.dims) > 1 and _scaled_after_cast(name, readers, set(stored)):
                kind = small[tensor.data_type].lower()
                found[
                    "fp8" if kind.startswith("float8") else "fp4" if kind.startswith("float") else kind.lstrip("u")
                ] += 1
    return found


_PASSES_ON = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather")


def _scaled_after_cast(name: str, readers: dict[str, list[Any]], constants: set[str]) -> bool:
    """Whether a stored tensor is cast to float and then multiplied or divided by a constant, moves of data aside."""
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
                to = next((a.i for a in node.attribute if a.name == "to"), 0)
                waiting.append((node.output[0], to in floats))
            elif is_float and node.op_type in ("Sub", "Add") and _constant(others, readers, constants):
                waiting.append((node.output[0], True))
            elif is_float and node.op_type in ("Mul", "Div") and _constant(others, readers, constants):
                return True
            elif is_float and node.op_type in ("MatMul", "Conv") and node.input[1] == tensor:
                # a scale of each output may stand behind its layer
                after = readers.get(node.output[0], [])
                scales = [[each for each in later.input if each != node.output[0]] for later in after
                          if later.op_type in ("Mul", "Div")]  # fmt: skip
                if any(_constant(each, readers, constants) for each in scales):
                    return True
    return False


def _constant(names: list[str], readers: dict[str, list[Any]], constants: set[str]) -> bool:
    """Whether all of these are stored, or made from what is stored by a step that only moves or casts it."""
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
    """The tensors that hold weights. Left out are 32- and 64-bit integers (shapes, axes, indices) and small constants."""
    import onnx

    indices = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    for part in graphs(graph):
        yield from (tensor for tensor in part.initializer if tensor.data_type not in indices)
        for node in part.node:
            for attribute in node.attribute:
                large = math.prod(attribute.t.dims) >= CONSTANT_SIZE
                if attribute.type == onnx.AttributeProto.TENSOR and large and attribute.t.data_type not in indices:
                    yield attribute.t
