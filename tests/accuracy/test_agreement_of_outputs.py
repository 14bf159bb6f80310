"""Agreement with the source model: every output, what is not finite, what is random, and things found in another order."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.accuracy.agreement import Comparable, agreement
from workbench.accuracy.by_sample import ragged
from workbench.accuracy.finite import not_finite, not_finite_remarks
from workbench.accuracy.score import score, score_text
from workbench.errors import InputError, RunError
from workbench.records import Model, Probe, TensorSpec

RNG = np.random.default_rng(0)
MAIN = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
COPY = RNG.random((4, 5)).astype(np.float32)


def agreed(outputs, reference, comparable=None, **options):
    return agreement(outputs, reference, comparable or Comparable(), **options)


def test_the_output_that_agrees_least_is_the_one_that_counts():
    """A copied input agreed to 100 % while the main output agreed to 0 %, and the copy was what was shown."""
    reference = {"copy": COPY, "main": MAIN}
    found = agreed({"copy": COPY, "main": np.roll(MAIN, 1, axis=1)}, reference)
    assert (found.output, found.share, found.shares) == ("main", 0.0, {"copy": 1.0, "main": 0.0})
    scored = score("key", {"copy": COPY, "main": np.roll(MAIN, 1, axis=1)}, reference, None)
    assert (scored.agreement, scored.agreement_output, scored.output) == (0.0, "main", "main")
    assert score_text(scored).startswith("0.0% agree in 'main' of 4 samples")


def test_where_all_agree_the_one_with_weights_is_named():
    comparable = Comparable(unreached={"copy": "it is a copy of the input 'x'"})
    outputs = {"copy": COPY, "main": MAIN}
    assert agreed(outputs, outputs, comparable).output == "main"


def test_one_large_sample_does_not_excuse_other_classes_elsewhere():
    """0.1 % of a logit of 10 000 is more than the difference between the classes of usual samples."""
    source = np.concatenate([np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.float32([[10_000, 0, 0]])])
    engine = np.concatenate([np.eye(3, dtype=np.float32)[[1, 2, 0, 1]], np.float32([[10_000, 0, 0]])])
    assert agreed({"o": engine}, {"o": source}).shares == {"o": 1 / 5}
    scored = score("key", {"o": engine}, {"o": source}, np.array([0, 1, 2, 0, 0]))
    assert (scored.agreement, scored.broken) == (1 / 5, 4)


def test_ties_may_be_broken_either_way():
    """Values within 0.1 % of the sample's largest are a tie, and rounding may give either class."""
    source = np.float32([[1.0, 0.9999], [1e-5, 0.0], [100, 0]])
    assert agreed({"o": np.float32([[0.9999, 1.0], [0.0, 1e-5], [100, 0]])}, {"o": source}).share == 1


def test_agreement_never_rests_on_a_copy_alone():
    comparable = Comparable(unreached={"copy": "it is a copy of the input 'x'"})
    reference = {"copy": COPY, "main": np.full((4, 3), np.nan, np.float32)}
    with pytest.raises(InputError) as caught:
        agreed(reference, reference, comparable)
    assert str(caught.value) == (
        "No output can be compared with the source model's ('main': the source model gives no finite value in it for any of 4 "
        "samples; 'copy': it is a copy of the input 'x'). Check the model, or choose another 'score_output'."
    )
    # a model without weights, such as one that sorts boxes, has nothing else
    assert agreed({"copy": COPY}, {"copy": COPY}, comparable).share == 1
    assert agreed(reference, reference, comparable, only="copy").share == 1


def test_equal_nan_proves_nothing():
    reference = MAIN.copy()
    reference[[0, 2], 1] = np.nan
    found = agreed({"o": reference}, {"o": reference})
    assert (found.agreeing, found.compared, found.samples) == (2, 2, 4)
    scored = score("key", {"o": reference}, {"o": reference}, None)
    assert (scored.agreement, scored.not_compared, scored.samples) == (1.0, 2, 4)
    assert scored.source_not_finite == {"o": "NaN for 2 of 4 samples"}
    assert score_text(scored) == "100.0% agree of 2 samples"


def test_a_model_of_nothing_but_nan_has_no_agreement():
    nothing = {"o": np.full((300, 3), np.nan, np.float32)}
    with pytest.raises(InputError, match="gives no finite value in it for any of 300 samples"):
        agreed(nothing, nothing)
    assert not_finite(nothing) == {"o": "NaN for 300 of 300 samples"}
    (sentence,) = not_finite_remarks(not_finite(nothing))
    assert sentence.startswith("The output 'o' of the source model is not finite: NaN for 300 of 300 samples.")


