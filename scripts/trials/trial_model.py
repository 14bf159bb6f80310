"""The model and the samples of the trials: one convolution and one dense layer, whose accuracy is 1.0 if everything is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDE, CLASSES, SAMPLES = 8, 3, 48
SETTINGS = {
    "backends": "onnxruntime",
    "precisions": "fp32",
    "batches": "1",
    "measure_s": 0.1,
    "max_measure_s": 0.1,
    "rounds": 2,
}
"""The settings of a run that takes seconds."""


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the model, float32: a convolution (4, 1, 3, 3), its bias (4,), a dense layer (4 · 8 · 8, 3) and its bias (3,)."""
    draw = np.random.default_rng(seed)
    return {
        "conv": draw.standard_normal((4, 1, 3, 3)).astype(np.float32),
        "conv_bias": draw.standard_normal(4).astype(np.float32),
        "dense": draw.standard_normal((4 * SIDE * SIDE, CLASSES)).astype(np.float32),
        "dense_bias": np.zeros(CLASSES, np.float32),
    }


def write_model(path: Path, seed: int = 0, name: str = "x", *, flat: bool = False) -> Path:
    """An ONNX file of those weights: ``name`` (n, 1, 8, 8) float32 in, or (n, 64) where ``flat``; ``y`` (n, 3) float32 out."""
    import onnx
    from onnx import helper, numpy_helper

    held = [numpy_helper.from_array(array, each) for each, array in weights(seed).items()]
    nodes = [
        helper.make_node("Conv", ["images" if flat else name, "conv", "conv_bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "dense", "dense_bias"], ["y"]),
    ]
    if flat:
        nodes.insert(0, helper.make_node("Reshape", [name, "sides"], ["images"]))
        held.append(numpy_helper.from_array(np.array([-1, 1, SIDE, SIDE]), "sides"))
    values = [
        helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, shape)
        for each, shape in ((name, ["n", SIDE * SIDE] if flat else ["n", 1, SIDE, SIDE]), ("y", ["n", CLASSES]))
    ]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def samples(count: int = SAMPLES, seed: int = 1) -> np.ndarray:
    """Inputs (count, 1, 8, 8), float32."""
    return np.random.default_rng(seed).standard_normal((count, 1, SIDE, SIDE)).astype(np.float32)


def outputs(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """What the model of :func:`weights` gives for inputs (n, 1, 8, 8), in float64, (n, 3): computed here with NumPy alone."""
    held = {name: array.astype(np.float64) for name, array in weights(seed).items()}
    padded = np.pad(x[:, 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    maps = np.einsum("nhwij,kij->nkhw", windows, held["conv"][:, 0]) + held["conv_bias"][:, None, None]
    return np.maximum(maps, 0).reshape(len(x), -1) @ held["dense"] + held["dense_bias"]


def write_data(path: Path, count: int = SAMPLES, seed: int = 0) -> Path:
    """Samples in an ``.npz`` file with the classes that the model of ``seed`` gives, so that its accuracy is 1.0."""
    x = samples(count)
    np.savez(path, x=x, y=outputs(x, seed).argmax(axis=1))
    return path


def write_table(path: Path, count: int = SAMPLES, seed: int = 0) -> Path:
    """The same as :func:`write_data` in a ``.csv`` file: a column for each of the 64 pixels, and the label."""
    x = samples(count)
    rows = np.column_stack([x.reshape(count, -1), outputs(x, seed).argmax(axis=1)])
    names = [*(f"x_{place}" for place in range(SIDE * SIDE)), "y"]
    np.savetxt(path, rows, delimiter=",", header=",".join(names), comments="", fmt=["%.9g"] * (SIDE * SIDE) + ["%d"])
    return path


def write_folder(path: Path, seed: int = 0) -> Path:
    """The model of :func:`weights` as a SavedModel."""
    import tensorflow as tf

    held = weights(seed)
    module = tf.Module()
    module.held = {name: tf.Variable(array) for name, array in held.items()}

    @tf.function(input_signature=[tf.TensorSpec((None, 1, SIDE, SIDE), tf.float32, "x")])
    def call(x: object) -> dict[str, object]:
        images = tf.transpose(x, (0, 2, 3, 1))
        kernel = tf.transpose(module.held["conv"], (2, 3, 1, 0))
        maps = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + module.held["conv_bias"])
        flat = tf.reshape(tf.transpose(maps, (0, 3, 1, 2)), (-1, held["dense"].shape[0]))
        return {"y": flat @ module.held["dense"] + module.held["dense_bias"]}

    tf.saved_model.save(module, str(path), signatures=call)
    return path
