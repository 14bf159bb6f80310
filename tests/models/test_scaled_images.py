"""Whether a model itself scales pixels down, so that images are given to it unscaled."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import InputError
from workbench.models.inspection import inspect_model
from workbench.models.pixels import scaled_images


def graph(*steps, shape=("n", 4, 4, 3), more=()):
    """A graph that carries out ``steps`` one after the other: an operator, and the number that is its other input, if any."""
    nodes, name = [], "image"
    stored = {}
    for place, (kind, number) in enumerate(steps):
        inputs = [name]
        if number is not None:
            stored[f"c{place}"] = np.float32(number)
            inputs.append(f"c{place}")
        attributes = (
            {"perm": [0, 3, 1, 2]} if kind == "Transpose" else {"to": TensorProto.FLOAT} if kind == "Cast" else {}
        )
        nodes.append(helper.make_node(kind, inputs, [f"t{place}"], **attributes))
        name = f"t{place}"
    nodes += [helper.make_node("Identity", [name], ["y"]), *more]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(np.asarray(value), key) for key, value in stored.items()]
    return helper.make_graph(nodes, "g", [given], [out], held)


@pytest.mark.parametrize(
    ("steps", "white"),
    [
        ([("Mul", 1 / 255)], 255),
        ([("Div", 255)], 255),
        ([("Mul", 1 / 127.5), ("Sub", 1)], 255),
        ([("Transpose", None), ("Cast", None), ("Div", 255)], 255),
        ([("Div", 65535)], 65535),
        ([("Mul", 2)], None),
        ([("Sub", 0.5), ("Mul", 1 / 255)], None),
        ([("Relu", None)], None),
        ([("Div", 0)], None),
    ],
)
def test_the_first_multiplication_or_division_decides(steps, white):
    assert scaled_images(graph(*steps)) == ({"image": white} if white else {})


def test_inputs_that_are_no_images_or_are_read_elsewhere_are_left_alone():
    assert scaled_images(graph(("Mul", 1 / 255), shape=("n", 12))) == {}
    elsewhere = helper.make_node("Relu", ["image"], ["z"])
    assert scaled_images(graph(("Mul", 1 / 255), more=[elsewhere])) == {}


def test_a_number_in_a_node_counts_as_one_that_is_stored():
    made = graph(("Mul", 1 / 255))
    (held,) = made.initializer
    made.node.insert(0, helper.make_node("Constant", [], ["c0"], value=held))
    del made.initializer[:]
    assert scaled_images(made) == {"image": 255}


def test_the_input_of_a_file_has_the_range(tmp_path):
    import onnx

    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph(("Div", 255)), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (spec,) = inspect_model(path).inputs
    assert (spec.low, spec.high) == (0, 255)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Of a Keras model with these first layers: its SavedModel, frozen graph and TensorFlow Lite file."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def made(name, *first):
        image = keras.Input((8, 8, 3), name="image")
        inner = image
        for layer in first:
            inner = layer(inner)
        padded = keras.layers.ZeroPadding2D()(inner)  # or the converter multiplies the scale into the weights
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=2)(padded))
        model = keras.Model(image, keras.layers.Dense(3)(pooled))
        place = tmp_path_factory.mktemp(name)
        model.export(place / "saved", verbose=False)
        (place / "net.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(place / "saved")).convert())
        function = tf.function(model).get_concrete_function(tf.TensorSpec([None, 8, 8, 3], name="image"))
        frozen = convert_variables_to_constants_v2(function)
        (place / "net.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
        return [place / "saved", place / "net.pb", place / "net.tflite"]

    return made


@pytest.mark.parametrize(
    ("scale", "offset", "white"), [(1 / 255, 0, 255), (1 / 127.5, -1, 255), (1 / 65535, 0, 65535), (2.0, 0, None)]
)
def test_tensorflow_s_formats_have_the_range_too(exports, scale, offset, white):
    import keras

    for path in exports("scaled", keras.layers.Rescaling(scale, offset)):
        (spec,) = inspect_model(path).inputs
        assert (spec.low, spec.high) == ((0, white) if white else (None, None)), path.name


def test_tensorflow_s_formats_without_scaling_have_no_range(exports):
    import keras

    for path in exports("plain", keras.layers.ReLU()):
        (spec,) = inspect_model(path).inputs
        assert (spec.low, spec.high) == (None, None), path.name


def test_a_saved_model_without_a_signature_has_the_range(tmp_path):
    import tensorflow as tf

    class Scaled(tf.Module):
        @tf.function
        def __call__(self, image):
            return tf.reduce_mean(image / 255.0 - 0.5, axis=[1, 2])

    module = Scaled()
    module(tf.zeros([1, 8, 8, 3]))
    tf.saved_model.save(module, tmp_path / "saved")
    model = inspect_model(tmp_path / "saved")
    (spec,) = model.inputs
    assert model.unsigned
    assert (spec.low, spec.high) == (0, 255)


@pytest.mark.parametrize("only_old", [False, True])
def test_a_saved_model_of_tensorflow_1_has_the_range(tmp_path, monkeypatch, only_old):
    import tensorflow as tf

    from workbench.models.formats import saved_model

    def fails(path):
        raise InputError(f"TensorFlow 2 cannot restore {path}")

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, 8, 8, 3], name="image")
        answer = tf.reduce_mean(image * (1 / 255), axis=[1, 2], name="answer")
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"image": image}, {"answer": answer})
    if only_old:
        monkeypatch.setattr(saved_model, "load", fails)
    model = inspect_model(tmp_path / "saved")
    (spec,) = model.inputs
    assert model.legacy == only_old
    assert (spec.low, spec.high) == (0, 255)
