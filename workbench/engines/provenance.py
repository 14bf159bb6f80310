"""From a layer of an engine back to the nodes of the ONNX graph that it was built from, and to the user's own layers.

Libraries rename and fuse. What they keep is told by each in its own way: the name of a node with an ending of their own, the
name of the tensor that the layer writes, or a list of names. A node that no layer names was fused into a neighbor, and goes
to the layer that took the node before it (activations, sums) or the one after it (anything that feeds a named node).
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.graph import shapes as graph_shapes
from workbench.graph.facts import BY_OUTPUT, COUNTED
from workbench.records.layers import CONVERT, LAYOUT, OTHER, WEIGHTS, LayerTime

if TYPE_CHECKING:
    from workbench.records import TensorSpec

# what ONNX Runtime and its quantizer hang on to the names of nodes and tensors
_ENDINGS = re.compile(
    r"(_token_\d+|_nchwc|_nhwc|_quant|_QuantizeLinear_Output|_DequantizeLinear_Output|_QuantizeLinear|_DequantizeLinear"
    r"|/(MatMulAddFusion|WithoutBiases|DequantizationMultiply)|_MatMulAddFusion\w*|_q_to_dq|_quantized)$"
)
_FUSED = "fused "
"""What ONNX Runtime puts before the name of a layer that has taken in the activation after it."""
_CONVERTS = re.compile(r"Quantize|Dequantize|^Cast|^Convert|FakeQuantize", re.IGNORECASE)
_LAYOUTS = re.compile(
    r"Reorder|Transpose|Reformat|^(Reshape|Squeeze|Unsqueeze|Flatten|Identity|Shuffle|Memcpy\w*|Copy\w*|NoOp)$",
    re.IGNORECASE,
)
_WEIGHTS = re.compile(
    r"Conv(?!ert)|Gemm|MatMul|FullyConnected|Attention|LSTM|GRU|RNN|Einsum|Matrix_?Multiply", re.IGNORECASE
)
FLOAT_MATH = frozenset({"BatchNormalization", "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish",
                        "Tanh", "Erf", "Gelu", "Elu", "Selu", "Softplus", "Add", "Sub", "Mul", "Div", "Cast",
                        "QuantizeLinear"})  # fmt: skip
"""Operators that are fused into what comes before them."""


HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class SourceNode:
    """One node of the source graph; ``flops`` of one sample, None where they are not counted or not known."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: int | None = None
    weight_elements: int = 0


@dataclass(frozen=True)
class SourceGraph:
    """The nodes that an engine was built from, in the order of the file. Constants are left out, and conversions to 8 bits and
    back: a quantized model has the nodes of the one that it was made from.
    """

    nodes: tuple[SourceNode, ...]

    @cached_property
    def by_name(self) -> dict[str, SourceNode]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def maker(self) -> dict[str, str]:
        """Tensor name -> name of the node that writes it."""
        return {tensor: node.name for node in self.nodes for tensor in node.outputs}

    def named(self, word: str) -> str:
        """The node that a library means by this word, or ""; what libraries add to names is taken off piece by piece."""
        while word:
            if word in self.by_name:
                return word
            if word in self.maker:
                return self.maker[word]
            shorter = _ENDINGS.sub("", word).removeprefix(_FUSED)
            if shorter == word:
                return ""
            word = shorter
        return ""


