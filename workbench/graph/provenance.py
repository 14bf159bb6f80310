"""Map a layer of an engine to the nodes of the ONNX graph that it was built from, and to the user's own layers.

Libraries rename and fuse nodes. They report the origin in different ways: the name of a node with a suffix, the name of
the tensor that the layer writes, or a list of names. A node that no layer names was fused into a neighbour, and is assigned to
the layer of the node before it (activations, sums) or of the node after it (any node that feeds a named one).
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.graph import shapes as graph_shapes
from workbench.graph.facts import COUNTED, flops_of
from workbench.models.formats import keras
from workbench.records import Model, Probe, TensorSpec
from workbench.records.layers import CONVERT, LAYOUT, OTHER, WEIGHTS, LayerTime

# suffixes that ONNX Runtime and its quantizer append to the names of nodes and tensors
_ENDINGS = re.compile(
    r"(_token_\d+|_nchwc|_nhwc|_quant|_QuantizeLinear_Output|_DequantizeLinear_Output|_QuantizeLinear|_DequantizeLinear"
    r"|/(MatMulAddFusion|WithoutBiases|DequantizationMultiply)|_MatMulAddFusion\w*|_q_to_dq|_quantized)$"
)
_FUSED = "fused "
"""Prefix of ONNX Runtime for the name of a layer into which the next activation was fused."""
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
"""Operators that are fused into the preceding node."""


@dataclass(frozen=True)
class SourceNode:
    """One node of the source graph; ``flops`` are for one sample; None: not counted or not known."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: int | None = None
    weight_elements: int = 0


@dataclass(frozen=True)
class SourceGraph:
    """The nodes that an engine was built from, in the order of the file, without constants and conversions to and from 8 bits: a
    quantized model has the nodes of the model that it was made from.
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
        """The node that a library names by this word, or ""; suffixes are removed one by one."""
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


def source_graph(path: Path, inputs: Sequence[TensorSpec] = (), batch: int = 1) -> SourceGraph:
    """The nodes of an ONNX file; with the model's ``inputs`` also their FLOPs for one sample, if ONNX shape inference determines
    the shapes.

    Nodes without a name are called by their first output. Raises the errors of ``onnx.load``.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    alias: dict[str, str] = {}  # a quantized or dequantized tensor counts as the original tensor
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            alias[node.output[0]] = alias.get(node.input[0], node.input[0])
    left_out = ("Constant", "QuantizeLinear", "DequantizeLinear")
    nodes = [node for node in proto.graph.node if node.op_type not in left_out]
    names = [node.name or next(iter(node.output), "") for node in nodes]
    outputs = [tuple(filter(None, node.output)) for node in nodes]
    work: dict[str, int] = {}
    if inputs and not proto.functions:
        with suppress(Exception):  # without shapes the table has no FLOPs
            work = _work(proto, tuple(inputs), batch)
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


def _work(proto: Any, inputs: tuple[TensorSpec, ...], batch: int) -> dict[str, int]:
    """FLOPs for one sample by the node's first output, counted at a batch at which the graph runs."""
    model = Model("", "", "onnx", inputs, (), 0, 0, "", probe=Probe((batch,)))
    graph = graph_shapes.inferred(graph_shapes.prepared(proto, model)).graph
    shapes = graph_shapes.Shapes(graph)
    batch = graph_shapes.counted_batch(model)
    found = {}
    for node in graph.node:
        if node.op_type in COUNTED:
            with suppress(graph_shapes.UnknownShapeError, IndexError):
                found[node.output[0]] = round(flops_of(node, shapes) / batch)
    return found


def plain(name: str) -> str:
    """A node's name without the suffixes of libraries and quantizers, so that names of two forms of a model are equal."""
    shorter = _ENDINGS.sub("", name).removeprefix(_FUSED)
    return name if not shorter else shorter if shorter == name else plain(shorter)


def kind_of(op: str) -> str:
    """The kind of a layer of this type: one of ``workbench.records.layers.KINDS``."""
    if _WEIGHTS.search(op):
        return WEIGHTS
    if _CONVERTS.search(op):
        return CONVERT
    return LAYOUT if _LAYOUTS.search(op) else OTHER


