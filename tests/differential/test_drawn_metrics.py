"""Every metric equals plain loops over the same numbers, however outputs and labels are laid out, or is refused."""

from __future__ import annotations

import drawn_metrics
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", drawn_metrics.NAMES)
def test_a_metric_equals_plain_loops_or_is_refused(name):
    @settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data):
        assert drawn_metrics.problem(data.draw(drawn_metrics.cases(name))) == ""

    check()
