"""Differences between outputs: which must be found, and which must pass."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import ExportError
from workbench.export.agreement import OutputRange, compare, difference
from workbench.export.hops import ComparedInput, HopComparison
from workbench.records import Model, TensorSpec

TOLERANCE = 1e-3
AXIS = np.linspace(0, 3, 32, dtype=np.float32)
IMAGE = (np.sin(AXIS)[:, None] * np.cos(AXIS / 2)[None]).astype(np.float32)[None, :, :, None]
NOISE = np.random.default_rng(0).standard_normal(IMAGE.shape).astype(np.float32) * 1e-6


def agrees(source, found) -> bool:
    result = compare({"y": source}, {"y": found})
    return result.largest <= TOLERANCE


def test_rounding_passes():
    assert agrees(IMAGE, IMAGE + NOISE)
    assert agrees(IMAGE, IMAGE)


@pytest.mark.parametrize("offset", [0, 100])
def test_an_image_shifted_by_one_pixel_is_seen(offset):
    assert not agrees(offset + IMAGE, offset + np.roll(IMAGE, 1, 2))
    assert agrees(offset + IMAGE, offset + IMAGE + NOISE)


def test_a_transposed_square_is_seen():
    assert not agrees(IMAGE, IMAGE.swapaxes(1, 2))


@pytest.mark.parametrize("span", [1e-1, 1e-2, 1e-3, 1e-4])
def test_a_small_signal_on_a_large_constant_is_seen_and_its_rounding_passes(span):
    source = np.float32(1) + np.float32(span) * IMAGE
    flipped = compare({"y": source}, {"y": source[:, ::-1].copy()})
    assert flipped.of_spread > TOLERANCE
    rounded = source + np.float32(5e-6) * np.sign(NOISE)  # rounding, by a value of 1
    assert agrees(source, rounded)


def test_numerically_constant_outputs_are_not_divided_by_rounding():
    for value in (np.float32(1e-3), np.float32(1e6)):
        flat = np.full((1, 8), value)
        off = np.nextafter(flat, np.float32(np.inf))
        off[0, 0] = value
        assert compare({"y": off}, {"y": flat}).of_spread == 0
        assert agrees(off, flat)
        assert agrees(flat, flat * np.float32(1.0001))  # by its size: there is no span to go by
        assert not agrees(flat, flat * np.float32(1.01))
        assert agrees(off, flat * np.float32(1.0001))


def test_the_numbers_are_those_of_the_docstring():
    source, found = np.array([10.0, 12.0]), np.array([10.0, 12.6])
    result = compare({"y": source}, {"y": found})
    assert result.max_abs == pytest.approx(0.6)
    assert result.max_rel == pytest.approx(0.05)
    assert result.of_spread == pytest.approx((0.6 - 1e-5 * 12) / 2)


def test_the_worst_output_is_named():
    good, bad = np.ones(3), np.array([1.0, 2.0, 3.0])
    assert compare({"a": good, "b": bad}, {"a": good, "b": bad + 1}).worst == "b"
    assert compare({"b": bad, "a": good}, {"a": good, "b": bad + 1}).worst == "b"


def test_other_shapes_and_missing_outputs_are_refused():
    with pytest.raises(ExportError, match=r"The output 'y' is \[3, 2\] in the conversion and \[2, 3\] in the model"):
        compare({"y": np.ones((2, 3))}, {"y": np.ones((3, 2))})
    with pytest.raises(ExportError, match="The output 'y' is missing"):
        compare({"y": np.ones(2)}, {})


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_stand_in_the_same_places(special):
    source = np.array([1.0, special, 3.0])
    assert difference(source, source.copy()) == (0, 3, 2)
    for found in ([1.0, 2.0, 3.0], [special, special, 3.0], [1.0, 0.0 if np.isnan(special) else -special, 3.0]):
        assert difference(source, np.array(found))[0] == np.inf
        assert difference(np.array([1.0, 2.0, 3.0]), source)[0] == np.inf
    only = np.array([special])
    assert difference(only, only.copy())[0] == 0
    assert difference(only, np.array([1.0]))[0] == np.inf


def test_booleans_whole_numbers_text_and_complex_numbers():
    assert difference(np.array([True, False]), np.array([True, True])) == (1, 1, 1)
    assert difference(np.array([5, 7]), np.array([5, 8])) == (1, 7, 2)
    assert not agrees(np.array([5, 7]), np.array([5, 8]))
    assert difference(np.array([b"a"], object), np.array([b"b"], object))[0] == np.inf
    assert difference(np.array(["a"]), np.array(["a"]))[0] == 0
    assert difference(np.array([1 + 2j]), np.array([1 + 5j])) == (3, 2, 1)
    assert difference(np.zeros((0, 3)), np.zeros((0, 3)))[0] == 0


def test_zeros_are_compared_by_the_difference_itself():
    zeros = np.zeros(4, np.float32)
    assert agrees(zeros, zeros)
    assert compare({"y": zeros}, {"y": zeros + 0.5}).max_rel == 0.5


def test_scores_that_share_a_tensor_with_large_boxes_are_seen_by_themselves():
    draw = np.random.default_rng(0)
    boxes, scores = 640 * draw.random((2, 4, 100)), draw.random((2, 80, 100))
    source = np.concatenate([boxes, scores], 1).astype(np.float32)
    wrong = np.concatenate([boxes, scores[:, ::-1]], 1).astype(np.float32)
    result = compare({"y": source}, {"y": wrong})
    assert max(result.max_rel, result.of_spread) < 2e-3
    assert result.of_slice > 0.5
    assert agrees(source, source * (1 + 1e-6 * draw.standard_normal(source.shape)).astype(np.float32))
    steps = compare({"y": source}, {"y": source + np.float32(640 / 255)}, rounding=0.02)
    assert steps.of_slice == 0  # a step of an 8-bit tensor


def test_a_score_of_one_sample_that_is_near_zero_is_not_a_slice_of_its_own():
    """1,000 class scores of one sample: each class is a single value, and rounding is large beside one near 0."""
    scores = np.linspace(-3, 3, 1000)[None]
    rounded = scores + 6e-4 * np.cos(np.arange(1000))
    assert agrees(scores, rounded)
    assert not agrees(np.repeat(scores, 2, 0), np.repeat(rounded, 2, 0) + np.array([[0.0], [1e-2]]))


def test_an_output_is_constant_only_where_no_entry_varies_over_samples_and_inputs():
    span = OutputRange()
    span.add(np.array([[1, 0, 0]], np.float32))
    span.add(np.array([[1, 0, 0], [1 + 1e-7, 0, 0]], np.float32))
    assert span.constant  # but for rounding
    span.add(np.zeros((1, 5), np.float32))  # of another length, compared with its own kind
    assert span.constant
    span.add(np.array([[0, 0, 0, 0, 0.5]], np.float32))
    assert not span.constant
    columns = OutputRange(batch_axis=1)
    columns.add(np.array([[1, 1], [2, 2]], np.float32))
    assert columns.constant
    columns.add(np.array([[1, 3], [2, 2]], np.float32))
    assert not columns.constant
    whole = OutputRange(batch_axis=None)
    whole.add(np.array([1, 2, 3]))
    assert whole.constant
    words = OutputRange()
    words.add(np.array(["a", "a"]))
    assert not words.constant


def test_how_much_a_model_amplifies_rounding_is_seen_in_several_draws():
    """One draw of perturbed inputs may change little where others, and another library's rounding, change much."""
    model = Model(
        "m", "m", "onnx", (TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", (None, 4)),), 1, 1, "d"
    )
    x = np.linspace(0.1, 1, 8, dtype=np.float32).reshape(2, 4)
    changes = iter([0.0, 1e-6, 2e-3, 1e-6])  # of the inputs as they are, and of each draw

    def source(feeds):
        return {"y": x * np.float32(1 + next(changes))}

    def result(feeds):
        return {"y": x + np.float32(5e-3)}

    comparison = HopComparison(model, source, result)
    assert comparison.add(ComparedInput("real", "", {"x": x}, 2)) is None
    other = HopComparison(model, lambda feeds: {"y": x}, result)
    assert other.add(ComparedInput("real", "", {"x": x}, 2)) is not None
