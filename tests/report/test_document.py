"""The results of a run as a document for other programs."""

from __future__ import annotations

from dataclasses import replace

import recorded

from workbench.report.document import document


def test_a_percentile_that_is_not_known_says_why() -> None:
    few = recorded.measured("onnxruntime fp32")
    few = replace(few, timing=recorded.timing(1.0, calls=20))
    (row,) = document(recorded.results([few], baseline=few.spec.label))["rows"]
    assert row["timing"]["p50_s"] > 0
    assert row["timing"]["p99_s"] is None
    assert row["timing"]["percentiles_missing"]["p99_s"] == "too few calls"
    assert "p50_s" not in row["timing"]["percentiles_missing"]
