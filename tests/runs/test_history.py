"""How long earlier builds took, from real engines in a store."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from recorded import engine, spec

from workbench.records import to_json
from workbench.runs.history import Estimate, History
from workbench.store import Store


def test_medians_by_kind_and_nothing_where_nothing_was_built(store: Store) -> None:
    history = History(store)
    rows = [spec(label) for label in ("onnxruntime fp32", "openvino fp32", "tensorflow:xla fp32")]
    assert history.estimate(rows) == Estimate(0, 0, 3, 0)
    for number, (label, seconds) in enumerate(
        [("onnxruntime fp32", 1.0), ("onnxruntime fp32", 3.0), ("onnxruntime fp32", 11.0), ("tensorflow:xla fp32", 5.0)]
    ):
        store.put("engine", f"{number:040x}", to_json(engine(spec(label), build_s=seconds)))
    assert history.estimate(rows) == Estimate(pytest.approx(8.0), 2, 3, 4)
    assert history.estimate([]) == Estimate(0, 0, 0, 0)


def test_a_way_to_a_precision_is_a_kind_of_its_own(store: Store) -> None:
    entropy, plain = replace(spec("onnxruntime int8"), method="entropy"), spec("onnxruntime int8")
    store.put("engine", "1" * 40, to_json(engine(entropy, build_s=2.0)))
    history = History(store)
    assert history.estimate([entropy]) == Estimate(2.0, 1, 1, 1)
    assert history.estimate([plain]) == Estimate(0, 0, 1, 0)


def test_a_damaged_engine_tells_nothing(store: Store) -> None:
    store.put("engine", "a" * 40, {"spec": 3})
    (store.path("engine", "b" * 40)).mkdir(parents=True)
    (store.path("engine", "c" * 40)).mkdir(parents=True)
    (store.path("engine", "c" * 40) / "manifest.json").write_text(json.dumps([]))
    assert History(store).durations() == {}
