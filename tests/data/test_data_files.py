"""Folders of images and tables, as arrays that all engines share."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from workbench.accuracy.metrics import METRICS
from workbench.data.dataset import dataset
from workbench.data.labels import Labelling
from workbench.errors import InputError
from workbench.records import Model, TensorSpec
from workbench.settings.pixels import scaling


def model(*inputs, classes=3):
    return Model("m", "m", "onnx", inputs, (TensorSpec("y", "float32", (None, classes)),), 1, 1, "d")


LAST = TensorSpec("image", "float32", (None, 8, 6, 3))


def folder(root, names=("ant", "bee", "cat"), each=3, size=(12, 16), mode="RGB"):
    """Images of one color by class: class 0 is black, 1 gray, 2 white."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for count in range(each):
            gray = min(255, 127 * number + count)
            Image.new(mode, size, gray if mode == "L" else (gray, 0, 255 - gray)).save(root / name / f"{count}.png")
    return str(root)


def test_a_sub_folder_is_a_class_and_all_are_shuffled_once(tmp_path):
    path = folder(tmp_path / "set")
    found = dataset(path, model(LAST), 0, 0, demo=False)
    images, labels = found.test.inputs["image"], found.test.labels
    assert (images.shape, images.dtype) == ((9, 8, 6, 3), np.float32)
    reds = {0: {0, 1, 2}, 1: {127, 128, 129}, 2: {254, 255}}
    for image, label in zip(images, labels, strict=True):
        assert round(float(image[0, 0, 0]) * 255) in reds[int(label)]
    assert labels.tolist() != sorted(labels.tolist())
    assert dataset(path, model(LAST), 0, 1, demo=False).test.digest == found.test.digest
    assert (
        "images cropped to the middle and resized to 6 × 8, 0 to 255 as 0..1; classes by folder: ant is 0, bee is 1, cat is 2"
        in found.description
    )


@pytest.mark.parametrize(
    ("spec", "pixels", "shape", "red", "blue"),
    [
        (LAST, "-1..1", (8, 6, 3), -1, 1),
        (LAST, "0..255", (8, 6, 3), 0, 255),
        (LAST, "imagenet", (8, 6, 3), -0.485 / 0.229, (1 - 0.406) / 0.225),
        (TensorSpec("image", "float32", (None, 3, 8, 6)), "0..1", (3, 8, 6), 0, 1),
        (TensorSpec("image", "uint8", (None, 8, 6, 3)), "0..255", (8, 6, 3), 0, 255),
    ],
)
def test_pixels_and_channels_are_as_the_model_takes_them(tmp_path, spec, pixels, shape, red, blue):
    found = dataset(folder(tmp_path, each=1), model(spec), 0, 0, demo=False, pixels=pixels).test
    (image,) = found.inputs["image"][found.labels == 0]
    assert (image.shape, str(image.dtype)) == (shape, spec.dtype)
    channels = image if shape[0] == 3 else image.transpose(2, 0, 1)
    assert channels[0].mean() == pytest.approx(red, abs=1e-5)
    assert channels[2].mean() == pytest.approx(blue, abs=1e-5)


def test_numbers_as_names_are_the_classes_and_gray_is_one_channel(tmp_path):
    path = folder(tmp_path, names=("0", "10", "2"), each=1, mode="L")
    gray = TensorSpec("image", "float32", (None, 8, 6, 1))
    found = dataset(path, model(gray, classes=11), 0, 0, demo=False).test
    assert {int(label): round(float(image.mean()) * 255) for image, label in zip(found.inputs["image"], found.labels, strict=True)} == {
        0: 0, 10: 127, 2: 254,
    }  # fmt: skip


def test_the_middle_is_kept_where_the_shape_differs(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 9:15] = 255
    (tmp_path / "one").mkdir()
    Image.fromarray(wide).save(tmp_path / "one" / "wide.png")
    spec = TensorSpec("image", "float32", (None, 8, 6, 3))
    found = dataset(str(tmp_path / "one"), model(spec), 0, 0, demo=False).test
    assert found.inputs["image"].min() > 0.9
    assert found.labels is None


