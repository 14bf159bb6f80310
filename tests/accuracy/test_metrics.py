"""Each metric against the library or the arithmetic that defines it, and what does not suit it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from workbench.accuracy.chosen import best_output
from workbench.accuracy.label_settings import shapes_of
from workbench.accuracy.metrics import METRICS, Metric, metric_of
from workbench.accuracy.reading import read_truth
from workbench.accuracy.score import score
from workbench.errors import InputError

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 5, 200)
SCORES = np.eye(5)[LABELS] + GENERATOR.normal(0, 0.6, (200, 5))
MAPS = GENERATOR.random((20, 6, 6, 3))
MASKS = GENERATOR.integers(0, 3, (20, 6, 6))
WIDE = GENERATOR.random((50, 4)).astype(np.float32)
TRUTH = WIDE + GENERATOR.normal(0, 0.1, (50, 4)).astype(np.float32)


def value(name, outputs, labels):
    """The metric of these outputs, as a run has it, without the intervals."""
    metric = metric_of(name)
    truth = read_truth(labels, shapes_of({"y": outputs}), metric)
    return metric.value(best_output(metric, {"y": outputs}, truth, "").parts)


def test_metrics_of_classes_are_scikit_learns():
    found = SCORES.argmax(axis=1)
    assert value("top-1", SCORES, LABELS) == sklearn_metrics.accuracy_score(LABELS, found)
    assert value("top-3", SCORES, LABELS) == sklearn_metrics.top_k_accuracy_score(LABELS, SCORES, k=3)
    assert value("f1", SCORES, LABELS) == pytest.approx(sklearn_metrics.f1_score(LABELS, found, average="macro"))
    wanted = sklearn_metrics.average_precision_score(np.eye(5)[LABELS], SCORES, average="macro")
    assert value("map", SCORES, LABELS) == pytest.approx(wanted)
    wanted = sklearn_metrics.jaccard_score(MASKS.ravel(), MAPS.argmax(-1).ravel(), average="macro")
    assert value("iou", MAPS, MASKS) == pytest.approx(wanted)
    blind = MAPS * np.array([1, 1, 0])  # a class that is there and is never found counts as 0
    wanted = sklearn_metrics.jaccard_score(MASKS.ravel(), blind.argmax(-1).ravel(), average="macro")
    assert value("iou", blind, MASKS) == pytest.approx(wanted)


def test_yes_or_no_per_entry_is_recognized_by_the_labels_shape():
    wanted = (TRUTH > 0.5).astype(np.int64)
    for average in ("macro", "micro", "samples"):
        expected = sklearn_metrics.f1_score(wanted, WIDE > 0.5, average=average, zero_division=0)
        assert value(f"f1-{average}", WIDE, wanted) == pytest.approx(expected)
    assert value("f1", WIDE, wanted) == value("f1-macro", WIDE, wanted)


def test_one_logit_is_cut_at_zero_whatever_the_shape_of_its_labels():
    labels = GENERATOR.integers(0, 2, 300)
    logits = (2 * labels - 1 + GENERATOR.normal(0, 0.8, 300)).astype(np.float32)
    expected = sklearn_metrics.f1_score(labels, logits > 0, average="macro")
    for outputs, truth in (
        (logits, labels),
        (logits[:, None], labels),
        (logits[:, None], labels[:, None]),
    ):
        assert value("f1", outputs, truth) == pytest.approx(expected)
    overlap = sklearn_metrics.jaccard_score(labels, logits > 0, average="macro")
    for axes in ((300, 1, 1), (300, 1, 1, 1)):
        assert value("iou", logits.reshape(300, 1, 1, 1), labels.reshape(axes)) == pytest.approx(overlap)


def test_the_source_says_where_every_engine_is_cut():
    labels = GENERATOR.integers(0, 2, (300, 1))
    source = np.where(labels, 0.97, 0.03).astype(np.float32)
    engine = np.where(labels, 1.0079, 0.04).astype(np.float32)  # quantized values may end a step beyond 1
    for name in ("f1", "f1-binary", "iou", "top-1"):
        scored = score("k", {"y": engine}, {"y": source}, labels, METRICS[name])
        assert (scored.source_value, scored.value) == (1, 1)


def test_classes_that_a_model_names_itself_are_taken_as_they_are():
    assert value("f1", LABELS.copy(), LABELS) == 1


def test_metrics_of_numbers_are_their_arithmetic():
    apart = WIDE.astype(np.float64) - TRUTH
    assert value("rmse", WIDE, TRUTH) == pytest.approx(sklearn_metrics.root_mean_squared_error(TRUTH, WIDE))
    maps = (WIDE.reshape(50, 2, 2), TRUTH.reshape(50, 2, 2))
    assert value("rmse", *maps) == pytest.approx((apart**2).mean() ** 0.5)
    assert value("mae", WIDE, TRUTH) == pytest.approx(sklearn_metrics.mean_absolute_error(TRUTH, WIDE))
    pairs = sklearn_metrics.pairwise.cosine_similarity(WIDE, TRUTH).diagonal()
    assert value("cosine", WIDE, TRUTH) == pytest.approx(pairs.mean(), rel=1e-5)
    peak = float(TRUTH.max()) - float(TRUTH.min())
    assert value("psnr", WIDE, TRUTH) == pytest.approx(10 * np.log10(peak**2 / (apart**2).mean()), rel=1e-6)
    assert value("psnr", TRUTH, TRUTH) == 100
    assert value("mae", np.ones((3, 1)), np.zeros(3)) == 1  # one value per sample may come without its axis


def test_edits_of_text_and_of_what_ctc_gives():
    found, wanted = np.array(["the cat sat", "on a mat"]), np.array(["the cat sat", "on the mat"])
    assert value("wer", found, wanted) == pytest.approx(1 / 6)
    assert value("cer", found, wanted) == pytest.approx(3 / 21)
    steps = np.eye(4)[[[1, 1, 0, 1, 2, 2], [3, 0, 0, 3, 3, 1]]]  # 1 1 2 and 3 3 1, by repetition and blank
    labels = np.array([[1, 1, 2, -1], [3, 1, -1, -1]])
    assert value("cer", steps, labels) == pytest.approx(1 / 5)


@pytest.mark.parametrize(("name", "outputs", "labels", "says"), [
    ("top-5", SCORES, LABELS, r"needs scores of more than 5 classes, and the scored output is \[200 × 5\]"),
    ("iou", SCORES, MASKS, r"fit none of the model's outputs: 'y' \[n × 5\]"),
    ("rmse", WIDE, TRUTH[:, :3], r"cannot compare the output 'y', \[50 × 4\], with labels \[50 × 3\]"),
    ("wer", MAPS, np.array(["a"] * 20), "compares words, and this output is not text"),
    ("cer", MAPS, np.array(["a"] * 20), "text, or scores"),
    ("f1-binary", SCORES, LABELS, "is for two classes, and there are 5"),
    ("f1-samples", SCORES, LABELS, r"takes several labels .* are class numbers\. Set 'metric' to one of: top-1"),
])  # fmt: skip
def test_what_does_not_suit_is_reported(name, outputs, labels, says):
    with pytest.raises(InputError, match=says):
        value(name, outputs, labels)


def test_an_unknown_metric_lists_those_that_there_are():
    with pytest.raises(InputError, match=r"Unknown value 'top-0' for 'metric'. Choose from: auto, top-1, top-5, f1"):
        metric_of("top-0")
    with pytest.raises(InputError, match=r"A metric is a name, a function or a workbench.Metric; found int"):
        metric_of(3)


def shifted(amount):
    return {"y": (WIDE + amount).astype(np.float32)}


def test_less_error_is_not_a_loss_and_more_is():
    """The source is off by 0.1; an engine off by 0.2 loses 0.1, one without error gains as much."""
    metric = METRICS["mae"]
    worse = score("k", shifted(0.2), shifted(0.1), WIDE, metric)
    better = score("k", shifted(0.0), shifted(0.1), WIDE, metric)
    assert (worse.loss, better.loss) == pytest.approx((0.1, -0.1), abs=1e-6)
    assert worse.loss_low <= worse.loss <= worse.loss_high
    assert (worse.value, worse.source_value, worse.higher_is_better, worse.share) == (
        pytest.approx(0.2), pytest.approx(0.1), False, False,
    )  # fmt: skip


def test_without_labels_the_sources_own_outputs_are_the_truth():
    found = score("k", shifted(0.05), shifted(0), None, METRICS["rmse"])
    assert (found.labelled, found.source_value) == (False, 0)
    assert found.loss == pytest.approx(0.05, abs=1e-6)
    assert score("k", shifted(0.05), shifted(0), None, METRICS["f1"]).value is None


def test_the_output_is_the_named_one_or_the_one_that_the_metric_suits_best():
    outputs = {"noise": GENERATOR.random((200, 5)), "wide": WIDE[[0] * 200], "answer": SCORES}
    assert score("k", outputs, outputs, LABELS, METRICS["f1"]).output == "answer"
    assert score("k", outputs, outputs, LABELS, METRICS["f1"], "noise").output == "noise"
    with pytest.raises(InputError, match=r"'score_output' names 'x'. The model's outputs are: noise, wide, answer"):
        score("k", outputs, outputs, LABELS, None, "x")


def test_a_function_scores_each_sample_with_all_outputs_at_hand():
    def nearness(outputs, labels):
        return -np.abs(outputs["y"] - labels).max(axis=1)

    found = score("k", shifted(0.3), shifted(0.1), WIDE, metric_of(nearness))
    assert (found.metric, found.loss) == ("nearness", pytest.approx(0.2, abs=1e-6))
    with pytest.raises(
        InputError, match=r"gave float64 \[\] for 50 samples. It has to return an array with one number"
    ):
        score("k", shifted(0), shifted(0), WIDE, metric_of(lambda outputs, labels: np.float64(1)))
    with pytest.raises(InputError, match="Could not score by broken: division by zero"):
        score("k", shifted(0), shifted(0), WIDE, Metric("broken", lambda outputs, truth: 1 / 0, float))


def test_flips_of_top_k_are_counted_and_others_have_none():
    other = SCORES.copy()
    other[:20] = -other[:20]
    found = score("k", {"y": other}, {"y": SCORES}, LABELS, METRICS["top-1"])
    right, source_right = other.argmax(1) == LABELS, SCORES.argmax(1) == LABELS
    assert (found.fixed, found.broken) == ((right & ~source_right).sum(), (source_right & ~right).sum())
    assert found.broken > 0
    plain = score("k", {"y": other}, {"y": SCORES}, LABELS)
    assert (found.loss, found.loss_low, found.loss_high) == (plain.loss, plain.loss_low, plain.loss_high)
    assert score("k", {"y": other}, {"y": SCORES}, LABELS, METRICS["f1"]).p_value is None
