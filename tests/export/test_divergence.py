"""Where a conversion begins to differ: real conversions with one weight changed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import model_zoo
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from workbench.errors import ExportError
from workbench.export.divergence import Divergence, first_divergence, onnx_values, tensorflow_values, tflite_values

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TOLERANCE = 1e-3
DRAW = np.random.default_rng(5)
IMAGES = {"image": DRAW.random((2, 10, 10, 3), np.float32)}
ROWS = {"features": DRAW.random((3, 4), np.float32)}


def converted(model, folder: Path):
    """The loaded SavedModel, its function, and its conversion by tf2onnx; all weights away from their starting values."""
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    draw = np.random.default_rng(0)
    model.set_weights([(w + draw.random(w.shape) / 2).astype(w.dtype) for w in model.get_weights()])
    model.export(str(folder / "saved"), verbose=False)
    loaded = tf.saved_model.load(str(folder / "saved"))
    function = loaded.signatures["serving_default"]
    # the converter's own way in from a SavedModel
    graph_def, inputs, outputs = tf2onnx.tf_loader.from_saved_model(
        str(folder / "saved"), None, None, signatures=["serving_default"]
    )[:3]
    path = folder / "model.onnx"
    proto, _ = tf2onnx.convert.from_graph_def(graph_def, input_names=inputs, output_names=outputs, opset=17)
    names = {
        old.name: new
        for old, new in zip(proto.graph.input, sorted(function.structured_input_signature[1]), strict=True)
    }
    names |= {old.name: new for old, new in zip(proto.graph.output, sorted(function.structured_outputs), strict=True)}
    model_zoo.save(renamed(proto, names), path)
    return loaded, function, path


def renamed(proto, names):
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names[value.name]
    return proto


def spoil(path: Path, into: Path, op: str, which: int) -> tuple[Path, str]:
    """A copy with the weight of one node changed, and that node's name."""
    model = onnx.load(path)
    node = [node for node in model.graph.node if node.op_type == op][which]
    weight = next(t for t in model.graph.initializer if t.name in node.input)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.3), weight.name))
    return model_zoo.save(model, into), node.name


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory):
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    stack = [
        keras.Input((10, 10, 3), name="image"),
        layers.Conv2D(6, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(6, 3, activation="relu"),
        layers.Conv2D(6, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ]
    return converted(keras.Sequential(stack), tmp_path_factory.mktemp("conv"))


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """With a normalization by hand, whose parts tf2onnx writes as several nodes under one name."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    stack = [
        keras.Input((4,), name="features"),
        layers.Dense(8, activation="relu"),
        layers.LayerNormalization(),
        layers.Dense(8, activation="tanh"),
        layers.Dense(3, activation="softmax"),
    ]
    return converted(keras.Sequential(stack), tmp_path_factory.mktemp("dense"))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_convolution_with_the_wrong_weight_is_named(convolutions, tmp_path, which):
    _, function, path = convolutions
    wrong, node = spoil(path, tmp_path / "wrong.onnx", "Conv", which)
    found = first_divergence(*tensorflow_values(function), wrong, IMAGES, TOLERANCE)
    assert (found.node, found.op) == (node, "Conv")
    assert found.max_rel > 0.01
    assert found.sentence.startswith(f"The first inner value that differs is that of the node '{node}' (Conv), by 0.")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_dense_layer_with_the_wrong_weight_is_named(dense, tmp_path, which):
    _, function, path = dense
    wrong, node = spoil(path, tmp_path / "wrong.onnx", "MatMul", which)
    found = first_divergence(*tensorflow_values(function), wrong, ROWS, TOLERANCE)
    assert (found.node, found.op) == (node, "MatMul")


def test_right_conversions_diverge_nowhere_though_names_stand_at_parts_of_operations(convolutions, dense):
    for (_, function, path), feeds in ((convolutions, IMAGES), (dense, ROWS)):
        values, known = tensorflow_values(function)
        graph = onnx.load(path).graph
        assert sum(name in known for node in graph.node for name in node.output) > 5
        assert first_divergence(values, known, path, feeds, TOLERANCE) is None
    ops = {node.op_type for node in graph.node}
    assert "Sqrt" in ops  # bears the name of the source's Rsqrt


def test_a_wrong_last_node_is_found_by_the_name_of_the_output(dense, tmp_path):
    _, function, path = dense
    model = onnx.load(path)
    last = next(node for node in model.graph.node if "output_0" in node.output)
    last.op_type = "LogSoftmax"
    found = first_divergence(*tensorflow_values(function), model_zoo.save(model, tmp_path / "w.onnx"), ROWS, TOLERANCE)
    assert (found.tensor, found.op) == ("output_0", "LogSoftmax")


def test_small_chunks_find_the_same(dense, tmp_path, monkeypatch):
    _, function, path = dense
    wrong, node = spoil(path, tmp_path / "wrong.onnx", "MatMul", 1)
    monkeypatch.setattr("workbench.export.divergence.CHUNK", 2)
    assert first_divergence(*tensorflow_values(function), wrong, ROWS, TOLERANCE).node == node


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensorflow_lite_files_are_sources_too(dense, tmp_path):
    import tensorflow as tf
    import tf2onnx

    folder = dense[2].parent / "saved"
    lite = tmp_path / "m.tflite"
    lite.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())
    proto, _ = tf2onnx.convert.from_tflite(str(lite), opset=17)
    names = {proto.graph.input[0].name: "features", proto.graph.output[0].name: "output_0"}
    path = model_zoo.save(renamed(proto, names), tmp_path / "m.onnx")
    values, known = tflite_values(lite)
    assert first_divergence(values, known, path, ROWS, TOLERANCE) is None
    for which in range(3):
        wrong, node = spoil(path, tmp_path / "wrong.onnx", "MatMul", which)
        assert first_divergence(values, known, wrong, ROWS, TOLERANCE).node == node


def two_inputs():
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None, 2], tf.float32)
    module.call = tf.function(lambda x, max_x: {"y": x - 2 * max_x}).get_concrete_function(
        tf.TensorSpec.from_spec(spec, "x"), tf.TensorSpec.from_spec(spec, "max_x")
    )
    return module


def test_feeds_go_to_their_own_placeholders(tmp_path):
    """``max_x`` ends with ``x``, too."""
    import tensorflow as tf

    module = two_inputs()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.call})
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    values, _ = tensorflow_values(loaded.signatures["serving_default"])
    x, other = np.ones((1, 2), np.float32), np.full((1, 2), 5, np.float32)
    for feeds in ({"x": x, "max_x": other}, {"max_x": other, "x": x}):
        np.testing.assert_array_equal(values(["y"], feeds)["y"], x - 10)
    with pytest.raises(ExportError, match="there are inputs for other only"):
        values(["y"], {"other": x})


def chain(*ops: str):
    """Nodes in a row, ``x`` to ``y``, with the tensors ``t0``, ``t1``, ... between."""
    names = ["x", *(f"t{i}" for i in range(len(ops) - 1)), "y"]
    nodes = [helper.make_node(op, [names[i]], [names[i + 1]], name=f"n{i}") for i, op in enumerate(ops)]
    return model_zoo.onnx_model(nodes, outputs={"y": ("n", 4)})


def found_between(right, wrong, tmp_path, x):
    values, known = onnx_values(model_zoo.save(right, tmp_path / "right.onnx"))
    return first_divergence(values, known, model_zoo.save(wrong, tmp_path / "wrong.onnx"), {"x": x}, TOLERANCE)


X = np.linspace(0.5, 2, 8, dtype=np.float32).reshape(2, 4)


def test_two_onnx_files_are_compared(tmp_path):
    found = found_between(chain("Exp", "Neg", "Sin"), chain("Exp", "Neg", "Cos"), tmp_path, X)
    assert (found.node, found.tensor) == ("n2", "y")
    assert found_between(chain("Exp", "Neg"), chain("Exp", "Neg"), tmp_path, X) is None


def test_a_difference_that_nothing_after_it_has_is_none(tmp_path):
    # x is positive: its sign is lost in Abs
    assert found_between(chain("Neg", "Abs", "Exp"), chain("Identity", "Abs", "Exp"), tmp_path, X) is None


def test_values_that_are_not_numbers_agree_in_the_same_places_only(tmp_path):
    x = X - 1  # logarithms of negative numbers
    assert found_between(chain("Log", "Neg"), chain("Log", "Neg"), tmp_path, x) is None
    found = found_between(chain("Sqrt", "Neg"), chain("Exp", "Neg"), tmp_path, x)
    assert (found.node, found.max_rel) == ("n0", float("inf"))
    assert found.sentence.endswith("(Exp), in where it is not finite.")


def test_sizes_read_from_a_wrong_tensor_do_not_clear_it(tmp_path):
    def model(op: str):
        nodes = [
            helper.make_node(op, ["x"], ["t"], name="first"),
            helper.make_node("Shape", ["t"], ["s"]),
            helper.make_node("Cast", ["s"], ["y"], to=1),
            helper.make_node("Neg", ["t"], [f"z_{op}"]),  # not known to the other
        ]
        return model_zoo.onnx_model(nodes, outputs={"y": (2,), f"z_{op}": ("n", 4)})

    assert found_between(model("Sin"), model("Cos"), tmp_path, X).node == "first"


def test_a_tensor_of_which_only_the_shape_is_read_is_not_blamed(tmp_path):
    def model(op: str):
        nodes = [
            helper.make_node(op, ["x"], ["t"], name="unread"),
            helper.make_node("Shape", ["t"], ["s"]),
            helper.make_node("Cast", ["s"], ["y"], to=1),
        ]
        return model_zoo.onnx_model(nodes, outputs={"y": (2,)})

    assert found_between(model("Sin"), model("Cos"), tmp_path, X) is None


def test_a_divergence_is_a_plain_record():
    assert Divergence("n", "Conv", "t", 0.5).sentence == (
        "The first inner value that differs is that of the node 'n' (Conv), by 0.5 of its size."
    )


@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors:UserWarning")
def test_inner_values_of_a_tensorflow_lite_file_are_those_of_its_main_signature(tmp_path):
    """The main graph, which is what conversions are made of, need not be the first signature's."""
    values, _ = tflite_values(model_zoo.tflite_two_signatures(tmp_path))
    np.testing.assert_array_equal(values(["y"], {"x": np.full((2, 4), 2, "f4")})["y"], np.full((2, 4), 6))
