"""Open ONNX files in ONNX Runtime so that 8-bit products are exact on every CPU."""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.models.onnx_file import graphs, stored_onnx, tensors
from workbench.models.onnx_repair import lift_constants, reads

EXACT_INT8 = ("session.x64quantprecision", "1")
"""A session option and its value. On x86-64 CPUs without VNNI, ONNX Runtime's kernels for unsigned times signed 8-bit integers add
two products in 16 bits, which saturates: outputs become wrong. With this option the optimizer makes the signed integers unsigned
there, whose products are exact. The documentation says that it is slower there and has no effect on other CPUs
(onnxruntime_session_options_config_keys.h).

Two limits of ONNX Runtime 1.32, seen on a CPU with AVX2 only: a file in which two nodes read one signed 8-bit constant is not opened
("Attempt to replace the existing tensor"), so :func:`separate` gives each node its own; and a file whose activations are signed in the
operator format (QLinearConv) is not opened either. The kernels for those are exact without the option.
"""


def exact_session(source: Path | bytes, options: Any, **more: Any) -> Any:
    """An ``InferenceSession`` with :data:`EXACT_INT8` on the CPU.

    Args:
        source: an ONNX file, or its content.
        options: ``SessionOptions``, which are changed.
        more: further arguments of ``InferenceSession``.

    Raises:
        Exception: ONNX Runtime's error, where it does not open the file without the option either.
    """
    import onnxruntime as ort

    def opened(content: Path | bytes, value: str = EXACT_INT8[1]) -> Any:
        options.add_session_config_entry(EXACT_INT8[0], value)
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], **more)

    try:
        return opened(source)
    except Exception as cause:
        model = _with_signed(source)
        if model is None:
            raise
        if separate(model):
            with suppress(Exception):  # too large for one message, or signed activations in the operator format
                return opened(model.SerializeToString())
        try:
            return opened(source, "0")
        except Exception:
            raise cause from None


def separate_file(path: Path, into: Path) -> bool:
    """Write a copy of the ONNX file in which no two nodes read one signed 8-bit constant, if some do; return whether it was written."""
    import onnx

    if not _signed(onnx.load(path, load_external_data=False)):
        return False
    model = onnx.load(path)
    if not separate(model):
        return False
    onnx.save(model, into)
    return True


def separate(model: Any) -> int:
    """Give each node that reads a signed 8-bit constant its own copy, and each reader of a ``DequantizeLinear`` its own node.

    ONNX Runtime's optimizer makes such nodes unique too, but its conversion to unsigned integers then finds their constants shared.

    Args:
        model: a ``ModelProto``, which is changed.

    Returns:
        The number of constants and nodes added.
    """
    if not _signed(model):
        return 0
    lift_constants(model)
    numbers = itertools.count(1)
    for graph in graphs(model.graph):
        _separate_nodes(graph, numbers)
        _separate_constants(graph, numbers)
    return next(numbers) - 1


def _separate_nodes(graph: Any, numbers: Any) -> None:
    shared = {value.name for value in graph.output} | _read_inside(graph)
    readers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers[name].append((node, place))
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type != "DequantizeLinear":
            continue
        name = node.output[0]
        for reader, place in readers[name][0 if name in shared else 1 :]:
            own = copy.deepcopy(node)
            own.name = own.output[0] = f"{name}/own{next(numbers)}"
            reader.input[place] = own.output[0]
            nodes.append(own)
    # a node belongs to its graph: deleting it there would empty it here
    kept = copy.deepcopy(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def _separate_constants(graph: Any, numbers: Any) -> None:
    import onnx

    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    taken = {value.name for value in graph.output} | _read_inside(graph)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name not in stored:
                continue
            if name in taken:
                own = copy.deepcopy(stored[name])
                own.name = node.input[place] = f"{name}/own{next(numbers)}"
                graph.initializer.append(own)
            taken.add(name)


def _read_inside(graph: Any) -> set[str]:
    """Names that branches and bodies of the graph's nodes take from it."""
    return {name for node in graph.node for name in reads(node) - set(node.input)}


def _with_signed(source: Path | bytes) -> Any:
    """The model, if it stores signed 8-bit integers; otherwise ``None``."""
    import onnx

    try:
        model = onnx.load_from_string(source) if isinstance(source, bytes) else stored_onnx(source)
    except Exception:  # the file is damaged, which ONNX Runtime has said
        return None
    return model if _signed(model) else None


def _signed(model: Any) -> bool:
    import onnx

    return any(tensor.data_type == onnx.TensorProto.INT8 for tensor in tensors(model.graph))
