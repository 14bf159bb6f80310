"""Find where a conversion begins to differ: the first node of an ONNX graph whose value differs from the source's.

tf2onnx keeps TensorFlow's tensor names for most of what it converts, so many inner values can be compared by name. It
computes images with channels first; such values are transposed back before the comparison. If it writes one operation as
several, the name may be at the first of them, whose value differs: such names are detected and skipped.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import ExportError
from workbench.export.agreement import difference
from workbench.models.formats import tflite
from workbench.models.onnx_repair import reads
from workbench.models.ort_values import unoptimized

Values = Callable[[list[str], "Mapping[str, np.ndarray]"], "dict[str, np.ndarray]"]
"""Inner values by tensor name, for some feeds."""

STEPS = 3  # nodes of one source operation after the node with its name
CHUNK = 64  # inner tensors computed at once: bounds memory
_TURNS = {4: ((0, 2, 3, 1), (0, 3, 1, 2)), 3: ((0, 2, 1),), 5: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3))}


@dataclass(frozen=True)
class Divergence:
    """The first node whose value differs from the source's."""

    node: str
    op: str
    tensor: str
    max_rel: float

    @property
    def sentence(self) -> str:
        amount = f"by {self.max_rel:.2g} of its size" if math.isfinite(self.max_rel) else "in where it is not finite"
        return f"The first inner value that differs is that of the node '{self.node}' ({self.op}), {amount}."


def first_divergence(
    values: Values, known: Collection[str], onnx_path: Path, feeds: Mapping[str, np.ndarray], tolerance: float
) -> Divergence | None:
    """The first node in the graph's order with a value that differs from the source's by more than ``tolerance``.

    Args:
        values: the source's inner values by name.
        known: the names for which ``values`` has values.
        onnx_path: the conversion.
        feeds: inputs by name, the same for both.
        tolerance: largest difference allowed, as a share of the value's largest absolute value.
    """
    import onnx

    graph = onnx.load(onnx_path, load_external_data=False).graph
    ours, _ = onnx_values(onnx_path)
    shared = [name for node in graph.node for name in node.output if name in known]
    differences: dict[str, float] = {}
    for start in range(0, len(shared), CHUNK):
        names = shared[start : start + CHUNK]
        theirs, mine = values(names, feeds), ours(names, feeds)
        for name in names:
            found = _difference(theirs[name], mine[name]) if name in theirs and name in mine else None
            if found is not None:
                differences[name] = found
    real = _persistent(graph, {name: not found <= tolerance for name, found in differences.items()})
    for node in graph.node:
        for name in node.output:
            if name in real and not _appears_later(graph, name, values([name], feeds)[name], ours, feeds, tolerance):
                return Divergence(node.name or name, node.op_type, name, differences[name])
    return None


def _persistent(graph: Any, differs: Mapping[str, bool]) -> set[str]:
    """The tensors that differ and whose difference persists: in an output, or in a compared tensor after them that differs too.

    A difference that no later compared tensor shows is not an error: the tensor only has the name of another one. Nodes are
    visited from the last to the first.

    Args:
        graph: the conversion, in topological order.
        differs: for each compared tensor, whether it differs.
    """
    outputs = {value.name for value in graph.output}
    after: dict[str, set[str]] = {}  # the first compared tensors after a tensor: "wrong", "right" and "output"
    real = set()
    for node in reversed(graph.node):
        met: set[str] = set()
        for name in node.output:
            behind = after.get(name, set()) | ({"output"} if name in outputs else set())
            if name not in differs:
                met |= behind
            elif differs[name] and behind != {"right"}:
                real.add(name)
                met.add("wrong")
            else:
                met.add("right")
        for name in reads(node):
            after.setdefault(name, set()).update(met)
    return real


def _appears_later(
    graph: Any, tensor: str, source: np.ndarray, ours: Values, feeds: Mapping[str, np.ndarray], tolerance: float
) -> bool:
    """Whether the source's value appears a few nodes later, for example after ``Sqrt`` and ``Reciprocal`` for one ``Rsqrt``."""
    reached, later = {tensor}, []
    for _ in range(STEPS):
        found = [node for node in graph.node if node.op_type not in ("Shape", "Size") and reads(node) & reached]
        reached = {name for node in found for name in node.output if name}
        later += sorted(reached)
    values = ours(list(dict.fromkeys(later)), feeds) if later else {}
    differences = [_difference(source, value) for value in values.values()]
    return any(each is not None and each <= tolerance for each in differences)