def source_graph(path: Path, inputs: Sequence[TensorSpec] = ()) -> SourceGraph:
    """Names of an ONNX file's nodes; with the model's ``inputs`` also their FLOPs for one sample, where ONNX shape inference
    tells shapes.

    Nodes without a name are called by their first result. Raises what ``onnx.load`` raises.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    alias: dict[str, str] = {}  # what is only quantized or dequantized is the tensor that it was before
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            alias[node.output[0]] = alias.get(node.input[0], node.input[0])
    left_out = ("Constant", "QuantizeLinear", "DequantizeLinear")
    nodes = [node for node in proto.graph.node if node.op_type not in left_out]
    names = [node.name or next(iter(node.output), "") for node in nodes]
    outputs = [tuple(filter(None, node.output)) for node in nodes]
    work: dict[str, int] = {}
    if inputs and not proto.functions:
        with suppress(Exception):  # without shapes the table has no FLOPs, and says nothing about them
            work = _work(proto, tuple(inputs))
    return SourceGraph(
        tuple(
            SourceNode(
                name,
                node.op_type,
                tuple(alias.get(each, each) for each in node.input if each),
                made,
                flops=work.get(next(iter(made), "")),
                weight_elements=max((sizes.get(alias.get(each, each), 0) for each in node.input), default=0),
            )
            for node, name, made in zip(nodes, names, outputs, strict=True)
        )
    )


def _work(proto: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, int]:
    """FLOPs for one sample by the node's first result."""
    from workbench.records import Model

    model = Model("", "", "onnx", inputs, (), 0, 0, "")
    graph = graph_shapes.inferred(graph_shapes.prepared(proto, model)).graph
    shapes = graph_shapes.Shapes(graph)
    batch = model.fixed_batch or 1
    found = {}
    for node in graph.node:
        if node.op_type in COUNTED:
            with suppress(graph_shapes.UnknownShapeError, IndexError):
                sizes = [shapes.of(node.output[0])] if node.op_type in BY_OUTPUT else []
                needed = node.input[:4] if node.op_type == "QLinearConv" else node.input[:3]
                counted = COUNTED[node.op_type](node, [shapes.of(n) for n in needed if n], sizes)
                found[node.output[0]] = round(counted / batch)
    return found


def plain(name: str) -> str:
    """A node's name without what libraries and quantizers hang on to it: what two forms of one model have in common."""
    shorter = _ENDINGS.sub("", name).removeprefix(_FUSED)
    return name if not shorter else shorter if shorter == name else plain(shorter)


def kind_of(op: str) -> str:
    """What a layer of this type does: one of ``workbench.records.layers.KINDS``."""
    if _WEIGHTS.search(op):
        return WEIGHTS
    if _CONVERTS.search(op):
        return CONVERT
    return LAYOUT if _LAYOUTS.search(op) else OTHER


def attributed(
    layers: Sequence[LayerTime], graph: SourceGraph, words: Mapping[str, Iterable[str]], batch: int = 1
) -> tuple[tuple[LayerTime, ...], tuple[str, ...]]:
    """The layers with their origins, and the nodes that belong to none.

    Args:
        layers: an engine's layers.
        graph: what the engine was built from.
        words: for each layer's name, what its library tells of where it came from: names of nodes or of tensors.
        batch: samples in a call: FLOPs are counted for as many.
    """
    owner: dict[str, int] = {}
    for place, layer in enumerate(layers):
        for word in (layer.name, *words.get(layer.name, ())):
            found = graph.named(word)
            # a conversion bears the name of the tensor that it converts, which another layer has made
            if found and layer.kind in (OTHER, WEIGHTS, kind_of(graph.by_name[found].op)):
                owner.setdefault(found, place)
    _fused(graph, owner)
    origins: list[list[str]] = [[] for _ in layers]
    for node in graph.nodes:
        if node.name in owner:
            origins[owner[node.name]].append(node.name)
    told = tuple(_with(layer, names, graph, batch) for layer, names in zip(layers, origins, strict=True))
    near = {
        layer.name: scope_of(graph.named(layer.name) if graph.nodes else layer.name)
        for layer in told
        if not layer.scope
    }
    told = tuple(replace(layer, scope=near.get(layer.name, layer.scope)) for layer in told)
    told = _short(told)
    return told, tuple(node.name for node in graph.nodes if node.name not in owner)


def _fused(graph: SourceGraph, owner: dict[str, int]) -> None:
    """Give nodes that no layer names to the layer of a neighbor."""
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for tensor in node.inputs:
            readers.setdefault(tensor, []).append(node.name)
    for node in graph.nodes:  # in order: a chain of activations follows what it was fused into
        if node.name not in owner and node.op in FLOAT_MATH:
            before = [graph.maker[tensor] for tensor in node.inputs if tensor in graph.maker]
            known = [name for name in before if name in owner]
            if known:
                owner[node.name] = owner[known[0]]
    for node in reversed(graph.nodes):
        if node.name not in owner:
            after = [name for tensor in node.outputs for name in readers.get(tensor, ()) if name in owner]
            if after:
                owner[node.name] = owner[after[0]]


