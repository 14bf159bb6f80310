"""Labels, layouts and tables of further usual kinds: each right value is computed by independent code, or the input is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics
from test_reported_inputs import RNG, X, masks, overlap, scored, softmax

from workbench.data.dataset import dataset
from workbench.errors import InputError
from workbench.records import TEXT, Model, TensorSpec

SCORES = RNG.normal(0, 1, (300, 5)).astype(np.float32)
CLASSES = np.where(RNG.random(300) < 0.3, RNG.integers(0, 5, 300), SCORES.argmax(1))
RIGHT = float((SCORES.argmax(1) == CLASSES).mean())
TAGS = (RNG.random((300, 5)) < softmax(SCORES) * 2).astype(np.int64)
UNKNOWN = np.where(RNG.random((300, 5)) < 0.2, -1, TAGS)


@pytest.mark.parametrize(
    "labels",
    [
        CLASSES[:, None].astype(np.uint8),
        CLASSES.astype(np.float64),
        np.eye(5, dtype=np.int8)[CLASSES],
        np.eye(5, dtype=bool)[CLASSES],
        CLASSES.astype(">i4"),
    ],
    ids=["column of uint8", "float64", "one-hot int8", "one-hot bool", "big-endian"],
)
@pytest.mark.parametrize(
    ("metric", "right"),
    [
        ("top-1", RIGHT),
        ("f1", sklearn_metrics.f1_score(CLASSES, SCORES.argmax(1), average="macro")),
        ("map", sklearn_metrics.average_precision_score(np.eye(5)[CLASSES], SCORES, average="macro")),
    ],
)
def test_classes_score_the_same_however_they_are_saved(tmp_path, labels, metric, right):
    assert scored(tmp_path, SCORES, labels, metric)[0].value == pytest.approx(right)


def test_a_missing_class_may_be_nan(tmp_path):
    labels = CLASSES.astype(float)
    labels[:30] = np.nan
    result, said = scored(tmp_path, SCORES, labels)
    assert result.value == pytest.approx((SCORES.argmax(1) == CLASSES)[30:].mean())
    assert "30 rows without a label left out" in said


@pytest.mark.parametrize("missing", [-1, np.nan])
def test_unknown_entries_of_several_labels_are_left_out_of_each_label(tmp_path, missing):
    labels = np.where(UNKNOWN < 0, missing, UNKNOWN)
    labels = labels if np.isnan(missing) else labels.astype(np.int64)
    wanted = [
        sklearn_metrics.f1_score(column[column >= 0], found[column >= 0] > 0)
        for column, found in zip(UNKNOWN.T, SCORES.T, strict=True)
    ]
    assert scored(tmp_path, SCORES, labels, "f1")[0].value == pytest.approx(np.mean(wanted))


def test_rows_with_a_missing_target_have_no_error(tmp_path):
    targets = SCORES[:, :3] + RNG.normal(0, 0.3, (300, 3))
    targets[:40, 1] = np.nan
    result, _ = scored(tmp_path, SCORES[:, :3], targets, "rmse")
    wanted = sklearn_metrics.root_mean_squared_error(targets[40:], SCORES[40:, :3])
    assert result.value == pytest.approx(wanted, rel=1e-6)


def test_small_integers_as_targets_do_not_wrap(tmp_path):
    targets = np.full((300, 5), 250, np.uint8)
    assert scored(tmp_path, np.full((300, 5), 200, np.uint8), targets, "mae")[0].value == 50
    assert scored(tmp_path, np.full((300, 5), 200, np.int32), targets, "rmse")[0].value == 50


@pytest.mark.parametrize(("scale", "shape"), [(100, (300, 1)), (255, (300, 4, 6, 1))])
def test_percent_and_bytes_are_neither_probabilities_nor_logits(tmp_path, scale, shape):
    """All values were above 0, the threshold of logits, so that everything was a yes: 52 % for 100 %."""
    shares = RNG.random(shape).astype(np.float32)
    labels = (shares > 0.5).reshape(shape[:-1]).astype(np.int64)
    metric = "top-1" if len(shape) == 2 else "iou"
    with pytest.raises(InputError, match="They are not probabilities, and as logits all of them mean 1"):
        scored(tmp_path, shares * scale, labels, metric)
    assert scored(tmp_path, shares, labels, metric)[0].value == 1
    assert scored(tmp_path, shares * 9 - 4.5, labels, metric)[0].value == 1


def test_logits_that_are_all_above_0_are_taken(tmp_path):
    logits = (3 + RNG.random((300, 1))).astype(np.float32)
    labels = (RNG.random(300) < 0.7).astype(np.int64)
    assert scored(tmp_path, logits, labels)[0].value == pytest.approx(labels.mean())


def test_a_class_axis_that_the_output_does_not_have_is_named(tmp_path):
    """A transposition of the labels was advised, which has the same shape."""
    scores = RNG.normal(0, 1, (300, 3, 3, 3)).astype(np.float32)
    labels = scores.argmax(1)
    with pytest.raises(
        InputError, match=r"'class_axis' is 7, and the axes of the output after the sample's are 1 to 3"
    ):
        scored(tmp_path, scores, labels, "iou", class_axis=7)
    assert scored(tmp_path, scores, scores.argmax(2), "iou", class_axis=2)[0].value == 1


def test_volumes_with_void_slices_are_scored_by_the_others(tmp_path):
    scores = RNG.normal(0, 1, (60, 2, 4, 5, 6)).astype(np.float32)
    truth = np.where(RNG.random((60, 4, 5, 6)) < 0.3, RNG.integers(0, 2, (60, 4, 5, 6)), scores.argmax(1))
    labels = truth.astype(np.uint8)
    labels[:, 0] = 255
    result, _ = scored(tmp_path, scores, labels, "iou")
    assert result.value == pytest.approx(overlap(scores.argmax(1)[:, 1:], truth[:, 1:], range(2)))


def test_a_channel_axis_of_one_in_masks_changes_nothing(tmp_path):
    scores, truth = masks()
    first = np.ascontiguousarray(np.moveaxis(scores, -1, 1))
    wanted = overlap(scores.argmax(-1), truth, range(3))
    for labels in (truth, truth[:, None], truth[..., None], truth.astype(np.float32)):
        assert scored(tmp_path, first, labels, "iou")[0].value == pytest.approx(wanted)


def test_masks_that_a_model_gives_as_class_numbers_are_scored_without_the_void(tmp_path):
    scores, truth = masks()
    labels = truth.astype(np.uint8)
    labels[:, 0] = 255
    found = scores.argmax(-1)
    result, _ = scored(tmp_path, found, labels, "iou")
    assert result.value == pytest.approx(overlap(found[:, 1:], truth[:, 1:], range(3)))


def test_background_may_be_left_out_of_masks(tmp_path):
    scores, truth = masks()
    known = truth != 0
    result, said = scored(tmp_path, scores, truth, "iou", ignore="0")
    assert result.value == pytest.approx(
        sklearn_metrics.jaccard_score(truth[known], scores.argmax(-1)[known], average="macro")
    )
    assert "positions ignored (0)" in said


@pytest.mark.parametrize(
    ("outputs", "labels", "metric", "says"),
    [
        ((300, 5), (np.eye(5)[CLASSES] * 255).astype(np.uint8), "top-1", "from 0 to 255, are real values"),
        ((300, 5), np.eye(5)[CLASSES].T, "top-1", "There are 300 samples but 5 labels"),
        ((300, 5), np.array(["ant", "bee"])[CLASSES % 2], "top-1", "hold 2 names, and the model has 5 classes"),
        ((300, 5), np.eye(5)[CLASSES] * 0.9 + 0.02, "top-1", r"soft labels .* Set 'metric' to one of: rmse"),
        ((300, 1), X[:, :3], "rmse", r"the output 'out', \[300 × 1\], with labels \[300 × 3\]"),
        ((300, 1), X[:, 0], "top-1", r"are real values\. Set 'metric' to one of: rmse"),
        ((300, 5, 5), RNG.integers(0, 5, (300, 5)), "f1", "Set 'class_axis' to 1 or -1"),
        ((300, 4, 6, 7), RNG.integers(0, 4, (300, 6, 7)) + 1, "iou", "seem to start at 1: write y = y - 1"),
    ],
)
def test_what_fits_no_reading_is_refused_with_what_to_do(tmp_path, outputs, labels, metric, says):
    with pytest.raises(InputError, match=says):
        scored(tmp_path, RNG.normal(0, 1, outputs).astype(np.float32), labels, metric)


WIDE = TensorSpec("x", "float32", (None, 4))


def table(tmp_path, frame: pd.DataFrame, *inputs: TensorSpec, **how):
    frame.to_csv(tmp_path / "t.csv", index=False, **how)
    model = Model("m", "m", "onnx", inputs, (TensorSpec("o", "float32", (None, 5)),), 1, 1, "d")
    return dataset(str(tmp_path / "t.csv"), model, 0, 0, demo=False).test


def test_columns_are_found_by_name_whatever_their_order(tmp_path):
    frame = pd.DataFrame(X[:, :4], columns=["x_0", "x_1", "x_2", "x_3"]).assign(y=CLASSES)
    found = table(tmp_path, frame[["x_3", "y", "x_1", "x_0", "x_2"]], WIDE)
    np.testing.assert_allclose(found.inputs["x"], X[:, :4], rtol=1e-6)
    assert found.labels.tolist() == CLASSES.tolist()
    one, three = TensorSpec("p", "float32", (None, 1)), TensorSpec("q", "float32", (None, 3))
    frame = pd.DataFrame({"q_0": X[:, 1], "q_1": X[:, 2], "y": CLASSES, "q_2": X[:, 3], "p": X[:, 0]})
    found = table(tmp_path, frame, one, three)
    np.testing.assert_allclose(np.hstack([found.inputs["p"], found.inputs["q"]]), X[:, :4], rtol=1e-6)


@pytest.mark.parametrize(
    "how", [{"sep": "\t", "decimal": ","}, {"encoding": "utf-16"}, {"quoting": 1, "lineterminator": "\r\n"}]
)
def test_tables_as_other_programs_write_them_hold_the_same_numbers(tmp_path, how):
    found = table(tmp_path, pd.DataFrame(X[:, :4], columns=list("abcd")).assign(y=CLASSES), WIDE, **how)
    np.testing.assert_allclose(found.inputs["x"], X[:, :4], rtol=1e-6)


def test_the_country_code_na_is_text(tmp_path):
    codes = np.array(["NA", "DE", "null", "None"])[CLASSES % 4]
    found = table(tmp_path, pd.DataFrame({"code": codes, "y": CLASSES}), TensorSpec("code", TEXT, (None, 1)))
    assert found.inputs["code"][:, 0].tolist() == codes.tolist()


@pytest.mark.parametrize(
    ("cell", "says"), [("1,234.5", "does not hold numbers"), ("12%", "has '12%'"), (None, "has an empty cell")]
)
def test_cells_that_are_no_plain_numbers_are_named(tmp_path, cell, says):
    frame = pd.DataFrame(X[:, :4], columns=list("abcd")).astype(object).assign(y=CLASSES)
    frame.loc[7, "b"] = cell
    with pytest.raises(InputError, match=says):
        table(tmp_path, frame, WIDE)
