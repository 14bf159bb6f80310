"""Mutants of TensorFlow graphs that keep their form: other operations, other ways to them, and steps that write a file.

Every planted file lies in the current folder, which the fuzzer watches.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

Draw = random.Random

COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer", "saved_model_train_op", "init_op")


@cache
def operations() -> list[str]:
    """Every operation of this TensorFlow that a graph may name."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    found = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return sorted(operation.name for operation in found.op if not operation.name.startswith("_"))


def frozen_graph_mutant(content: bytes, draw: Draw) -> bytes:
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef.FromString(content)
    for _ in range(draw.choice((1, 1, 2))):
        _change(graph, draw)
    return graph.SerializeToString()


def saved_model_mutant(content: bytes, draw: Draw) -> bytes:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(content)
    meta = draw.choice(saved.meta_graphs)
    for _ in range(draw.choice((1, 1, 2))):
        draw.choice((_change_steps, _change_steps, lambda meta, draw: _change(meta.graph_def, draw)))(meta, draw)
    return saved.SerializeToString()


def _change(graph: Any, draw: Draw) -> None:
    kind = draw.randrange(4)
    node = draw.choice(_nodes(graph))
    if kind == 0:
        node.op = draw.choice(operations())
    elif kind == 1:
        node.input.append("^" + draw.choice(graph.node).name)
    elif kind == 2:
        graph.node[draw.randrange(len(graph.node))].input.append("^" + writer(graph, draw))
    else:
        hidden(graph, draw, _target(draw), draw.choice(graph.node).name)


def _change_steps(meta: Any, draw: Draw) -> None:
    """Change what loading runs: initializers, the restoring step, signatures and functions."""
    graph, kind = meta.graph_def, draw.randrange(5)
    if draw.random() < 0.6:
        meta.ClearField("object_graph_def")  # then TensorFlow takes it for a model of TensorFlow 1
    name = writer(graph, draw) if draw.random() < 0.8 else draw.choice(graph.node).name
    if kind == 0:
        meta.collection_def[draw.choice(COLLECTIONS)].node_list.value[:] = [name]
    elif kind == 1:
        meta.saver_def.restore_op_name = name
    elif kind == 2:
        for node in graph.node:
            if node.name == meta.saver_def.restore_op_name:
                node.input.append("^" + name)
    elif kind == 3:
        meta.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = name
    elif graph.library.function:
        node = draw.choice(graph.library.function).node_def.add(name="called", op="StatefulPartitionedCall")
        node.attr["f"].func.name = draw.choice(graph.library.function).signature.name


def _nodes(graph: Any) -> list[Any]:
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _target(draw: Draw) -> str:
    return str(Path.cwd() / f"planted-{draw.randrange(10**9)}")


def writer(graph: Any, draw: Draw) -> str:
    """Add a step that writes a file to the graph; its name."""
    import tensorflow as tf

    with tf.Graph().as_default() as extra:
        target, kind = tf.constant(_target(draw)), draw.randrange(4)
        if kind == 0:
            tf.raw_ops.WriteFile(filename=target, contents="x")
        elif kind == 1:
            tf.raw_ops.Save(filename=target, tensor_names=["a"], data=[tf.constant([1.0])])
        elif kind == 2:
            tf.raw_ops.SaveV2(prefix=target, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant([1.0])])
        else:
            tf.raw_ops.PrintV2(input="x", output_stream="file://" + _target(draw))
    return _add(graph, extra.as_graph_def(), f"planted{draw.randrange(10**9)}")


def _add(graph: Any, extra: Any, prefix: str) -> str:
    """Copy the nodes of ``extra`` into ``graph``; the name of the last."""
    for node in extra.node:
        copied = graph.node.add()
        copied.CopyFrom(node)
        copied.name = f"{prefix}/{node.name}"
        copied.input[:] = [f"{prefix}/{source}" for source in node.input]
    return copied.name


def hidden(graph: Any, draw: Draw, target: str, waiting: str) -> None:
    """Let the node ``waiting`` wait for a data set whose graph, which writes ``target``, is the text in a constant."""
    import tensorflow as tf

    with tf.Graph().as_default() as inner:
        written = tf.raw_ops.WriteFile(filename=target, contents="x")
        with tf.control_dependencies([written]):
            value = tf.constant([1.0])
        tf.raw_ops.TensorSliceDataset(components=[value], output_shapes=[[]], name="made")
    text = inner.as_graph_def()
    end = text.node.add(name="dataset", op="_Retval", input=["made"])
    end.attr["T"].type = tf.variant.as_datatype_enum
    end.attr["index"].i = 0
    with tf.Graph().as_default() as outer:
        made = tf.raw_ops.DatasetFromGraph(graph_def=tf.constant(text.SerializeToString()))
        tf.raw_ops.DatasetToSingleElement(dataset=made, output_types=[tf.float32], output_shapes=[[]])
    last = _add(graph, outer.as_graph_def(), f"hidden{draw.randrange(10**9)}")
    next(node for node in graph.node if node.name == waiting).input.append("^" + last)