def _difference(source: np.ndarray, converted: np.ndarray) -> float | None:
    """The largest difference as a share of the source's size, for the best order of axes; ``None``: not comparable.

    If several transpositions fit the shape, the closest counts.
    """
    kinds = source.dtype.kind, converted.dtype.kind
    if "O" in kinds or "S" in kinds or "U" in kinds or (kinds[0] == "f") != (kinds[1] == "f") or source.size == 0:
        return None
    turned = [converted] + [converted.transpose(axes) for axes in _TURNS.get(converted.ndim, ())]
    pairs = [difference(source, each) for each in turned if each.shape == source.shape]
    return min((largest / size if size else largest for largest, size, _ in pairs), default=None)


def onnx_values(path: Path) -> tuple[Values, frozenset[str]]:
    """A function that computes inner values of an ONNX file by ONNX Runtime without optimization, and their names."""
    import onnx

    model = onnx.load(path)
    known = frozenset(name for node in model.graph.node for name in node.output if name)

    def values(names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked = copy.deepcopy(model)
        del asked.graph.output[:]
        asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = unoptimized(asked.SerializeToString())
        taken = {each.name: feeds[each.name] for each in session.get_inputs() if each.name in feeds}
        found = dict(zip(names, session.run(names, taken), strict=True))
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}  # sequences are lists

    return values, known


def tensorflow_values(function: Any) -> tuple[Values, frozenset[str]]:
    """A function that computes inner values of a concrete function, from its frozen and inlined graph, and their names.

    The names of a signature's outputs are included, because conversions use them.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # loops are not lowered, as in tf2onnx: tensors inside them have no single value
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph_def = frozen.graph.as_graph_def()
    inputs = [tensor.name for tensor in frozen.inputs if tensor.dtype != tf.resource]
    unread = (tf.resource, tf.variant)
    places = {t.name: t.name for op in frozen.graph.get_operations() for t in op.outputs if t.dtype not in unread}
    if isinstance(function.structured_outputs, dict):  # they are in the order of their names
        ends = zip(sorted(function.structured_outputs), frozen.outputs, strict=False)
        places |= {name: tensor.name for name, tensor in ends if name not in places}
    imported = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph_def, name=""), [])

    def values(names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        pruned = imported.prune(inputs, [places[name] for name in names])
        given = [tf.constant(feeds[_feed_of(name.partition(":")[0], feeds)]) for name in inputs]
        return {name: tensor.numpy() for name, tensor in zip(names, pruned(*given), strict=True)}

    return values, frozenset(places)


def _feed_of(tensor: str, feeds: Mapping[str, np.ndarray]) -> str:
    """The name of the feed of a placeholder: its own name, or its name without the prefix that a signature adds."""
    fitting = [name for name in feeds if tensor == name or tensor.endswith(f"_{name}")]
    if not fitting:
        raise ExportError(f"The graph reads '{tensor}', but there are inputs for {', '.join(feeds)} only.")
    return max(fitting, key=len)


def tflite_values(path: Path) -> tuple[Values, frozenset[str]]:
    """A function that returns inner values of a TensorFlow Lite file, and their names, with those of the signature's outputs."""
    interpreter = tflite.interpreter_of(path, keep=True)
    details = [(detail["name"], detail["index"]) for detail in interpreter.get_tensor_details()]
    counts = Counter(name for name, _ in details)
    places = {name: index for name, index in details if name and counts[name] == 1}
    inputs, outputs = tflite.tensors_of(interpreter, tflite.main_signature(tflite.graph_of(path)))
    places |= {name: detail["index"] for name, detail in outputs.items()}

    def values(names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tflite.invoke(interpreter, inputs, feeds)
        found = {}
        for name in names:
            with suppress(ValueError):  # a tensor inside a delegate has no data
                found[name] = interpreter.get_tensor(places[name])
        return found

    return values, frozenset(places)
