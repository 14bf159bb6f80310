"""Labels that number the classes otherwise than the model does are found out, and few samples are not taken for such."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.accuracy.class_order import order_text, other_order
from workbench.accuracy.score import doubts, score

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
    assert (
        "100.0 % would be right if the labels numbered the classes otherwise: class 1 of the model as 3, class 2 of the model as 1, "
        "class 3 of the model as 2. "
        "Check the range" in said
    )
    assert doubts([score("k", logits(labels), logits(labels), labels)]) == ()


def test_a_long_order_is_shortened():
    text = order_text(0.9, tuple(np.roll(np.arange(30), 1)))
    assert text.count(" of the model as ") == 10
    assert "and 20 more" in text
