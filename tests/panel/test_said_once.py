"""A note that all rows of the page Compare have stands once above the table."""

from __future__ import annotations

from dataclasses import replace

import recorded

from workbench.compare.advice import recommended_text
from workbench.panel.compare import ComparePage
from workbench.panel.summary import summary_text
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


def test_a_remark_of_all_rows_is_taken_from_the_others_of_a_row(store: Store) -> None:
    rows = [
        recorded.on_gpu(name, median_ms=ms)
        for name, ms in (("tensorrt fp32", 2.0), ("tensorrt fp16", 1.0), ("tensorrt int8", 0.5))
    ]
    page = ComparePage(store)
    page.show(recorded.results(rows, baseline="tensorrt fp32"), Experiment(), {})
    assert page.said.value.count("clock 1,980 MHz") == 1
    assert "MHz" not in page.table.value
    assert page.table.value.count("TF32 allowed") == 1


def test_a_terminal_reads_the_result_of_a_batch_once() -> None:
    same = recorded.accuracy(960, agree=1000, fixed=0)
    times = {"onnxruntime fp32": 1.0, "openvino fp32": 2.0}
    rows = [recorded.measured(name, median_ms=ms, accuracy=same) for name, ms in times.items()]
    found = replace(recorded.results(rows, baseline="onnxruntime fp32"), budget="0.5 points")
    text = " ".join(summary_text(found).split())
    assert "Batch 1: Keep the baseline onnxruntime fp32, " in text
    (line,) = recommended_text(found)
    assert line not in text
