"""What a served model counts is what was sent, and its buckets are those of what was measured."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from contextlib import closing

import numpy as np
import pytest
import recorded

from workbench.deploy.files.selftest import reference
from workbench.deploy.metrics import seconds
from workbench.deploy.rules import le
from workbench.errors import RunError


def values(server) -> dict[str, float]:
    """All own series of the server by name and labels, without the model's name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports.metrics}/metrics") as answer:
        text = answer.read().decode()
    rows = (line.rpartition(" ") for line in text.splitlines() if line.startswith("wb_"))
    return {re.sub(r',model="wide"|model="wide",?', "", name): float(value) for name, _, value in rows}


def settled(server, limit_s: float = 60.0) -> dict[str, float]:
    """The series when two readings in a row are the same: a model counts after its answer."""
    before, until = values(server), time.monotonic() + limit_s
    while time.monotonic() < until:
        time.sleep(0.3)
        after = values(server)
        if after == before:
            return after
        before = after
    pytest.fail(f"the metrics still change after {limit_s:.0f} s")


def more(server, send) -> dict[str, float]:
    """By how much each series grew while ``send`` was called with a client."""
    before = settled(server)
    with closing(server.http()) as client:
        send(client)
    after = settled(server)
    return {name: value - before.get(name, 0.0) for name, value in after.items() if value != before.get(name, 0.0)}


def test_requests_samples_and_classes_are_counted(server, wide) -> None:
    inputs, expected = reference(wide)
    grown = more(server, lambda client: [client.infer({"x": inputs["x"][0]}) for _ in range(3)])
    assert grown["wb_model_seconds_count{}"] == 3
    assert grown['wb_input_mean_count{input="x"}'] == 12
    classes, counts = np.unique(expected["y"][0].argmax(1), return_counts=True)
    for number, count in zip(classes, counts, strict=True):
        assert grown[f'wb_predictions{{class="{number}"}}'] == 3 * count
    assert sum(value for name, value in grown.items() if name.startswith("wb_predictions")) == 12
    assert not any(name.startswith("wb_errors") for name in grown)


def test_a_value_that_is_not_finite_is_an_error_by_kind(server) -> None:
    wrong = np.full((2, 512), np.nan, np.float32)
    grown = more(server, lambda client: client.infer({"x": wrong}))
    assert grown['wb_errors{kind="not_finite_input"}'] == 2
    assert grown['wb_errors{kind="not_finite_output"}'] == 1
    assert not any(name.startswith("wb_predictions") for name in grown)


def test_a_request_that_the_server_turns_away_reaches_no_count(server) -> None:
    def send(client) -> None:
        with pytest.raises(RunError):
            client.infer({"x": np.zeros((1, 3), np.float32)})

    assert more(server, send) == {}


def test_drift_moves_the_samples_to_the_outer_buckets(server, wide) -> None:
    inputs, _ = reference(wide)
    grown = more(server, lambda client: client.infer({"x": inputs["x"][0] + 5}))
    inner = [name for name in grown if name.startswith("wb_input_mean_bucket") and "+Inf" not in name]
    assert inner == []  # every sample's mean lies above the last decile
    assert grown['wb_input_mean_bucket{input="x",le="+Inf"}'] == 4


def test_buckets_of_seconds_hold_the_percentiles_that_were_measured(wide) -> None:
    timing = recorded.measured("onnxruntime fp32", 1, median_ms=0.5).timing
    ends = seconds([timing])
    assert ends == sorted(set(ends))
    assert any(end == pytest.approx(np.median(timing.samples_s), rel=0.01) for end in ends)
    assert ends[-1] > 100 * np.percentile(timing.samples_s, 99)
    kept = json.loads((wide / "repository/wide/1/options.json").read_text())["metrics"]
    assert len(kept["inputs"]["x"]["mean"]["ends"]) == 9
    assert kept["classes"] == 512


def test_rules_name_buckets_as_the_server_writes_them(server, wide) -> None:
    known = json.loads((wide / "repository/wide/1/options.json").read_text())["metrics"]
    there = values(server)
    for end in known["seconds"]:
        assert f'wb_model_seconds_bucket{{le="{le(end)}"}}' in there
    for kind, each in known["inputs"]["x"].items():
        for end in each["ends"]:
            assert f'wb_input_{kind}_bucket{{input="x",le="{le(end)}"}}' in there
