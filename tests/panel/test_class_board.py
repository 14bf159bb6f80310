"""The class board in a notebook changes while it is shown."""

from __future__ import annotations

import time

from workbench.lessons import board
from workbench.lessons.board import CheckedPrediction, PredictionOutcome
from workbench.panel.class_board import ClassBoard
from workbench.system.measuring_lock import hold_lock


def test_it_shows_new_answers_and_the_queue_until_it_is_closed(tmp_path, monkeypatch):
    monkeypatch.setenv(board.FOLDER, str(tmp_path / "board"))
    shown = ClassBoard(every_s=0.05)
    assert "No prediction has been checked yet." in shown.shown.value
    assert board.publish(CheckedPrediction("How many?", "3", "4", PredictionOutcome.FAILED)) == ""
    with hold_lock("measuring demo at batch 1", alone=True, expected_s=300):
        deadline = time.monotonic() + 30
        while "measuring demo" not in shown.shown.value and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "How many? (1 failed)" in shown.shown.value
        assert "about 5 min left" in shown.shown.value
    shown.close()
    shown.refresh()
    assert "measuring demo" in shown.shown.value
