"""The signals of drift see what the table of known changes says that they see, and nothing without a change."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.dataset import digits as digits_of_the_demo
from workbench.stats.drift import FEWEST, domain, signals


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """750 digits and 750 others, shape [n, 28, 28, 1], from 0 to 1."""
    images = digits_of_the_demo()[2].inputs["image"]
    return images[:750], images[750:]


CHANGES = {
    "none": lambda x: x,
    "10 % brighter": lambda x: np.clip(x * 1.1, 0, 1),
    "noise": lambda x: x + np.random.default_rng(0).normal(0, 0.2, x.shape).astype(np.float32),
    "inverted": lambda x: 1 - x,
    "shifted by 3 pixels": lambda x: np.roll(x, 3, axis=2),
}
KS = {
    "none": (0, 0.1),
    "10 % brighter": (0.05, 0.3),
    "noise": (0.9, 1),
    "inverted": (0.9, 1),
    "shifted by 3 pixels": (0, 0.1),
}
AREA = {
    "none": (0.45, 0.57),
    "10 % brighter": (0.4, 0.6),
    "noise": (0.4, 0.6),
    "inverted": (0.99, 1),
    "shifted by 3 pixels": (0.95, 1),
}
ALERTS = {"none": set(), "noise": {"ks"}, "inverted": {"ks", "domain"}, "shifted by 3 pixels": {"domain"}}


@pytest.mark.parametrize("change", CHANGES)
def test_known_changes_have_known_effects(digits, change) -> None:
    reference, live = digits
    found = signals(reference, CHANGES[change](live))
    largest = max(each.effect for each in found if each.kind == "ks")
    (area,) = (each.effect for each in found if each.kind == "domain")
    assert KS[change][0] <= largest <= KS[change][1]
    assert AREA[change][0] <= area <= AREA[change][1]
    if change in ALERTS:
        assert {each.kind for each in found if each.alert} == ALERTS[change]


def test_predictions_that_change_have_an_index_above_the_limit() -> None:
    draw = np.random.default_rng(0)

    def scores(count: int, sharpness: float, favored: int = 0) -> np.ndarray:
        logits = draw.normal(size=(count, 10)) * sharpness
        logits[:, 0] += favored
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    inputs = draw.normal(size=(750, 4))
    same = signals(inputs, inputs[::-1], (scores(750, 3), scores(750, 3)))
    assert not any(each.alert for each in same)
    less_sure = signals(inputs, inputs[::-1], (scores(750, 3), scores(750, 1)))
    assert {each.feature for each in less_sure if each.alert} == {"confidence"}
    one_class = signals(inputs, inputs[::-1], (scores(750, 3), scores(750, 3, favored=4)))
    assert "class" in {each.feature for each in one_class if each.alert}


def test_an_alert_needs_effect_and_evidence() -> None:
    """A small change of a large window has a small p-value and raises nothing; a few samples have large effects and raise nothing."""
    draw = np.random.default_rng(0)
    large = signals(draw.normal(size=(20000, 2)), draw.normal(size=(20000, 2)) + 0.05)
    assert min(each.p for each in large) < 0.01
    assert not any(each.alert for each in large)
    few = signals(draw.normal(size=(FEWEST, 2)), draw.normal(size=(FEWEST, 2)))
    assert max(each.effect for each in few if each.kind == "ks") > 0.1
    assert not any(each.alert for each in few)
    assert signals(draw.normal(size=(FEWEST - 1, 2)), draw.normal(size=(1000, 2)) + 9) == ()


def test_the_classifier_takes_samples_of_many_values() -> None:
    draw = np.random.default_rng(0)
    reference, live = draw.normal(size=(100, 60, 60)), draw.normal(size=(100, 60, 60))
    live[:, :20] += 1
    assert domain(reference, live).alert
