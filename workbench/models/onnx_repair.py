"""Safe repairs of ONNX graphs. Each changes a ``ModelProto`` in place and says what it did, or "" for nothing."""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from workbench.errors import ExportError, brief
from workbench.models.onnx_file import graphs
from workbench.models.onnx_upgrade import OLDEST_OPSET
from workbench.records import TensorSpec

OLDEST_IR = 4
"""Before IR version 4, initializers had to be listed among the inputs as well."""

CHANGED = {"Scan": 9, "Hardmax": 13, "GroupNormalization": 21}
"""Operations that mean something else from this opset on, and that ONNX's converter carries over as they are."""


def repair(model: Any) -> tuple[str, ...]:
    """Apply every repair that is always safe; what was done, in words."""
    steps = (inline_functions, lift_constants, drop_initializer_inputs, sort_nodes, name_nodes)
    return tuple(filter(None, [step(model) for step in steps]))


def inline_functions(model: Any) -> str:
    """Write out calls of the functions that the file itself defines: what reads graphs then sees plain nodes.

    Raises:
        ExportError: ONNX's inliner does not take the model, or leaves a call in it.
    """
    from onnx import inliner

    if not model.functions:
        return ""
    own = {(function.domain, function.name) for function in model.functions}
    calls = sum((node.domain, node.op_type) in own for graph in graphs(model.graph) for node in graph.node)
    # A function may name another opset than the model, which keeps the inliner from it; ONNX's checker takes that only
    # where its operations are the same in both. Domains that only functions name must be the model's from now on.
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for entry in (entry for function in model.functions for entry in function.opset_import):
        if entry.domain not in versions:
            model.opset_import.add(domain=entry.domain, version=entry.version)
        entry.version = versions.setdefault(entry.domain, entry.version)
    try:
        inlined = inliner.inline_local_functions(model)
    except Exception as cause:
        raise ExportError(
            f"The functions inside the model could not be written out: {brief(cause, 250)} Export it again without functions."
        ) from cause
    if inlined.functions:
        raise ExportError(
            f"The function '{inlined.functions[0].name}' inside the model could not be written out. Export it again without "
            "functions."
        )
    model.CopyFrom(inlined)
    return f"{calls} calls of functions inside the file written out" if calls else ""


