"""Rewrite ONNX to FP16 and BF16: weights and arithmetic in 16 bits, inputs and outputs unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.data.samples import Samples
from workbench.errors import ExportError, InputError, during
from workbench.models.onnx_file import attribute, graphs, tensors
from workbench.models.onnx_repair import lift_constants, name_nodes, raise_opset, sort_nodes
from workbench.models.onnx_upgrade import opset_of
from workbench.precision.calibration import extremes
from workbench.precision.selection import Selection

COMPARING = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
BF16_OPSET = 22
"""The first in which convolution and pooling are defined for BF16."""
LISTED = 5  # names in a list that is shown


def fp16(source: Path, into: Path, samples: Samples | None, selection: Selection) -> dict[str, Any]:
    """Write ``source`` in FP16. Nodes whose results exceed FP16's largest number on the samples stay in FP32.

    Raises:
        InputError: the model already computes in 16 bits, or an entry of the selection matches no node.
        ExportError: the model cannot be converted.
    """
    import onnx
    from onnxruntime.transformers import float16

    model = onnx.load(source)
    _refuse_16_bits(model)
    name_nodes(model)
    selection.check(model.graph.node)
    overflows, rounded = beyond_16_bits(model.graph)
    hot = _overflowing(source, samples, into.parent) if samples else []
    blocked = _kept_at_32_bits(model.graph, hot)
    blocked |= {node.name for node in model.graph.node if not selection.takes(node)}
    with during("rewrite", "the model to FP16", ExportError):
        result = float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=sorted(blocked))
    _drop_round_trips(result.graph)
    sort_nodes(result)  # the converter puts casts at the end
    del result.graph.value_info[:]  # the converter leaves some at 32 bits
    onnx.save(result, into)
    return {
        "rounded_tensors": rounded,
        "overflows": overflows[:LISTED],
        "nodes": len(result.graph.node),
        "checked_samples": samples.count if samples else 0,
        "kept_for_range": hot[:LISTED],
    }


def bf16(source: Path, into: Path, selection: Selection) -> dict[str, Any]:
    """Write ``source`` in BF16, with casts around operations that ONNX does not define for it.

    The operations that support BF16 are read from ONNX's schemas at opset 22. BF16 has the exponent of FP32, so a finite value
    overflows only if it rounds up beyond 3.3895e38.

    Raises:
        InputError: the model already computes in 16 bits, or an entry of the selection matches no node.
        ExportError: it has branches or loops, which this rewrite does not support, or cannot be raised to opset 22.
    """
    import onnx

    model = onnx.load(source)
    _refuse_16_bits(model)
    if sum(1 for _ in graphs(model.graph)) > 1:
        raise ExportError(
            "The rewrite to BF16 does not support branches and loops, and the model has some. Choose fp32 or fp16."
        )
    model = raise_opset(model, BF16_OPSET)
    lift_constants(model)
    name_nodes(model)
    selection.check(model.graph.node)
    with during("find", "the types of all tensors", ExportError):
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    blocked = _kept_at_32_bits(model.graph, [])
    blocked |= {node.name for node in model.graph.node if not selection.takes(node)}
    work = _Bf16(model, blocked)
    work.rewrite()
    onnx.save(model, into)
    return {"kept_nodes": sorted(work.kept)[:LISTED], "kept": len(work.kept), "nodes": len(model.graph.node)}


class _Bf16:
    """One pass over a graph in topological order, so that the format of every tensor is known before it is read."""

    def __init__(self, model: Any, blocked: set[str]) -> None:
        import onnx

        self.graph, self.blocked = model.graph, blocked
        self.float, self.bf16 = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16
        version = opset_of(model)
        self._schema: Any = lambda op: onnx.defs.get_schema(op, version, "")  # type: ignore[no-untyped-call]
        self.kept: set[str] = set()  # nodes with weights or arithmetic that stay in FP32
        self.made: dict[tuple[str, int], str] = {}  # copies of tensors in another format
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types |= {tensor.name: tensor.data_type for tensor in self.graph.initializer}
        self.held = {tensor.name: tensor for tensor in self.graph.initializer}
        self.nodes: list[Any] = []

    def rewrite(self) -> None:
        results = {value.name: f"{value.name}_bf16" for value in self.graph.output}
        for node in list(self.graph.node):
            allowed_in, allowed_out = self._allowed(node)
            for place, name in enumerate(node.input):
                to = self.bf16 if allowed_in(place) else self.float
                if self.types.get(name) in (self.float, self.bf16) and self.types[name] != to:
                    node.input[place] = self._copy(name, to)
            self.nodes.append(node)
            for place, name in enumerate(node.output):
                if self.types.get(name) == self.float and allowed_out(place):
                    self.types[name] = self.bf16
                    if name in results:  # other nodes read the 16-bit tensor, the output is FP32
                        node.output[place] = results[name]
                        self.types[results[name]] = self.bf16
                        self.made[name, self.bf16] = results[name]
                        self.types[name] = self.float
                        self.nodes.append(self._cast(results[name], name, self.float))
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input} | set(results)
        self.graph.initializer.extend(tensor for name, tensor in self.held.items() if name in used)

    def _allowed(self, node: Any) -> tuple[Any, Any]:
        """Two functions: whether an input or output of a node, by position, may be BF16."""
        never = lambda _: False  # noqa: E731
        if node.domain not in ("", "ai.onnx") or node.name in self.blocked:
            self._note(node)
            return never, never
        schema = self._schema(node.op_type)

        def takes(formal: Any, place: int) -> bool:
            return bool(formal) and "tensor(bfloat16)" in formal[min(place, len(formal) - 1)].types

        floats = [place for place, name in enumerate(node.input) if self.types.get(name) in (self.float, self.bf16)]
        if not floats or not takes(schema.inputs, floats[0]):
            self._note(node)
            return never, never
        return (lambda place: takes(schema.inputs, place)), (lambda place: takes(schema.outputs, place))

    def _note(self, node: Any) -> None:
        if any(self.types.get(name) in (self.float, self.bf16) for name in node.input):
            self.kept.add(node.name)

    def _copy(self, name: str, to: int) -> str:
        """The tensor in another format: a converted weight, or a cast before the current node."""
        if (name, to) not in self.made:
            copy = f"{name}_bf16" if to == self.bf16 else f"{name}_fp32"
            self.made[name, to] = copy
            self.types[copy] = to
            if name in self.held:
                self.held[copy] = _as_bf16(self.held[name], copy)
            else:
                self.nodes.append(self._cast(name, copy, to))
        return self.made[name, to]

    def _cast(self, name: str, into: str, to: int) -> Any:
        from onnx import helper

        return helper.make_node("Cast", [name], [into], name=f"{into}_cast", to=to)


def _as_bf16(tensor: Any, name: str) -> Any:
    import ml_dtypes
    from onnx import numpy_helper

    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16), name)


def _refuse_16_bits(model: Any) -> None:
    import onnx

    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    if any(tensor.data_type in halves for part in graphs(model.graph) for tensor in part.initializer):
        raise InputError("The model already holds 16-bit weights. Open the FP32 model that it was made from.")


def beyond_16_bits(graph: Any) -> tuple[list[str], int]:
    """Sentences about weights that FP16 clips to its largest number, and the number of tensors with a value that it rounds up to
    its smallest. IEEE 754 binary16: 65504 and 2**-24.
    """
    import numpy as np
    import onnx

    largest, smallest = float(np.finfo(np.float16).max), float(np.finfo(np.float16).smallest_subnormal)
    overflows, rounded = [], 0
    for tensor in tensors(graph):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        sizes = np.abs(onnx.numpy_helper.to_array(tensor))
        sizes = sizes[np.isfinite(sizes)]
        top = float(sizes.max(initial=0))
        if top > largest:
            overflows.append(f"{tensor.name or 'a constant'} holds {top:g}, clipped to {largest:g}")
        rounded += bool(((sizes > 0) & (sizes < smallest)).any())
    return overflows, rounded


def _overflowing(source: Path, samples: Samples, scratch: Path) -> list[str]:
    """The names of tensors that exceed FP16's largest number on these samples."""
    import numpy as np

    largest = float(np.finfo(np.float16).max)
    found = extremes(source, samples, scratch)
    return sorted(name for name, (low, high) in found.items() if max(abs(low), abs(high)) > largest)


