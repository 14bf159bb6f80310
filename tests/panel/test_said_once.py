"""A note that all rows of the page Compare have stands once above the table."""

from __future__ import annotations

import recorded

from workbench.panel.compare import ComparePage
from workbench.settings.experiment import Experiment
from workbench.store import Store

NOTE = "cannot tell: 3 usable rounds, at least 6 are needed"


def test_a_note_of_all_rows_is_said_once(store: Store) -> None:
    names = ("onnxruntime fp32", "onnxruntime int8", "openvino fp32")
    few = [recorded.measured(name, timing=recorded.timing(2.0, rounds=3)) for name in names]
    page = ComparePage(store)
    page.show(recorded.results(few, baseline=names[0]), Experiment(), {})
    assert f"All rows: {NOTE}" in page.said.value
    assert NOTE not in page.table.value
    rounds = zip(names, (12, 3, 12), strict=True)
    known = [recorded.measured(name, timing=recorded.timing(2.0, rounds=many)) for name, many in rounds]
    page.show(recorded.results(known, baseline=names[0]), Experiment(), {})
    assert NOTE not in page.said.value
    assert page.table.value.count(NOTE) == 1
