"""TensorRT 8.5 and 8.6, whose networks are weakly typed: which formats a layer may compute in is a matter of builder flags.

From 10.0 on the types of the ONNX file decide (strongly typed networks). Here the flags that the file's types need are set, and no
others: without them an FP16 model is built in FP32 and says nothing. The builder still chooses for each layer among the formats that
are allowed, so the precision that is read back from the engine decides whether a build is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from workbench.models.onnx_file import graphs
from workbench.protocols import AVAILABLE, Availability, Refusal, unavailable
from workbench.records import EngineSpec, Precision
from workbench.records.methods import WEIGHTS

STRONG = (10, 0)
"""The first version that has strongly typed networks."""
FORMATS = (Precision.FP32, Precision.FP16, Precision.INT8)
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=$|[\s\x1e\x1f\[])")


class Formats(NamedTuple):
    """What an ONNX file asks for beside FP32, and the type of each node with weights where FP16 is among it."""

    flags: tuple[str, ...]  # names of builder flags
    held: dict[str, str]  # DataType's name by node; empty unless the file has FP16


def is_weak(trt: Any) -> bool:
    """Whether this library's networks are weakly typed."""
    return not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def refusal(version: tuple[int, ...], spec: EngineSpec) -> Availability:
    """Whether a library of this version has the variant's format; a version that is not known refuses nothing."""
    if not version or version >= STRONG:
        return AVAILABLE
    found = ".".join(map(str, version[:2]))
    if spec.method == WEIGHTS:
        return unavailable(
            f"TensorRT {found} stores no weights in fewer bits than it computes in", "use int8, or TensorRT 10"
        )
    if spec.precision not in FORMATS:
        return unavailable(
            f"TensorRT {found} builds no {spec.precision.upper()} from ONNX", "use fp16 or int8, or TensorRT 10"
        )
    if spec.optimization_level is not None and version < (8, 6):
        return unavailable(f"TensorRT {found} has no optimization levels", "leave the level at its default")
    return AVAILABLE


def asked(onnx_file: Path) -> Formats:
    """The formats in an ONNX file: FP16 tensors, and quantized ones (Q/DQ)."""
    import onnx

    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    parts = list(graphs(onnx.load(onnx_file, load_external_data=False).graph))
    kinds = {tensor.name: tensor.data_type for part in parts for tensor in part.initializer}
    kinds |= {value.name: value.type.tensor_type.elem_type for part in parts for value in (*part.input, *part.output)}
    nodes = [node for part in parts for node in part.node]
    halves = half in kinds.values() or any(_makes(node, half) for node in nodes)
    quantized = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in nodes)
    flags = (*(["FP16"] if halves else []), *(["INT8"] if quantized else []))
    weighted = {
        node.name: kinds[node.input[1]] for node in nodes if node.op_type in WEIGHTED and node.input[1] in kinds
    }
    names = {half: "HALF", single: "FLOAT"}
    return Formats(flags, {node: names[kind] for node, kind in weighted.items() if kind in names} if halves else {})


def _makes(node: Any, kind: int) -> bool:
    """Whether a node casts to this type or holds a constant of it."""
    return node.op_type in ("Cast", "Constant") and any(
        (attribute.name == "to" and attribute.i == kind) or attribute.t.data_type == kind
        for attribute in node.attribute
    )


def share_profile(trt: Any, config: Any) -> None:
    """Let several contexts of one engine use its profile, as 10.0 and later always do; 8.5 cannot."""
    sharing = getattr(getattr(trt, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
    if sharing is not None:
        config.set_preview_feature(sharing, True)


def allow(trt: Any, config: Any, network: Any, onnx_file: Path) -> None:
    """Set the flags that the file's types need, and ask for each node with weights in a file with FP16 for its own type.

    Where FP16 is merely allowed, the builder takes what is fastest: nodes that were kept in FP32 may come out FP16, and small
    convolutions FP32 (all of a small network on an H200).
    """
    formats = asked(onnx_file)
    for name in formats.flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    if not formats.held:
        return
    config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
    for layer in map(network.get_layer, range(network.num_layers)):
        node = next((name for name in origin(layer) if name in formats.held), None)
        if node is not None:
            layer.precision = getattr(trt.DataType, formats.held[node])


def origin(layer: Any) -> tuple[str, ...]:
    """The ONNX nodes that a layer of a network was made from: in its metadata from 8.6 on, else in its name."""
    return tuple(_NODE.findall(getattr(layer, "metadata", ""))) or (layer.name,)


def parsing(errors: Iterable[str]) -> list[str]:
    """The nodes at which the parser of 8.x stopped, as its log lines name them: operator and first output."""
    found = (re.search(r'parsing node number \d+ \[(\w+) -> "(.*?)"', line) for line in errors)
    return [f"{match[1]} '{match[2]}'" for match in found if match]


def refused(answer: tuple[bool, list[tuple[list[int], bool]]], onnx_file: Path) -> tuple[Refusal, ...]:
    """The nodes outside every supported part, from the answer of ``supports_model``, which numbers them."""
    import onnx

    supported, parts = answer
    if supported:
        return ()
    nodes = onnx.load(onnx_file, load_external_data=False).graph.node
    taken = {number for numbers, good in parts if good for number in numbers}
    return tuple(
        Refusal(node.name or node.output[0], node.op_type, "TensorRT's parser does not take it")
        for number, node in enumerate(nodes)
        if number not in taken
    )
