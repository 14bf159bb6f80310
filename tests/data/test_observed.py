"""Smallest, largest and mean of what a model is fed, and what of it cannot be right."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.dataset import dataset
from workbench.data.observed import doubts, observed
from workbench.data.samples import Samples
from workbench.records import Model, TensorSpec, ValueRange, from_json, to_json
from workbench.records.values import InputValues

RNG = np.random.default_rng(0)


def values(test, calibration=None):
    return observed(Samples("t", {"x": test}), None if calibration is None else Samples("c", {"x": calibration}))


def test_ranges_are_those_of_all_values(monkeypatch):
    monkeypatch.setattr("workbench.data.samples.CHUNK_BYTES", 100)
    array = RNG.normal(3, 1, (200, 7)).astype(np.float32)
    (found,) = values(array, array[:50])
    assert (found.tested.low, found.tested.high) == (array.min(), array.max())
    assert found.tested.mean == pytest.approx(array.astype(np.float64).mean())
    assert found.calibrated.mean == pytest.approx(array[:50].astype(np.float64).mean())
    assert from_json(InputValues, to_json(found)) == found
    assert not list(doubts([found]))


def test_text_has_no_range_and_large_integers_do_not_wrap():
    text = Samples("t", {"s": np.array(["a", "b"], object), "n": np.full(4, 200, np.uint8)})
    assert observed(text, None) == (InputValues("n", "uint8", ValueRange(200, 200, 200)),)


@pytest.mark.parametrize(("test", "calibration", "says"), [
    (RNG.uniform(0, 255, (50, 4)), RNG.uniform(0, 1, (50, 4)), "do not fit those of its calibration samples"),
    (RNG.uniform(0, 1, (50, 4)), RNG.uniform(-1, 1, (50, 4)), "do not fit those of its calibration samples"),
    (RNG.uniform(0, 1, (50, 4)), RNG.uniform(5, 6, (50, 4)), "do not fit those of its calibration samples"),
    (np.full((50, 4), 255.0), None, "has the same value everywhere (255)"),
    (RNG.integers(0, 2, (50, 4)).astype(np.uint8), None, "all its values are 0 or 1. If they are pixels"),
    (RNG.uniform(0, 1, (50, 4)), RNG.uniform(0, 1, (9, 4)), ""),
    (RNG.integers(0, 256, (50, 4)).astype(np.uint8), None, ""),
])  # fmt: skip
def test_values_that_cannot_be_right_are_reported(test, calibration, says):
    found = list(doubts(values(test, calibration)))
    assert (says in found[0] and len(found) == 1) if says else not found


def test_a_data_set_knows_its_values(tmp_path):
    what = Model("m", "m", "onnx", (TensorSpec("x", "float32", (None, 2)),), (), 1, 1, "d")
    x = RNG.uniform(0, 255, (30, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, x_calibration=x / 255)
    (found,) = dataset(str(tmp_path / "d.npz"), what, 20, 0, demo=False).values
    assert found.tested.high == x.max()
    assert found.calibrated.high <= 1
    assert str(found).startswith("x (float32): ")
    assert "; calibration samples: " in str(found)


def test_pixels_from_minus_1_to_1_and_from_0_to_1_do_not_fit_each_other():
    pixels = np.arange(256, dtype=np.float32).reshape(64, 4) / 255
    for test, calibration in ((pixels, 2 * pixels - 1), (2 * pixels - 1, pixels)):
        assert "do not fit those of its calibration samples" in " ".join(doubts(values(test, calibration)))
    assert not list(doubts(values(pixels, 1.1 * pixels - 0.05)))