def attributed(
    layers: Sequence[LayerTime], graph: SourceGraph, words: Mapping[str, Iterable[str]], batch: int = 1
) -> tuple[tuple[LayerTime, ...], tuple[str, ...]]:
    """The layers with their origins, and the names of nodes that belong to no layer.

    Args:
        layers: an engine's layers.
        graph: the graph that the engine was built from.
        words: for each layer's name, the names of nodes or tensors that its library reports as origin.
        batch: the number of samples in a call, for which FLOPs are counted.
    """
    owner: dict[str, int] = {}
    for place, layer in enumerate(layers):
        for word in (layer.name, *words.get(layer.name, ())):
            found = graph.named(word)
            # a conversion has the name of the tensor that it converts, which another layer wrote
            if found and layer.kind in (OTHER, WEIGHTS, kind_of(graph.by_name[found].op)):
                owner.setdefault(found, place)
    _fused(graph, owner)
    origins: list[list[str]] = [[] for _ in layers]
    for node in graph.nodes:
        if node.name in owner:
            origins[owner[node.name]].append(node.name)
    found_layers = tuple(_with(layer, names, graph, batch) for layer, names in zip(layers, origins, strict=True))
    return _short(found_layers), tuple(node.name for node in graph.nodes if node.name not in owner)


def _fused(graph: SourceGraph, owner: dict[str, int]) -> None:
    """Assign nodes that no layer names to the layer of a neighbour."""
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for tensor in node.inputs:
            readers.setdefault(tensor, []).append(node.name)
    for node in graph.nodes:  # in order, so that a chain of activations is assigned to the node that it was fused into
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
        scope=_scope(nodes) or scope_of(graph.named(layer.name) if graph.nodes else layer.name),
        flops=sum(counted) * batch if counted else None,
        weight_elements=max((node.weight_elements for node in nodes), default=0),
    )


def _scope(nodes: Sequence[SourceNode]) -> str:
    """The scope of the node with weights; if its name has none, that of its weights or of another node in the layer.

    tf2onnx calls a convolution ``Conv__34`` and keeps the Keras layer's name in the name of its weights.
    """
    for node in sorted(nodes, key=lambda each: -(each.flops or 0)):
        if kind_of(node.op) == WEIGHTS:
            found = [scope_of(node.name), *(scope_of(tensor) for tensor in node.inputs[1:])]
            if any(found):
                return next(filter(None, found))
    return next(filter(None, (scope_of(node.name) for node in nodes)), "")


def scope_of(name: str) -> str:
    """The user's layer in the name of a node; "": the name contains none.

    Keras writes ``model/layer/operation``, PyTorch ``/block/layer/Operation``: the last part is the operation, and the part before it
    is the layer, unless it is a name that TensorFlow uses inside a layer.

    >>> scope_of("demo_1/conv2d_1/convolution")
    'demo_1/conv2d_1'
    """
    parts = [part for part in name.partition(":")[0].split("/") if part][:-1]
    while parts and parts[-1] in _INNER:
        parts.pop()
    return "/".join(parts)


def layer_names(path: Path) -> tuple[str, ...]:
    """The names of the layers in a Keras file (``.keras``, ``.h5``), including nested models; empty for other files.

    A SavedModel has no such list; a layer's name is then taken from the names of its nodes.
    """
    if not path.is_file() or path.suffix.lower() not in (".keras", *keras.HDF5_ENDINGS):
        return ()
    try:
        config = keras.config_of(path) or {}
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return ()
    return tuple(dict.fromkeys(_named(config.get("config"))))


def _named(config: Any) -> Iterator[str]:
    for entry in config.get("layers") or () if isinstance(config, dict) else ():
        inner = entry.get("config") if isinstance(entry, dict) else None
        if isinstance(inner, dict):
            yield str(inner.get("name", ""))
            yield from _named(inner)


def with_layer_names(layers: tuple[LayerTime, ...], names: Sequence[str]) -> tuple[LayerTime, ...]:
    """The layers with their scopes renamed to the model's layers.

    An export that encounters a name for the second time appends a count: ``conv2d_1_2`` is ``conv2d_1``, and ``conv2d_1`` is then
    ``conv2d``. The number of counts is the same for a whole export: the one with which most scopes are layers of the model.
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
    """Scopes without their first part if all share it, because it is the model's name."""
    firsts = {layer.scope.partition("/")[0] for layer in layers if layer.scope}
    if len(firsts) != 1 or not all("/" in layer.scope for layer in layers if layer.scope):
        return layers
    return tuple(replace(layer, scope=layer.scope.partition("/")[2]) for layer in layers)


_INNER = frozenset({"ReadVariableOp", "Cast", "BiasAdd", "batchnorm", "moments", "depthwise", "convolution", "Tensordot",
                    "MatMul", "merged_input"})  # fmt: skip
