import numpy as np
import pytest

from workbench.data.dataset import dataset, digits
from workbench.data.samples import Samples
from workbench.data.splits import drawn, more_set_aside, row_digests, without_overlap
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

SPEC = (TensorSpec("x", "float32", (None, 3)),)
MODEL = Model("m", "m", "onnx", SPEC, (TensorSpec("y", "float32", (None, 2)),), 1, 1, "d")


def rows(*values):
    return np.repeat(np.array(values, np.float32)[:, None], 3, axis=1)


def npz(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


def test_no_digit_calibrates_and_tests():
    _, calibration, test = digits()
    both = set(row_digests(calibration)) & set(row_digests(test))
    assert both == set()
    assert len(set(row_digests(test))) > 1400


def test_a_row_is_recognized_by_all_inputs_and_their_types():
    first = Samples("a", {"x": rows(1, 2), "z": rows(5, 5)})
    assert row_digests(first)[0] != row_digests(first)[1]
    assert row_digests(first)[0] == row_digests(Samples("b", {"z": rows(5), "x": rows(1)}, np.array([7])))[0]
    assert row_digests(first)[0] != row_digests(Samples("c", {"x": rows(1), "z": rows(6)}))[0]
    assert row_digests(Samples("d", {"x": rows(1)})) != row_digests(Samples("d", {"x": rows(1).astype(np.float64)}))


@pytest.mark.parametrize("arrays", [
    {"x": rows(1, 2, 3, 1, 4, 2), "y": np.array([0, 1, 0, 0, 1, 1])},  # the first two calibrate, and come again
    {"x": rows(1, 3, 2, 4), "y": np.array([0, 0, 1, 1]), "x_calibration": rows(1, 2)},
])  # fmt: skip
def test_rows_that_calibrate_are_not_tested_and_that_is_reported(tmp_path, arrays):
    found = dataset(npz(tmp_path, **arrays), MODEL, 2, 0, demo=False)
    assert not set(row_digests(found.calibration)) & set(row_digests(found.test))
    assert found.test.inputs["x"][:, 0].tolist() == [3, 4]
    assert found.test.labels.tolist() == [0, 1]
    assert "2 samples are also calibration samples and are not tested, 2 are tested" in found.description


def test_data_that_hold_nothing_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="All 3 test samples are also calibration samples"):
        dataset(npz(tmp_path, x=rows(1, 1, 1, 1, 1)), MODEL, 2, 0, demo=False)


def test_what_is_apart_is_left_as_it_is():
    test = Samples("t", {"x": rows(3, 4, 4)})
    assert without_overlap(Samples("c", {"x": rows(1, 2)}), test) == (
        test,
        "",
    )  # a duplicate within the test samples stays


def shares(labels, wanted):
    chosen, how = drawn(len(labels), wanted, np.asarray(labels))
    assert len(set(chosen.tolist())) == wanted
    return np.bincount(np.asarray(labels)[chosen], minlength=max(labels) + 1).tolist(), how


@pytest.mark.parametrize(("sizes", "wanted", "found"), [
    ([50, 50], 10, [5, 5]),
    ([90, 10], 10, [9, 1]),
    ([990, 5, 5], 10, [8, 1, 1]),
    ([40, 40, 20], 5, [2, 2, 1]),
    ([30, 1, 29], 6, [3, 0, 3]),  # the only sample of a class stays to be tested
    ([4, 4], 7, [4, 3]),
    ([10] * 10, 3, None),
])  # fmt: skip
def test_every_class_calibrates_with_its_share(sizes, wanted, found):
    counts, how = shares(np.repeat(np.arange(len(sizes)), sizes), wanted)
    if found is None:
        assert (sum(counts), max(counts), how) == (3, 1, "drawn at random over 3 of 10 classes")
    else:
        assert counts == found
        classes = sum(count > 0 for count in found)
        over = f"all {classes}" if classes == len(sizes) else f"{classes} of {len(sizes)}"
        assert how == f"drawn at random over {over} classes"


def test_the_draw_repeats_and_is_not_of_the_first_rows():
    labels = np.repeat([0, 1], 500)
    chosen, _ = drawn(1000, 100, labels)
    assert chosen.tolist() == drawn(1000, 100, labels)[0].tolist()
    assert chosen.max() > 900
    assert 0.2 < labels[chosen[:30]].mean() < 0.8  # the first of them are a draw too


@pytest.mark.parametrize(
    "labels", [None, np.linspace(0, 1, 1000), np.arange(1000), np.zeros((1000, 4, 4), int), np.ones((1000, 3))]
)
def test_without_classes_the_rows_are_spread_evenly(labels):
    chosen, how = drawn(1000, 10, labels)
    assert sorted(chosen.tolist()) == list(range(0, 1000, 100))
    assert how == "spread evenly over the rows"


def test_one_hot_labels_and_text_are_classes():
    numbers = np.repeat([0, 1, 2], [60, 30, 10])
    wanted, _ = shares(numbers, 10)
    for labels in (np.eye(3, dtype=int)[numbers], np.array(["a", "b", "c"])[numbers]):
        chosen, how = drawn(100, 10, labels)
        assert np.bincount(numbers[chosen]).tolist() == wanted == [6, 3, 1]
        assert how == "drawn at random over all 3 classes"


def test_a_sorted_file_calibrates_over_all_classes_and_tests_the_rest(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    found = dataset(npz(tmp_path, x=x, y=np.repeat([0, 1], 30)), MODEL, 20, 0, demo=False)
    assert np.bincount(found.calibration.labels).tolist() == [10, 10]
    assert np.bincount(found.test.labels).tolist() == [20, 20]
    assert (
        "40 samples of data.npz; 20 others, drawn at random over all 2 classes, calibrate and are not tested"
        in found.description
    )
    both = np.concatenate([found.calibration.inputs["x"], found.test.inputs["x"]])
    assert sorted(both[:, 0].tolist()) == sorted(x[:, 0].tolist())


def test_digits_calibrate_over_all_classes():
    outputs = (TensorSpec("o", "float32", (None, 10)),)
    what = Model("m", "m", "keras", (TensorSpec("image", "float32", (None, 28, 28, 1)),), outputs, 1, 1, "d")
    found = dataset("digits", what, 50, 0, demo=True)
    assert np.bincount(found.calibration.labels).tolist() == [5] * 10
    assert "50 others, drawn at random over all 10 classes, calibrate" in found.description


def test_rows_without_a_label_are_not_a_class_of_their_own():
    labels = np.arange(300) % 5 - 1
    chosen, reported = drawn(300, 50, labels)
    assert reported == "drawn at random over all 4 classes"
    assert len(set(chosen.tolist())) == 50


def test_more_samples_for_calibration_than_to_test_on_are_said():
    few, many = (
        Samples(name, {"x": np.zeros((count, 1), np.float32)}, None) for name, count in (("a", 100), ("b", 200))
    )
    assert more_set_aside(few, many) == more_set_aside(None, few) == more_set_aside(few, few) == ""
    assert more_set_aside(many, few).startswith("200 samples calibrate and only 100 are left to test on")
