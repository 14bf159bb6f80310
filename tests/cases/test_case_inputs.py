"""Data of usual kinds through the command line: the model sees what the files hold, or they are refused with what to do."""

from __future__ import annotations

import case_runs
import numpy as np
import pandas as pd
import pytest
from case_runs import FLOAT, UINT8, report
from PIL import Image

pytestmark = pytest.mark.long
RNG = np.random.default_rng


def brightness(path, kind=FLOAT, channels=3, threshold=0.5):
    """A network that tells dark images from bright ones: 16 × 16, channels last."""
    weights = np.array([[-1, 1]] * channels, np.float32)
    bias = np.array([threshold, -threshold], np.float32) * channels
    nodes = [
        ("Cast", ["x"], ["real"], {"to": FLOAT}),
        ("ReduceMean", ["real"], ["mean"], {"axes": [1, 2], "keepdims": 0}),
        ("Gemm", ["mean", "w", "b"], ["o"], {}),
    ]
    case_runs.network(path, nodes, [("x", kind, (16, 16, channels))], [("o", FLOAT, (2,))], w=weights, b=bias)


def pictures(folder, count, level, dtype=np.uint8, channels=3):
    """Images around this share of white."""
    folder.mkdir(parents=True)
    white = np.iinfo(dtype).max
    shape = (count, 16, 16) if channels == 1 else (count, 16, 16, channels)
    values = (RNG(count).normal(level, 0.05, shape) * white).clip(0, white).astype(dtype)
    for number, image in enumerate(values):
        Image.fromarray(image).save(folder / f"{number}.png")


def test_pixels_of_a_uint8_input_are_given_as_they_are(tmp_path):
    brightness(tmp_path / "m.onnx", UINT8, threshold=127)
    for name, level in (("0", 0.2), ("1", 0.8)):
        pictures(tmp_path / "set" / name, 40, level)
    done = report(tmp_path, "m.onnx", "set")
    assert done.gives(1.0) or done.is_refused(r"pixels.*0\.\.255")


def test_images_of_16_bits_keep_their_range(tmp_path):
    brightness(tmp_path / "m.onnx", channels=1)
    for name, level in (("0", 0.2), ("1", 0.8)):
        pictures(tmp_path / "set" / name, 40, level, np.uint16, channels=1)
    done = report(tmp_path, "m.onnx", "set")
    assert done.gives(1.0) or done.is_refused("I;16")


def test_the_root_of_a_data_set_is_refused_and_a_part_of_it_is_right(tmp_path):
    brightness(tmp_path / "m.onnx")
    for part, counts in (("train", (30, 15)), ("val", (12, 20))):
        for name, count, level in zip(("no", "yes"), counts, (0.2, 0.8), strict=True):
            pictures(tmp_path / "set" / part / name, count, level)
    assert report(tmp_path, "m.onnx", "set").is_refused("train", "val", r"set/val")
    done = report(tmp_path, "m.onnx", "set/val")
    assert done.gives(1.0)
    assert "32 samples" in done.text


@pytest.fixture
def table(tmp_path):
    """Four features, the last of which is 0 or 1; three classes; and the accuracy of the network on them."""
    rng = RNG(3)
    x = rng.normal(0, 1, (200, 4)).round(3).astype(np.float32)
    x[:, 3] = x[:, 3] > 0
    weights = rng.normal(0, 1, (4, 3)).astype(np.float32)
    case_runs.linear(tmp_path / "m.onnx", weights)
    found = (x @ weights).argmax(1)
    labels = case_runs.noisy(found, 3, 0.3, rng)
    return pd.DataFrame(x, columns=["size", "weight", "age", "member"]).assign(y=labels), float(
        (found == labels).mean()
    )


def test_a_column_of_true_and_false_is_1_and_0(tmp_path, table):
    frame, right = table
    frame.assign(member=frame.member > 0).to_csv(tmp_path / "t.csv", index=False)
    done = report(tmp_path, "m.onnx", "t.csv")
    assert done.gives(right) or done.is_refused("member")


def test_no_row_is_lost_where_a_table_has_no_names(tmp_path, table):
    frame, _ = table
    frame.drop(columns="y").to_csv(tmp_path / "t.csv", index=False, header=False)
    done = report(tmp_path, "m.onnx", "t.csv")
    assert (done.status == 0 and "200 samples" in done.text) or done.is_refused("first line", "names")


def test_numbers_that_an_input_does_not_hold_are_refused(tmp_path):
    nodes = [("Cast", ["id"], ["real"], {"to": FLOAT}), ("Gemm", ["real", "w", "b"], ["o"], {})]
    constants = {"w": np.array([[-1, 1]], np.float32), "b": np.array([150.5, -150.5], np.float32)}
    case_runs.network(tmp_path / "m.onnx", nodes, [("id", UINT8, (1,))], [("o", FLOAT, (2,))], **constants)
    ids = np.arange(0, 330, 3)
    pd.DataFrame({"id": ids, "y": (ids > 150).astype(int)}).to_csv(tmp_path / "t.csv", index=False)
    assert report(tmp_path, "m.onnx", "t.csv").is_refused("column 'id'", "0 to 255")


def test_codes_with_leading_zeros_stay_text(tmp_path):
    import keras

    known = ["00501", "10115", "98101"]
    code = keras.Input((1,), dtype="string", name="code")
    place = keras.layers.StringLookup(vocabulary=known, output_mode="one_hot")(code)
    same = keras.layers.Dense(4, use_bias=False, kernel_initializer="identity")(place)
    keras.Model(code, same).save(tmp_path / "m.keras")
    numbers = RNG(4).integers(0, 3, 120)
    labels = case_runs.noisy(numbers + 1, 4, 0.3, RNG(5))
    pd.DataFrame({"code": np.array(known)[numbers], "y": labels}).to_csv(tmp_path / "t.csv", index=False)
    done = report(tmp_path, "m.keras", "t.csv", backends="tensorflow")
    assert done.gives(float((numbers + 1 == labels).mean()))


def test_images_with_their_channels_first_get_the_line_to_write(tmp_path):
    weights = RNG(6).normal(0, 1, (3, 4)).astype(np.float32)
    nodes = [
        ("ReduceMean", ["x"], ["mean"], {"axes": [1, 2], "keepdims": 0}),
        ("MatMul", ["mean", "w"], ["o"], {}),
    ]
    case_runs.network(tmp_path / "m.onnx", nodes, [("x", FLOAT, (6, 6, 3))], [("o", FLOAT, (4,))], w=weights)
    x = (RNG(7).normal(0, 1, (80, 1, 1, 3)) + RNG(8).normal(0, 0.1, (80, 6, 6, 3))).astype(np.float32)
    labels = (x.mean((1, 2)) @ weights).argmax(1)
    np.savez(tmp_path / "first.npz", x=x.transpose(0, 3, 1, 2), y=labels)
    done = report(tmp_path, "m.onnx", "first.npz")
    assert done.is_refused(r"x\.transpose\(0, 2, 3, 1\)")
    assert "Reshape it" not in done.text
