"""TensorFlow graphs with their weights as constants, in a form that tf2onnx can read.

tf2onnx needs a graph without variables, without functions that XLA must compile, and without lookup tables:

* Keras compiles a grouped convolution by XLA, because TensorFlow's CPU kernels do not support it. Such a function is not inlined,
  and tf2onnx sees one unknown call. ONNX has grouped convolutions, so the function is inlined here.
* A lookup table is a resource outside the graph. Its contents are read and written into the graph as constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ExportError
from workbench.export import blame, rewrites
from workbench.models.formats import frozen_graph, saved_model
from workbench.models.formats import keras as keras_format
from workbench.records import Model


@dataclass(frozen=True)
class Frozen:
    """A graph without variables. ``inputs`` and ``outputs`` map the model's names to tensors of the graph."""

    graph_def: Any
    inputs: dict[str, str]
    outputs: dict[str, str]


def traced(model: Any) -> Any:
    """Trace a loaded Keras model as a concrete function for inference.

    Some augmentation layers draw random numbers at inference that are not used. Such operations are removed.

    Raises:
        RestlessError: the outputs depend on random numbers, or on a state that the model writes.
    """
    import keras
    import tensorflow as tf

    call = keras_format.inference(model)
    function = call.get_concrete_function()
    if not any(blame.restless(operation) for _, operation in blame.nodes_of(function.graph)):
        return function

    def computed(*given: Any) -> Any:  # an input that is also an output becomes a separate tensor
        return keras.tree.map_structure(tf.identity, call.python_function(*given))

    whole = tf.compat.v1.wrap_function(computed, keras_format.inputs_of(model))
    captured = {inner.name for _, inner in whole.graph.captures}
    given = [tensor for tensor in whole.inputs if tensor.name not in captured]
    pruned = whole.prune(given, whole.structured_outputs)
    needed = dict(blame.needed(pruned.graph.as_graph_def(), [tensor.name for tensor in pruned.outputs]))
    for node, operation in needed.items():
        if blame.RANDOM.fullmatch(operation):
            raise RestlessError(node, operation)
    read = {id(outer) for outer, inner in pruned.graph.captures if inner.op.name in needed}
    for node, outer in _written(whole.graph):
        if id(outer) in read:
            raise RestlessError(node, "AssignVariableOp")
    return pruned


class RestlessError(Exception):
    """The result of a graph changes between calls; has the node that causes it."""

    def __init__(self, node: str, operation: str) -> None:
        super().__init__(node, operation)
        self.node, self.operation = node, operation


def _written(graph: Any) -> Iterator[tuple[str, Any]]:
    """The captured values that a graph writes, each with the node that writes it; calls may write all of their arguments."""
    captured = {inner.name: outer for outer, inner in graph.captures}
    functions = {function.signature.name: function for function in graph.as_graph_def().library.function}
    writing = {
        name
        for name, function in functions.items()
        if any(blame.ASSIGN.fullmatch(node.op) for node in function.node_def)
    }
    for operation in graph.get_operations():
        called = {value.func.name for value in operation.node_def.attr.values() if value.HasField("func")}
        if blame.ASSIGN.fullmatch(operation.type) or called & writing:
            yield from ((operation.name, captured[each.name]) for each in operation.inputs if each.name in captured)


def of_keras(function: Any, model: Any) -> Frozen:
    """Freeze the concrete function of a loaded Keras model.

    Outputs are named ``output_0``, ``output_1`` … or by the keys of the dictionary that the model returns.

    Raises:
        ExportError: the model returns nested structures, whose names only its SavedModel has.
    """
    import keras

    found = function.structured_outputs
    parts = found if isinstance(found, dict | list | tuple) else [found]
    if any(keras.tree.is_nested(each) for each in (parts.values() if isinstance(parts, dict) else parts)):
        raise ExportError("The model returns nested structures, whose outputs have names only in its SavedModel.")
    names = sorted(parts) if isinstance(parts, dict) else [f"output_{number}" for number in range(len(parts))]
    graph_def, inputs, outputs = _freeze(function, aggressive_inlining=True)
    given = [tensor.name for tensor in keras_format.inputs_of(model)]
    return Frozen(graph_def, dict(zip(given, inputs, strict=True)), dict(zip(names, outputs, strict=True)))


def of_saved_model(loaded: Any, signature: str, names: Iterable[str]) -> Frozen:
    """Freeze a signature of a loaded SavedModel; ``names`` are those of its inputs."""
    function = loaded.signatures[signature]
    graph_def, inputs, tensors = _freeze(function)
    given = {
        name: next(tensor for tensor in inputs if tensor.partition(":")[0] in (name, f"{signature}_{name}"))
        for name in names
    }
    # a signature's outputs are in the order of their names
    return Frozen(graph_def, given, dict(zip(sorted(function.structured_outputs), tensors, strict=True)))


def of_model(model: Model, saved_model_path: Path | None, signature: str) -> Frozen:
    """The frozen graph of a TensorFlow model that is not taken directly from Keras."""
    if model.format == "frozen_graph":
        return Frozen(*frozen_graph.load(Path(model.path), model.signature))
    if model.legacy:
        return Frozen(*saved_model.legacy_graph(Path(model.path), model.signature))
    assert saved_model_path is not None
    return of_saved_model(saved_model.load(saved_model_path), signature, [spec.name for spec in model.inputs])


def _freeze(function: Any, **options: bool) -> tuple[Any, list[str], list[str]]:
    """GraphDef, input tensors and output tensors of a concrete function, without captured values."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    captured = {inner.op.name: outer for outer, inner in function.graph.captures}
    try:  # loops are not lowered, as tf2onnx needs them
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, **options)
    except ValueError as cause:
        found = re.search(r"of node (\S+) was passed .* incompatible with expected resource", str(cause))
        if found is None:
            raise
        drawn = [(node, kind) for node, kind in blame.nodes_of(function.graph) if blame.RANDOM.fullmatch(kind)]
        raise RestlessError(*(drawn[0] if drawn else (found[1], "AssignVariableOp"))) from cause
    graph_def = frozen.graph.as_graph_def()
    rewrites.inline_compiled(graph_def)
    rewrites.fold_sizes(graph_def)
    tables = {}
    for node in graph_def.node:
        if node.op == "Placeholder" and node.name in captured:
            outer = captured[node.name]
            if outer.dtype == tf.resource:
                tables[node.name] = outer
            else:
                rewrites.make_constant(node, outer.numpy())
    rewrites.inline_tables(graph_def, lambda handle, keys, values: _contents(tables.get(handle), keys, values))
    inputs = [tensor.name for tensor in frozen.inputs if tensor.op.name not in captured]
    outputs = [tensor.name for tensor in frozen.outputs]
    for node, operation in blame.needed(graph_def, outputs):
        if blame.RANDOM.fullmatch(operation):
            raise RestlessError(node, operation)
    return graph_def, inputs, outputs


def _contents(handle: Any, keys: Any, values: Any) -> tuple[Any, Any] | None:
    """Keys and values of a lookup table as arrays, or ``None`` if they cannot be read."""
    import tensorflow as tf

    if handle is None:
        return None
    found = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=keys, Tvalues=values)
    return found.keys.numpy(), found.values.numpy()
