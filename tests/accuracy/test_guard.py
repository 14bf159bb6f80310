"""The budget: how it is spelled, when it is held, and what becomes of those who do not hold it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import recorded

import workbench
from workbench.accuracy.budget import budget_for, budget_of
from workbench.accuracy.guard import Guard, Judgement, judge, judgement, one_class_right, same_files
from workbench.accuracy.metrics import METRICS
from workbench.accuracy.score import score
from workbench.errors import InputError
from workbench.plan.scoring import Scoring
from workbench.runs import pipeline


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
def test_what_is_not_a_budget_is_reported_how(text):
    with pytest.raises(InputError, match=r"Give for example '0.5 points', '1 %', '2 % flips', '0.02'"):
        budget_of(text)


def test_a_plain_number_that_is_nearly_all_of_a_share_is_refused():
    with pytest.raises(
        InputError, match=r"'budget' is 1, .* a loss of 100 points\. Give '1 point' or '0\.01' if 1 point were meant"
    ):
        budget_for("1", share=True)
    assert budget_for("1", share=False) == budget_of("1")
    for text in ("0.02", "100 points", "1 %", "none"):
        assert budget_for(text, share=True) == budget_of(text)


@pytest.mark.parametrize(("metric", "refused"), [("auto", True), ("f1", True), ("rmse", False)])
def test_the_unit_of_the_budget_is_checked_before_a_run(metric, refused):
    asked = workbench.Experiment(budget="1", metric=metric)
    with pytest.raises(InputError, match="'1 point'") if refused else nullcontext():
        pipeline.check(asked)
    pipeline.check(asked, Scoring.of(asked, lambda outputs, labels: outputs["y"]))  # a function has a unit of its own


def scored(n=2000, broken=0, fixed=0, labels=True, metric=None, shift=0.01):
    """A source that is right nine times in ten, and an engine with so many flips whose outputs are ``shift`` larger elsewhere."""
    wanted = np.zeros(n, np.int64)
    source = np.eye(2)[np.repeat([0, 1], [n - n // 10, n // 10])]
    engine = source * (1 + shift)
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
        ({"broken": 60, "fixed": 60, "labels": False}, "2 points", Guard.OVER),  # it is not known that they are right
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
    assert judge(few, budget_of("0.5 points")).why.startswith("points are for shares, and mae is not a share")
    found = judge(few, budget_of("0.1"))
    assert (found.verdict, found.needed) == (Guard.UNSURE, 20)
    assert found.why == "10 samples are too few for an interval; at least 20 are needed"


def results(*accuracies, budget="0.5 points"):
    """FP32, INT8 and dynamic INT8 of one backend, each twice as fast as the one before."""
    rows = []
    for number, accuracy in enumerate(accuracies):
        row = recorded.measured(f"onnxruntime {('fp32', 'int8', 'int8')[number]}", median_ms=8 / 2**number)
        spec = replace(row.spec, method="dynamic" if number == 2 else "")
        rows.append(replace(row, spec=spec, accuracy=accuracy))
    return replace(recorded.results(rows, baseline="onnxruntime fp32"), budget=budget)


def test_the_table_marks_who_is_over():
    from recorded import frame_of as table

    made = results(scored(shift=0), scored(), scored(broken=200))
    frame = table(made, "onnxruntime fp32")
    assert list(frame["budget"]) == ["within", "within", "over"]
    assert frame["loss"].tolist() == pytest.approx([0, 0, 10])
    assert "over the budget of 0.5 points, not recommended: loses 10.00 points" in frame["note"].iloc[2]


def test_the_figure_keeps_who_is_over_out_of_the_front():
    from workbench.display.plots.accuracy import accuracy_data

    made = results(scored(shift=0), scored(), scored(broken=200))
    points = {point.name: point for point in accuracy_data(made).points}
    assert points["onnxruntime int8-dynamic"].barred == "over budget"
    assert not points["onnxruntime int8-dynamic"].on_front
    assert points["onnxruntime int8"].on_front


def test_the_panel_marks_who_is_over():
    from workbench.panel.tables import Shown
    from workbench.panel.tables import table as panel_table

    made = results(scored(shift=0), scored(n=100), scored(broken=200))
    marks = [panel_table([Shown(each, budget=made.budget)]).html() for each in made.rows]
    assert ["wb-guard" in mark for mark in marks] == [False, True, True]
    assert "over budget" in marks[2]
    assert "budget: cannot tell" in marks[1]


def test_who_is_over_never_wins_in_the_panel():
    from workbench.compare.limits import Limits, choose_row

    rows = (scored(shift=0), scored(), scored(broken=200))
    chosen = choose_row(results(*rows), Limits())
    assert chosen.winner.spec.label == "onnxruntime int8"
    assert chosen.out == {"onnxruntime int8-dynamic @1": "over the budget of 0.5 points"}
    assert choose_row(results(*rows, budget=""), Limits()).out == {}


def test_a_limit_of_loss_is_of_the_metric_where_that_is_a_share():
    from workbench.compare.limits import loss

    apart = scored(broken=100, metric=METRICS["f1"])
    assert loss(apart) == apart.loss > 0
    assert loss(scored(broken=100)) == pytest.approx(0.05)
    wide = np.linspace(0, 1, 80, dtype=np.float32).reshape(20, 4)
    assert loss(score("k", {"y": -wide}, {"y": wide}, wide, METRICS["mae"])) == 1


def test_the_same_file_by_two_names_is_reported():
    made = results(scored(), scored(), scored())
    engines = [replace(row.engine, source_sha256=sha) for row, sha in zip(made.rows, ("", "aa", "aa"), strict=True)]
    rows = tuple(replace(row, engine=engine) for row, engine in zip(made.rows, engines, strict=True))
    assert same_files(rows) == {"onnxruntime int8-dynamic": "int8"}
    assert same_files(rows[:2]) == {}


def test_without_a_score_or_a_budget_nothing_is_said():
    (row,) = results(scored()).rows
    assert judgement(replace(row, accuracy=None), "0.5 points") is None
    assert judgement(row, "") is None


def test_equal_within_the_tolerance_of_one_large_sample_is_not_a_construction():
    """Real values within 0.1 % of an outlier's, and an error of 40 in all others: the metric decides."""
    wanted = np.r_[np.zeros(499), 1e5]
    found = score("k", {"y": np.r_[np.full(499, 40.0), 1e5]}, {"y": wanted}, wanted, METRICS["rmse"])
    assert found.agreement == 1
    assert max(found.relative_diffs.values()) <= 1e-3
    assert judge(found, budget_of("1")).verdict == Guard.OVER
    assert judge(replace(found, value=found.source_value, loss=0.0), budget_of("1")).verdict == Guard.WITHIN