def lift_constants(model: Any) -> str:
    """Turn ``Constant`` nodes into initializers, where quantizers and readers of weights look for them."""
    # inner graphs first: nodes are copied where a graph is written anew, and what is inside must be done by then
    lifted = sum(_lift(graph) for graph in reversed(list(graphs(model.graph))))
    if lifted:
        model.ir_version = max(model.ir_version, OLDEST_IR)
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
    """Kahn's algorithm; of the nodes that are ready the one that stood first goes first, so sorted graphs stay as they are."""
    maker = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = [{maker[name] for name in reads(node) if name in maker} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for place, makers in enumerate(needs):
        for each in makers:
            readers.setdefault(each, []).append(place)
    missing = [len(makers) for makers in needs]
    ready = [place for place, count in enumerate(missing) if not count]
    order = []
    while ready:
        place = heapq.heappop(ready)
        order.append(place)
        for reader in readers.get(place, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(needs):
        node = graph.node[_on_circle(needs, set(order))]
        raise ExportError(
            f"The nodes of the graph read from each other in a circle, '{node.name or node.output[0]}' among them. "
            "Export the model again."
        )
    moved = sum(old != new for new, old in enumerate(order))
    if moved:
        copies = [type(graph.node[place]).FromString(graph.node[place].SerializeToString()) for place in order]
        del graph.node[:]
        graph.node.extend(copies)
    return moved


def _on_circle(needs: list[set[int]], sorted_already: set[int]) -> int:
    """A node on a circle, not one that only reads from it: following what is read, the first to be met again."""
    seen: list[int] = []
    place = next(place for place in range(len(needs)) if place not in sorted_already)
    while place not in seen:
        seen.append(place)
        place = min(needs[place] - sorted_already)
    return min(seen[seen.index(place) :])


def reads(node: Any) -> set[str]:
    """Names that a node reads, those that its branches and bodies take from outside among them."""
    import onnx

    names = set(node.input)
    for attribute in node.attribute:
        inner = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
        for graph in inner:
            names |= _captured(graph)
    return names - {""}


def _captured(graph: Any) -> set[str]:
    """Names that an inner graph takes from outside. Its own may also stand outside, further on, for something else."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    read = {value.name for value in graph.output}
    for node in graph.node:
        own.update(node.output)
        read |= reads(node)
    return read - own


def name_nodes(model: Any) -> str:
    """Give every node without a name, or with another node's, one of its own, so that a message can point at it."""
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    taken = {node.name for node in nodes}
    seen = {""}
    for number, node in enumerate(nodes):
        if node.name in seen:
            stem = f"{node.name or node.op_type}_{number}"
            node.name = next(name for name in _numbered(stem) if name not in taken)
            taken.add(node.name)
        seen.add(node.name)
    return ""  # nothing that a reader needs to know


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}_{number}" for number in itertools.count(2))


def infer_shapes(model: Any) -> str:
    """Work out inner shapes, and those of outputs that have none; what cannot be worked out is left alone."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:
        return ""  # shapes are a help to readers: nothing needs them
    found = len(inferred.graph.value_info) - len(model.graph.value_info)
    model.CopyFrom(inferred)
    return f"{found} inner shapes inferred" if found > 0 else ""


def overridden(graph: Any, inputs: Iterable[TensorSpec]) -> dict[str, tuple[int | None, ...]]:
    """The inputs whose sizes differ from those that the graph declares: what the user gave instead, by input name."""
    found = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input}
    return {
        spec.name: spec.shape
        for spec in inputs
        if spec.name in found and list(spec.shape) != [size if size > 0 else None for size in found[spec.name]]
    }


def override_shapes(model: Any, shapes: Mapping[str, tuple[int | None, ...]]) -> str:
    """Give inputs other sizes than the file declares; ``None`` frees an axis. Inner and output shapes are inferred again.

    Sizes that constants inside the graph repeat (the target of a ``Reshape``) stay as they are: such a model fails when it
    runs at another size.

    Raises:
        ExportError: no such input, or another number of axes.
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
        if not value.type.tensor_type.HasField("shape"):  # the format wants a shape, if only of unknown sizes
            shape.SetInParent()
            shape.dim.extend([type(shape).Dimension() for _ in range(rank)])
    return f"sizes of {', '.join(shapes)} overridden as asked"


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
    """The model in the opset ``to``, by ONNX's own converter; the same object if it is there already, or above.

    Unlike the repairs this makes a new model: nodes are rewritten, inner tensors may get other names.

    Raises:
        ExportError: the opset is older than 7, or unknown, or an operation has no form there.
    """
    import onnx
    from onnx import version_converter

    found = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=to)
    newest = onnx.defs.onnx_opset_version()
    if found >= to:
        return model
    if found < OLDEST_OPSET or to > newest:
        raise ExportError(
            f"The model is of opset {found} and was to be raised to {to}; that works from {OLDEST_OPSET} to {newest}. "
            f"Export it again, at opset {min(to, newest)}."
        )
    # the converter knows nothing of functions inside the file, and drops them
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    inline_functions(whole)
    ops = {node.op_type for graph in graphs(whole.graph) for node in graph.node if node.domain in ("", "ai.onnx")}
    changed = sorted(op for op, since in CHANGED.items() if op in ops and found < since <= to)
    if changed:
        raise ExportError(
            f"The model could not be raised from opset {found} to {to}: {', '.join(changed)} computes something else there. "
            f"Export it again, at opset {to}."
        )
    try:
        raised = version_converter.convert_version(whole, to)
        if found < 11 <= to:
            _keep_corners(raised)
        onnx.checker.check_model(raised)
    except Exception as cause:
        # the converter's text may run the versions into the name
        blamed = sorted(op for op in ops if re.search(rf"(?<![A-Za-z]){re.escape(op)}(?![A-Za-z])", str(cause)))
        raise ExportError(
            f"The model could not be raised from opset {found} to {to}{f', for its {blamed[0]}' if blamed else ''}: "
            f"{brief(cause, 250)} Export it again, at opset {to}."
        ) from cause
    for before, after in ((whole.graph.input, raised.graph.input), (whole.graph.output, raised.graph.output)):
        if [value.name for value in before] != [value.name for value in after]:
            raise ExportError(
                f"Raised from opset {found} to {to}, the model lost inputs or outputs. Export it again, at opset {to}."
            )
    return raised


def _keep_corners(model: Any) -> None:
    """Resizing as it was before opset 11: from the corner, and down to the whole pixel.

    The converter leaves out both attributes, whose defaults since then are centres of pixels, and rounding.
    """
    from onnx import helper

    for graph in graphs(model.graph):
        for node in graph.node:
            if node.op_type == "Resize" and not any(a.name == "coordinate_transformation_mode" for a in node.attribute):
                node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
                node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