def _with(layer: LayerTime, names: list[str], graph: SourceGraph, batch: int) -> LayerTime:
    nodes = [graph.by_name[name] for name in names]
    counted = [node.flops for node in nodes if node.flops is not None]
    return replace(
        layer,
        origin=tuple(names),
        scope=_scope(nodes),
        flops=sum(counted) * batch if counted else None,
        weight_elements=max((node.weight_elements for node in nodes), default=0),
    )


def _scope(nodes: Sequence[SourceNode]) -> str:
    """That of the node with weights; where its name has none, that of its weights, or of any other node in the layer.

    tf2onnx calls a convolution ``Conv__34`` and keeps the Keras layer's name in the name of its weights.
    """
    for node in sorted(nodes, key=lambda each: -(each.flops or 0)):
        if kind_of(node.op) == WEIGHTS:
            found = [scope_of(node.name), *(scope_of(tensor) for tensor in node.inputs[1:])]
            if any(found):
                return next(filter(None, found))
    return next(filter(None, (scope_of(node.name) for node in nodes)), "")


def scope_of(name: str) -> str:
    """The user's layer in the name of a node: ``demo_1/conv2d_1/convolution`` is of ``demo_1/conv2d_1``; "" where none is told.

    Keras writes ``model/layer/operation``, PyTorch ``/block/layer/Operation``: the last part is the operation, and before it
    comes the layer, unless it is one of the words that TensorFlow uses inside a layer.
    """
    parts = [part for part in name.partition(":")[0].split("/") if part][:-1]
    while parts and parts[-1] in _INNER:
        parts.pop()
    return "/".join(parts)


def layer_names(path: Path) -> tuple[str, ...]:
    """The names of the layers in a Keras file (``.keras``, ``.h5``), those of nested models too; empty for other files.

    A SavedModel has no such list: there a layer's name is what the names of its nodes hold.
    """
    if not path.is_file() or path.suffix.lower() not in (".keras", *HDF5):
        return ()
    try:
        config = json.loads(_keras_config(path))
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return ()
    return tuple(dict.fromkeys(_named(config.get("config"))))


def _keras_config(path: Path) -> str | bytes:
    if path.suffix.lower() in HDF5:
        import h5py

        with h5py.File(path, "r") as file:
            text: str | bytes = file.attrs["model_config"]
            return text
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json")


def _named(config: Any) -> Iterator[str]:
    for entry in config.get("layers") or () if isinstance(config, dict) else ():
        inner = entry.get("config") if isinstance(entry, dict) else None
        if isinstance(inner, dict):
            yield str(inner.get("name", ""))
            yield from _named(inner)


def with_layer_names(layers: tuple[LayerTime, ...], names: Sequence[str]) -> tuple[LayerTime, ...]:
    """The layers with their scopes called as the model's own layers are.

    An export that meets a name for the second time counts up: ``conv2d_1_2`` is of ``conv2d_1``, and ``conv2d_1`` then of
    ``conv2d``. How many counts there are is the same for a whole export: that with which most scopes are layers of the model.
    """
    known = set(names)
    scopes = {layer.scope for layer in layers if layer.scope}

    def shortened(scope: str, counts: int) -> str:
        head, slash, last = scope.rpartition("/")
        for _ in range(counts):
            last = re.sub(r"_\d+$", "", last)
        return f"{head}{slash}{last}" if last in known else ""

    best = max(range(3), key=lambda counts: sum(bool(shortened(scope, counts)) for scope in scopes))
    return tuple(replace(layer, scope=shortened(layer.scope, best) or layer.scope) for layer in layers)


def _short(layers: tuple[LayerTime, ...]) -> tuple[LayerTime, ...]:
    """Scopes without their first part where all of them share it: it is the model's own name."""
    firsts = {layer.scope.partition("/")[0] for layer in layers if layer.scope}
    if len(firsts) != 1 or not all("/" in layer.scope for layer in layers if layer.scope):
        return layers
    return tuple(replace(layer, scope=layer.scope.partition("/")[2]) for layer in layers)


_INNER = frozenset({"ReadVariableOp", "Cast", "BiasAdd", "batchnorm", "moments", "depthwise", "convolution", "Tensordot",
                    "MatMul", "merged_input"})  # fmt: skip
