"""Read back the number formats of an ONNX file, whether optimized by ONNX Runtime or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from workbench.models.onnx_file import graphs
from workbench.models.operators import FUSED, INTEGER, RECURRENT, WEIGHTED, format_of
from workbench.records import RealizedPrecision


def formats_of(path: Path, basis: str) -> RealizedPrecision:
    """Count the layers with weights in an ONNX file, including those in bodies of loops, by the format that they compute in;
    ``basis`` is a description of what was read.
    """
    import onnx

    parts = list(graphs(onnx.load(path).graph))
    types: dict[str, str] = {}
    for part in parts:
        types |= _tensor_types(part)
    counts: Counter[str] = Counter()
    for node in (node for part in parts for node in part.node):
        if node.op_type in INTEGER:
            counts["int8"] += 1
        elif node.op_type == "MatMulNBits":
            counts[f"int{next(a.i for a in node.attribute if a.name == 'bits')}-weights"] += 1
        elif node.op_type in (*WEIGHTED, *FUSED, *RECURRENT):
            counts[types.get(node.input[1], "fp32")] += 1
    return RealizedPrecision(dict(counts), basis)


def _tensor_types(graph: Any) -> dict[str, str]:
    """Number format of every tensor that is an initializer, an input or the output of a cast or DequantizeLinear."""
    import onnx

    def named(number: int) -> str:
        return format_of(onnx.TensorProto.DataType.Name(number), "int")

    types = {tensor.name: named(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info):
        types[value.name] = named(value.type.tensor_type.elem_type)
    for node in graph.node:
        if node.op_type == "Cast":
            to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
            types[node.output[0]] = named(to)
    return types
