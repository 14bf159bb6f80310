"""Shapes of the tensors inside an ONNX graph for one sample: inferred from the file, or observed in one run."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.data.synthetic import generated
from workbench.models.onnx_file import graphs, inputs_of
from workbench.models.ort_values import unoptimized
from workbench.records import Model, TensorSpec

Shape = tuple[int, ...]


class UnknownShapeError(Exception):
    """A needed size is not known; the text names the tensor."""


@dataclass(frozen=True)
class NodeShapes:
    """The input and output shapes of one node in a run of ``times`` executions; shapes are those of the last."""

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    times: int


class Shapes:
    """Shapes and element types by tensor name, for one graph and the outer graphs that it can access."""

    def __init__(self, graph: Any, outer: Shapes | None = None, seen: Mapping[str, NodeShapes] | None = None) -> None:
        self.known: dict[str, tuple[tuple[int | None, ...] | None, int]] = dict(outer.known) if outer else {}
        self.seen: Mapping[str, NodeShapes] = outer.seen if outer else seen or {}
        self.constants: set[str] = set(outer.constants) if outer else set()
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            dims = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim)
            self.known[value.name] = (dims if kind.HasField("shape") else None, kind.elem_type)
        for tensor in graph.initializer:
            self.known[tensor.name] = (tuple(tensor.dims), tensor.data_type)
            self.constants.add(tensor.name)
        for node in graph.node:
            # a weight between its initializer and its layer, such as one that is dequantized
            if node.input and all(not name or name in self.constants for name in node.input):
                self.constants.update(node.output)
            if node.op_type == "Constant":
                self.constants.update(node.output)
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.known[node.output[0]] = (tuple(attribute.t.dims), attribute.t.data_type)
            if node.name in self.seen:
                for name, shape in zip(filter(None, node.output), self.seen[node.name].outputs, strict=False):
                    self.known[name] = (shape, self.known.get(name, (None, 1))[1])

    def inside(self, graph: Any) -> Shapes:
        return Shapes(graph, self)

    def ran(self, graph: Any) -> bool:
        """Whether a branch was executed in the run; True for all without a run."""
        return not self.seen or any(node.name in self.seen for node in graph.node)

    def adopt(self, node: Any, graph: Any, inner: Shapes) -> None:
        """Take unknown shapes of an If's results from one of its branches."""
        for name, value in zip(node.output, graph.output, strict=False):
            dims = self.known.get(name, (None, 0))[0]
            if value.name in inner.known and (dims is None or None in dims):
                self.known[name] = inner.known[value.name]

    def of(self, name: str) -> Shape:
        """The shape of a tensor; raises :class:`UnknownShapeError` if it is not known."""
        dims = self.known.get(name, (None, 0))[0]
        if dims is None or any(size is None for size in dims):
            raise UnknownShapeError(f"the shape of '{name}' is not known")
        return tuple(int(size) for size in dims if size is not None)

    def text(self, name: str) -> str:
        """The shape as text, with ``?`` for an open size; empty: not known."""
        dims = self.known.get(name, (None, 0))[0]
        return "" if dims is None else " × ".join("?" if size is None else str(size) for size in dims) or "scalar"

    def bytes_of(self, name: str) -> int:
        return size_bytes(self.of(name), self.known[name][1])


