"""Safe repairs of ONNX graphs. Each changes a ``ModelProto`` in place and returns a phrase about the change, "" for none."""

from __future__ import annotations

import copy
import heapq
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from workbench.errors import ExportError, brief
from workbench.models.onnx_file import branches, graphs, inputs_of
from workbench.models.onnx_upgrade import OLDEST_OPSET, opset_of
from workbench.records import TensorSpec

OLDEST_IR = 4
"""First IR version in which initializers need not be listed among the inputs."""

CHANGED = {"Scan": 9, "Hardmax": 13, "GroupNormalization": 21}
"""Operations whose meaning changes with this opset, and that ONNX's converter copies unchanged."""


def repair(model: Any) -> tuple[str, ...]:
    """Apply every repair that is always safe, and return phrases about the changes."""
    steps = (inline_functions, lift_constants, drop_initializer_inputs, sort_nodes, name_nodes)
    return tuple(filter(None, [step(model) for step in steps]))


def inline_functions(model: Any) -> str:
    """Inline calls of the functions that the file defines, so that readers of the graph see plain nodes.

    Raises:
        ExportError: ONNX's inliner does not accept the model, or a call remains.
    """
    from onnx import inliner

    if not model.functions:
        return ""
    own = {(function.domain, function.name) for function in model.functions}
    calls = sum((node.domain, node.op_type) in own for graph in graphs(model.graph) for node in graph.node)
    # The inliner skips functions with another opset than the model; ONNX's checker accepts these only where their operations
    # are the same in both. Domains that only functions name must be added to the model.
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for entry in (entry for function in model.functions for entry in function.opset_import):
        if entry.domain not in versions:
            model.opset_import.add(domain=entry.domain, version=entry.version)
        entry.version = versions.setdefault(entry.domain, entry.version)
    try:
        inlined = inliner.inline_local_functions(model)
    except Exception as cause:
        raise ExportError(
            f"The functions inside the model could not be inlined: {brief(cause, 250)} Export it again without functions."
        ) from cause
    if inlined.functions:
        raise ExportError(
            f"The function '{inlined.functions[0].name}' inside the model could not be inlined. Export it again without "
            "functions."
        )
    model.CopyFrom(inlined)
    return f"{calls} calls of functions inside the file inlined" if calls else ""


def lift_constants(model: Any) -> str:
    """Convert ``Constant`` nodes to initializers, where quantizers and readers of weights look for them."""
    # inner graphs first: nodes are copied when a graph is rewritten, and their inner graphs must be finished by then
    lifted = sum(_lift(graph) for graph in reversed(list(graphs(model.graph))))
    if lifted:
        model.ir_version = max(model.ir_version, OLDEST_IR)
    return f"{lifted} constants lifted to initializers" if lifted else ""


def _lift(graph: Any) -> int:
    outputs = {value.name for value in graph.output}
    kept, found = [], []
    for node in graph.node:
        tensor = None
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output[0] not in outputs:
            tensor = _tensor(node)
        if tensor is None:
            kept.append(node)
            continue
        found.append(copy.deepcopy(tensor))
        found[-1].name = node.output[0]
    if found:
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(found)
    return len(found)


def _tensor(node: Any) -> Any:
    """The value of a ``Constant`` node as a tensor; ``None`` for types that an initializer cannot hold."""
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
    """Remove initializers from the inputs, where old exporters list them again."""
    inputs = inputs_of(model.graph)
    dropped = len(model.graph.input) - len(inputs)
    if dropped:
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, OLDEST_IR)
    return f"{dropped} weights removed from the inputs" if dropped else ""


def sort_nodes(model: Any) -> str:
    """Put nodes after the nodes that they read from, as the format requires.

    Raises:
        ExportError: the graph has a cycle.
    """
    moved = sum(_sort(graph) for graph in reversed(list(graphs(model.graph))))  # inner ones first, as above
    return f"{moved} nodes put into order" if moved else ""


def _sort(graph: Any) -> int:
    """Sort by Kahn's algorithm. Of the ready nodes the first in the file goes first, so that sorted graphs do not change."""
    maker = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = [{maker[name] for name in reads(node) if name in maker} for node in graph.node]
    sorter = TopologicalSorter(dict(enumerate(needs)))
    try:
        sorter.prepare()
    except CycleError as cycle:
        node = graph.node[min(cycle.args[1])]
        raise ExportError(
            f"The graph has a cycle that includes the node '{node.name or node.output[0]}'. Export the model again."
        ) from cycle
    ready: list[int] = []
    order = []
    while sorter.is_active():
        for place in sorter.get_ready():
            heapq.heappush(ready, place)
        order.append(heapq.heappop(ready))
        sorter.done(order[-1])
    moved = sum(old != new for new, old in enumerate(order))
    if moved:
        copies = [type(graph.node[place]).FromString(graph.node[place].SerializeToString()) for place in order]
        del graph.node[:]
        graph.node.extend(copies)
    return moved


def reads(node: Any) -> set[str]:
    """Names that a node reads, including those that its branches and bodies take from outside."""
    return set(node.input).union(*map(_captured, branches(node))) - {""}


