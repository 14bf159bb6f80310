"""Which numbers a conversion is compared on, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import model_zoo
import numpy as np
import onnx
import pytest
from converting import convert_model, notes_of

from workbench.data.samples import Samples
from workbench.models.inspection import inspect_model


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_full_integer_file_becomes_an_onnx_file_that_gives_real_numbers(tmp_path, kind):
    import keras

    x = np.random.default_rng(2).uniform(0, 1, (100, 8)).astype(np.float32)
    network = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(3)])
    network.layers[-1].set_weights([np.linspace(-0.5, 0.5, 24, dtype=np.float32).reshape(8, 3), np.float32([-1, 0, 1])])
    model = inspect_model(model_zoo.tflite_integers(tmp_path / "m.tflite", network, x, kind))
    check = convert_model(model, tmp_path / "m.onnx")
    assert "the integer output 'output_0' is scaled to real numbers in the graph" in check.repairs
    spec = model.inputs[0]
    stored = np.clip(np.round(x / spec.scale) + spec.zero_point, *_ends(kind)).astype(kind)
    found = model_zoo.run_onnx(tmp_path / "m.onnx", {"x": stored})["output_0"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, network(x).numpy(), atol=0.02)
    assert check.max_abs_diff < 0.02


def _ends(kind: str) -> tuple[int, int]:
    return np.iinfo(kind).min, np.iinfo(kind).max


def _quantized_end(path: Path, kind: type, opset: int = 21) -> Path:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("QuantizeLinear", ["h", "s", "z"], ["q"]),
        onnx.helper.make_node("Reshape", ["q", "shape"], ["y"]),
    ]
    weights = {
        "w": np.eye(4, dtype=np.float32)[:, :3].copy(),
        "s": np.float32(0.25),
        "z": kind(3),
        "shape": np.array([-1, 3]),
    }
    proto = model_zoo.onnx_model(nodes, weights, outputs={"y": ("n", 3)}, opset=opset)
    proto.ir_version = 10
    proto.graph.output[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return model_zoo.save(proto, path)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16])
def test_an_onnx_file_that_ends_in_a_quantization_gives_real_numbers(tmp_path, kind):
    model = inspect_model(_quantized_end(tmp_path / "q.onnx", kind))
    assert (model.outputs[0].scale, model.outputs[0].zero_point) == (0.25, 3)
    convert_model(model, tmp_path / "out.onnx")
    x = np.float32([[-0.5, 0.26, 7, 0], [0, 1, 2, 3]])
    found = model_zoo.run_onnx(tmp_path / "out.onnx", {"x": x})["y"]
    np.testing.assert_array_equal(found, np.float32([[-0.5, 0.25, 7], [0, 1, 2]]))


def test_the_same_numbers_are_only_claimed_where_they_were_seen(tmp_path):
    """A weight of NaN makes an output NaN, and NaN in the same places was called agreement."""
    weights = np.ones((4, 3), np.float32)
    same = "it gives the same numbers"
    for value, name in ((1.0, "fine"), (np.nan, "nan")):
        weights[0, 0] = value
        nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
        model = inspect_model(model_zoo.save(model_zoo.onnx_model(nodes, {"w": weights}), tmp_path / f"{name}.onnx"))
        reported = notes_of(convert_model(model, tmp_path / "out.onnx"))
        assert (same in reported) == (name == "fine")
        partly = "the model itself gives NaN or infinity in 'y'; only its finite values were compared."
        assert (partly in reported) == (name == "nan")
    weights[0] = np.nan
    model = inspect_model(model_zoo.save(model_zoo.onnx_model(nodes, {"w": weights}), tmp_path / "all.onnx"))
    reported = notes_of(convert_model(model, tmp_path / "out.onnx"))
    assert "the model itself gives NaN or infinity in 'y'; it was not compared." in reported
    assert same not in reported
    assert "compared on" not in reported


def test_what_the_model_does_not_repeat_is_not_compared(tmp_path):
    nodes = [
        onnx.helper.make_node("RandomNormalLike", ["x"], ["r"]),
        onnx.helper.make_node("Add", ["x", "r"], ["noise"]),
        onnx.helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = {"w": np.ones((4, 3), np.float32)}
    proto = model_zoo.onnx_model(nodes, weights, outputs={"noise": ("n", 4), "y": ("n", 3)})
    check = convert_model(inspect_model(model_zoo.save(proto, tmp_path / "r.onnx")), tmp_path / "out.onnx")
    (hop,) = check.hops
    assert (hop.compared, hop.uncompared) == (("y",), ("noise",))
    reported = notes_of(check)
    assert "'noise' was not compared with the source, because the model does not repeat itself there." in reported
    assert "compared on random, ramp, impulse inputs" in reported  # the other output was
    del proto.graph.output[1], proto.graph.node[2]
    check = convert_model(inspect_model(model_zoo.save(proto, tmp_path / "r.onnx")), tmp_path / "out.onnx")
    assert "compared on" not in notes_of(check)
    assert "same numbers" not in notes_of(check)


@pytest.mark.parametrize("rows", [1, "n"])
def test_outputs_whose_rows_follow_the_data_convert(tmp_path, rows):
    """'sel' has the shape [4, 3], but 10 entries were expected: with a batch of 1 as well as a free one."""
    import tensorflow as tf

    check = convert_model(inspect_model(model_zoo.onnx_nms(tmp_path / "nms.onnx", rows)), tmp_path / "out.onnx")
    assert check.max_rel_diff == 0

    class Places(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def serve(self, x):
            return {"at": tf.where(x > 0)}

    module = Places()
    tf.saved_model.save(module, str(tmp_path / "where"), signatures={"serving_default": module.serve})
    convert_model(inspect_model(tmp_path / "where"), tmp_path / "where.onnx")
    x = np.float32([[1, -1, 0, 2], [-1, -1, -1, 3]])
    np.testing.assert_array_equal(model_zoo.run_onnx(tmp_path / "where.onnx", {"x": x})["at"], np.argwhere(x > 0))


def test_a_row_at_the_threshold_of_a_selection_is_chance(tmp_path, monkeypatch):
    """Rounding puts it on either side; the other inputs must still agree."""
    from workbench.export import convert as tested

    nodes = [
        onnx.helper.make_node("Greater", ["x", "zero"], ["above"]),
        onnx.helper.make_node("NonZero", ["above"], ["y"]),
    ]
    proto = model_zoo.onnx_model(nodes, {"zero": np.float32(0.25)}, outputs={"y": (2, "found")})
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    model = inspect_model(model_zoo.save(proto, tmp_path / "where.onnx"))
    assert model.outputs[0].ragged_axis == 1

    below = onnx.numpy_helper.from_array(np.nextafter(np.float32(0.25), np.float32(0)), "zero")
    # the conversion compares with a threshold that is lower in its last digit
    monkeypatch.setattr(tested, "_check", lambda proto, name: proto.graph.initializer[0].CopyFrom(below))
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    x[0, 0] = 0.25
    check = convert_model(model, tmp_path / "out.onnx", Samples("edge", {"x": x}))
    (hop,) = check.hops
    assert hop.ill_conditioned == ("real",)
    assert set(hop.inputs) == {"real", "random", "ramp", "impulse"}