def test_infinity_beside_finite_values_is_a_value():
    reference = {"log": np.float32([[0.0, -np.inf], [-np.inf, 0.0], [-np.inf, -np.inf]])}
    found = agreed(reference, reference)
    assert (found.agreeing, found.compared) == (2, 2)  # of the third nothing is left to compare
    assert not_finite(reference) == {"log": "infinite for 3 of 3 samples"}


def test_an_engines_own_nan_is_refused():
    with pytest.raises(RunError, match="'o' holds NaN or infinity for 4 of 4 samples where the source"):
        agreed({"o": np.full((4, 3), np.nan, np.float32)}, {"o": MAIN})


def test_what_the_model_does_not_repeat_is_not_compared():
    comparable = Comparable(varying={"noise": "two runs on one input differ"})
    outputs = {"noise": COPY, "main": MAIN}
    found = agreed(outputs, outputs | {"noise": COPY[:, ::-1] * np.nan}, comparable)
    assert (found.output, found.left_out) == ("main", {"noise": "two runs on one input differ"})
    assert list(found.relative_diffs) == ["main"]
    with pytest.raises(InputError, match="'noise': two runs on one input differ"):
        agreed({"noise": COPY}, {"noise": COPY}, comparable)
    with pytest.raises(InputError, match="'noise' cannot be scored: two runs on one input differ"):
        score("key", {"noise": MAIN}, {"noise": MAIN}, np.array([0, 1, 2, 0]), comparable=comparable)


def test_one_output_can_be_chosen():
    outputs = {"copy": COPY, "main": np.roll(MAIN, 1, axis=1)}
    found = agreed(outputs, {"copy": COPY, "main": MAIN}, only="copy")
    assert (found.output, found.share, found.left_out) == ("copy", 1.0, {"main": "'score_output' is 'copy'"})


def test_tokens_agree_only_where_all_are_equal():
    """The largest of several token numbers says nothing; of 8-bit scores without a scale it is the answer."""
    reference = np.array([[5, 900, 3], [7, 800, 2]])
    other = reference + np.array([[0, 0, 1], [0, 0, 0]])
    assert agreed({"tokens": other}, {"tokens": reference}).share == 0.5
    scores = Comparable.of([TensorSpec("scores", "uint8", (None, 3))])
    assert agreed({"scores": other}, {"scores": reference}, scores).share == 1


def test_what_opening_the_model_has_shown_is_taken_over():
    specs = (TensorSpec("copy", "float32", (None, 5), unreached="it is a copy of the input 'x'"),)
    probe = Probe((1,), (), {"noise": "two runs on one input differ"})
    model = Model("m", "m", "onnx", (), specs, 1, 1, "d", probe=probe)
    found = Comparable.of(specs, model)
    assert (found.varying, found.unreached) == (probe.varying, {"copy": "it is a copy of the input 'x'"})


def _some_boxes(rows):
    low = RNG.random((rows, 2)) * 100
    return np.concatenate([low, low + 10 + RNG.random((rows, 2)) * 50], axis=1).astype(np.float32)


def _detections(counts=(3, 0, 5)):
    boxes = ragged([_some_boxes(count) for count in counts])
    classes = ragged([RNG.integers(0, 4, count) for count in counts])
    scores = ragged([np.sort(RNG.random(count).astype(np.float32))[::-1] for count in counts])
    return {"boxes": boxes, "labels": classes, "scores": scores}


def _changed(outputs, name, sample, change):
    arrays = [each.copy() for each in outputs[name]]
    change(arrays[sample])
    return outputs | {name: ragged(arrays)}


def test_the_same_detections_in_another_order_are_the_same():
    reference = _detections()
    order = [np.random.default_rng(1).permutation(len(each)) for each in reference["boxes"]]
    turned = {
        name: ragged([each[rows] for each, rows in zip(array, order, strict=True)]) for name, array in reference.items()
    }
    assert agreed(turned, reference).share == 1
    assert agreed(turned, reference).relative_diffs["boxes"] == 0  # rows are compared in sorted order


def test_a_box_may_move_a_little_and_a_class_may_not_change():
    reference = _detections()

    def nudge(boxes):
        boxes += 1.0

    def away(boxes):
        boxes[0] += 500

    def another(classes):
        classes[0] += 1

    assert agreed(_changed(reference, "boxes", 2, nudge), reference).share == 1
    assert agreed(_changed(reference, "boxes", 2, away), reference).share == pytest.approx(2 / 3)
    assert agreed(_changed(reference, "labels", 2, another), reference).share == pytest.approx(2 / 3)


def test_a_missing_detection_is_a_disagreement_that_no_tolerance_hides():
    reference = _detections()
    fewer = {name: ragged([each[:2] for each in array]) for name, array in reference.items()}
    found = agreed(fewer, reference)
    assert found.share == pytest.approx(1 / 3)
    assert found.relative_diffs["boxes"] == 1.0