def title(node: Any) -> str:
    """The operator, with its domain unless that is ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def size_bytes(dims: Iterable[int], element: int) -> int:
    """Bytes of a tensor of this shape and ONNX element type; elements smaller than a byte are packed."""
    import onnx

    name = onnx.TensorProto.DataType.Name(element) if element else "FLOAT"
    small = (
        {"4": 4, "2": 2}.get(name[-1], 0) if name.startswith(("INT", "UINT")) and name[-2:] not in ("32", "64") else 0
    )
    bits = 4 if name == "FLOAT4E2M1" else small or 8 * onnx.helper.tensor_dtype_to_np_dtype(element or 1).itemsize
    return -(-math.prod(dims) * bits // 8)


def counted_batch(model: Model) -> int:
    """The batch size at which a graph is analysed: 1, or the smallest at which the model runs."""
    worked = model.probe.worked if model.probe else ()
    return model.fixed_batch or (min(worked) if worked and 1 not in worked else 1)


def prepared(proto: Any, model: Model) -> Any:
    """``proto`` with functions inlined, unique node names, and inputs sized for :func:`counted_batch`."""
    import onnx.inliner

    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    inputs = inputs_of(proto.graph)
    for value, spec in zip(inputs, _paired(inputs, model.inputs), strict=True):
        dims = value.type.tensor_type.shape.dim
        if spec is not None and len(spec.shape) == len(dims):
            for dim, size in zip(dims, spec.sized(counted_batch(model)), strict=True):
                dim.dim_value = size
    # stored shapes for any batch would conflict with those inferred for this one
    for part in graphs(proto.graph):
        del part.value_info[:]
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                dim.Clear()
    for number, node in enumerate(node for part in graphs(proto.graph) for node in part.node):
        node.name = f"n{number}"
    return proto


def _paired(inputs: list[Any], specs: tuple[TensorSpec, ...]) -> list[TensorSpec | None]:
    """The spec of each input: by name, or by position if an export has renamed them all."""
    named = {spec.name: spec for spec in specs}
    if len(inputs) == len(specs) and not any(value.name in named for value in inputs):
        return list(specs)
    return [named.get(value.name) for value in inputs]


def inferred(proto: Any) -> Any:
    """``proto`` with the shapes of ONNX shape inference, which also propagates values of small constants."""
    import onnx

    if proto.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise UnknownShapeError("the graph is too large for shape inference")
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def inferred_or_same(proto: Any) -> Any:
    """The result of :func:`inferred`, or ``proto`` where it is too large or inference fails on it."""
    try:
        return inferred(proto)
    except Exception:
        return proto


def observed(proto: Any, path: Path, model: Model) -> dict[str, NodeShapes]:
    """The shapes of every node of ``proto`` in a run by ONNX Runtime, unoptimized, on generated samples, as many as
    :func:`counted_batch`.

    ``path`` is the file of ``proto``; weights stored beside it are found there. Raises the errors of ONNX Runtime.
    """
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.enable_profiling = True
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = unoptimized(proto.SerializeToString(), options)
        feeds = generated(model.inputs, "random", 1).feeds(0, counted_batch(model))
        wanted = session.get_inputs()
        specs = _paired(wanted, model.inputs)
        session.run(None, {v.name: np.asarray(feeds[spec.name]) for v, spec in zip(wanted, specs, strict=True) if spec})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found: dict[str, NodeShapes] = {}
    for event in events:
        name, _, what = event.get("name", "").rpartition("_kernel_time")
        facts = event.get("args", {})
        if event.get("cat") == "Node" and not what and "output_type_shape" in facts:
            before = found[name].times if name in found else 0
            found[name] = NodeShapes(_sizes(facts["input_type_shape"]), _sizes(facts["output_type_shape"]), before + 1)
    return _with_packed(proto, found)


def _with_packed(proto: Any, seen: dict[str, NodeShapes]) -> dict[str, NodeShapes]:
    """``seen`` with the weights that the profile lacks because ONNX Runtime packed them for a kernel."""
    stored: dict[str, Shape] = {}
    for part in graphs(proto.graph):
        stored |= {tensor.name: tuple(tensor.dims) for tensor in part.initializer}
        constants = [node for node in part.node if node.op_type == "Constant"]
        stored.update((n.output[0], tuple(a.t.dims)) for n in constants for a in n.attribute if a.name == "value")
    for node in (node for part in graphs(proto.graph) for node in part.node):
        names = [name for name in node.input if name]
        if node.name not in seen or len(seen[node.name].inputs) == len(names):
            continue
        left, inputs = list(seen[node.name].inputs), []
        for place, name in enumerate(names):
            computed_later = sum(later not in stored for later in names[place:])
            if name in stored and (len(left) <= computed_later or left[0] != stored[name]):
                inputs.append(stored[name])
            elif left:
                inputs.append(left.pop(0))
        seen[node.name] = replace(seen[node.name], inputs=tuple(inputs))
    return seen


def _sizes(entries: list[dict[str, list[int]]]) -> tuple[Shape, ...]:
    return tuple(tuple(next(iter(entry.values()))) for entry in entries)
