"""Inputs that once gave a wrong number without a word, each with its right value by independent code."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from workbench.accuracy.chosen import best_output
from workbench.accuracy.label_settings import Reading, Shape
from workbench.accuracy.metrics import metric_of
from workbench.accuracy.reading import read_truth
from workbench.data.dataset import dataset
from workbench.data.labels import Labelling
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

RNG = np.random.default_rng(7)
X = RNG.normal(0, 1, (300, 6)).astype(np.float32)


def model(*inner, name="out", dtype="float32"):
    return Model(
        "m",
        "m",
        "onnx",
        (TensorSpec("x", "float32", (None, 6)),),
        (TensorSpec(name, dtype, (None, *inner)),),
        1,
        1,
        "d",
    )


class Seen(NamedTuple):
    value: float
    samples: int
    scored: int
    not_finite: int
    threshold: float | None


def scored(tmp_path, outputs, labels, metric="top-1", **how):
    """The metric of a model that gives ``outputs`` for data saved with ``labels``, and how the run describes the data.

    Without the intervals, which take a second.
    """
    np.savez(tmp_path / "d.npz", x=X[: len(outputs)], y=labels)
    chosen = metric_of(metric)
    labelling = Labelling(chosen, Reading(**how))
    what = model(*outputs.shape[1:], dtype=outputs.dtype.name)
    data = dataset(str(tmp_path / "d.npz"), what, 0, 0, demo=False, labelling=labelling)
    found = best_output(chosen, {"out": outputs}, data.test.truth, "")
    cut = found.threshold if found.cut else None
    seen = Seen(chosen.value(found.parts), len(outputs), len(found.parts), found.not_finite, cut)
    return seen, data.description


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def test_a_probability_beyond_one_by_rounding_moves_no_threshold(tmp_path):
    found = RNG.random(300).astype(np.float32)
    found[0] = np.nextafter(np.float32(1), np.float32(2))
    labels = (found > 0.5) ^ (RNG.random(300) < 0.05)
    result, _ = scored(tmp_path, found[:, None], labels.astype(np.int64))
    assert result.value == pytest.approx(((found > 0.5) == labels).mean())
    assert result.threshold == 0.5
    logits, _ = scored(tmp_path, (found * 4 - 2)[:, None], labels.astype(np.int64))
    assert (logits.value, logits.threshold) == (result.value, 0.0)


def test_f1_of_rare_labels_is_the_mean_over_labels(tmp_path):
    found = (RNG.random((300, 8)) * (RNG.random((300, 8)) < 0.2)).astype(np.float32)
    labels = (found > 0.5) ^ (RNG.random(found.shape) < 0.03)
    for name, average in (("f1", "macro"), ("f1-macro", "macro"), ("f1-micro", "micro"), ("f1-samples", "samples")):
        wanted = sklearn_metrics.f1_score(labels, found > 0.5, average=average, zero_division=0)
        assert scored(tmp_path, found, labels.astype(np.int64), name)[0].value == pytest.approx(wanted)


@pytest.mark.parametrize("metric", ["f1", "map", "f1-samples", "top-1"])
def test_soft_labels_are_refused_where_0_or_1_is_wanted(tmp_path, metric):
    found = RNG.random((300, 3)).astype(np.float32)
    smooth = (found > 0.5) * 0.9 + 0.05
    with pytest.raises(InputError, match=r"from 0\.05 to 0\.95, are real values\. Set 'metric' to one of: rmse, mae"):
        scored(tmp_path, found, smooth, metric)
    assert scored(tmp_path, found, smooth, "mae")[0].value == pytest.approx(np.abs(found - smooth).mean())


def masks(classes=3):
    scores = RNG.normal(0, 1, (300, 8, 7, classes)).astype(np.float32)
    truth = np.where(RNG.random((300, 8, 7)) < 0.3, RNG.integers(0, classes, (300, 8, 7)), scores.argmax(-1))
    return scores, truth


def overlap(found, truth, classes):
    return float(np.mean([((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in classes]))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", [np.int64, np.float32, bool])
def test_one_hot_masks_score_as_class_numbers_do(tmp_path, first, kind):
    scores, truth = masks()
    one_hot = np.eye(3, dtype=kind)[truth]
    if first:
        scores, one_hot = (np.ascontiguousarray(np.moveaxis(each, -1, 1)) for each in (scores, one_hot))
    found = scores.argmax(1 if first else -1)
    result, reported = scored(tmp_path, scores, one_hot, "iou")
    assert result.value == pytest.approx(overlap(found, truth, range(3)))
    assert scored(tmp_path, scores, truth, "iou")[0].value == result.value
    assert "labels: one-hot per position, 3 classes" in reported


def test_void_is_left_out_and_counted(tmp_path):
    scores, truth = masks()
    truth[:, 0] = truth[:, -1] = 255
    known = truth != 255
    result, reported = scored(tmp_path, scores, truth.astype(np.uint8), "iou")
    assert result.value == pytest.approx(overlap(scores.argmax(-1)[known], truth[known], range(3)))
    assert "4,200 of 16,800 positions ignored (255)" in reported
    with pytest.raises(InputError, match="go up to 255, and the output 'out' has 3 classes"):
        scored(tmp_path, scores, truth, "iou", ignore="none")


@pytest.mark.parametrize("missing", [-1, -100])
@pytest.mark.parametrize(
    ("metric", "function"),
    [
        ("map", lambda y, p: sklearn_metrics.average_precision_score(np.eye(4)[y], p, average="macro")),
        ("f1", lambda y, p: sklearn_metrics.f1_score(y, p.argmax(1), average="macro")),
        ("top-1", lambda y, p: sklearn_metrics.accuracy_score(y, p.argmax(1))),
        ("iou", lambda y, p: sklearn_metrics.jaccard_score(y, p.argmax(1), average="macro")),
        ("top-2", lambda y, p: sklearn_metrics.top_k_accuracy_score(y, p, k=2)),
    ],
)
def test_rows_without_a_label_are_left_out_and_counted(tmp_path, metric, function, missing):
    found = softmax(RNG.normal(0, 1, (300, 4)))
    labels = np.where(RNG.random(300) < 0.2, RNG.integers(0, 4, 300), found.argmax(1))
    labels[::5] = missing
    result, reported = scored(tmp_path, found, labels, metric)
    assert result.value == pytest.approx(function(labels[labels >= 0], found[labels >= 0]))
    assert (result.samples, result.scored) == (300, 240)
    assert "60 rows without a label left out (negative)" in reported


def test_the_ignored_tokens_of_a_tagger_are_left_out(tmp_path):
    scores = RNG.normal(0, 1, (300, 9, 5)).astype(np.float32)
    labels = np.where(RNG.random((300, 9)) < 0.3, RNG.integers(0, 5, (300, 9)), scores.argmax(-1))
    labels[:, 6:] = -100
    known = labels >= 0
    result, _ = scored(tmp_path, scores, labels, "f1")
    wanted = sklearn_metrics.f1_score(labels[known], scores.argmax(-1)[known], average="macro")
    assert result.value == pytest.approx(wanted)


def test_a_blank_truth_has_no_psnr(tmp_path):
    pixels = RNG.random((300, 4, 4, 1)).astype(np.float32)
    with pytest.raises(InputError, match="all of them are 0"):
        scored(tmp_path, pixels, np.zeros_like(pixels), "psnr")


@pytest.mark.parametrize("metric", ["rmse", "mae", "psnr", "cosine"])
def test_axes_in_another_order_are_refused_with_the_line_to_write(tmp_path, metric):
    pixels = RNG.random((300, 3, 6, 6)).astype(np.float32)
    with pytest.raises(InputError, match=r"\[300 × 6 × 6 × 3\]\. Write y = y\.transpose\(0, 3, 1, 2\)\."):
        scored(tmp_path, pixels, pixels.transpose(0, 2, 3, 1), metric)
    result, _ = scored(tmp_path, pixels, pixels.transpose(0, 2, 3, 1).transpose(0, 3, 1, 2), metric)
    assert result.value == pytest.approx({"rmse": 0, "mae": 0, "psnr": 100, "cosine": 1}[metric])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int64])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_whole_scores_are_ranked_without_wrapping(tmp_path, kind, k):
    steps = np.round(softmax(RNG.normal(0, 2, (300, 12))) * 120).astype(kind)
    labels = np.where(RNG.random(300) < 0.3, RNG.integers(0, 12, 300), steps.argmax(1))
    best = np.argsort(-steps.astype(float), axis=1, kind="stable")[:, :k]
    result, _ = scored(tmp_path, steps, labels, f"top-{k}")
    assert result.value == pytest.approx((best == labels[:, None]).any(axis=1).mean())


def test_a_row_that_is_not_finite_is_never_right(tmp_path):
    found = RNG.normal(0, 1, (300, 4)).astype(np.float32)
    found[:30] = np.nan
    labels = np.zeros(300, np.int64)
    result, _ = scored(tmp_path, found, labels)
    assert result.value == pytest.approx((found[30:].argmax(1) == 0).mean())
    assert (result.scored, result.not_finite) == (270, 30)
    with pytest.raises(InputError, match="is not finite for 300 of 300 samples"):
        scored(tmp_path, found * np.nan, labels)


@pytest.mark.parametrize(
    ("outputs", "labels", "metric", "says"),
    [
        ((300, 1), np.where(X[:, 0] > 0, 1, -1), "top-1", r"-1 can be a class or stand for no label"),
        ((300, 4), np.arange(300) % 4 + 1, "top-1", r"seem to start at 1: write y = y - 1"),
        ((300, 5, 5), np.where(RNG.random((300, 5, 5)) < 0.5, 255, 0), "iou", r"255 can be a class or stand for void"),
        ((300, 5, 5), (RNG.random((300, 5, 5)) < 0.5) * 1, "f1", r"Set 'labels' to 'positions' or 'multilabel'"),
        ((300, 3, 3, 3), RNG.integers(0, 3, (300, 3, 3)), "iou", r"Set 'class_axis' to 1 or -1"),
        ((300, 8, 6, 3), RNG.integers(0, 3, (300, 6, 8)), "iou", r"Write y = y\.transpose\(0, 2, 1\)"),
        ((300, 3, 8, 6), np.eye(3)[RNG.integers(0, 3, (300, 8, 6))], "iou", r"Write y = y\.transpose\(0, 3, 1, 2\)"),
        (
            (300, 4),
            np.eye(4)[np.arange(300) % 4] * (np.arange(300) % 7 > 0)[:, None],
            "f1",
            r"'one-hot' or 'multilabel'",
        ),
        ((300, 4), np.arange(299) % 4, "top-1", r"There are 300 samples but 299 labels"),
    ],
)
def test_two_readings_or_none_are_refused_by_name(tmp_path, outputs, labels, metric, says):
    with pytest.raises(InputError, match=says):
        scored(tmp_path, RNG.normal(0, 1, outputs).astype(np.float32), labels, metric)


def test_what_is_set_decides_between_two_readings(tmp_path):
    scores = RNG.normal(0, 1, (300, 3, 3, 3)).astype(np.float32)
    labels = RNG.integers(0, 3, (300, 3, 3))
    for axis in (1, -1):
        wanted = overlap(scores.argmax(axis), labels, range(3))
        assert scored(tmp_path, scores, labels, "iou", class_axis=axis)[0].value == pytest.approx(wanted)
    signs = np.where(X[:, 0] > 0, 1, -1)
    single = X[:, :1]
    assert scored(tmp_path, single, signs, "top-1", ignore="-1")[0].scored == int((signs > 0).sum())
    white = np.where(RNG.random((300, 5, 5)) < 0.5, 255, 0)
    with pytest.raises(InputError, match="go up to 255"):
        scored(tmp_path, RNG.normal(0, 1, (300, 5, 5)).astype(np.float32), white, "iou", ignore="none")


CLASSES = RNG.integers(0, 4, 200)
SCORES = RNG.normal(0, 1, (200, 4)).astype(np.float32)


@pytest.mark.parametrize("metric", ["top-1", "top-2", "f1", "f1-micro", "iou", "map"])
@pytest.mark.parametrize("place", [(slice(None), None), (..., None), (slice(None), None, None)])
def test_one_hot_rows_with_axes_of_size_one_are_not_masks(tmp_path, metric, place):
    """(n, classes, 1) was read as a map of yes and no, and an F1 of 0.63 was given for 0.78."""
    plain, _ = scored(tmp_path, SCORES, CLASSES, metric)
    found, reported = scored(tmp_path, SCORES, np.eye(4, dtype=np.int64)[CLASSES][place], metric)
    assert found == plain
    assert "labels: one-hot, 4 classes" in reported


@pytest.mark.parametrize("metric", ["top-1", "f1", "iou", "map"])
def test_the_ignored_class_of_one_hot_labels_is_left_out(tmp_path, metric):
    plain, _ = scored(tmp_path, SCORES, CLASSES, metric, ignore="2")
    found, reported = scored(tmp_path, SCORES, np.eye(4)[CLASSES], metric, ignore="2")
    assert found == plain
    assert found.scored == (CLASSES != 2).sum()
    assert f"{200 - found.scored} rows without a label left out (class 2)" in reported


@pytest.mark.parametrize("metric", ["top-1", "f1", "f1-binary"])
def test_one_hot_labels_of_two_classes_fit_a_single_score(tmp_path, metric):
    """With an output of shape (n,) this ended in an IndexError."""
    share = RNG.random(60).astype(np.float32)
    classes = (share + RNG.normal(0, 0.3, 60) > 0.5).astype(np.int64)
    plain, _ = scored(tmp_path, share, classes, metric)
    assert scored(tmp_path, share, np.eye(2)[classes], metric)[0] == plain


@pytest.mark.parametrize("metric", ["f1", "f1-samples", "map"])
def test_several_labels_fit_an_output_with_an_axis_of_size_one(tmp_path, metric):
    truth = (RNG.random((200, 4)) < 0.4).astype(np.int64)
    plain, _ = scored(tmp_path, SCORES, truth, metric)
    assert scored(tmp_path, SCORES[:, None], truth, metric)[0] == plain


@pytest.mark.parametrize(
    ("labels", "how", "says"),
    [
        (
            np.where(CLASSES == 0, -1, CLASSES),
            {"ignore": "255"},
            "hold -1 as well as the ignored 255; save those as 255",
        ),
        (np.where(CLASSES == 0, -1, CLASSES), {"ignore": "none"}, "'ignore_label' set to 'none' does not leave out"),
        (np.where(CLASSES == 0, 255, CLASSES), {}, "set 'ignore_label' to 255"),
        (np.array(list("abca"))[CLASSES], {}, "hold 3 names, and the model has 4 classes"),
    ],
)
def test_a_refusal_says_what_to_do(tmp_path, labels, how, says):
    with pytest.raises(InputError) as caught:
        scored(tmp_path, SCORES, labels, **how)
    assert says in caught.value.message


def test_one_answer_of_several_labels_cannot_be_ignored(tmp_path):
    truth = (RNG.random((200, 4)) < 0.4).astype(np.int64)
    with pytest.raises(InputError, match="'ignore_label' 0 would leave out every no"):
        scored(tmp_path, SCORES, truth, "f1", ignore="0")


def test_a_class_axis_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(InputError, match="'class_axis' is 7"):
        scored(tmp_path, RNG.normal(0, 1, (9, 5, 6, 8)), RNG.integers(0, 5, (9, 6, 8)), "iou", class_axis=7)


def test_rows_without_a_label_are_counted_among_the_tested_ones(tmp_path):
    """Those that were set aside for calibration were counted as well."""
    labels = np.where(np.arange(200) % 2, CLASSES, -1)
    np.savez(tmp_path / "d.npz", x=X[:200], y=labels)
    data = dataset(str(tmp_path / "d.npz"), model(4), 100, 0, demo=False, labelling=Labelling())
    left = int((data.test.truth.values < 0).sum())
    assert f"; {left} rows without a label left out" in data.description


def test_tested_samples_without_any_label_are_refused(tmp_path):
    truth = read_truth(CLASSES, [Shape("out", (4,))])
    alone = replace(truth, values=np.full(200, -1))
    with pytest.raises(InputError, match="None of the 200 test samples has a label"):
        best_output(metric_of("top-1"), {"out": SCORES}, alone, "")


def test_the_digits_say_what_their_labels_are():
    one = Model("m", "m", "onnx", (TensorSpec("image", "float32", (None, 28, 28, 1)),),
                (TensorSpec("out", "float32", (None, 10)),), 1, 1, "d")  # fmt: skip
    assert dataset("digits", one, 0, 0, demo=True).description.endswith("; labels: class numbers, 10 classes")
