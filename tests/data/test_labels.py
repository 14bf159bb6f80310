"""Labels and groups of a data file, and that they survive the way to a child process."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.accuracy.box_labels import from_arrays
from workbench.accuracy.label_settings import Reading
from workbench.accuracy.metrics import METRICS
from workbench.accuracy.reading import read_truth
from workbench.data.array_names import Columns
from workbench.data.dataset import dataset
from workbench.data.labels import Labelling, output_shapes
from workbench.data.samples import Samples, load_samples, save_samples
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

X = np.arange(12, dtype=np.float32).reshape(6, 2)


def model(*outputs):
    return Model("m", "m", "onnx", (TensorSpec("x", "float32", (None, 2)),), outputs, 1, 1, "d")


CLASSES = model(TensorSpec("y", "float32", (None, 3)))


def test_groups_of_a_table_are_a_column_that_is_not_an_input(tmp_path):
    (tmp_path / "t.csv").write_text("a,site,b,y\n1,north,2,0\n3,south,4,1\n5,north,6,2\n", encoding="utf-8")
    labelling = Labelling(columns=Columns(group="site"))
    test = dataset(str(tmp_path / "t.csv"), CLASSES, 0, 0, demo=False, labelling=labelling).test
    assert test.inputs["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert test.groups.tolist() == ["north", "south", "north"]
    assert test.take([1, 2]).groups.tolist() == ["south", "north"]


@pytest.mark.parametrize(("column", "says"), [
    ("place", "'group_column' names 'place', and 'd.npz' has: site, x, y"),
    ("x", r"which is float32 \[6, 2\] for 6 samples"),
])  # fmt: skip
def test_a_column_that_names_no_groups_is_refused(tmp_path, column, says):
    np.savez(tmp_path / "d.npz", x=X, y=np.arange(6) % 3, site=np.arange(6))
    with pytest.raises(InputError, match=says):
        dataset(str(tmp_path / "d.npz"), CLASSES, 0, 0, demo=False, labelling=Labelling(columns=Columns(group=column)))


def test_groups_and_labels_are_split_with_their_rows(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=np.eye(3)[np.arange(6) % 3], site=np.array(list("aabbcc")))
    found = dataset(
        str(tmp_path / "d.npz"), CLASSES, 2, 0, demo=False, labelling=Labelling(columns=Columns(group="site"))
    )
    assert found.test.truth.values.tolist() == [2, 0, 1, 2]
    assert found.test.groups.tolist() == list("bbcc")
    assert "not used" not in found.description


@pytest.mark.parametrize(
    "truth",
    [
        read_truth(np.array([0, -1, 2, 1, 0, 2]), output_shapes(CLASSES)),
        read_truth(X + 0.5, output_shapes(model(TensorSpec("y", "float32", (None, 2)))), METRICS["mae"]),
        from_arrays(
            {"y_boxes": np.array([[0, 0, 2, 2.0]]), "y_class": np.array([1]), "y_image": np.array([4])},
            6, {"boxes": "b", "scores": "s", "classes": "c"}, "d",
        ),
    ],
    ids=["classes", "values", "boxes"],
)  # fmt: skip
def test_what_labels_are_survives_a_file(tmp_path, truth):
    samples = Samples("s", {"x": X}, truth.given, truth=truth, groups=np.array(list("abcabc")))
    save_samples(samples, tmp_path / "s.npz")
    again = load_samples(tmp_path / "s.npz")
    assert str(again.truth) == str(truth)
    assert again.truth.values.tolist() == truth.values.tolist()
    assert (again.digest, again.truth_digest) == (samples.digest, samples.truth_digest)
    assert again.groups.tolist() == samples.groups.tolist()
    assert again.truth.roles == truth.roles


def test_another_reading_of_the_same_labels_has_another_digest():
    """Scores are kept by it."""
    labels = np.array([0, 1, 2, 1, 0, 2])
    plain = Samples("s", {"x": X}, labels, truth=read_truth(labels, output_shapes(CLASSES)))
    other = read_truth(labels, output_shapes(CLASSES), how=Reading(ignore="2"))
    assert Samples("s", {"x": X}, labels, truth=other).truth_digest != plain.truth_digest
    assert Samples("s", {"x": X}, labels, truth=other).digest == plain.digest


def test_outputs_are_seen_as_scoring_gets_them():
    specs = (
        TensorSpec("rows", "float32", (None, 5), rows=4),
        TensorSpec("first", "int64", (7, None), batch_axis=1),
        TensorSpec("quantized", "uint8", (None, 3), scale=0.5),
    )
    rows, first, quantized = output_shapes(model(*specs))
    assert (rows.inner, rows.whole) == ((4, 5), False)
    assert (first.inner, first.whole) == ((7,), True)
    assert quantized.whole is False


@pytest.mark.parametrize("labels", [
    np.array([0, 1, 2, 0, 1, 1e300]), np.array([0, 1, 2, 0, 1, 2**63], np.float32), np.array([0, 1, 2, 0, 1, 2**63], np.uint64),
])  # fmt: skip
def test_a_number_beyond_64_bits_is_not_a_class_and_not_taken_for_a_missing_label(tmp_path, labels):
    np.savez(tmp_path / "d.npz", x=X, y=labels)
    with pytest.raises(InputError, match=r"the labels 'y' of 'd\.npz', \w+ \[6\] from 0 to .*, fit none of"):
        dataset(str(tmp_path / "d.npz"), CLASSES, 0, 0, demo=False)
