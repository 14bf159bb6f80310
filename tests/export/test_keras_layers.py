"""Keras models are converted to ONNX as they compute at inference; what cannot be expressed is refused by the layer's name."""

from __future__ import annotations

from pathlib import Path

import keras_layers
import model_zoo
import numpy as np
import onnx
import pytest
from converting import convert_model

from workbench.errors import ExportError
from workbench.export import blame
from workbench.models.inspection import inspect_model

SUBSET = (
    "Conv2D groups=2", "Conv3D groups=2", "RandomFlip", "MixUp", "MelSpectrogram", "Discretization", "IntegerLookup",
    "IntegerLookup multi_hot", "Resizing lanczos3", "Resizing area", "Resizing bicubic", "ops.argmax", "ops.slice_update",
    "ops.irfft", "GroupNormalization", "MultiHeadAttention",
)  # fmt: skip
REFUSED = {"Hashing": "'hashing' (Hashing)", "HashedCrossing": "'hashed_crossing' (HashedCrossing)"}


def saved(model, folder: Path) -> Path:
    path = folder / "model.keras"
    model.save(path)
    return path


def built(name: str):
    import keras

    keras.backend.clear_session()
    return keras_layers.build(name)


@pytest.mark.parametrize("name", [*SUBSET[:3], *(pytest.param(name, marks=pytest.mark.long) for name in SUBSET[3:])])
def test_a_layer_converts_and_computes_what_keras_computes(tmp_path, name):
    """Compared a second time with Keras itself, on other inputs than the conversion was compared on."""
    model = inspect_model(saved(built(name), tmp_path))
    check = convert_model(model, tmp_path / "model.onnx")
    assert check.batches == (1, 7)
    made = built(name)
    draw = np.random.default_rng(5)
    feeds = {
        spec.name: draw.standard_normal((5, *spec.shape[1:])).astype("f")
        if spec.dtype == "float32"
        else draw.integers(0, 8, (5, *spec.shape[1:])).astype(spec.dtype)
        for spec in model.inputs
    }
    given = [feeds[tensor.name] for tensor in made.inputs]
    wanted = made(given if len(given) > 1 else given[0], training=False)
    found = model_zoo.run_onnx(tmp_path / "model.onnx", feeds)
    for number, array in enumerate(wanted if isinstance(wanted, list | tuple) else [wanted]):
        np.testing.assert_allclose(found[f"output_{number}"], np.asarray(array), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_onnx_cannot_express_is_refused_by_the_name_of_the_layer(tmp_path, name):
    with pytest.raises(ExportError) as error:
        convert_model(inspect_model(saved(built(name), tmp_path)), tmp_path / "model.onnx")
    assert f"cannot be expressed in ONNX: {REFUSED[name]}: " in error.value.message
    assert "Other routes" not in error.value.message
    assert len(error.value.message) < 300


def test_every_layer_class_has_a_small_model():
    names = {name.partition(" ")[0] for name in keras_layers.small_models()}
    assert not set(keras_layers.layer_classes()) - names
    assert len(names) > 250
    assert len(keras_layers.architectures()) >= 40


def test_a_grouped_convolution_stays_one_convolution(tmp_path):
    convert_model(inspect_model(saved(built("Conv2D groups=2"), tmp_path)), tmp_path / "model.onnx")
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    (convolution,) = (node for node in nodes if node.op_type == "Conv")
    assert {each.name: each.i for each in convolution.attribute}["group"] == 2


def test_a_grouped_convolution_in_the_users_saved_model_converts(tmp_path):
    built("Conv2D groups=2").export(tmp_path / "exported", verbose=False)
    assert convert_model(inspect_model(tmp_path / "exported"), tmp_path / "model.onnx").max_rel_diff < 1e-5


def test_an_integer_lookup_in_the_users_saved_model_converts(tmp_path):
    built("IntegerLookup").export(tmp_path / "exported", verbose=False)
    assert convert_model(inspect_model(tmp_path / "exported"), tmp_path / "model.onnx").max_rel_diff == 0


def test_augmentation_followed_by_layers_passes_images_through(tmp_path):
    import keras

    la = keras.layers
    layers = [
        la.RandomFlip(),
        la.RandomRotation(0.2),
        la.RandomContrast(0.3),
        la.Conv2D(4, 3),
        la.GlobalAveragePooling2D(),
    ]
    model = keras.Sequential([la.Input((8, 8, 3), name="input_layer"), *layers])
    convert_model(inspect_model(saved(model, tmp_path)), tmp_path / "model.onnx")
    images = np.random.default_rng(0).random((3, 8, 8, 3)).astype("f")
    wanted = keras.Sequential(layers[3:])(images)
    (found,) = model_zoo.run_onnx(tmp_path / "model.onnx", {"input_layer": images}).values()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_layer_that_keeps_its_state_is_refused_by_name(tmp_path):
    import keras

    x = keras.Input(batch_shape=(2, 5, 3))
    path = saved(keras.Model(x, keras.layers.LSTM(4, stateful=True, name="memory")(x)), tmp_path)
    with pytest.raises(
        ExportError, match=r"The layer 'memory' \(LSTM\) of 'model' keeps a state from one call to the next"
    ):
        convert_model(inspect_model(path), tmp_path / "model.onnx")


def test_random_numbers_in_a_saved_model_are_named(tmp_path):
    """Keras' own export leaves augmentation in training mode."""
    built("RandomRotation").export(tmp_path / "exported", verbose=False)
    with pytest.raises(ExportError, match=r"'exported', in '.*random_rotation.*', draws random numbers at inference"):
        convert_model(inspect_model(tmp_path / "exported"), tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("functional_1/hashing_1/hash", "'hashing' (Hashing)"),
        ("functional_1/block_1/conv_1_1/Conv2D", "'conv_1' (Conv2D)"),
        ("functional_1/conv_1/Conv2D", "'conv' (Conv2D)"),
        ("functional_1/Reshape", ""),
        ("hashing", ""),
    ],
)
def test_the_innermost_layer_of_a_node_is_found(node, layer):
    layers = {"hashing": "Hashing", "conv": "Conv2D", "conv_1": "Conv2D", "block": "Sequential"}
    assert blame.layer_of(node, layers) == layer


def test_a_handler_that_cannot_convert_a_form_is_a_refusal(tmp_path):
    """Only the sign bit of a float can be read."""
    with pytest.raises(ExportError, match=r"cannot be expressed in ONNX: Bitcast"):
        convert_model(inspect_model(saved(built("ops.view"), tmp_path)), tmp_path / "model.onnx")
