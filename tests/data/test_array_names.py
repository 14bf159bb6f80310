"""Inputs and labels under names of the user's own, and classes that are named in the labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from workbench.accuracy.class_order import order_of
from workbench.accuracy.metrics import METRICS
from workbench.data.array_names import Columns
from workbench.data.dataset import dataset
from workbench.data.labels import Labelling
from workbench.errors import InputError
from workbench.records import TEXT, Model, TensorSpec

X = np.arange(12, dtype=np.float32).reshape(6, 2)
KINDS = np.array(["oak", "ash", "fir", "oak", "ash", "fir"])


def model(outputs: int = 3, dtype: str = "float32") -> Model:
    inputs = (TensorSpec("input_1", "float32", (None, 2)),)
    return Model("m", "m", "onnx", inputs, (TensorSpec("out", dtype, (None, outputs)),), 1, 1, "d")


def read(path, label="", order="", classes=3, metric=None, dtype="float32"):
    labelling = Labelling(metric, columns=Columns(label), class_order=order_of(order))
    return dataset(str(path), model(classes, dtype), 0, 0, demo=False, labelling=labelling)


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    return save


def test_the_only_array_that_fits_is_the_only_input(saved):
    found = read(saved(pictures=X, weights=np.ones((6, 5)), y=np.arange(6) % 3))
    assert found.test.inputs["input_1"].tolist() == X.tolist()
    assert "'pictures' is the input 'input_1'" in found.description


def test_arrays_that_are_set_aside_are_no_inputs(saved):
    found = read(
        saved(pictures=X, truth=np.eye(2, dtype=np.float32)[[0, 1] * 3], calibration_x=X + 1), "truth", classes=2
    )
    assert found.test.inputs["input_1"].tolist() == X.tolist()
    assert found.test.truth.values.tolist() == [0, 1] * 3


@pytest.mark.parametrize("name", ["y", "label", "labels"])
def test_labels_have_the_same_names_in_arrays_and_tables(tmp_path, saved, name):
    (tmp_path / "d.csv").write_text(f"a,b,{name}\n1,2,0\n3,4,2\n", encoding="utf-8")
    assert read(tmp_path / "d.csv").test.truth.values.tolist() == [0, 2]
    assert read(saved(x=X[:2], **{name: np.array([0, 2])})).test.truth.values.tolist() == [0, 2]


def test_a_setting_names_the_labels(tmp_path, saved):
    (tmp_path / "d.csv").write_text("a,kind,b\n1,0,2\n3,2,4\n", encoding="utf-8")
    found = read(tmp_path / "d.csv", "kind")
    assert found.test.inputs["input_1"].tolist() == [[1, 2], [3, 4]]
    assert found.test.truth.values.tolist() == [0, 2]
    assert found.without_labels == ""
    assert read(saved(x=X[:2], kind=np.array([0, 2]), y=np.array([9, 9])), "kind").test.truth.values.tolist() == [0, 2]


def test_another_name_than_those_of_the_data_is_refused(tmp_path, saved):
    says = "'label_column' names 'kinds', and 'd.{}' has: "
    with pytest.raises(InputError, match=says.format("npz") + "kind, x"):
        read(saved(x=X, kind=np.arange(6) % 3), "kinds")
    (tmp_path / "d.csv").write_text("a,kind,b\n1,0,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=says.format("csv") + "a, b, kind"):
        read(tmp_path / "d.csv", "kinds")
    with pytest.raises(InputError, match="which is an input of the model"):
        read(saved(input_1=X, kind=np.arange(6) % 3), "input_1")


def test_data_without_labels_say_what_may_hold_them(tmp_path, saved):
    found = read(saved(x=X, kind=np.arange(6) % 3, scale=np.ones(2)))
    assert found.without_labels.endswith("If 'kind' holds the labels, set 'label_column' to that name.")
    assert "not used: kind, scale" in found.description
    (tmp_path / "d.csv").write_text("input_1_0,input_1_1,kind\n1,0,2\n", encoding="utf-8")
    assert "If 'kind' holds" in read(tmp_path / "d.csv").without_labels
    assert read(saved(x=X)).without_labels.endswith("and accuracy is not.")
    assert read(saved(x=X, y=np.arange(6) % 3, kind=np.arange(6))).without_labels == ""


def test_a_table_says_which_column_may_hold_the_labels(tmp_path):
    (tmp_path / "d.csv").write_text("a,b,kind\n1,0,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"set 'label_column' to its name; the last one is 'kind'\.$"):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize("kinds", [KINDS, KINDS.astype("S"), KINDS.reshape(6, 1)])
def test_names_of_classes_are_numbered_in_alphabetical_order(saved, kinds):
    found = read(saved(x=X, y=kinds))
    assert found.test.truth.values.tolist() == [2, 0, 1, 2, 0, 1]
    assert found.class_names == {0: "ash", 1: "fir", 2: "oak"}


def test_names_of_classes_in_a_table_follow_the_order_that_is_set(tmp_path):
    lines = "\n".join(f"{a},{b},{kind}" for (a, b), kind in zip(X, KINDS, strict=True))
    (tmp_path / "d.csv").write_text(f"a,b,kind\n{lines}\n", encoding="utf-8")
    assert read(tmp_path / "d.csv", "kind", "oak,ash,fir").test.truth.values.tolist() == [0, 1, 2] * 2
    assert read(tmp_path / "d.csv", "kind", "2,0,1").test.truth.values.tolist() == [0, 1, 2] * 2


def test_a_class_without_a_sample_has_its_place_in_the_order(saved):
    path = saved(x=X, y=KINDS)
    with pytest.raises(InputError, match="hold 3 names, and the model has 4 classes"):
        read(path, classes=4)
    found = read(path, order="elm,oak,ash,fir", classes=4)
    assert found.test.truth.values.tolist() == [1, 2, 3] * 2
    assert found.class_names == {0: "elm", 1: "oak", 2: "ash", 3: "fir"}


def test_an_empty_name_is_no_label_and_numbers_as_text_are_numbers(saved):
    assert read(saved(x=X, y=np.array(["oak", "", "fir", "ash", "", "fir"]))).test.truth.values.tolist() == [
        2,
        -1,
        1,
        0,
        -1,
        1,
    ]
    found = read(saved(x=X, y=np.array(["2", "0", "1", "1", "0", "2"])))
    assert found.test.truth.values.tolist() == [2, 0, 1, 1, 0, 2]
    assert found.class_names == {}


def test_text_that_a_metric_compares_stays_text(saved):
    found = read(saved(x=X, y=KINDS), metric=METRICS["cer"], classes=1, dtype=TEXT)
    assert found.test.truth.values.tolist() == KINDS.tolist()


def test_a_table_without_names_has_no_column_to_name(tmp_path):
    (tmp_path / "d.csv").write_text("1,2,0\n3,4,2\n5,2,1\n", encoding="utf-8")
    for name in ("kind", "2"):
        with pytest.raises(
            InputError, match=f"'label_column' names '{name}', and the first line of 'd.csv' holds values"
        ):
            read(tmp_path / "d.csv", name)


def test_one_text_for_all_samples_is_refused(saved):
    with pytest.raises(InputError, match="There are 6 samples but a single label: "):
        read(saved(x=X, y=np.array("oak")))


def test_the_array_of_the_labels_is_not_the_input_as_well(saved):
    found = read(saved(x=np.arange(6) % 3, pictures=X), "x")
    assert found.test.inputs["input_1"].tolist() == X.tolist()
    assert found.test.truth.values.tolist() == [0, 1, 2] * 2


def test_a_table_has_no_array_for_all_samples(tmp_path):
    whole = TensorSpec("table", "float32", (4, 2), batch_axis=None)
    asked = replace(model(), inputs=(whole,))
    (tmp_path / "d.csv").write_text("a,b,y\n1,2,0\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no batch axis: it takes one array for all samples"):
        dataset(str(tmp_path / "d.csv"), asked, 0, 0, demo=False)
