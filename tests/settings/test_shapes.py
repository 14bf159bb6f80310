"""Sizes and values of inputs: what users say, what is guessed, and inputs made up from both."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.samples import Samples, load_samples, save_samples
from workbench.data.synthetic import generated
from workbench.errors import InputError
from workbench.records import AxisRange, TensorSpec
from workbench.settings import shapes

X = TensorSpec("x", "float32", (None, 3, None, None))
STATE = TensorSpec("state", "float32", (2, None, 128))
RATE = TensorSpec("sr", "int64", ())


def test_sizes_and_values_are_parsed():
    assert shapes.parse_shapes("x:0:?x3x32..320..640 ; sr:scalar;") == {"x:0": ("?", 3, (32, 320, 640)), "sr": ()}
    assert shapes.parse_shapes("x:?x1..16") == {"x": ("?", (1, 9, 16))}
    assert shapes.parse_values("sr=16000; ids=0..9") == {"sr": (16000, 16000), "ids": (0, 9)}
    for text in ("x", "x:", ":1x2", "x:axb", "x:9..3", "x:0"):
        with pytest.raises(InputError, match="wanted is"):
            shapes.parse_shapes(text)
    for text in ("sr", "sr=", "sr=a", "sr=5..1", "=4", "x=1..2..3"):
        with pytest.raises(InputError, match="wanted is name=value"):
            shapes.parse_values(text)


def test_the_batch_axis_is_guessed_from_the_signature():
    axes = [spec.batch_axis for spec in shapes.with_batch_axes([X, STATE, RATE])]
    assert axes == [0, 1, None]
    named = {"input": ("batch", "sequence"), "state": ("layers", "batch", "")}
    free = (TensorSpec("input", "float32", (None, None)), TensorSpec("state", "float32", (None, None, 128)))
    assert [spec.batch_axis for spec in shapes.with_batch_axes(free, named)] == [0, 1]
    fixed = (TensorSpec("input", "float32", (1, 576)), TensorSpec("state", "float32", (2, 1, 128)))
    assert [spec.batch_axis for spec in shapes.with_batch_axes(fixed)] == [0, 1]


def test_what_the_user_says_decides():
    x, state, rate = shapes.with_user(
        shapes.with_batch_axes([X, STATE, RATE]), "x:?x3x48x32..320..640; state:2x?x128", "sr=16000"
    )
    assert x.shape == (None, 3, None, None)
    assert x.ranges == (AxisRange(2, 48, 48, 48), AxisRange(3, 32, 320, 640))
    assert (x.sized(4), x.sized(4, "max")) == ((4, 3, 48, 320), (4, 3, 48, 640))
    assert state.batch_axis == 1
    assert (rate.low, rate.high) == (16000, 16000)
    fixed = shapes.with_user([TensorSpec("x", "float32", (1, 4))], "x:?x4", "")[0]
    assert (fixed.shape, fixed.batch_axis) == ((None, 4), 0)
    for text, says in (
        ("y:?", "which the model does not have"),
        ("x:?x3", "gives 2 axes"),
        ("x:?x?x1x1", "several axes"),
    ):
        with pytest.raises(InputError, match=says):
            shapes.with_user([X], text, "")


@pytest.mark.parametrize("kind", ["random", "ramp", "impulse"])
def test_made_up_inputs_keep_to_type_shape_and_range(kind):
    specs = shapes.with_user(
        shapes.with_batch_axes([X, STATE, RATE, TensorSpec("ids", "uint8", (None, 5))]),
        "x:?x3x8x6..9..12",
        "sr=16000; ids=3..9",
    )
    samples = generated(specs, kind, 4)
    feeds = samples.feeds(0, 4)
    assert {name: (array.dtype.name, array.shape) for name, array in feeds.items()} == {
        "x": ("float32", (4, 3, 8, 9)),
        "state": ("float32", (2, 4, 128)),
        "sr": ("int64", ()),
        "ids": ("uint8", (4, 5)),
    }
    assert isinstance(feeds["sr"], np.ndarray)  # ONNX Runtime refuses NumPy's scalars
    assert feeds["sr"] == 16000
    assert 3 <= feeds["ids"].min() <= feeds["ids"].max() <= 9
    if kind != "random":
        image = max(feeds["x"][0], key=np.std)  # an impulse is not in every channel
        assert not np.allclose(image, np.roll(image, 1, axis=0))
        assert not np.allclose(image, np.roll(image, 1, axis=1))
        assert not np.allclose(image[:8, :8], image[:8, :8].T)


def test_samples_with_states_constants_and_text_survive_the_file(tmp_path):
    samples = Samples(
        "mixed",
        {"state": np.arange(24.0).reshape(4, 2, 3), "words": np.array(["a", "bc", "", "é"], dtype=object)},
        np.arange(4),
        {"sr": np.array(16000)},
        {"state": 1},
    )
    save_samples(samples, tmp_path / "s.npz")
    again = load_samples(tmp_path / "s.npz")
    assert again.digest == samples.digest
    feeds = again.feeds(3, 2)
    assert feeds["state"].shape == (2, 2, 3)
    np.testing.assert_array_equal(feeds["state"][:, 0], samples.inputs["state"][3])
    assert list(feeds["words"]) == ["é", "a"]
    assert feeds["sr"].shape == ()


@pytest.mark.parametrize("kind", ["random", "ramp"])
def test_8_bit_inputs_use_their_whole_range_and_wider_ones_stay_small(kind):
    picture = TensorSpec("p", "uint8", (None, 16, 16, 3))
    ids = TensorSpec("ids", "int64", (None, 64))
    made = generated((picture, ids), kind, 4).inputs
    assert made["p"].max() > 200
    assert made["ids"].max() <= 7
