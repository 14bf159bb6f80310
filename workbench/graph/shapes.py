"""Shapes of the tensors inside an ONNX graph for one sample: inferred from the file, or seen in one run of it."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.data.synthetic import generated
from workbench.models.onnx_file import graphs
from workbench.records import Model, TensorSpec

Shape = tuple[int, ...]


class UnknownShapeError(Exception):
    """A size that is needed is not known; the text says whose."""


@dataclass(frozen=True)
class Seen:
    """What one node took and gave in a run, over ``times`` executions of it; shapes are those of the last."""

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    times: int


class Shapes:
    """Shapes and element types by tensor name, for one graph and for what it sees of the graphs around it."""

    def __init__(self, graph: Any, outer: Shapes | None = None, seen: Mapping[str, Seen] | None = None) -> None:
        self.known: dict[str, tuple[tuple[int | None, ...] | None, int]] = dict(outer.known) if outer else {}
        self.seen: Mapping[str, Seen] = outer.seen if outer else seen or {}
        self.constants: set[str] = set(outer.constants) if outer else set()
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            dims = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim)
            self.known[value.name] = (dims if kind.HasField("shape") else None, kind.elem_type)
        for tensor in graph.initializer:
            self.known[tensor.name] = (tuple(tensor.dims), tensor.data_type)
            self.constants.add(tensor.name)
        for node in graph.node:
            if node.input and all(not name or name in self.constants for name in node.input):
                self.constants.update(node.output)  # a weight on its way to its layer, such as one to be dequantized
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
        """Whether a branch took part in the run; where nothing was run, every branch may."""
        return not self.seen or any(node.name in self.seen for node in graph.node)

    def adopt(self, node: Any, graph: Any, inner: Shapes) -> None:
        """Take the shapes of an If's results from one of its branches, where they are not known yet."""
        for name, value in zip(node.output, graph.output, strict=False):
            dims = self.known.get(name, (None, 0))[0]
            if value.name in inner.known and (dims is None or None in dims):
                self.known[name] = inner.known[value.name]

    def of(self, name: str) -> Shape:
        """The shape of a tensor, or ``UnknownShapeError``."""
        dims = self.known.get(name, (None, 0))[0]
        if dims is None or any(size is None for size in dims):
            raise UnknownShapeError(f"the shape of '{name}' is not known")
        return tuple(int(size) for size in dims if size is not None)

    def text(self, name: str) -> str:
        """The shape in words, ``?`` for an open size; empty where nothing is known."""
        dims = self.known.get(name, (None, 0))[0]
        return "" if dims is None else " × ".join("?" if size is None else str(size) for size in dims) or "scalar"

    def bytes_of(self, name: str) -> int:
        return size_bytes(self.of(name), self.known[name][1])


def title(node: Any) -> str:
    """The operator, with its domain unless that is ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def branches(node: Any) -> list[Any]:
    """The graphs inside a node: branches of an If, the body of a loop."""
    import onnx

    found = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return found + [g for a in node.attribute if a.type == onnx.AttributeProto.GRAPHS for g in a.graphs]


def reads(node: Any) -> Iterator[str]:
    """The tensors that a node reads, also from inside its branches."""
    yield from filter(None, node.input)
    for part in branches(node):
        yield from (value.name for value in part.output)
        for each in part.node:
            yield from reads(each)


def size_bytes(dims: Iterable[int], element: int) -> int:
    """Bytes of a tensor of this shape and ONNX element type, packed where elements are smaller than a byte."""
    import onnx

    name = onnx.TensorProto.DataType.Name(element) if element else "FLOAT"
    small = (
        {"4": 4, "2": 2}.get(name[-1], 0) if name.startswith(("INT", "UINT")) and name[-2:] not in ("32", "64") else 0
    )
    bits = 4 if name == "FLOAT4E2M1" else small or 8 * onnx.helper.tensor_dtype_to_np_dtype(element or 1).itemsize
    return -(-math.prod(dims) * bits // 8)


def counted_batch(model: Model) -> int:
    """The batch size at which a graph is looked at: 1, or where the model does not run at 1 the smallest at which it does."""
    worked = model.probe.worked if model.probe else ()
    return model.fixed_batch or (min(worked) if worked and 1 not in worked else 1)


def prepared(proto: Any, model: Model) -> Any:
    """``proto`` with functions inlined, every node named apart, and its inputs sized for :func:`counted_batch`."""
    import onnx.inliner

    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    for value, spec in zip(inputs, _paired(inputs, model.inputs), strict=True):
        dims = value.type.tensor_type.shape.dim
        if spec is not None and len(spec.shape) == len(dims):
            for dim, size in zip(dims, spec.sized(counted_batch(model)), strict=True):
                dim.dim_value = size
    # shapes derived for any batch would stand in the way of those derived for this one
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
    """The spec of each input: by name, or by place where an export has renamed them all."""
    named = {spec.name: spec for spec in specs}
    if len(inputs) == len(specs) and not any(value.name in named for value in inputs):
        return list(specs)
    return [named.get(value.name) for value in inputs]


def inferred(proto: Any) -> Any:
    """``proto`` with the shapes that ONNX shape inference finds, values of small constants followed."""
    import onnx

    if proto.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise UnknownShapeError("the graph is too large for shape inference")
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def observed(proto: Any, path: Path, model: Model) -> dict[str, Seen]:
    """What every node of ``proto`` took and gave when ONNX Runtime ran it, unoptimized, on as many generated
    samples as :func:`counted_batch` says.

    ``path`` is the file it came from: weights kept beside that file are found there. Raises what ONNX Runtime raises.
    """
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = generated(model.inputs, "random", 1).feeds(0, counted_batch(model))
        wanted = session.get_inputs()
        specs = _paired(wanted, model.inputs)
        session.run(None, {v.name: np.asarray(feeds[spec.name]) for v, spec in zip(wanted, specs, strict=True) if spec})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found: dict[str, Seen] = {}
    for event in events:
        name, _, what = event.get("name", "").rpartition("_kernel_time")
        facts = event.get("args", {})
        if event.get("cat") == "Node" and not what and "output_type_shape" in facts:
            before = found[name].times if name in found else 0
            found[name] = Seen(_sizes(facts["input_type_shape"]), _sizes(facts["output_type_shape"]), before + 1)
    return _with_packed(proto, found)


def _with_packed(proto: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
    """``seen`` with the weights that the profile leaves out: those that ONNX Runtime packed for a kernel beforehand."""
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
