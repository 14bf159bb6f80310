import numpy as np
import pytest

from workbench.accuracy.agreement import Comparable
from workbench.accuracy.metrics import METRICS, metric_of
from workbench.accuracy.score import doubts, score, score_text
from workbench.errors import InputError, RunError


def _logits(classes, n=3):
    return {"output_0": np.eye(n, dtype="float32")[classes]}


def test_flips_are_counted_in_pairs():
    labels = np.array([0, 1, 2, 0, 1])
    source = _logits([0, 1, 2, 1, 2])  # right, right, right, wrong, wrong
    engine = _logits([0, 1, 0, 0, 0])  # right, right, broken, fixed, wrong another way
    result = score("key", engine, source, labels)
    assert (result.fixed, result.broken) == (1, 1)
    assert result.value == pytest.approx(3 / 5)
    assert result.agreement == pytest.approx(2 / 5)
    assert result.low < result.value < result.high
    assert result.p_value == 1.0
    assert result.max_abs_diff == 1.0


def test_without_labels_only_agreement_is_said():
    result = score("key", _logits([0, 1]), _logits([0, 2]), None)
    assert (result.value, result.low, result.p_value, result.labelled) == (None, None, None, False)
    assert result.agreement == 0.5


def test_a_single_probability_is_read_with_a_threshold():
    labels = np.array([0, 1])
    source = {"p": np.array([[0.2], [0.9]], dtype="float32")}
    result = score("key", {"p": np.array([[0.6], [0.8]], dtype="float32")}, source, labels)
    assert (result.value, result.broken) == (0.5, 1)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ({"other": np.zeros((2, 3))}, "The engine's outputs are ['other']; the source model's are ['output_0']."),
        (
            {"output_0": np.zeros((2, 4))},
            "Output 'output_0' has the shape (2, 4); the source model's has (2, 3).",
        ),
        (
            {"output_0": np.full((2, 3), np.nan)},
            "Output 'output_0' holds NaN or infinity for 2 of 2 samples where the source model's does not: the engine's range overflowed.",
        ),
    ],
)
def test_outputs_that_do_not_match_are_refused(outputs, sentence):
    with pytest.raises(RunError) as caught:
        score("key", outputs, _logits([0, 1]), None)
    assert str(caught.value) == sentence


def test_an_overflow_to_infinity_is_refused_and_the_sources_own_infinity_is_not():
    source = {"output_0": np.array([[0.0, -np.inf], [1.0, 2.0]], "float32")}
    result = score("key", {"output_0": np.array([[0.5, -np.inf], [1.0, 2.0]], "float32")}, source, None)
    assert result.max_abs_diff == 0.5
    with pytest.raises(RunError, match="holds NaN or infinity"):
        score("key", {"output_0": np.array([[0.0, -np.inf], [1.0, np.inf]], "float32")}, source, None)


def test_a_class_per_token_agrees_only_as_a_whole_and_has_no_metric():
    source = np.eye(4, dtype="float32")[np.array([[0, 1, 2], [3, 3, 3]])]
    engine = source.copy()
    engine[0, 2] = np.eye(4, dtype="float32")[0]
    result = score("key", {"t": engine}, {"t": source}, None)
    assert result.agreement == 0.5
    assert (result.value, result.labelled) == (None, False)
    with pytest.raises(InputError, match=r"fit none of the model's outputs: 't' \[n × 3 × 4\]"):
        score("key", {"t": engine}, {"t": source}, np.array([0, 3]))


def test_one_value_per_sample_has_a_metric_only_for_two_classes():
    logits = {"z": np.array([[-3.0], [0.3], [4.0]], "float32")}
    assert score("key", logits, logits, np.array([0, 1, 1])).value == 1.0  # 0.3 is a logit here: class 1
    with pytest.raises(InputError, match="go up to 4, and the output 'z' has one value per sample"):
        score("key", logits, logits, np.array([3, 0, 4]))


def test_boxes_agree_by_their_values_and_not_by_their_largest_entry():
    reference = np.zeros((4, 896, 16), np.float32)
    reference[..., 3] = 100.0
    reference[..., 4] = 100.0  # a tie: the largest entry is a matter of rounding
    outputs = reference.copy()
    outputs[..., 4] += 1e-4
    assert score("key", {"boxes": outputs}, {"boxes": reference}, None).agreement == 1
    outputs[0, 0, 4] += 1
    assert score("key", {"boxes": outputs}, {"boxes": reference}, None).agreement == 0.75


def test_the_answer_is_scored_and_not_the_state():
    rng = np.random.default_rng(0)
    answer = rng.random((6, 1)).astype(np.float32)
    state = rng.random((6, 2, 128)).astype(np.float32)
    labels = (answer[:, 0] > 0.5).astype(np.int64)
    found = score("key", {"stateN": state, "output": answer}, {"stateN": state, "output": answer}, labels)
    assert (found.labelled, found.value, found.agreement) == (True, 1.0, 1.0)