@pytest.mark.parametrize(("case", "says"), [
    ("names", r"has 3 sub-folders, and the model has 5 classes, .* Name the sub-folders by class number"),
    ("none", "contains no images"),
    ("broken", "broken.png' cannot be read"),
    ("shape", "does not take images"),
    ("two", "A folder of images feeds one input, and the model has 2"),
    ("pixels", "found '1..0'. Give a range such as 0..1"),
])  # fmt: skip
def test_what_is_not_a_folder_of_images_for_this_model_says_why(tmp_path, case, says):
    path, what, pixels = folder(tmp_path / "set"), model(LAST), "0..1"
    if case == "names":
        what = model(LAST, classes=5)
    elif case == "none":
        (tmp_path / "empty").mkdir()
        path = str(tmp_path / "empty")
    elif case == "broken":
        (tmp_path / "set" / "ant" / "broken.png").write_bytes(b"no image")
    elif case == "shape":
        what = model(TensorSpec("x", "float32", (None, 3)))
    elif case == "two":
        what = model(LAST, LAST)
    else:
        pixels = "1..0"
    with pytest.raises(InputError, match=says):
        dataset(path, what, 0, 0, demo=False, pixels=pixels)


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    return str(tmp_path / "t.csv")


def test_a_table_feeds_one_wide_input_with_all_its_columns(tmp_path):
    path = table(tmp_path, "a,y,b\n1,0,0.5\n2,1,1.5\n3,2,2.5\n")
    found = dataset(path, model(TensorSpec("x", "float32", (None, 2))), 1, 0, demo=False)
    assert found.test.inputs["x"].tolist() == [[2, 1.5], [3, 2.5]]
    assert found.test.labels.tolist() == [1, 2]
    assert found.calibration.inputs["x"].tolist() == [[1, 0.5]]


def test_a_table_feeds_several_inputs_by_name(tmp_path):
    path = table(tmp_path, "age,pair_0,pair_1,label\n30,1,2,0\n40,3,4,1\n")
    specs = TensorSpec("age", "int64", (None, 1)), TensorSpec("pair", "float32", (None, 2))
    found = dataset(path, model(*specs), 0, 0, demo=False).test
    assert found.inputs["age"].tolist() == [[30], [40]]
    assert found.inputs["pair"].tolist() == [[1, 2], [3, 4]]
    assert found.inputs["age"].dtype == np.int64


@pytest.mark.parametrize(("text", "says"), [
    ("a,b,y\n1,,0\n", "Line 2 of 't.csv' has an empty cell"),
    ("a,b,y\n1,red,0\n", "The column 'b' of 't.csv' does not hold numbers"),
    ("a,y\n1,0\n", "takes 2 values per line of 't.csv', and there are 1 columns for it"),
    ("", "is not a readable CSV file"),
])  # fmt: skip
def test_a_table_that_does_not_fit_says_where(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        dataset(table(tmp_path, text), model(TensorSpec("x", "float32", (None, 2))), 0, 0, demo=False)


def test_what_labels_are_goes_by_the_metric_and_the_model(tmp_path):
    np.savez(
        tmp_path / "d.npz",
        x=np.ones((4, 2), np.float32) * np.arange(4, dtype=np.float32)[:, None],
        y=np.full((4, 3), 0.5),
    )
    what = model(TensorSpec("x", "float32", (None, 2)))
    with pytest.raises(InputError, match=r"are real values\. Set 'metric' to one of: rmse, mae"):
        dataset(str(tmp_path / "d.npz"), what, 0, 0, demo=False)
    labelling = Labelling(METRICS["rmse"])
    found = dataset(str(tmp_path / "d.npz"), what, 0, 0, demo=False, labelling=labelling)
    assert (found.test.truth.kind, found.test.labels.shape) == ("values", (4, 3))
    assert found.description == "4 samples of d.npz; labels: real values"


def test_ranges_of_pixels():
    assert (scaling("0..1"), scaling("-1 .. 1"), scaling("imagenet")) == ((0, 1), (-1, 1), None)