def _captured(graph: Any) -> set[str]:
    """Names that an inner graph takes from outside. The outer graph may use the inner names again for other tensors."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    read = {value.name for value in graph.output}
    for node in graph.node:
        own.update(node.output)
        read |= reads(node)
    return read - own


def name_nodes(model: Any) -> str:
    """Give every node without a name, or with the name of another node, a unique name, so that messages can refer to it."""
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    taken = {node.name for node in nodes}
    seen = {""}
    for number, node in enumerate(nodes):
        if node.name in seen:
            stem = f"{node.name or node.op_type}_{number}"
            node.name = next(name for name in _numbered(stem) if name not in taken)
            taken.add(node.name)
        seen.add(node.name)
    return ""  # not worth a remark


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}_{number}" for number in itertools.count(2))


def infer_shapes(model: Any) -> str:
    """Infer inner shapes, and shapes of outputs that have none, as far as possible."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:
        return ""  # shapes are helpful to readers, but not required
    found = len(inferred.graph.value_info) - len(model.graph.value_info)
    model.CopyFrom(inferred)
    return f"{found} inner shapes inferred" if found > 0 else ""


def overridden(graph: Any, inputs: Iterable[TensorSpec]) -> dict[str, tuple[int | None, ...]]:
    """Sizes that the user gave for inputs, by name, where they differ from those that the graph declares."""
    found = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input}
    return {
        spec.name: spec.shape
        for spec in inputs
        if spec.name in found and list(spec.shape) != [size if size > 0 else None for size in found[spec.name]]
    }


def override_shapes(model: Any, shapes: Mapping[str, tuple[int | None, ...]]) -> str:
    """Set other sizes of inputs than the file declares; ``None`` frees an axis. Inner and output shapes are inferred again.

    Sizes that are repeated in constants of the graph (the target of a ``Reshape``) do not change: such a model fails when it
    runs at another size.

    Raises:
        ExportError: the input does not exist, or has another number of axes.
    """
    inputs = {value.name: value for value in model.graph.input}
    for name, sizes in shapes.items():
        if name not in inputs:
            raise ExportError(f"Sizes were given for '{name}', but the model's inputs are: {', '.join(inputs)}.")
        _set_sizes(inputs[name], sizes)
    if not shapes:
        return ""
    for graph in graphs(model.graph):
        del graph.value_info[:]
    ranks = [len(value.type.tensor_type.shape.dim) for value in model.graph.output]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    infer_shapes(model)
    for value, rank in zip(model.graph.output, ranks, strict=True):
        shape = value.type.tensor_type.shape
        if not value.type.tensor_type.HasField("shape"):  # the format requires a shape, also with unknown sizes
            shape.SetInParent()
            shape.dim.extend([type(shape).Dimension() for _ in range(rank)])
    return f"sizes of {', '.join(shapes)} overridden as requested"


def _set_sizes(value: Any, sizes: tuple[int | None, ...]) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        tensor.shape.dim.extend([type(tensor.shape).Dimension() for _ in sizes])
    if len(tensor.shape.dim) != len(sizes):
        raise ExportError(
            f"The input '{value.name}' has {len(tensor.shape.dim)} axes, but {len(sizes)} sizes were given for it. "
            "Give one size per axis, and none for an axis that is free."
        )
    for dim, size in zip(tensor.shape.dim, sizes, strict=True):
        if size is None:
            dim.ClearField("dim_value")
        else:
            dim.dim_value = size


def raise_opset(model: Any, to: int) -> Any:
    """The model in the opset ``to``, by ONNX's own converter; the same object if it has that opset or a later one.

    Unlike the repairs this makes a new model: nodes are rewritten, and inner tensors may have other names.

    Raises:
        ExportError: the opset is older than 7, or unknown, or an operation cannot be converted.
    """
    import onnx
    from onnx import version_converter

    found = opset_of(model, to)
    newest = onnx.defs.onnx_opset_version()
    if found >= to:
        return model
    if found < OLDEST_OPSET or to > newest:
        raise ExportError(
            f"The model has opset {found} and needs opset {to}; the converter supports {OLDEST_OPSET} to {newest}. "
            f"Export it again, at opset {min(to, newest)}."
        )
    # the converter removes functions inside the file
    whole = copy.deepcopy(model)
    inline_functions(whole)
    ops = {node.op_type for graph in graphs(whole.graph) for node in graph.node if node.domain in ("", "ai.onnx")}
    changed = sorted(op for op, since in CHANGED.items() if op in ops and found < since <= to)
    if changed:
        raise ExportError(
            f"The model could not be converted from opset {found} to {to}: {', '.join(changed)} has another meaning there. "
            f"Export it again, at opset {to}."
        )
    try:
        raised = version_converter.convert_version(whole, to)
        if found < 11 <= to:
            _keep_corners(raised)
        onnx.checker.check_model(raised)
    except Exception as cause:
        # the converter's text may join the versions and the name
        blamed = sorted(op for op in ops if re.search(rf"(?<![A-Za-z]){re.escape(op)}(?![A-Za-z])", str(cause)))
        raise ExportError(
            f"The model could not be converted from opset {found} to {to}{f', because of its {blamed[0]}' if blamed else ''}: "
            f"{brief(cause, 250)} Export it again, at opset {to}."
        ) from cause
    for before, after in ((whole.graph.input, raised.graph.input), (whole.graph.output, raised.graph.output)):
        if [value.name for value in before] != [value.name for value in after]:
            raise ExportError(
                f"The conversion from opset {found} to {to} removed inputs or outputs of the model. Export it again, at opset {to}."
            )
    return raised


def _keep_corners(model: Any) -> None:
    """Set the attributes of Resize nodes to their meaning before opset 11: coordinates from the corner, rounded down.

    The converter omits both attributes, whose later defaults are centres of pixels and rounding to nearest.
    """
    from onnx import helper

    for graph in graphs(model.graph):
        for node in graph.node:
            if node.op_type == "Resize" and not any(a.name == "coordinate_transformation_mode" for a in node.attribute):
                node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
                node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
