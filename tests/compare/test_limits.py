"""Which rows keep the limits, which is recommended, and which cannot be distinguished from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recorded import accuracy, failed, measured, results

from workbench.accuracy.score import score
from workbench.compare.limits import Limits, choose_row, loss
from workbench.records import Result

BASE = measured("tensorflow fp32", median_ms=0.8)
FAST = measured("onnxruntime int8", median_ms=0.1, right=950)
FAIR = measured("onnxruntime fp32", median_ms=0.2)
LARGE = measured("onnxruntime fp32", 8, median_ms=1.2)
ALL = results([BASE, FAST, FAIR, LARGE, failed("openvino fp32")])


def test_without_limits_the_most_samples_per_second_win() -> None:
    choice = choose_row(ALL, Limits())
    assert choice.winner is FAST
    assert choice.out == {}


def test_a_limit_of_latency_puts_out_and_says_by_how_much() -> None:
    choice = choose_row(ALL, Limits(latency_s=0.0005))
    assert choice.winner is FAST
    assert set(choice.out) == {"tensorflow fp32 @1", "onnxruntime fp32 @8"}
    assert choice.out["onnxruntime fp32 @8"].startswith("p50 is 1.")
    assert choice.out["onnxruntime fp32 @8"].endswith(" ms, the limit 0.5 ms")


def test_a_budget_of_accuracy_puts_out_the_fastest() -> None:
    assert loss(FAST.accuracy) == pytest.approx(0.010)
    choice = choose_row(ALL, Limits(loss=0.005))
    assert choice.winner is LARGE
    assert choice.out == {
        "onnxruntime int8 @1": "1.00% fewer right than the source model, the budget is 0.50%",
    }


def test_without_labels_other_answers_count() -> None:
    row = replace(FAST, accuracy=accuracy(None, agree=970))
    choice = choose_row(results([FAIR, row]), Limits(loss=0.02))
    assert choice.winner is FAIR
    assert choice.out[row.row] == "3.00% other answers than the source model, the budget is 2.00%"


def test_what_is_not_known_keeps_no_limit() -> None:
    few = measured("openvino fp32", median_ms=0.01, timing_rounds=6, timing_calls=2)
    blind = replace(FAIR, accuracy=None)
    choice = choose_row(results([few, blind]), Limits(latency_s=1, percent=99, loss=0.5))
    assert choice.winner is None
    assert choice.out[few.row] == "p99 is not known: too few calls"
    assert choice.out[blind.row] == "its answers were not compared"


def test_rows_that_cannot_be_distinguished_from_the_winner_are_named_if_they_keep_the_limits() -> None:
    twin = measured("openvino int8", median_ms=0.1, right=950)
    rows = results([FAST, twin, FAIR])
    first = choose_row(rows, Limits())
    assert {first.winner.row, *(row.row for row in first.ties)} == {FAST.row, twin.row}
    alone = results([FAST, replace(twin, accuracy=accuracy(900)), FAIR])
    assert choose_row(alone, Limits(loss=0.02)).ties == ()


def test_who_is_within_the_guards_budget_wins_over_a_faster_one_that_it_cannot_tell_of() -> None:
    def guarded(row: Result, broken: int) -> Result:
        source = np.eye(2)[np.zeros(2000, np.int64)]
        engine = source.copy()
        engine[:broken] = [0, 1]
        return replace(row, accuracy=score("k", {"y": engine}, {"y": source}, np.zeros(2000, np.int64)))

    unsure, within = guarded(FAST, 10), guarded(FAIR, 0)
    rows = replace(results([unsure, within]), budget="0.5 points")
    assert choose_row(rows, Limits()).winner is within
    assert choose_row(replace(rows, budget=""), Limits()).winner is unsure
    assert choose_row(rows, Limits(loss=0.01)).winner is unsure  # a person's own limit decides
