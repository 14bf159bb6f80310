"""Models of usual kinds through the command line: their numbers are right, or what they do is said in words."""

from __future__ import annotations

import math
import re

import case_runs
import numpy as np
import pytest
from case_runs import FLOAT, INT64, inspect, report

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:::tensorflow"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
RNG = np.random.default_rng


def test_convolutions_of_one_axis_are_counted(tmp_path):
    import keras

    layers = keras.layers
    keras.Sequential([
        layers.Input((16, 3)), layers.SeparableConv1D(6, 3, padding="same"),
        layers.Conv1DTranspose(4, 4, strides=2, padding="same"),
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2), layers.GlobalMaxPooling1D(), layers.Dense(3),
    ]).save(tmp_path / "m.keras")  # fmt: skip
    done = inspect(tmp_path, "m.keras")
    depthwise, pointwise = 2 * 16 * 3 * 3, 2 * 16 * 3 * 6
    transposed, dilated, dense = 2 * 16 * 4 * 6 * 4, 2 * 32 * 3 * 4 * 4, 2 * 4 * 3
    assert done.status == 0
    assert "index out of range" not in done.text
    assert "not counted: the shape" not in done.text
    count = re.search(r"([\d.,]+) ?(k|thousand|thousand )? ?FLOPs?", done.text)
    assert count, done.text
    found = float(count[1].replace(",", "")) * (1000 if count[2] else 1)
    assert found == pytest.approx(depthwise + pointwise + transposed + dilated + dense, rel=0.03)


def test_layers_that_augment_are_passed_through(tmp_path):
    import keras

    layers = keras.layers
    keras.Sequential([
        layers.Input((8, 8, 3)), layers.RandomFlip(name="mirror"), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(),
    ]).save(tmp_path / "m.keras")  # fmt: skip
    done = inspect(tmp_path, "m.keras")
    assert "Traceback" not in done.text
    assert "AssignVariableOp" not in done.text
    differences = [float(each) for each in re.findall(r"relative difference ([\d.e+-]+)", done.text)]
    assert (differences and max(differences) < 1e-4) or re.search("mirror|RandomFlip", done.text)


