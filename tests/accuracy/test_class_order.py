"""Labels that number the classes otherwise than the model does are found out, and few samples are not taken for such."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.accuracy.class_order import in_order, order_of, order_setting, order_text, other_order
from workbench.accuracy.label_settings import Shape
from workbench.accuracy.metrics import METRICS
from workbench.accuracy.reading import read_truth
from workbench.accuracy.score import doubts, score
from workbench.errors import InputError

DRAW = np.random.default_rng(0)
ORDER = np.array([0, 3, 1, 2])  # by class of the model, the label


def logits(classes, count=4):
    return {"y": np.eye(count)[np.asarray(classes)]}


def test_another_order_is_found_although_some_answers_are_wrong():
    answers = DRAW.integers(0, 4, 400)
    labels = np.where(DRAW.random(400) < 0.9, ORDER[answers], answers)
    share, order = other_order(answers, labels)
    assert order == tuple(ORDER)
    assert share == pytest.approx(np.mean(ORDER[answers] == labels))


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        (DRAW.integers(0, 4, 400), DRAW.integers(0, 4, 400)),  # a guess
        (np.zeros(400, int), DRAW.integers(0, 4, 400)),  # one answer for all
        (np.arange(8), np.roll(np.arange(8), 1) // 2),  # few samples, which some order always fits
        (np.arange(400) % 4, np.arange(400) % 4),  # right as it is
        (np.zeros(9, int), np.zeros(9, int)),
        (np.zeros(0, int), np.zeros(0, int)),
        (np.arange(400) % 200, (np.arange(400) + 1) % 200),  # more classes than are tried
    ],
)
def test_no_order_is_claimed_where_none_is_clearly_better(answers, labels):
    assert other_order(answers, labels) is None


def test_the_doubt_about_a_score_names_the_order():
    """Folders of pictures are numbered by name; the model was trained with another order."""
    answers = np.repeat([1, 2, 3], 40)
    labels = ORDER[answers]
    (said,) = doubts([score("k", logits(answers), logits(answers), labels)])
    assert said.endswith(
        " 100.0 % would be right if the model numbers the classes in the order 0, 3, 1, 2. If that is so, set 'class_order' to '0,3,1,2': only "
        "the scores are made again."
    )
    assert doubts([score("k", logits(labels), logits(labels), labels)]) == ()


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_the_order_of_two_classes_is_found_for_a_single_probability(shape):
    labels = (np.arange(200) % 3 == 0).astype(int)
    outputs = np.where(labels == 0, 0.9, 0.1).reshape(shape)
    outputs[:5] = 1 - outputs[:5]
    (said,) = doubts([score("k", {"p": outputs}, {"p": outputs}, labels)])
    assert "97.5 % would be right" in said
    assert "set 'class_order' to '1,0'" in said


def test_a_long_order_is_shortened():
    text = order_text(0.9, order_setting(tuple(np.roll(np.arange(30), 1)), {}))
    assert (
        text
        == "90.0 % would be right if the model numbers the classes in the order 29, 0, 1, 2, 3, 4, 5, 6, 7, 8 and 20 more."
    )


def test_an_order_is_written_by_name_where_each_name_can_be():
    assert order_setting((1, 0, 2), {0: "cat", 1: "dog"}) == "dog,cat,2"
    assert order_setting((1, 0), {0: "cat, wild", 1: "dog"}) == "1,0"


def read(labels, classes=4):
    return read_truth(np.asarray(labels), [Shape("y", (classes,))])


@pytest.mark.parametrize(
    ("order", "names", "expected"),
    [
        (
            ("circle", "square", "triangle", "cross"),
            {0: "circle", 1: "cross", 2: "square", 3: "triangle"},
            [0, 3, 1, 2],
        ),
        (("0", "2", "3", "1"), {}, [0, 3, 1, 2]),
        (("0", "2", "3", "1"), {0: "circle", 1: "cross", 2: "square", 3: "triangle"}, [0, 3, 1, 2]),
        (("7", "0", "2", "3", "1"), {}, [1, 4, 2, 3]),  # the model has a class of which there is no sample
    ],
)
def test_labels_are_numbered_in_the_order_that_is_set(order, names, expected):
    truth, named = in_order(read([0, 1, 2, 3, -1], 5), order, names, "'x'")
    assert truth.values.tolist() == [*expected, -1]
    assert named == dict(enumerate(order))


def test_one_hot_labels_and_positions_are_ordered_as_well():
    truth, _ = in_order(read(np.eye(3)[[0, 1, 2]], 3), ("2", "0", "1"), {}, "'x'")
    assert truth.values.tolist() == [1, 2, 0]
    places = read_truth(np.array([[0, 1, 2], [2, 2, -1]]), [Shape("y", (5, 3))], METRICS["iou"])
    assert in_order(places, ("2", "0", "1"), {}, "'x'")[0].values.tolist() == [[1, 2, 0], [0, 0, -1]]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (("cat", "bird"), r"'class_order' is 'cat,bird', but 'x' has no class 'bird'\. The classes are: cat, dog\."),
        (("cat",), r"but 'dog' is missing\. The classes are: cat, dog\."),
    ],
)
def test_an_order_that_does_not_hold_the_classes_is_refused_with_their_names(order, says):
    with pytest.raises(InputError, match=says):
        in_order(read([0, 1]), order, {0: "cat", 1: "dog"}, "'x'")


@pytest.mark.parametrize("text", ["a,,b", "a,b,a", ","])
def test_an_order_names_each_class_once(text):
    with pytest.raises(InputError, match="'class_order' names each class once"):
        order_of(text)
    assert order_of("") == ()


def test_labels_that_are_no_class_numbers_have_no_order():
    values = read_truth(np.zeros((4, 2)), [Shape("y", (2,))], METRICS["mae"])
    with pytest.raises(InputError, match="'class_order' orders class numbers, and the labels of 'x' are real values"):
        in_order(values, ("0", "1"), {}, "'x'")
