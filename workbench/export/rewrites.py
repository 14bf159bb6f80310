"""In-place changes of a TensorFlow GraphDef that keep its result and make it readable for tf2onnx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_KEPT_WHOLE = ("_XlaMustCompile", "_noinline")
"""Attributes that keep a function call from being inlined."""

DENSE_KEYS = 2**20
"""A table whose keys span at most this many integers becomes one array indexed by the key."""

COMPARED_KEYS = 4096
"""Other tables become a comparison with every key, up to this many."""


def inline_compiled(graph_def: Any) -> None:
    """Allow the optimizer that tf2onnx runs first to inline calls of functions that XLA must compile.

    Only calls without state are changed: their functions contain only computations.
    """
    functions = {function.signature.name: function for function in graph_def.library.function}
    bodies = [graph_def.node, *(function.node_def for function in functions.values())]
    for node in (node for body in bodies for node in body):
        if node.op not in ("StatefulPartitionedCall", "PartitionedCall"):
            continue
        called = functions.get(node.attr["f"].func.name)
        compiled = "_XlaMustCompile" in node.attr or (called is not None and "_XlaMustCompile" in called.attr)
        if called is None or not compiled or _keeps_state(called, functions):
            continue
        node.op = "PartitionedCall"
        for attributes in (node.attr, called.attr):
            for name in _KEPT_WHOLE:
                attributes.pop(name, None)


_STATEFUL = ("VarHandleOp", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ReadVariableOp")


def _keeps_state(function: Any, functions: Mapping[str, Any]) -> bool:
    for node in function.node_def:
        called = functions.get(node.attr["f"].func.name) if "f" in node.attr else None
        if node.op in _STATEFUL or (called is not None and _keeps_state(called, functions)):
            return True
    return False


def make_constant(node: Any, value: Any) -> None:
    """Replace a node by a constant with the given value."""
    import tensorflow as tf

    node.op = "Const"
    del node.input[:]
    for name in list(node.attr):
        del node.attr[name]
    tensor = tf.make_tensor_proto(value)
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)


Contents = Callable[[str, Any, Any], "tuple[Any, Any] | None"]


def inline_tables(graph_def: Any, contents: Contents) -> None:
    """Replace each ``LookupTableFindV2`` over integers by operations on constants with the same result.

    Args:
        graph_def: changed in place.
        contents: the keys and values of a table, by the name of its handle and the types of both.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    for node in list(graph_def.node):
        if node.op != "LookupTableFindV2":
            continue
        key_type, value_type = (tf.as_dtype(node.attr[name].type) for name in ("Tin", "Tout"))
        if not key_type.is_integer or not (value_type.is_integer or value_type.is_floating):
            continue
        handle = node.input[0].partition(":")[0]
        while nodes[handle].op == "Identity":  # a SavedModel passes it into functions
            handle = nodes[handle].input[0].partition(":")[0]
        found = contents(handle, key_type, value_type)
        if found is None or not len(found[0]):
            continue
        keys, values = found
        if int(keys.max()) - int(keys.min()) < DENSE_KEYS:
            look_up = _look_up_dense
        elif len(keys) <= COMPARED_KEYS:
            look_up = _look_up_by_comparison
        else:
            continue
        _replace(
            graph_def,
            node,
            [(node.input[1], key_type), (node.input[2], value_type)],
            lambda asked, default, look_up=look_up, keys=keys, values=values: look_up(asked, default, keys, values),
        )


def _look_up_dense(asked: Any, default: Any, keys: Any, values: Any) -> Any:
    """Look up by one array over the whole span of the keys; other keys give ``default``."""
    import numpy as np
    import tensorflow as tf

    low, size = int(keys.min()), int(keys.max()) - int(keys.min()) + 1
    table, known = np.zeros(size, values.dtype), np.zeros(size, np.int32)
    table[keys - low], known[keys - low] = values, 1
    inside = tf.clip_by_value(asked, low, low + size - 1)
    place = tf.cast(inside - low, tf.int32)
    present = tf.logical_and(tf.equal(inside, asked), tf.gather(known, place) > 0)
    return tf.where(present, tf.gather(table, place), tf.reshape(default, []))


def _look_up_by_comparison(asked: Any, default: Any, keys: Any, values: Any) -> Any:
    import tensorflow as tf

    same = tf.equal(tf.expand_dims(asked, -1), keys)
    weights = tf.cast(same, tf.int32)
    place, present = tf.argmax(weights, -1, tf.int32), tf.reduce_max(weights, -1) > 0
    return tf.where(present, tf.gather(values, place), tf.reshape(default, []))


def _replace(graph_def: Any, node: Any, given: list[tuple[str, Any]], make: Callable[..., Any]) -> None:
    """Replace ``node`` by the operations that ``make`` builds from the tensors ``given``, under the same name."""
    import tensorflow as tf

    scope = f"{node.name}/constant"
    with tf.Graph().as_default() as graph:
        held = [
            tf.compat.v1.placeholder(kind, None if number == 0 else [], name=f"given_{number}")
            for number, (_, kind) in enumerate(given)
        ]
        with tf.name_scope(scope):
            result = tf.identity(make(*held), name="result")
        built = graph.as_graph_def()
    names = {f"given_{number}": tensor for number, (tensor, _) in enumerate(given)}
    name = node.name
    graph_def.node.remove(node)
    for each in built.node:
        if each.name in names:
            continue
        each.input[:] = [names.get(tensor, tensor) for tensor in each.input]
        if each.name == result.op.name:
            each.name = name
        graph_def.node.append(each)


def fold_sizes(graph_def: Any) -> None:
    """Replace sizes that are read from a tensor's shape by constants if they are fixed.

    ``tf.shape(x)[1:3]`` remains an operation while the batch is free, although height and width are known. Values that are
    computed from it, such as the scale of a resized image, then become constant as well.
    """
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    for node in graph_def.node:
        if node.op == "StridedSlice":
            sizes = _fixed_sizes(graph.get_operation_by_name(node.name))
            if sizes is not None:
                make_constant(node, sizes)


def _fixed_sizes(operation: Any) -> Any | None:
    """The result of a StridedSlice of a Shape, or ``None`` if it is not fixed."""
    import numpy as np
    import tensorflow as tf

    source = operation.inputs[0].op
    if source.type != "Shape" or source.inputs[0].shape.rank is None:
        return None
    bounds = [tf.get_static_value(tensor) for tensor in operation.inputs[1:]]
    masks = {name: int(operation.get_attr(f"{name}_mask")) for name in ("begin", "end", "shrink_axis")}
    if any(each is None or len(each) != 1 for each in bounds) or operation.get_attr("new_axis_mask"):
        return None
    start, stop, step = (int(each[0]) for each in bounds)
    sizes = source.inputs[0].shape.as_list()
    if masks["shrink_axis"]:
        found = sizes[start]
    else:
        found = sizes[None if masks["begin"] else start : None if masks["end"] else stop : step]
    if found is None or (isinstance(found, list) and None in found):
        return None
    return np.array(found, operation.outputs[0].dtype.as_numpy_dtype)
