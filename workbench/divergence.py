"""Where a conversion begins to differ: the first node of an ONNX graph whose value is not the source's.

tf2onnx keeps TensorFlow's tensor names for most of what it converts, so many inner values can be compared by name. It
computes images with channels first; values of such tensors are turned back before they are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Values = Callable[[list[str], "Mapping[str, np.ndarray]"], "dict[str, np.ndarray]"]
"""Inner values by tensor name, for some feeds."""

CHUNK = 64  # inner tensors asked for at once: bounds memory
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
        return f"The first inner value that differs is that of the node '{self.node}' ({self.op}), by {self.max_rel:.2g} of its size."


def first_divergence(
    values: Values, known: Collection[str], onnx_path: Path, feeds: Mapping[str, np.ndarray], tolerance: float
) -> Divergence | None:
    """The first node in the graph's order with a value that differs from the source's by more than ``tolerance``.

    Args:
        values: the source's inner values by name.
        known: the names that ``values`` knows.
        onnx_path: the conversion.
        feeds: inputs by name, the same for both.
        tolerance: largest difference allowed, as a share of the value's largest absolute value.
    """
    import onnx

    graph = onnx.load(onnx_path).graph
    shared = [(node, name) for node in graph.node for name in node.output if name in known]
    ours, _ = onnx_values(onnx_path)
    for start in range(0, len(shared), CHUNK):
        part = shared[start : start + CHUNK]
        names = [name for _, name in part]
        theirs, mine = values(names, feeds), ours(names, feeds)
        for node, name in part:
            apart = _apart(theirs[name], mine[name]) if name in theirs and name in mine else None
            if apart is not None and not apart <= tolerance:
                return Divergence(node.name or name, node.op_type, name, apart)
    return None


def _apart(source: np.ndarray, found: np.ndarray) -> float | None:
    """The largest difference as a share of the source's size, whichever way the axes are; ``None``: other shapes."""
    import numpy as np

    if source.dtype.kind in "OUS":
        return None
    turned = [found] + [found.transpose(axes) for axes in _TURNS.get(found.ndim, ())]
    fitting = [each for each in turned if each.shape == source.shape]
    if not fitting or source.size == 0:
        return None
    size = float(np.abs(source.astype(np.float64)).max()) or 1.0
    return min(float(np.abs(source.astype(np.float64) - each.astype(np.float64)).max()) / size for each in fitting)


def onnx_values(path: Path) -> tuple[Values, frozenset[str]]:
    """Inner values of an ONNX file, run in ONNX Runtime with its graph as it stands."""
    import onnx

    model = onnx.load(path)
    known = frozenset(name for node in model.graph.node for name in node.output if name)

    def values(names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import onnxruntime

        asked = onnx.ModelProto()
        asked.CopyFrom(model)
        del asked.graph.output[:]
        asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return values, known


def tensorflow_values(function: Any) -> tuple[Values, frozenset[str]]:
    """Inner values of a concrete function, from its frozen graph with all calls written out."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    graph_def = frozen.graph.as_graph_def()
    inputs = [tensor.name for tensor in frozen.inputs if tensor.dtype != tf.resource]
    names_of = [name.partition(":")[0] for name in inputs]
    known = frozenset(tensor.name for op in frozen.graph.get_operations() for tensor in op.outputs)

    def values(names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        def imported() -> None:
            tf.compat.v1.import_graph_def(graph_def, name="")

        pruned = tf.compat.v1.wrap_function(imported, []).prune(inputs, names)
        given = [tf.constant(feeds[_feed_of(name, feeds)]) for name in names_of]
        return {name: tensor.numpy() for name, tensor in zip(names, pruned(*given), strict=True)}

    return values, known


def _feed_of(tensor: str, feeds: Mapping[str, np.ndarray]) -> str:
    """Whose feed a placeholder takes: its own name's, or that after the prefix that a signature adds."""
    return tensor if tensor in feeds else next(name for name in feeds if tensor.endswith(name))


def tflite_values(path: Path) -> tuple[Values, frozenset[str]]:
    """Inner values of a TensorFlow Lite file, from an interpreter that keeps them."""
    from workbench.formats import tflite

    interpreter = tflite.interpreter_of(path, keep=True)
    details = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    signatures = interpreter.get_signature_list()
    inputs, _ = tflite.tensors_of(interpreter, next(iter(signatures), ""))

    def values(names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for known, tensor in inputs.items():
            interpreter.resize_tensor_input(tensor["index"], list(feeds[known].shape))
        interpreter.allocate_tensors()
        for known, tensor in inputs.items():
            interpreter.set_tensor(tensor["index"], feeds[known])
        interpreter.invoke()
        return {name: interpreter.get_tensor(details[name]) for name in names}

    return values, frozenset(details)
