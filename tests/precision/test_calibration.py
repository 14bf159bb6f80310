"""The range that each method chooses for one tensor."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.precision.calibration import ranges_of


def test_each_method_chooses_its_own_range():
    values = np.abs(np.random.default_rng(0).standard_normal((100, 1000))).astype(np.float32)
    values[0, 0] = 50.0  # one outlier
    found = ranges_of(values)
    assert found["minmax"] == (values.min(), 50.0)
    assert found["percentile"][1] == pytest.approx(
        np.quantile(values, 0.99995), abs=100 / 2048
    )  # half at each end; one bin
    assert 1 < found["entropy"][1] < 10
    assert len(set(found.values())) == 4
    assert found["distribution"] == (-50.0, 50.0)  # the whole histogram, although nothing is below zero