@pytest.mark.parametrize("n", [1, 20, 200])
@pytest.mark.parametrize("budget", ["0.5 points", "1 %", "2 % flips", "0", "0.02"])
@pytest.mark.parametrize("labels", [True, False])
def test_an_engine_whose_outputs_are_the_sources_is_within_by_construction(n, budget, labels):
    """The source's own format, and an engine that differs by rounding: whatever the number of samples."""
    for shift in (0, 5e-4):
        found = judge(scored(n=n, labels=labels, shift=shift), budget_of(budget))
        assert found.verdict == Guard.WITHIN
        assert found.why == "its outputs are the source model's within 0.1% on every sample"
    assert judge(scored(n=n, labels=labels, shift=5e-3), budget_of(budget)).verdict == Guard.UNSURE or n == 200


def test_one_changed_answer_is_not_the_sources_output_however_close():
    """Class numbers lie close to each other by their size, and are other answers all the same."""
    source = np.full(300, 9_999, np.int64)
    engine = source.copy()
    engine[0] = 9_998
    found = score("k", {"y": engine}, {"y": source}, None)
    assert max(found.relative_diffs.values()) < 1e-3
    assert judge(found, budget_of("0.5 points")).verdict == Guard.UNSURE


@pytest.mark.parametrize(
    ("changes", "budget"),
    [
        ({"n": 597}, "0.5 points"), ({"n": 597, "broken": 1}, "0.5 points"), ({"n": 300, "fixed": 3}, "0.5 points"),
        ({"n": 597, "labels": False}, "0.5 points"), ({"n": 200, "broken": 2, "labels": False}, "2 % flips"),
        ({"n": 400, "broken": 3, "fixed": 1}, "1 %"), ({"n": 597}, "0.005"),
    ],
)  # fmt: skip
def test_what_is_missing_is_the_number_of_samples_that_would_most_likely_show_it(changes, budget):
    """Of other samples with the same shares of changes, about four of five sets of that many show it, and fewer of smaller sets."""
    found = judge(scored(**changes), budget_of(budget))
    assert found.verdict == Guard.UNSURE
    assert found.needed > changes["n"]
    counts = {name: changes.get(name, 0) / changes["n"] for name in ("broken", "fixed")}
    draw = np.random.default_rng(0)

    def shown(n, sets=60):
        held = 0
        for _ in range(sets):
            broken, fixed, _ = draw.multinomial(n, [*counts.values(), 1 - sum(counts.values())])
            again = scored(n=n, labels=changes.get("labels", True), broken=int(broken), fixed=int(fixed))
            held += judge(again, budget_of(budget)).verdict == Guard.WITHIN
        return held / sets

    power = shown(found.needed)
    assert power == 1 if not sum(counts.values()) else 0.65 < power < 0.97
    assert shown(found.needed // 2) < power - 0.15


def test_what_is_missing_is_said_in_words():
    said = judge(scored(n=597), budget_of("0.5 points"))
    assert said.why == (
        "changed none of 597 answers; 597 samples cannot exclude a loss of 0.5 points, about 1,100 most likely would"
    )
    free = judge(scored(n=200, labels=False), budget_of("0.5 points"))
    assert free.why == (
        "changed none of 200 answers; 200 samples cannot exclude that more than 0.5 % of the answers changed, about 1,100 most likely would"
    )
    hopeless = judge(scored(broken=10), budget_of("0.5 points"))
    assert hopeless.needed is None
    assert hopeless.why.endswith(
        "cannot exclude a loss of 0.5 points; what was measured is not clearly smaller than that, so more samples are not likely to show "
        "that it is within the budget. Instead choose another precision or calibration, keep sensitive layers in FP32 ('keep'), or allow "
        "more ('budget')"
    )


def test_a_bootstrap_interval_narrows_with_the_root_of_the_samples():
    wide = np.linspace(0, 1, 160, dtype=np.float32).reshape(40, 4)
    draw = np.random.default_rng(0)
    found = score("k", {"y": wide + draw.normal(0.0, 0.05, wide.shape)}, {"y": wide}, wide * 1.02, METRICS["mae"])
    held = budget_of(str(round(found.loss + (found.loss_high - found.loss) / 2, 6)))
    assert judge(found, held).needed == pytest.approx(4 * 40 * 1.43**2, rel=0.02)


def test_an_fp32_engine_that_disagrees_says_so_first_and_is_never_recommended():
    from recorded import frame_of as table

    from workbench.compare.advice import advice, recommended
    from workbench.compare.limits import Limits, choose_row
    from workbench.display.plots.accuracy import accuracy_data
    from workbench.panel.tables import Shown
    from workbench.panel.tables import table as panel_table

    made = results(scored(shift=0), scored(shift=0))
    wrong = replace(made.rows[1], spec=recorded.spec("openvino fp32"), accuracy=scored(n=5000, broken=1))
    made = replace(made, rows=(made.rows[0], wrong))
    assert judgement(wrong, "0.5 points").verdict == Guard.WITHIN  # the budget alone would let it through
    reported = (
        "its outputs disagree with the source model's, which FP32 must not: 'y' differs by up to 100.00% of its largest"
    )
    assert table(made, "onnxruntime fp32")["note"][1].startswith(reported)
    assert "1 of 5,000 samples get another answer; it is never recommended" in table(made)["note"][1]
    assert recommended(made)[1].row is made.rows[0]
    assert any(line.startswith(f"openvino fp32: {reported}") for line in advice(made))
    chosen = choose_row(made, Limits())
    assert chosen.winner is made.rows[0]
    assert chosen.out == {"openvino fp32 @1": "disagrees with the source"}
    assert choose_row(replace(made, budget=""), Limits()).winner is made.rows[0]
    assert "disagrees with the source" in panel_table([Shown(wrong, budget=made.budget)]).html()
    assert not next(point for point in accuracy_data(made).points if point.barred).on_front
    alone = replace(made, rows=(wrong,), baseline="openvino fp32")
    assert recommended(alone) == {}


def test_what_is_not_a_disagreement():
    from workbench.accuracy.guard import disagreement

    (row,) = results(scored(shift=0)).rows
    assert disagreement(row) == ""
    assert disagreement(replace(row, accuracy=scored(shift=5e-4))) == ""  # rounding
    assert disagreement(replace(row, accuracy=scored(shift=5e-3)))
    tf32 = replace(row, engine=replace(row.engine, device="cuda:0"), accuracy=scored(shift=5e-3))
    assert disagreement(tf32) == ""
    assert disagreement(replace(tf32, spec=replace(row.spec, tf32=False)))
    lower = replace(row, spec=recorded.spec("onnxruntime fp16"), accuracy=scored(broken=100))
    assert disagreement(lower) == ""  # what a lower precision loses is the budget's business
    assert disagreement(replace(row, accuracy=None)) == ""


def test_answers_that_turned_within_the_tolerance_are_counted():
    """A probability of 0.4999 for 0.5001 agrees, and is another answer: "+1 −1" stood beside "changed none of 400 answers"."""
    rng = np.random.default_rng(2)
    source = rng.random(400).astype("float32")
    source[:2] = 0.50001
    engine = source.copy()
    engine[:2] = 0.49999
    labels = (source > 0.5).astype(int)
    labels[0] = 0
    found = score("k", {"p": engine}, {"p": source}, labels)
    assert (found.fixed, found.broken, found.agreement) == (1, 1, 1.0)
    far = replace(found, relative_diffs={"p": 0.5})
    assert "changed 2 of 400 answers" in judge(far, budget_of("0.1 points")).why
    assert judge(far, budget_of("0.4 % flips")).loss == pytest.approx(2 / 400)


@pytest.mark.parametrize("name", ["f1", "f1-micro", "iou", "map"])
def test_few_samples_without_a_change_exclude_no_loss_by_any_metric(name):
    """The bootstrap of differences that are all 0 has no width: 40 samples were "within 0.5 points" by F1, and not by top-1."""
    rng = np.random.default_rng(6)
    source = rng.normal(0, 1, (40, 3)).astype("float32")
    engine = source * np.float32(1.01)
    labels = source.argmax(axis=1)
    by_top, by_name = (
        judge(score("k", {"o": engine}, {"o": source}, labels, METRICS[each], losses=False), budget_of("0.5 points"))
        for each in ("top-1", name)
    )
    assert by_name.verdict == Guard.UNSURE
    assert (by_name.low, by_name.high) == pytest.approx((by_top.low, by_top.high))
    assert by_name.needed == by_top.needed


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (0.0013, "within: loses 0.13 points [−0.30, 0.10]"),
        (-0.0013, "within: gains 0.13 points [−0.10, 0.30]"),
        (-0.00001, "within: loses 0.00 points [−0.30, 0.10]"),
    ],
)
def test_a_negative_loss_is_a_gain(loss, says):
    assert str(Judgement(Guard.WITHIN, loss, -0.003, 0.001, 0.005, percent=True)) == says


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([0, 0, 0], "it is right for every sample of class 0 and for no other"),
        ([0, 2, 1], "it is right for every sample of class 0 and for no other"),
        ([0, 1, 1], ""),
        ([1, 2, 0], ""),
    ],
)
def test_an_engine_that_is_right_for_one_class_only_is_named(answers, said):
    labels = np.arange(300) % 3
    made = score("k", {"y": np.eye(3)[np.array(answers)[labels]]}, {"y": np.eye(3)[labels]}, labels)
    assert one_class_right(made) == said
    source = score("k", {"y": np.eye(3)[np.zeros(300, int)]}, {"y": np.eye(3)[np.zeros(300, int)]}, labels)
    assert one_class_right(source) == ""