def test_a_model_that_gives_nan_claims_no_accuracy(tmp_path):
    rng = RNG(21)
    weights = rng.normal(0, 1, (4, 3)).astype(np.float32)
    weights[0, 0] = np.nan
    case_runs.linear(tmp_path / "m.onnx", weights)
    x = rng.normal(0, 1, (90, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=rng.integers(0, 3, 90))
    done = report(tmp_path, "m.onnx", "d.npz", backends="onnxruntime,openvino")
    assert re.search(r"(?i)'o'.*(nan|not finite)|(nan|not finite).*'o'", done.text)
    assert "90" in done.text
    assert all(map(math.isnan, done.scores))
    looked = inspect(tmp_path, "m.onnx")
    assert re.search("(?i)nan|not finite", looked.text)
    assert "it gives the same numbers" not in looked.text


def test_a_detector_whose_rows_follow_the_image_is_timed(tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    constants = {"most": np.array([4]), "overlap": np.array([0.5], np.float32), "least": np.array([0.2], np.float32)}
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["chosen"])], "detector",
        [helper.make_tensor_value_info("boxes", FLOAT, [1, 12, 4]), helper.make_tensor_value_info("scores", FLOAT, [1, 2, 12])],
        [helper.make_tensor_value_info("chosen", INT64, ["rows", 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    rng = RNG(22)
    boxes = np.sort(rng.uniform(0, 1, (30, 12, 4)), -1).astype(np.float32)
    np.savez(tmp_path / "d.npz", boxes=boxes, scores=rng.uniform(0, 1, (30, 2, 12)).astype(np.float32))
    done = report(tmp_path, "m.onnx", "d.npz")
    assert "Traceback" not in done.text
    timed = done.status == 0 and done.rows is not None and (done.rows.p50_ms > 0).all()
    assert timed or re.search("length .*known only after|rows follow", done.text)


def test_a_model_that_draws_random_numbers_is_named_so(tmp_path):
    nodes = [("RandomNormalLike", ["x"], ["noise"], {}), ("Add", ["x", "noise"], ["o"], {})]
    case_runs.network(tmp_path / "m.onnx", nodes, [("x", FLOAT, (4,))], [("o", FLOAT, (4,))])
    np.savez(tmp_path / "d.npz", x=RNG(23).normal(0, 1, (60, 4)).astype(np.float32))
    looked = inspect(tmp_path, "m.onnx")
    words = r"(?i)random|does not repeat|differ.* same input|same input.* differ"
    assert re.search(words, looked.text.replace("random.onnx", ""))
    assert "it gives the same numbers" not in looked.text
    done = report(tmp_path, "m.onnx", "d.npz", backends="onnxruntime,openvino")
    assert re.search(words, done.text)


def quantized(folder, layer, set_to, kind, x):
    """A TensorFlow Lite file with integers of this type in and out, and its own interpreter's answers, scaled back."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.layers.Input(x.shape[1:], name="x"), layer])
    layer.set_weights(set_to)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in x[:60])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = kind
    (folder / "m.tflite").write_bytes(converter.convert())
    engine = tf.lite.Interpreter(str(folder / "m.tflite"))
    fed, found = engine.get_input_details()[0], engine.get_output_details()[0]
    engine.resize_tensor_input(fed["index"], x.shape)
    engine.allocate_tensors()
    (scale, zero), ends = fed["quantization"], np.iinfo(fed["dtype"])
    engine.set_tensor(fed["index"], (np.round(x / scale) + zero).clip(ends.min, ends.max).astype(fed["dtype"]))
    engine.invoke()
    scale, zero = found["quantization"]
    return (engine.get_tensor(found["index"]).astype(np.float64) - zero) * scale


@pytest.fixture
def dense():
    import keras

    return keras.layers.Dense


def test_a_yes_or_no_in_8_bits_is_scaled_back(tmp_path, dense):
    import tensorflow as tf

    x = RNG(24).uniform(0, 1, (150, 8)).astype(np.float32)
    labels = (x.sum(1) > 4).astype(np.int64)
    weights = [np.full((8, 1), 4, np.float32), np.array([-16], np.float32)]
    found = quantized(tmp_path, dense(1, activation="sigmoid"), weights, tf.int8, x)[:, 0]
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    done = report(tmp_path, "m.tflite", "d.npz", backends="litert", precisions="int8")
    assert done.gives(float(((found > 0.5) == labels).mean()))


@pytest.mark.parametrize("places", [1, 5])
def test_scores_in_8_bits_are_ranked_without_wrapping(tmp_path, dense, places):
    import tensorflow as tf

    rng = RNG(25)
    x, weights = rng.normal(0, 1, (150, 8)).astype(np.float32), rng.normal(0, 1, (8, 12)).astype(np.float32)
    labels = case_runs.noisy((x @ weights).argmax(1), 12, 0.3, rng)
    found = quantized(tmp_path, dense(12, activation="softmax"), [weights, np.zeros(12, np.float32)], tf.uint8, x)
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    done = report(tmp_path, "m.tflite", "d.npz", "--metric", f"top-{places}", backends="litert", precisions="int8")
    best = np.argsort(-found, axis=1, kind="stable")[:, :places]
    assert done.gives(float((best == labels[:, None]).any(1).mean()))


def test_a_regression_in_8_bits_is_scaled_back(tmp_path, dense):
    import tensorflow as tf

    x = RNG(26).uniform(0, 1, (150, 8)).astype(np.float32)
    weights = [np.full((8, 1), 0.5, np.float32), np.array([-1], np.float32)]
    found = quantized(tmp_path, dense(1), weights, tf.uint8, x)[:, 0]
    truth = x.sum(1) * 0.5 - 1
    np.savez(tmp_path / "d.npz", x=x, y=truth)
    done = report(tmp_path, "m.tflite", "d.npz", "--metric", "rmse", backends="litert", precisions="int8")
    assert done.gives(float(np.sqrt(((found - truth) ** 2).mean())), 1e-4)
