"""Whether a model computes each sample by itself."""

from __future__ import annotations

import model_zoo
import numpy as np
import onnx
import pytest

from workbench.models.inspection import inspect_model
from workbench.models.rows import mixed_outputs


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
