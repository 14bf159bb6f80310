"""Small models with one oddity each, made by the real libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def keras_mlp(path: Path, *, name: str = "features", batch: int | None = None) -> Path:
    import keras

    keras.utils.set_random_seed(1)
    entry = keras.Input(batch_shape=(batch, 4), name=name)
    layers = keras.layers
    keras.Sequential([entry, layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")]).save(path)
    return path


def keras_two_by_two(path: Path, *, named: bool) -> Path:
    """Two inputs and two outputs, the outputs as a dictionary or as a list."""
    import keras

    keras.utils.set_random_seed(1)
    left, right = keras.Input((4,), name="left"), keras.Input((2,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    first, second = keras.layers.Dense(2)(joined), keras.layers.Dense(3)(joined)
    keras.Model([left, right], {"zeta": first, "alpha": second} if named else [first, second]).save(path)
    return path


def keras_gelu(path: Path) -> Path:
    """The exact GELU, which is Keras' default."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    keras.Sequential([keras.Input((4,), name="x"), layers.Dense(8, activation="gelu"), layers.Dense(3)]).save(path)
    return path


def keras_normalization(path: Path) -> Path:
    """Preprocessing inside the model: the layer that converts rightly only through a SavedModel."""
    import keras

    keras.utils.set_random_seed(1)
    scale = keras.layers.Normalization(mean=[3.0, 1.0, 4.0, 1.0], variance=[2.0, 7.0, 1.0, 8.0])
    keras.Sequential([keras.Input((4,), name="x"), scale, keras.layers.Dense(3)]).save(path)
    return path


def keras_lambda(path: Path) -> Path:
    import keras

    layers = [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, name="double"), keras.layers.Dense(2)]
    keras.Sequential(layers).save(path)
    return path


def saved_model(path: Path) -> Path:
    """Three signatures and no ``serving_default``: ``score``, ``half`` and ``text`` (which takes text)."""
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(tf.reshape(tf.range(8.0), (4, 2)))
            self.steps = tf.Variable(7, dtype=tf.int64)

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def score(self, x: Any) -> Any:
            return {"y": x @ self.weight + tf.cast(self.steps - 7, tf.float32)}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def half(self, x: Any) -> Any:
            return {"y": x / 2}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])  # type: ignore[untyped-decorator]
        def text(self, words: Any) -> Any:
            return {"length": tf.strings.length(words)}

    module = Module()
    signatures = {"score": module.score, "half": module.half, "text": module.text}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def saved_model_of(path: Path, function: Any, *shape: int | None, weights: Any = None) -> Path:
    """A SavedModel of one function of ``x`` as ``serving_default``."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = weights
    module.call = tf.function(
        lambda x: {"y": function(x)}, input_signature=[tf.TensorSpec(list(shape), tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.call})
    return path


def tflite_int16x8(path: Path) -> Path:
    """A convolution of 8-bit weights and 16-bit activations, and a mean, by TensorFlow's converter."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    entry = keras.Input((8, 8, 3), batch_size=1, name="x")
    network = keras.Sequential([entry, keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
    folder = path.with_suffix("")
    network.export(folder, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    samples = np.random.default_rng(0).random((4, 1, 8, 8, 3), dtype=np.float32)
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    path.write_bytes(converter.convert())
    return path


def tflite_integers(path: Path, network: Any, samples: Any, kind: str) -> Path:
    """A Keras model as a full-integer file: what goes in and out is stored as int8, uint8 or int16."""
    import warnings

    import tensorflow as tf

    sets = tf.lite.OpsSet
    wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([samples[i : i + 1]] for i in range(100))
    converter.target_spec.supported_ops = [wide if kind == "int16" else sets.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statistics that a representative data set gives
        path.write_bytes(converter.convert())
    return path


def tflite_two_signatures(folder: Path) -> Path:
    """``add`` (x + 10, of positive x) and ``mul`` (x · 3), of the same inputs and outputs, each a graph of its own.

    The main graph is that of ``mul``: converters take the first name for it, and other tools need not.
    """
    import flatbuffers
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

    module, spec = tf.Module(), tf.TensorSpec([None, 4], tf.float32, name="x")
    module.add = tf.function(lambda x: {"y": tf.nn.relu(x) + 10.0}, input_signature=[spec])
    module.mul = tf.function(lambda x: {"y": x * 3.0}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "saved_model"), signatures={"add": module.add, "mul": module.mul})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"), ["add", "mul"])
    whole = schema.ModelT.InitFromPackedBuf(converter.convert(), 0)
    whole.subgraphs.reverse()
    for signature in whole.signatureDefs:
        signature.subgraphIndex = 1 - signature.subgraphIndex
    builder = flatbuffers.Builder()
    builder.Finish(whole.Pack(builder), b"TFL3")
    (folder / "two.tflite").write_bytes(bytes(builder.Output()))
    return folder / "two.tflite"


def onnx_model(
    nodes: list[Any],
    weights: dict[str, Any] | None = None,
    *,
    inputs: dict[str, tuple[Any, ...]] | None = None,
    outputs: dict[str, tuple[Any, ...]] | None = None,
    opset: int = 17,
    dtype: int = 1,
) -> Any:
    """A ``ModelProto`` from nodes (made by ``onnx.helper.make_node``), weights and shapes."""
    from onnx import helper, numpy_helper

    inputs, outputs = inputs or {"x": ("n", 4)}, outputs or {"y": ("n", 3)}
    graph = helper.make_graph(
        nodes,
        "zoo",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def onnx_dense(*, opset: int = 17, constants: bool = False) -> Any:
    """x @ w + b, 12 + 3 parameters, as one Gemm; with ``constants`` the weights are ``Constant`` nodes."""
    from onnx import helper, numpy_helper

    weights = {
        "w": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32),
        "b": np.array([1, 2, 3], np.float32),
    }
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense")]
    if not constants:
        return onnx_model(nodes, weights, opset=opset)
    stored = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        for name, array in weights.items()
    ]
    return onnx_model(stored + nodes, opset=opset)


def onnx_fixed_conv(*, batch: Any = 1, size: int = 8) -> Any:
    """A convolution and a mean over the image: right at every size, declared for one."""
    from onnx import helper

    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["y"], name="mean"),
    ]
    shapes = {"inputs": {"x": (batch, 3, size, size)}, "outputs": {"y": (batch, 4, 1, 1)}}
    return onnx_model(nodes, {"w": weight}, **shapes)


