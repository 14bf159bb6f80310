"""Whether a model computes each sample by itself."""

from __future__ import annotations

from dataclasses import replace

import model_zoo
import numpy as np
import onnx
import pytest

from workbench.models.inspection import inspect_model
from workbench.models.rows import mixed_outputs, with_sample_index


def net(tmp_path, *nodes, weights=None, **more):
    return model_zoo.save(
        model_zoo.onnx_model(list(nodes), weights or {}, inputs={"x": ("n", 4)}, outputs={"y": ("n", 4)}, **more),
        tmp_path / "net.onnx",
    )


@pytest.mark.parametrize(("axis", "mixed"), [(0, True), (1, False)])
def test_a_softmax_over_the_batch_is_noted(tmp_path, axis, mixed):
    model = inspect_model(net(tmp_path, onnx.helper.make_node("Softmax", ["x"], ["y"], axis=axis)))
    assert any("depends on the other samples of its batch (y)" in note for note in model.notes) == mixed


def test_a_softmax_over_the_batch_of_a_keras_model_is_noted(tmp_path):
    import keras

    x = keras.Input((4,))
    keras.Model(x, keras.layers.Softmax(axis=0)(keras.layers.Dense(3)(x))).save(tmp_path / "net.keras")
    (note,) = inspect_model(tmp_path / "net.keras").notes
    assert note.startswith("The result of a sample depends on the other samples of its batch (output_0)")


def test_random_outputs_are_not_taken_for_mixed_ones(tmp_path):
    path = net(
        tmp_path,
        onnx.helper.make_node("RandomUniformLike", ["x"], ["r"]),
        onnx.helper.make_node("Add", ["x", "r"], ["y"]),
    )
    (note,) = inspect_model(path).notes
    assert note == "The output 'y' depends on random numbers: RandomUniformLike 'r' draws them."


def test_rounding_is_not_mixing(tmp_path):
    model = inspect_model(net(tmp_path, onnx.helper.make_node("Identity", ["x"], ["y"])))

    def rounded(feeds):
        return {"y": (feeds["x"] * (1 + 1e-5 * len(feeds["x"]))).astype(np.float32)}

    def shifted(feeds):
        return {"y": feeds["x"] * (1 + 0.01 * len(feeds["x"]))}

    assert mixed_outputs(model, rounded) == ()
    assert mixed_outputs(model, shifted) == ("y",)
    assert model.probe
    random = replace(model, probe=replace(model.probe, varying={"y": "two runs on the same input differ"}))
    assert mixed_outputs(random, shifted) == ()


def rows_of(pick):
    """A runner: for each sample as many rows as it has positive values, each of what ``pick(place, values)`` gives."""

    def run(feeds):
        found = [pick(place, value) for place, one in enumerate(feeds["x"]) for value in one[one > 0]]
        return {"y": np.array(found, np.float32)}

    return run


@pytest.mark.parametrize(
    ("pick", "column"),
    [
        (lambda place, value: (value, place, 2 * value), 1),
        (lambda place, value: (place, value, value), 0),
        (lambda place, value: (place, value, place), None),  # with one of them 0, the other would still differ
        (lambda place, value: (value, value, float(value > 0.7)), None),  # a class, not a place
        (lambda place, value: (place + 1, value, value), None),
    ],
)
def test_the_column_with_the_place_of_the_sample_is_seen(tmp_path, pick, column):
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    model = inspect_model(net(tmp_path, *nodes))
    spec = replace(model.outputs[0], shape=(None, 3), batch_axis=None, ragged_axis=0)
    (found,) = with_sample_index(replace(model, outputs=(spec,)), rows_of(pick)).outputs
    assert (found.index_output, found.index_column) == (("y", column) if column is not None else ("", 0))


@pytest.mark.parametrize("fixed", [2, "n"])
def test_places_of_nonzero_values_name_their_sample(tmp_path, fixed):
    proto = model_zoo.onnx_model(
        [onnx.helper.make_node("Relu", ["x"], ["r"]), onnx.helper.make_node("NonZero", ["r"], ["y"])],
        inputs={"x": (fixed, 4)},
        outputs={"y": (2, "found")},
    )
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    (spec,) = inspect_model(model_zoo.save(proto, tmp_path / "places.onnx")).outputs
    assert (spec.batch_axis, spec.ragged_axis, spec.index_output, spec.index_column) == (None, 1, "y", 0)


def test_boxes_that_no_made_up_picture_has_are_known_by_their_operation(tmp_path):
    path = model_zoo.onnx_nms(tmp_path / "nms.onnx", 2)
    proto = onnx.load(path)
    least = next(tensor for tensor in proto.graph.initializer if tensor.name == "least")
    least.CopyFrom(onnx.numpy_helper.from_array(np.array([1e6], np.float32), "least"))
    (spec,) = inspect_model(model_zoo.save(proto, path)).outputs
    assert (spec.batch_axis, spec.ragged_axis, spec.index_output, spec.index_column) == (None, 0, "sel", 0)