def test_a_regression_agrees_by_its_size_and_not_by_its_sign():
    reference = {"value": np.array([[-3.0], [1.0], [4.0], [2.0]], "float32")}
    engine = {"value": reference["value"] + np.float32([[0.001], [0.5], [-0.003], [0.2]])}
    result = score("key", engine, reference, None)
    assert result.agreement == 0.5
    assert result.relative_diffs == {"value": pytest.approx(0.125)}
    assert score_text(result) == "50.0% agree of 4 samples; 'value' differs by up to 12.5% of its largest value"


def test_labels_belong_to_the_output_that_the_source_model_is_right_with():
    labels = np.array([0, 1, 2, 3, 3])
    outputs = {
        "aux": np.random.default_rng(0).standard_normal((5, 6)).astype("float32"),
        "cls": np.eye(4, dtype="float32")[labels],
    }
    result = score("key", outputs, outputs, labels)
    assert (result.output, result.value, result.chance) == ("cls", 1.0, 0.4)
    wrong = outputs | {"aux": outputs["aux"] * 1.5}
    found = score("key", wrong, outputs, labels)
    assert score_text(found) == "100.0% right in 'cls' of 5 samples; 'aux' differs by up to 50.0% of its largest value"


def test_scores_no_better_than_a_guess_are_doubted():
    labels = np.array([0, 0, 1, 2])
    right, wrong = _logits(labels), _logits([1, 1, 1, 1])
    good, bad = (score("key", each, right, labels) for each in (right, wrong))
    assert doubts([bad, good]) == ()
    assert doubts([]) == ()
    assert doubts([score("key", _logits([0, 0]), _logits([0, 0]), np.array([0, 0]))]) == ()  # nothing to guess
    (doubt,) = doubts([bad])
    assert doubt == (
        "No variant is shown to be better than a guess: the best one is right for 25.0 % [4.6, 69.9] of the samples, the most frequent "
        "label alone would be for 50.0 %. Check the range of the values or pixels (a model that scales by 1/255 itself "
        "takes 0..255), the order of the classes (folders of pictures are "
        "numbered by name: set 'class_order'), and that the labels belong to the output 'output_0'."
    )
    # 26 % of 400 against 25 % is no better, and 40 % is
    many = np.arange(400) % 4
    guesses = np.where(np.arange(400) < 4, many, 0)
    assert doubts([score("key", _logits(guesses, 4), _logits(many, 4), many)])
    guesses = np.where(np.arange(400) < 80, many, 0)
    assert doubts([score("key", _logits(guesses, 4), _logits(many, 4), many)]) == ()


def test_a_model_that_finds_a_rare_class_is_no_guess_though_the_frequent_label_is_right_as_often():
    labels = (np.arange(400) >= 380).astype(int)
    useful = labels.copy()
    useful[:15], useful[395:] = 1, 0  # 95 % right, as the frequent label alone
    constant = np.zeros(400, int)
    found, guess = (
        score("key", _logits(each, 2), _logits(labels, 2), labels, losses=True) for each in (useful, constant)
    )
    assert found.value == found.chance == guess.value == 0.95
    assert doubts([found]) == ()
    assert len(doubts([guess])) == 1


def test_text_is_compared_as_text():
    words = {"word": np.array([["a"], ["b"]])}
    assert score("key", words, words, None).agreement == 1
    assert score("key", {"word": np.array([["a"], ["c"]])}, words, None).relative_diffs == {"word": 1.0}


def test_the_labels_say_what_an_answer_is():
    """Agreement went by the largest entry along the last axis, whatever the output means."""
    rng = np.random.default_rng(1)
    several = rng.normal(0, 1, (60, 4)).astype("float32")
    turned = several.copy()
    turned[np.arange(6), several[:6].argmin(axis=1)] = 0.001  # the smallest becomes a yes, and the largest stays
    labels = (several > 0.2).astype(int)
    found = score("k", {"o": turned}, {"o": several}, labels, METRICS["f1"], losses=False)
    assert found.agreement == pytest.approx(1 - ((turned > 0) != (several > 0)).any(axis=1).mean())
    assert found.agreement < 1

    first = rng.normal(0, 1, (20, 3, 4, 5)).astype("float32")  # classes on axis 1
    moved = first.copy()
    moved[:, :, :, 0] -= 5  # every class of the first column alike: no class changes
    classes = first.argmax(axis=1)
    assert score("k", {"o": moved}, {"o": first}, classes, METRICS["iou"], losses=False).agreement == 1

    mask = rng.normal(0, 1, (20, 1, 4, 5)).astype("float32")
    doubled = mask * np.linspace(1, 3, 5, dtype="float32")  # no sign changes, but the largest of a row does
    assert score("k", {"o": doubled}, {"o": mask}, (mask[:, 0] > 0), METRICS["iou"], losses=False).agreement == 1

    real = rng.normal(0, 1, (20, 3)).astype("float32")
    found = score("k", {"o": real * 1.5}, {"o": real}, real.astype(float), METRICS["rmse"], losses=False)
    assert found.agreement == 0  # 50 % too large, the largest is the same