def onnx_fixed_reshape() -> Any:
    """A product after a ``Reshape`` whose target, 1 × 12, repeats the declared batch."""
    from onnx import helper

    weights = {"s": np.array([1, 12]), "w": np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)}
    nodes = [helper.make_node("Reshape", ["x", "s"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    return onnx_model(nodes, weights, inputs={"x": (1, 3, 4)}, outputs={"y": (1, 2)})


def onnx_function(nodes: list[Any], *, opset: int = 17, **domains: int) -> Any:
    """A model of opset 17 that is one call of a function of its own, from x to y, made of ``nodes``.

    ``opset`` and ``domains`` are the versions that the function itself names.
    """
    from onnx import helper

    named = [helper.make_opsetid("", opset), *(helper.make_opsetid(*each) for each in domains.items())]
    function = helper.make_function("own", "Body", ["x"], ["y"], nodes, named)
    model = onnx_model([helper.make_node("Body", ["x"], ["y"], domain="own", name="call")])
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(function)
    return model


def onnx_4_bits() -> Any:
    """A product with weights of 4 bits, 32 × 3, as ONNX Runtime's quantizer writes it."""
    from onnx import helper

    weights = {"w": np.full((3, 1, 16), 0x19, np.uint8), "s": np.array([0.5, 1, 2], np.float32)}
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=32, N=3, bits=4, block_size=32
    )
    model = onnx_model([node], weights, inputs={"x": ("n", 32)})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def onnx_nms(path: Path, images: int | str = 1) -> Path:
    """Selected boxes: as many rows in the output as objects are found, of one image or of any number."""
    from onnx import TensorProto, helper

    constants = {
        "most": np.array([5], np.int64),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.1], np.float32),
    }
    nodes = [helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["sel"])]
    proto = onnx_model(
        nodes, constants, inputs={"boxes": (images, 20, 4), "scores": (images, 2, 20)}, outputs={"sel": ("found", 3)}
    )
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return save(proto, path)


def save(model: Any, path: Path) -> Path:
    import onnx

    onnx.save(model, path)
    return path


def run_onnx(path: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    from workbench.models.exact_int8 import exact_session

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = exact_session(path, options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
