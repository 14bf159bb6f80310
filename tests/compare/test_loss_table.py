"""The table of losses by class and group, and where the report shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import recorded

from workbench.accuracy.score import score
from workbench.compare.advice import recommended_text
from workbench.compare.headline import headlines
from workbench.display.tables import worst_losses
from workbench.records import Result, from_json, to_json

LABELS = np.arange(3000) % 8


def results():
    source = np.eye(8, dtype=np.float32)[LABELS]
    engine = source.copy()
    engine[(LABELS == 5) & (np.arange(3000) % 3 == 0)] = np.eye(8)[0]
    groups = np.where(LABELS < 4, "<b>", "x")
    accuracy = score("k", {"y": engine}, {"y": source}, LABELS, groups=("site", groups))
    rows = [replace(recorded.measured("onnxruntime int8", median_ms=1), accuracy=accuracy)]
    return replace(recorded.results(rows, baseline="onnxruntime int8"), budget="10 points")


def test_the_worst_class_comes_first_and_is_marked():
    frame = results().losses().frame()
    assert len(frame) == 10
    first = frame.iloc[0]
    assert (first["by"], first["name"], first["over budget"]) == ("class", "5", True)
    assert first["low"] < first["loss"] < first["high"]
    assert frame["over budget"].sum() == 1
    assert set(frame["by"]) == {"class", "site"}


def test_the_report_shows_it_and_the_row_warns():
    made = results()
    table = worst_losses(made)
    html, text = table.html(), table.text()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "The 5 with the largest loss of each variant, of 8 classes, 2 groups of 'site'" in text
    from workbench.panel.parts import PARTS

    shown = PARTS["accuracy"](made, None)
    assert text in [repr(each) for each in shown]
    note = made.table().frame()["note"].iloc[0]
    assert "class 5 loses more than the budget of 10 points although the mean does not" in note
    (headline,) = headlines(made)
    assert headline.why[0].startswith("onnxruntime int8: class 5 loses more than the budget of 10 points")
    assert " ms; but class 5 loses more" in recommended_text(made)[0]
    assert not worst_losses(replace(made, rows=tuple(replace(row, accuracy=None) for row in made.rows))).rows


def test_the_record_survives_the_store():
    (row,) = results().rows
    assert from_json(Result, to_json(row)).accuracy == row.accuracy