def test_a_function_of_ones_own_is_given_no_sample_with_nan():
    """It counted them as class 0, because the largest of nothing but NaN is the first."""
    source = np.eye(3, dtype="float32")[np.arange(90) % 3]
    source[:30] = np.nan
    labels = np.where(np.arange(90) < 30, 0, (np.arange(90) + 1) % 3)

    def right(outputs, labels):
        return outputs["o"].argmax(axis=1) == labels

    found = score("k", {"o": source}, {"o": source}, labels, metric_of(right))
    assert (found.value, found.scored, found.not_finite) == (0, 60, 30)
    with pytest.raises(InputError, match="gives NaN for all of 90 samples"):
        score("k", {"o": source * np.nan}, {"o": source * np.nan}, labels, metric_of(right))


def test_a_function_that_gives_nan_is_refused():
    outputs = {"o": np.eye(3, dtype="float32")[np.arange(90) % 3]}

    def broken(outputs, labels):
        return np.where(np.arange(len(labels)) == 7, np.nan, 1.0)

    with pytest.raises(InputError, match="gave NaN or infinity for 1 of 90 samples"):
        score("k", outputs, outputs, np.zeros(90, int), metric_of(broken))


def test_a_copied_input_is_scored_only_where_the_labels_fit_nothing_else():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4))
    reference = {"copy": x, "o": x + 0.1 * rng.normal(size=x.shape)}
    known = Comparable(unreached={"copy": "it is a copy of the input 'x'"})
    found = score("k", reference, reference, x, METRICS["rmse"], comparable=known)
    assert found.output == "o"
    assert found.value > 0.05
    assert score("k", reference, reference, x, METRICS["rmse"], "copy", comparable=known).value == 0
    varying = Comparable(varying={"copy": "two runs on the same input differ"})
    assert score("k", reference, reference, x, METRICS["rmse"], comparable=varying).output == "o"


def test_that_all_steps_of_a_sequence_must_be_equal_is_said():
    from workbench.compare.remarks import agreement_text

    source = np.eye(3, dtype="float32")[np.arange(40) % 3].reshape(10, 4, 3)
    other = source.copy()
    other[0, 2] = np.roll(source[0, 2], 1)  # one step of one sample
    found = score("k", {"o": other}, {"o": source}, None)
    assert found.agreement == pytest.approx(0.9)
    assert "(in all positions)" in score_text(found)
    assert "a sample agrees only where its answers at all positions or steps are equal" in agreement_text(found)
    flat = score("k", {"o": other[:, 0]}, {"o": source[:, 0]}, None)
    assert "positions" not in score_text(flat) + agreement_text(flat)


@pytest.mark.parametrize(
    ("source", "labels", "several"),
    [
        (np.arange(40).reshape(10, 4), None, True),  # tokens
        (np.arange(40).reshape(10, 4, 1), None, True),
        (np.arange(10), None, False),
        (np.arange(10)[:, None], None, False),
        (np.array([["yes", "no"]] * 10), None, True),  # text
        (np.linspace(0, 1, 40, dtype="f4").reshape(10, 4, 1), None, True),  # a probability at each step
        (np.linspace(-9, 1, 40, dtype="f4").reshape(10, 4, 1), None, False),  # values, which have no class
        (np.linspace(0, 1, 40, dtype="f4").reshape(10, 1, 4), None, False),  # one step
        (np.linspace(0, 1, 40, dtype="f4").reshape(10, 4), np.eye(4, dtype=int)[np.arange(10) % 4], False),
        (np.linspace(0, 1, 40, dtype="f4").reshape(10, 4), np.arange(40).reshape(10, 4) % 2, True),  # several labels
        (np.linspace(0, 1, 120, dtype="f4").reshape(10, 2, 3, 2), np.arange(60).reshape(10, 2, 3) % 2, True),  # masks
    ],
)
def test_whether_a_sample_has_several_answers(source, labels, several):
    metric = None if labels is None or labels.ndim != 3 else METRICS["iou"]
    if labels is not None and several and labels.ndim == 2:
        metric = METRICS["f1"]
    other = source.copy()
    other[0] = np.roll(source[0], 1, axis=-1) if source.dtype.kind in "fU" else source[0] + 1
    assert score("k", {"o": other}, {"o": source}, labels, metric).positions == several
