"""Safe repairs of ONNX graphs. Each changes a ``ModelProto`` in place and says what it did, or "" for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.errors import ExportError, brief
from workbench.onnx_file import graphs

OLDEST_IR = 4
"""Before IR version 4, initializers had to be listed among the inputs as well."""


def repair(model: Any) -> tuple[str, ...]:
    """Apply every repair that is always safe; what was done, in words."""
    done = (lift_constants(model), drop_initializer_inputs(model), sort_nodes(model), name_nodes(model))
    return tuple(filter(None, done))


def lift_constants(model: Any) -> str:
    """Turn ``Constant`` nodes into initializers, where quantizers and readers of weights look for them."""
    # inner graphs first: nodes are copied where a graph is written anew, and what is inside must be done by then
    lifted = sum(_lift(graph) for graph in reversed(list(graphs(model.graph))))
    return f"{lifted} constants lifted to initializers" if lifted else ""


def _lift(graph: Any) -> int:
    import onnx

    outputs = {value.name for value in graph.output}
    kept, found = [], []
    for node in graph.node:
        tensor = None
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output[0] not in outputs:
            tensor = _tensor(node)
        if tensor is None:
            kept.append(node)
            continue
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = node.output[0]
        found.append(copy)
    if found:
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(found)
    return len(found)


def _tensor(node: Any) -> Any:
    """What a ``Constant`` node holds as a tensor; ``None`` for kinds that no initializer can hold."""
    import numpy as np
    from onnx import helper, numpy_helper

    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for name, value in values.items():
        if name == "value":
            return value
        if name in kinds:
            return numpy_helper.from_array(np.asarray(value, kinds[name]))
    return None


def drop_initializer_inputs(model: Any) -> str:
    """Take initializers that old exporters repeat among the inputs out of there."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    dropped = len(model.graph.input) - len(inputs)
    if dropped:
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, OLDEST_IR)
    return f"{dropped} weights taken out of the inputs" if dropped else ""


def sort_nodes(model: Any) -> str:
    """Put nodes after those that they read from, as the format wants them.

    Raises:
        ExportError: nodes read from each other in a circle.
    """
    moved = sum(_sort(graph) for graph in reversed(list(graphs(model.graph))))  # inner ones first, as above
    return f"{moved} nodes put into order" if moved else ""


def _sort(graph: Any) -> int:
    made_here = {name for node in graph.node for name in node.output if name}
    known: set[str] = set()
    waiting, ordered = list(graph.node), []
    while waiting:
        rest = []
        for node in waiting:
            if all(name in known or name not in made_here for name in _reads(node)):
                ordered.append(node)
                known.update(node.output)
            else:
                rest.append(node)
        if len(rest) == len(waiting):
            raise ExportError(f"The nodes of the graph read from each other in a circle, '{rest[0].name}' among them.")
        waiting = rest
    moved = sum(a is not b for a, b in zip(ordered, graph.node, strict=True))
    if moved:
        copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)
    return moved


def _reads(node: Any) -> set[str]:
    """Names that a node reads, those that its branches and bodies take from outside among them."""
    import onnx

    names = set(node.input)
    for attribute in node.attribute:
        inner = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
        for graph in inner:
            for part in graphs(graph):
                names.update(name for each in part.node for name in each.input)
                names.update(value.name for value in part.output)
    return names - {""}


def name_nodes(model: Any) -> str:
    """Give every node of the main graph a name of its own, so that a message can point at it."""
    taken: set[str] = set()
    named = 0
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}" if not node.name else f"{node.name}_{number}"
            named += 1
        taken.add(node.name)
    return ""  # nothing that a reader needs to know


def override_shapes(model: Any, shapes: Mapping[str, tuple[int | None, ...]]) -> str:
    """Give inputs other sizes than the file declares; ``None`` frees an axis. Inner and output shapes are inferred again."""
    names = []
    for value in model.graph.input:
        if value.name not in shapes:
            continue
        names.append(value.name)
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if size is None:
                dim.ClearField("dim_value")
            else:
                dim.dim_value = size
    del model.graph.value_info[:]
    return f"sizes of {', '.join(names)} overridden as asked" if names else ""


def raise_opset(model: Any, to: int) -> Any:
    """The model in the opset ``to``, by ONNX's own converter.

    Raises:
        ExportError: an operation has no form there.
    """
    import onnx

    try:
        return onnx.version_converter.convert_version(model, to)
    except Exception as cause:
        raise ExportError(
            f"The model could not be raised to opset {to}: {brief(cause, 250)} Export it at that opset."
        ) from cause