def _kept_at_32_bits(graph: Any, hot: list[str]) -> set[str]:
    """Names of nodes to keep in FP32: those that write or read a ``hot`` tensor; casts to FP32, which the converter would leave
    unconverted among 16-bit neighbours; and comparisons of their results, often of indices, which FP16 rounds from 2048 on.
    """
    import onnx

    kept, results = set(), set()
    for node in graph.node:
        if node.op_type == "Cast" and attribute(node, "to", None) == onnx.TensorProto.FLOAT:
            results.update(node.output)
            kept.add(node.name)
        elif (node.op_type in COMPARING and results & set(node.input)) or {*node.input, *node.output} & set(hot):
            kept.add(node.name)
    return kept


def _drop_round_trips(graph: Any) -> None:
    """Remove round trips through FP16. Between two nodes in FP32 the converter passes results through FP16, which loses precision:
    let the cast back to FP32 read the original. All casts to FP16 are the converter's own, from FP32.
    """
    import onnx

    makers = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    target = {name: attribute(node, "to", None) for name, node in makers.items()}
    for node in makers.values():
        down = node.input[0]
        if target[node.output[0]] == onnx.TensorProto.FLOAT and target.get(down) == onnx.TensorProto.FLOAT16:
            node.input[0] = makers[down].input[0]
