"""What a served model counts is complete, whichever thread is ahead; Triton's module for metrics is replaced by one that adds up."""

from __future__ import annotations

import importlib
import sys
import time
from types import ModuleType
from typing import Any

import numpy as np
import pytest

HOW = {
    "metrics": {
        "seconds": [0.001, 0.01],
        "inputs": {"x": {"mean": {"ends": [-1.0, 0.0, 1.0]}, "std": {"ends": [0.5]}}},
        "output": "y",
        "classes": 3,
    }
}


class Family:
    """Adds up what is sent, by name and labels."""

    COUNTER = "counter"
    sent: dict[str, float]  # of a subclass

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name = name

    def Metric(self, labels: dict[str, str]) -> Any:  # noqa: N802 - Triton's name
        sent, key = self.sent, " ".join([self.name, *(value for name, value in labels.items() if name != "model")])
        sent[key] = 0.0

        class One:
            def increment(self, more: float) -> None:
                assert more > 0
                sent[key] += more

        return One()


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, and with ``sent`` what was sent to the server."""
    stand_in = ModuleType("triton_python_backend_utils")
    stand_in.MetricFamily = type("Known", (Family,), {"sent": {}})
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.delitem(sys.modules, "workbench.deploy.files.counting", raising=False)
    found = importlib.import_module("workbench.deploy.files.counting")
    interval = sys.getswitchinterval()
    yield found
    sys.setswitchinterval(interval)
    sys.modules.pop("workbench.deploy.files.counting", None)


def test_nothing_is_left_out_where_the_thread_is_far_behind(counting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_BYTES", 4 * counting.ENTRY_BYTES)
    counts = counting.Counts(HOW, "demo")
    for _ in range(50):
        counts.inputs({"x": np.zeros((2, 100), np.float32)}, None)
        counts.outputs({"y": np.eye(3, dtype=np.float32)[[0, 2]]})
        counts.answered(0.005, 2, {})
        assert counts._bytes <= counting.MOST_BYTES + counting.ENTRY_BYTES + 800
    counts.close()
    sent = counting.pb.MetricFamily.sent
    assert sent["wb_model_seconds_count"] == sent["wb_input_mean_count x"] == 100
    assert [sent[f"wb_predictions {number}"] for number in range(3)] == [50, 0, 50]
    assert sent["wb_model_seconds_sum"] == pytest.approx(0.5)


def test_a_bucket_counts_all_values_up_to_its_end(counting: Any) -> None:
    counts = counting.Counts(HOW, "demo")
    counts.inputs({"x": np.array([[-1.0], [0.5], [1.0], [7.0], [np.nan], [0.0]], np.float32)}, 5)
    counts.close()
    sent = counting.pb.MetricFamily.sent
    assert [sent[f"wb_input_mean_bucket x {end}"] for end in ("-1", "0", "1", "+Inf")] == [1, 1, 3, 4]
    assert sent["wb_input_mean_count x"] == 4
    assert sent["wb_errors not_finite_input"] == 1


def test_counts_reach_the_server_without_another_call(counting: Any) -> None:
    counts = counting.Counts(HOW, "demo")
    counts.failed(3)
    until = time.monotonic() + 60
    while not counting.pb.MetricFamily.sent["wb_errors model"] and time.monotonic() < until:
        time.sleep(0.01)
    assert counting.pb.MetricFamily.sent["wb_errors model"] == 3
    counts.close()