def test_padded_detections_are_matched_and_padding_is_not():
    boxes, scores = np.zeros((2, 6, 4), np.float32), np.zeros((2, 6), np.float32)
    classes = np.zeros((2, 6), np.int64)
    for sample, count in enumerate((2, 3)):
        boxes[sample, :count], scores[sample, :count] = _some_boxes(count), 0.9 - 0.1 * np.arange(count)
        classes[sample, :count] = np.arange(count)
    reference = {"detection_boxes": boxes, "detection_scores": scores, "detection_classes": classes}
    turned = {name: array.copy() for name, array in reference.items()}
    for array in turned.values():
        array[1, :3] = array[1, 2::-1].copy()
    turned["detection_classes"][:, 5] = 9  # of a row with a score of 0
    assert agreed(turned, reference).share == 1
    turned["detection_classes"][0, 0] = 3
    assert agreed(turned, reference).share == 0.5


@pytest.mark.parametrize("columns", [6, 7])
def test_boxes_scores_and_classes_in_one_tensor_are_recognised_by_their_values(columns):
    rows = []
    for count in (4, 2):
        parts = [_some_boxes(count), RNG.random((count, 1)), RNG.integers(0, 3, (count, 1))]
        parts = parts if columns == 6 else [np.zeros((count, 1)), parts[0], parts[2], parts[1]]
        rows.append(np.concatenate(parts, axis=1).astype(np.float32))
    reference = {"output0": ragged(rows)}
    turned = {
        "output0": ragged([each[::-1] + 1e-3 * (np.arange(columns) == (4 if columns == 6 else 6)) for each in rows])
    }
    assert agreed(turned, reference).share == 1


def test_other_rows_are_compared_as_a_set():
    """What NonMaxSuppression and NonZero give: numbers of boxes, places of entries."""
    reference = {"sel": ragged([np.array([[0, 1, 7], [0, 0, 3], [0, 1, 2]]), np.array([[0, 0, 1]])])}
    turned = {"sel": ragged([reference["sel"][0][[2, 0, 1]], reference["sel"][1]])}
    assert agreed(turned, reference).share == 1
    other = {"sel": ragged([reference["sel"][0], np.array([[0, 0, 2]])])}
    assert agreed(other, reference).share == 0.5


def test_samples_without_rows_agree_with_each_other_only():
    for dtype in ("int64", "float32"):
        none, some = np.zeros((0, 3), dtype), np.ones((1, 3), dtype)
        assert agreed({"o": ragged([none, some])}, {"o": ragged([none, some])}).share == 1
        assert agreed({"o": ragged([none, some])}, {"o": ragged([none, none])}).share == 0.5
        assert agreed({"o": ragged([none, none])}, {"o": ragged([none, none])}).share == 1


def test_near_ties_may_be_sorted_otherwise():
    """Sorted by their first column, rows that differ by rounding in it would be compared with the wrong partner."""
    rows = np.float32([[0.5, 1.0], [0.5, 9.0]])
    turned = np.float32([[0.5 + 1e-6, 1.0], [0.5, 9.0]])
    assert agreed({"rows": ragged([turned])}, {"rows": ragged([rows])}).share == 1


def test_outputs_of_one_size_and_of_several_can_be_compared():
    """One library may give the same number of rows for all samples where another does not."""
    same = np.zeros((2, 3, 2), np.float32)
    assert agreed({"rows": ragged([same[0], same[1][:2]])}, {"rows": same}).share == 0.5


def test_samples_without_any_detection_agree():
    """Arrays without a value ended in NumPy's "cannot reshape array of size 0"."""
    boxes = [np.ones((number, 6), np.float32) * number for number in (2, 0, 3, 0)]
    for output in (ragged(boxes), np.zeros((4, 0, 6), np.float32), np.zeros((4, 0), np.int64)):
        assert score("k", {"o": output}, {"o": output}, None).agreement == 1
    other = ragged([boxes[0], boxes[0], *boxes[2:]])
    assert score("k", {"o": other}, {"o": ragged(boxes)}, None).agreement == 0.75


def test_packed_detections_of_a_constant_number_have_no_positions():
    """As many rows in every sample look like classes at positions; they agree by class and overlap."""
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 0.5, (8, 5, 2))
    rows = np.concatenate(
        [np.zeros((8, 5, 1)), low, low + 0.3, rng.integers(0, 3, (8, 5, 1)), rng.random((8, 5, 1))], axis=2
    )
    other = rows.copy()
    other[:2, :, 5] = 3  # another class
    found = score("engine", {"det": other[:, ::-1]}, {"det": rows}, None)
    assert (found.agreement, found.positions) == (0.75, False)
    assert "positions" not in score_text(found)
