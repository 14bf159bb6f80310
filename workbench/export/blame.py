"""Attribute operations to layers, and errors for layers that cannot be converted to ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ExportError
from workbench.models.formats import keras as keras_format
from workbench.records import Model

ASSIGN = re.compile(r"Assign(Add|Sub)?VariableOp|ResourceScatter\w+|Assign(Add|Sub)?|Scatter(Update|Add|Sub)")
RANDOM = re.compile(r"(Stateless|Stateful)?(Random\w+|TruncatedNormal\w*|StandardNormal\w*|Uniform\w*|Multinomial\w*)")
NAMED = 3
"""The most layers that a message lists."""


class UnsupportedError(ExportError):
    """The model has operations that ONNX cannot express."""


class UnrepeatableError(ExportError):
    """The model draws random numbers or keeps a state, so that a conversion cannot be compared with it."""


def layers_of(model: Model) -> dict[str, str]:
    """The layers of a Keras file by name, with their class, including those inside other layers; empty for other formats."""
    if model.format != "keras":
        return {}
    loaded = keras_format.load(Path(model.path))
    return {layer.name: type(layer).__name__ for layer in _within(loaded)}


def _within(layer: Any) -> Iterator[Any]:
    for each in getattr(layer, "_layers", None) or ():
        yield each
        yield from _within(each)


def layer_of(node: str, layers: Mapping[str, str]) -> str:
    """The innermost layer whose name scope contains a node, as ``'name' (Class)``; "": none.

    Keras opens each layer's scope twice, once to build it, so that TensorFlow appends a number: the node
    ``functional_1/hashing_1/hash`` belongs to the layer ``hashing``.
    """
    for part in reversed(node.split("/")[:-1]):
        stem = re.sub(r"_\d+$", "", part)
        for name in (stem, part):
            if name in layers:
                return f"'{name}' ({layers[name]})"
    return ""


def scope_of(node: str) -> str:
    """The path of a node in the graph, without the calls that a SavedModel adds around it."""
    return (
        "/".join(part for part in node.split("/") if not re.fullmatch(r"(Stateful)?PartitionedCall(_\d+)?", part))
        or node
    )


def unsupported(model: Model, missing: Iterable[tuple[str, str]], otherwise: str, log: str = "") -> UnsupportedError:
    """The error for operations that ONNX cannot express, given as pairs of node and operation."""
    found = list(missing)
    layers = layers_of(model)
    by_layer: dict[str, set[str]] = {}
    for node, operation in found:
        by_layer.setdefault(layer_of(node, layers), set()).add(operation)
    named = {layer: operations for layer, operations in by_layer.items() if layer}
    if not named:
        operations = ", ".join(sorted({operation for _, operation in found}))
        return UnsupportedError(
            f"'{model.name}' uses operations that cannot be expressed in ONNX: {operations} (first in "
            f"'{scope_of(found[0][0])}'). {otherwise}",
            log=log,
        )
    listed = [f"{layer}: {', '.join(sorted(operations))}" for layer, operations in named.items()]
    more = f", and {len(listed) - NAMED} more layers" if len(listed) > NAMED else ""
    start = "A layer" if len(listed) == 1 else "Layers"
    return UnsupportedError(
        f"{start} of '{model.name}' cannot be expressed in ONNX: {'; '.join(listed[:NAMED])}{more}. {otherwise}",
        log=log,
    )


def restless(operation: str) -> bool:
    """Whether an operation draws random numbers or writes a state."""
    return bool(RANDOM.fullmatch(operation) or ASSIGN.fullmatch(operation))


def unrepeatable(model: Model, node: str, operation: str, otherwise: str) -> UnrepeatableError:
    """The error for a model whose result changes between calls because of one node."""
    layer = layer_of(node, layers_of(model))
    subject = f"The layer {layer} of '{model.name}'" if layer else f"'{model.name}', in '{scope_of(node)}',"
    does = (
        "draws random numbers at inference, so that a conversion cannot be compared with it"
        if RANDOM.fullmatch(operation)
        else "keeps a state from one call to the next, which an ONNX file cannot hold"
    )
    return UnrepeatableError(f"{subject} {does}. {otherwise}")


def needed(graph_def: Any, outputs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and operation of the nodes of a GraphDef that its outputs depend on, including those of the functions that they call."""
    nodes = {node.name: node for node in graph_def.node}
    bodies = {function.signature.name: function.node_def for function in graph_def.library.function}
    waiting, seen = [tensor.partition(":")[0] for tensor in outputs], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield name, nodes[name].op
        waiting += [each.partition(":")[0] for each in nodes[name].input if not each.startswith("^")]
        for value in nodes[name].attr.values():
            for node in bodies.get(value.func.name, ()) if value.HasField("func") else ():
                yield f"{name}/{node.name}", node.op


def nodes_of(graph: Any) -> Iterator[tuple[str, str]]:
    """Name and operation of all nodes of a TensorFlow graph, including those of its functions.

    Nodes inside a function have the names that they have in that function.
    """
    graph_def = graph.as_graph_def()
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        yield from ((node.name, node.op) for node in nodes)
