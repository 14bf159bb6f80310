"""The budget: how it is spelled, when it is held, and what becomes of those who do not hold it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import recorded

from workbench.accuracy.guard import Guard, judge, judgement, same_files
from workbench.accuracy.metrics import METRICS
from workbench.accuracy.score import score
from workbench.choices.budget import budget_of
from workbench.errors import InputError


@pytest.mark.parametrize(
    ("text", "amount", "kind"),
    [
        ("0.5 points", 0.5, "points"), ("1point", 1, "points"), ("1 %", 1, "relative"), ("2% flips", 2, "flips"),
        (".02", 0.02, "absolute"), ("0", 0, "absolute"),
    ],
)  # fmt: skip
def test_a_budget_is_a_number_with_its_unit(text, amount, kind):
    found = budget_of(text)
    assert (found.amount, found.kind) == (amount, kind)
    assert budget_of("none") is budget_of("") is None


@pytest.mark.parametrize("text", ["much", "-1 points", "1 % of flips", "0.5 percent"])
def test_what_spells_no_budget_is_told_how(text):
    with pytest.raises(InputError, match=r"Give for example '0.5 points', '1 %', '2 % flips', '0.02'"):
        budget_of(text)


def scored(n=2000, broken=0, fixed=0, labels=True, metric=None):
    """A source that is right nine times in ten, and an engine with so many flips."""
    wanted = np.zeros(n, np.int64)
    source = np.eye(2)[np.repeat([0, 1], [n - n // 10, n // 10])]
    engine = source.copy()
    engine[:broken] = [0, 1]
    engine[n - fixed :] = [1, 0]
    return score("k", {"y": engine}, {"y": source}, wanted if labels else None, metric)


@pytest.mark.parametrize(
    ("changes", "budget", "verdict"),
    [
        ({}, "0.5 points", Guard.WITHIN),
        ({"n": 200}, "0.5 points", Guard.UNSURE),  # nothing flipped, and yet 200 samples do not know half a point
        ({"n": 200}, "5 points", Guard.WITHIN),
        ({"broken": 100}, "0.5 points", Guard.OVER),
        ({"broken": 10}, "0.5 points", Guard.UNSURE),  # exactly the budget
        ({"broken": 60, "fixed": 60}, "2 points", Guard.WITHIN),  # others, but as many right
        ({"broken": 60, "fixed": 60}, "2 % flips", Guard.OVER),
        ({"broken": 60, "fixed": 60, "labels": False}, "2 points", Guard.OVER),  # nobody knows that they are right
        ({"broken": 100}, "20 %", Guard.WITHIN),
        ({"broken": 100}, "1 %", Guard.OVER),
        ({"broken": 100}, "0.1", Guard.WITHIN),
    ],
)
def test_a_budget_is_held_where_the_whole_interval_of_the_loss_holds_it(changes, budget, verdict):
    found = judge(scored(**changes), budget_of(budget))
    assert found.verdict == verdict
    assert found.low <= found.loss <= found.high
    assert (found.high <= found.allowed) == (verdict == Guard.WITHIN)


def test_points_are_for_shares_and_few_samples_have_no_verdict():
    wide = np.linspace(0, 1, 40, dtype=np.float32).reshape(10, 4)
    few = score("k", {"y": wide + 1}, {"y": wide}, wide, METRICS["mae"])
    assert judge(few, budget_of("0.5 points")).why.startswith("points are for shares, and mae is none")
    found = judge(few, budget_of("0.1"))
    assert (found.verdict, found.why) == (Guard.UNSURE, "10 samples are too few for an interval")


def results(*accuracies, budget="0.5 points"):
    """FP32, INT8 and dynamic INT8 of one backend, each twice as fast as the one before."""
    rows = []
    for number, accuracy in enumerate(accuracies):
        row = recorded.measured(f"onnxruntime {('fp32', 'int8', 'int8')[number]}", median_ms=8 / 2**number)
        spec = replace(row.spec, method="dynamic" if number == 2 else "")
        rows.append(replace(row, spec=spec, accuracy=accuracy))
    return replace(recorded.results(rows, baseline="onnxruntime fp32"), budget=budget)


def test_the_table_marks_who_is_over():
    from workbench.compare.comparison import table

    made = results(scored(), scored(), scored(broken=200))
    frame = table(made, "onnxruntime fp32")
    assert list(frame["budget"]) == ["within", "within", "over"]
    assert frame["loss"].tolist() == pytest.approx([0, 0, 10])
    assert "over the budget of 0.5 points, not recommended: loses 10.00 points" in frame["note"].iloc[2]


def test_the_figure_keeps_who_is_over_out_of_the_front():
    from workbench.plots.figures import accuracy_data

    points = {point.name: point for point in accuracy_data(results(scored(), scored(), scored(broken=200))).points}
    assert points["onnxruntime int8-dynamic"].over
    assert not points["onnxruntime int8-dynamic"].on_front
    assert points["onnxruntime int8"].on_front


def test_the_panel_marks_who_is_over():
    from workbench.panel.tables import row

    made = results(scored(), scored(n=100), scored(broken=200))
    marks = [row(each, budget=made.budget) for each in made.rows]
    assert ["wb-guard" in mark for mark in marks] == [False, True, True]
    assert "over budget" in marks[2]
    assert "budget: cannot tell" in marks[1]


def test_who_is_over_never_wins_in_the_panel():
    from workbench.compare.limits import Limits, choose_row

    chosen = choose_row(results(scored(), scored(), scored(broken=200)), Limits())
    assert chosen.winner.spec.label == "onnxruntime int8"
    assert chosen.out == {"onnxruntime int8-dynamic @1": "over the budget of 0.5 points"}
    assert choose_row(results(scored(), scored(), scored(broken=200), budget=""), Limits()).out == {}


def test_a_limit_of_loss_is_of_the_metric_where_that_is_a_share():
    from workbench.compare.limits import loss

    apart = scored(broken=100, metric=METRICS["f1"])
    assert loss(apart) == apart.loss > 0
    assert loss(scored(broken=100)) == pytest.approx(0.05)
    wide = np.linspace(0, 1, 80, dtype=np.float32).reshape(20, 4)
    assert loss(score("k", {"y": -wide}, {"y": wide}, wide, METRICS["mae"])) == 1


def test_the_same_file_by_two_names_is_told():
    made = results(scored(), scored(), scored())
    engines = [replace(row.engine, source_sha256=sha) for row, sha in zip(made.rows, ("", "aa", "aa"), strict=True)]
    rows = tuple(replace(row, engine=engine) for row, engine in zip(made.rows, engines, strict=True))
    assert same_files(rows) == {"onnxruntime int8-dynamic": "int8"}
    assert same_files(rows[:2]) == {}


def test_without_a_score_or_a_budget_nothing_is_said():
    (row,) = results(scored()).rows
    assert judgement(replace(row, accuracy=None), "0.5 points") is None
    assert judgement(row, "") is None
