"""Labels in another order of the classes than the model's: a warning before anything is timed, and then only new scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_model import small_onnx

from workbench.compare.advice import fitting_order
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.workers.worker import Worker

QUICK = {"backends": "onnxruntime", "precisions": "fp32", "batches": (1, 2), "measure_s": 0.02, "max_measure_s": 0.02}


@pytest.fixture
def asked(tmp_path) -> Experiment:
    x = np.eye(4, dtype=np.float32)[np.arange(120) % 3] * 3
    np.savez(tmp_path / "data.npz", x=x, y=np.array([2, 0, 1])[x.argmax(1)])
    return Experiment(model=small_onnx(tmp_path / "model.onnx"), data=str(tmp_path / "data.npz"), rounds=2, **QUICK)


def test_the_order_is_said_before_the_timing_and_then_only_the_scores_are_made_again(asked, store, monkeypatch) -> None:
    events = []
    first = run(asked, store=store, on_event=events.append)
    warned = next(number for number, event in enumerate(events) if event.warning)
    assert "in the order 2, 0, 1. If that is so, set 'class_order' to '2,0,1'" in events[warned].text
    assert not any(event.medians_s or (event.result and event.result.timing) for event in events[:warned])
    assert fitting_order(first) == "2,0,1"
    assert first.warnings == ()  # the headline says it
    assert "set 'class_order' to '2,0,1'" in first.headlines()[0].why[0]

    def refused(*_, **__):
        raise AssertionError("no worker is needed to read the labels otherwise")

    monkeypatch.setattr(Worker, "__init__", refused)
    second = run(replace(asked, class_order="2,0,1"), store=store)
    assert [row.accuracy.value for row in second.rows] == [1.0, 1.0]
    assert (second.tally.measured, second.tally.scored, second.tally.reused_timings) == (0, 1, 2)
    assert fitting_order(second) == ""
    assert "classes in the order 2, 0, 1" in second.data


def test_nothing_is_warned_of_where_the_answers_are_right(asked, store) -> None:
    events = []
    run(replace(asked, class_order="2,0,1"), store=store, on_event=events.append)
    assert not any(event.warning for event in events)


def test_labels_of_another_name_are_said_before_the_timing_and_are_found_by_it(asked, store, tmp_path) -> None:
    with np.load(asked.data) as arrays:
        np.savez(tmp_path / "named.npz", pictures=arrays["x"], kind=np.array(["c", "a", "b"])[arrays["y"]])
    events, named = [], replace(asked, data=str(tmp_path / "named.npz"))
    first = run(named, store=store, on_event=events.append)
    (warned,) = first.warnings
    assert warned.endswith("If 'kind' holds the labels, set 'label_column' to that name.")
    at = next(number for number, event in enumerate(events) if event.text == warned)
    assert not any(event.medians_s or (event.result and event.result.timing) for event in events[:at])
    second = run(replace(named, label_column="kind", class_order="b,c,a"), store=store)
    assert [row.accuracy.value for row in second.rows] == [1.0, 1.0]
    assert second.warnings == ()
