"""Which variant is to be taken, and what is said of it: the same in the report, in the panel's sentence and by its star."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import recorded

from workbench.accuracy.guard import Guard, judgement, remarks
from workbench.accuracy.score import score
from workbench.compare.advice import advice, may_tie, recommended, recommended_text
from workbench.compare.headline import headlines
from workbench.compare.limits import Limits, choose_row
from workbench.panel.compare import said
from workbench.panel.outcome import outcome, outcome_text
from workbench.panel.parts import PARTS
from workbench.records import Results, Verdict
from workbench.settings.experiment import Experiment

NAMES = ("onnxruntime fp32", "openvino fp32", "onnxruntime int8", "openvino int8")


def scored(n: int = 2000, broken: int = 0):
    """An engine that answers as the source does, but for so many of ``n`` samples."""
    source = np.eye(2)[np.zeros(n, np.int64)]
    engine = source.copy()
    engine[:broken] = [0, 1]
    return score("k", {"y": engine}, {"y": source}, np.zeros(n, np.int64))


WITHIN, OVER, UNSURE = scored(), scored(broken=200), scored(broken=10)


def made(*scores, milliseconds=(8, 4, 2, 1), budget: str = "0.5 points", **changes) -> Results:
    """As many variants as there are scores, the first of them the baseline."""
    rows = [
        recorded.measured(name, median_ms=median_ms, accuracy=accuracy, **changes)
        for name, median_ms, accuracy in zip(NAMES, milliseconds, scores, strict=False)
    ]
    return replace(recorded.results(rows, baseline=NAMES[0]), budget=budget)


def came_in_int8(*scores, **changes) -> Results:
    """A model that was quantized already: its INT8 variants have the format it came in, the first of them the baseline."""
    results = made(None, None, *scores, milliseconds=(1, 1, *changes.pop("milliseconds", (8, 4))), **changes)
    model = replace(results.model, quantized="int8")
    return replace(results, rows=results.rows[2:], baseline=NAMES[2], model=model)


def taken(results: Results) -> str:
    return recommended(results)[1].row.spec.label


@pytest.mark.parametrize(
    ("scores", "label"),
    [
        ((WITHIN, WITHIN, WITHIN, WITHIN), "openvino int8"),
        ((WITHIN, WITHIN, WITHIN, OVER), "onnxruntime int8"),
        ((WITHIN, WITHIN, UNSURE, OVER), "openvino fp32"),
        ((WITHIN, UNSURE, UNSURE, UNSURE), "onnxruntime fp32"),  # FP32 of another library may go wrong as well
        ((OVER, UNSURE, WITHIN, UNSURE), "onnxruntime int8"),
    ],
)
def test_the_fastest_that_is_within_is_taken_and_starred(scores, label):
    results = made(*scores)
    assert taken(results) == label
    choice = choose_row(results, Limits())
    assert choice.winner.spec.label == label
    assert choice.within == (judgement(choice.winner, results.budget).verdict == Guard.WITHIN)


def test_no_row_is_chosen_where_all_are_over_or_nothing_is_judged():
    assert recommended(made(OVER, OVER, OVER)) == {}
    assert recommended(made(OVER, UNSURE, UNSURE)) == {}
    assert recommended(made(UNSURE, UNSURE, UNSURE, UNSURE)) == {}  # FP32 that answers differently is wrong
    assert choose_row(made(OVER, UNSURE), Limits()).winner is None
    for nothing in (made(WITHIN, WITHIN, budget=""), made(None, None)):
        assert advice(nothing) == ()
        assert choose_row(nothing, Limits()).winner.spec.label == "openvino fp32"


def test_a_rewritten_baseline_and_a_model_that_came_in_int8():
    results = made(UNSURE, UNSURE, UNSURE)
    assert recommended(replace(results, baseline="onnxruntime int8")) == {}
    came = replace(results, baseline="onnxruntime int8", model=replace(results.model, quantized="int8"))
    assert taken(came) == "onnxruntime int8"


def test_within_is_said_of_those_alone_that_are_shown_to_be():
    alone = came_in_int8(UNSURE, UNSURE)
    assert recommended_text(alone) == (
        "none is shown to be within 0.5 points at batch 1: the baseline is onnxruntime int8, 7.98 ms",
    )
    slow = came_in_int8(UNSURE, WITHIN, milliseconds=(1, 4))
    assert recommended_text(slow)[0].startswith(
        "none is both within 0.5 points at batch 1 and shown to be faster than the baseline: onnxruntime int8, 0.9"
    )
    assert recommended_text(made(WITHIN, UNSURE))[0].startswith(
        "none within 0.5 points at batch 1 is shown to be faster than the baseline: onnxruntime fp32, 8"
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.9, 1.1, True), (None, None, True), (0.025, 0.048, False), (0.98, 0.99, False)]
)
def test_a_row_without_a_verdict_does_not_tie_if_its_interval_is_below_1(low, high, expected):
    row = made(WITHIN, WITHIN).compare().rows[1]
    assert may_tie(replace(row, verdict=Verdict.CANNOT_TELL, low=low, high=high)) is expected
    assert not may_tie(replace(row, verdict=Verdict.SLOWER, low=low, high=high))


def test_advice_names_those_over_and_those_that_cannot_be_decided_with_their_figures():
    lines = advice(made(WITHIN, WITHIN, OVER, scored(600, broken=1)))
    assert len(lines) == 3
    assert lines[1].startswith("over 0.5 points, not recommended: onnxruntime int8, loses 10.00 points [")
    assert lines[2].startswith(
        "not shown to be within 0.5 points: openvino int8, 8.01 times as fast as the baseline, loses 0.17 points [−0."
    )
    assert lines[2].endswith(
        "; changed 1 of 600 answers; 600 samples cannot exclude a loss of 0.5 points, about 2,600 most likely would"
    )


def test_what_is_as_fast_is_named_by_the_comparisons_own_verdict():
    results = made(WITHIN, WITHIN, WITHIN, UNSURE, milliseconds=(8, 1.001, 1, 1))
    best = recommended(results)[1]
    assert {best.row.spec.label, *(row.spec.label for row in best.ties)} == {"openvino fp32", "onnxruntime int8"}
    assert recommended_text(results)[0].endswith(f"; not distinguishable from {best.ties[0].spec.label}")
    choice = choose_row(results, Limits())
    assert (choice.winner, choice.ties) == (best.row, best.ties)
    assert f"it is not distinguishable from {best.ties[0].spec.label}" in said(choice, Limits(), results.baseline)[0]


def test_the_comparison_decides_who_is_faster_and_not_the_medians():
    """The second takes half the time in every round, and made most of its calls in the slow ones, so that its median is larger."""
    slow = [number % 2 for number in range(12)]
    draw = np.random.default_rng(0)

    def blocks(speed: float, calls: tuple[int, int]):
        return tuple(
            recorded.block(number, speed * (3 if late else 1) * draw.lognormal(0, 0.003, calls[late]))
            for number, late in enumerate(slow)
        )

    first, second = made(WITHIN, WITHIN).rows
    rows = tuple(
        replace(row, timing=replace(row.timing, blocks=found))
        for row, found in ((first, blocks(1.0, (90, 30))), (second, blocks(0.5, (30, 90))))
    )
    assert rows[0].timing.median_s < rows[1].timing.median_s
    results = replace(made(WITHIN, WITHIN), rows=rows)
    assert recommended(results)[1].row is rows[1]
    assert choose_row(results, Limits()).winner is rows[1]


def test_what_did_not_take_turns_is_named_and_not_compared():
    results = made(WITHIN, WITHIN, milliseconds=(1, 0.5))
    apart = replace(results.rows[1], timing=replace(results.rows[1].timing, group="two"))
    results = replace(results, rows=(results.rows[0], apart))
    best = recommended(results)[1]
    assert (best.row, best.ties, best.not_interleaved) == (apart, (), results.rows[:1])
    assert recommended_text(results)[0].endswith("; not measured in turn with onnxruntime fp32")
    choice = choose_row(results, Limits())
    assert (choice.winner, choice.not_interleaved) == (apart, results.rows[:1])
    assert "not measured in turn with it: onnxruntime fp32" in said(choice, Limits(), results.baseline)[0]


def test_bar_report_and_page_say_the_same():
    results = made(WITHIN, WITHIN, WITHIN, UNSURE)
    (reported,) = recommended_text(results)
    assert (
        reported
        == f"fastest within 0.5 points at batch 1: onnxruntime int8, {results.rows[2].timing.median_s * 1e3:.3g} ms"
    )
    median = f"{results.rows[2].timing.median_s * 1e3:.2f} ms per call"
    assert outcome_text(results)[0].startswith(
        "4 done. Batch 1: onnxruntime int8 is 3.99 times as fast as onnxruntime fp32 ["
    )
    assert f", {median}; top-1 100.0 % [" in outcome_text(results)[0]
    assert outcome_text(results)[2] == "good"
    (table,), (work,) = (PARTS[name](results, Experiment()) for name in ("table", "work"))
    assert reported in str(table)
    assert reported in work._repr_html_()
    assert said(choose_row(results, Limits()), Limits(), results.baseline)[0].startswith(
        "Most samples per second within 0.5 points: onnxruntime int8 @1, "
    )


@pytest.mark.parametrize(
    ("scores", "limits", "says"),
    [
        ((OVER, OVER), Limits(), "No row is shown to be within 0.5 points."),
        ((OVER, UNSURE), Limits(latency_s=1), "No row that keeps these limits is shown to be within 0.5 points."),
        ((WITHIN, OVER), Limits(latency_s=1e-6), "No row keeps these limits. Loosen one of them."),
        (
            (UNSURE, UNSURE),
            Limits(),
            "No other row is both within 0.5 points and shown to have more samples per second than the b",
        ),
        ((UNSURE, UNSURE), Limits(loss=0.5), "Most samples per second within these limits: openvino int8 @1, "),
    ],
)
def test_the_page_says_what_the_star_stands_for(scores, limits, says):
    results = came_in_int8(*scores) if UNSURE in scores else made(*scores)
    assert said(choose_row(results, limits), limits, results.baseline)[0].startswith(says)


def test_a_baseline_that_ties_is_no_winner_and_rows_that_are_not_faster_have_no_stray_comma():
    results = made(WITHIN, WITHIN, UNSURE, milliseconds=(8, 8, 7.99))
    (found,) = headlines(results)
    assert found.text.startswith(
        "No clear winner: the baseline onnxruntime fp32, 8.02 ms per call; no other row within 0.5 points is"
    )
    assert "Not distinguishable from it: openvino fp32." in found.text
    assert found.why[-1].startswith(
        "onnxruntime int8 is not shown to be within 0.5 points: it loses 0.50 points [0.20, 0.92]; changed 10 of 2,000 answers"
    )


@pytest.mark.parametrize(
    ("aside", "says"),
    [
        (0, "For openvino fp32, more data is needed to test on: all 600 samples are most likely too few."),
        (200, "For openvino fp32, more data is needed to test on: all 800 samples are most likely too few."),
        (2000, "For openvino fp32, more data is needed to test on: all 2,600 samples are most likely too few."),
        (
            4000,
            "For openvino fp32, test on more samples: give more data, or set 'calibration_samples' lower than 4,000.",
        ),
    ],
)
def test_fewer_samples_for_calibration_are_advised_only_where_they_are_enough(aside, says):
    """About 2,600 samples are needed."""
    results = made(scored(600), scored(600, broken=1), milliseconds=(8, 2))
    rows = [replace(row, spec=replace(row.spec, calibration_samples=aside)) for row in results.rows]
    (found,) = headlines(replace(results, rows=tuple(rows)))
    assert found.why[-1].startswith(says)


def test_the_shortest_time_is_that_of_the_rows_within_the_budget():
    (found,) = headlines(made(OVER, WITHIN, UNSURE, milliseconds=(8, 7.99, 2)))
    begin = "openvino fp32 has the shortest time of the rows within 0.5 points, but is not shown to be faster than onnxruntime"
    assert found.text.startswith(begin)


def test_a_row_is_within_by_its_outputs_although_the_interval_is_wider():
    results = made(scored(100), scored(100, broken=1))
    same, changed = results.rows[:2]
    because = "within the budget although the interval of the loss is wider, because its outputs are the source model's"
    assert any(text.startswith(because) for text in remarks(same, results.budget))
    assert not any(text.startswith(because) for text in remarks(changed, results.budget))
    assert not any(text.startswith(because) for text in remarks(made(WITHIN).rows[0], results.budget))


def test_nothing_wins_where_no_answer_is_better_than_a_guess():
    """Pictures in another range than in training: every engine answers with one class, and all agree."""
    labels = np.arange(400) % 4
    guess = {"y": np.eye(4)[np.zeros(400, np.int64)]}
    (found,) = headlines(made(*[score("k", guess, guess, labels)] * 2, milliseconds=(8, 1)))
    assert not found.won
    assert found.text.startswith("No engine is shown to answer better than a guess, so accuracy is not judged. ")
    assert "within" not in found.text
    assert not any("budget" in text or "None" in text for text in found.why)
    assert found.why[0].startswith(
        "No variant is shown to be better than a guess: the best one is right for 25.0 % [21.0, 29.5]"
    )


def test_a_baseline_is_never_a_green_winner_and_the_reason_is_beside_it():
    """Faster rows are there, and the samples are too few to show that they are within the budget."""
    results = made(WITHIN, UNSURE, scored(600, broken=1))
    (found,) = headlines(results)
    assert (found.row.spec.label, found.won) == ("onnxruntime fp32", False)
    assert found.text.startswith("Keep the baseline onnxruntime fp32")
    assert found.text.endswith(
        " Faster, but not shown to be within 0.5 points: openvino fp32 (2 times); onnxruntime int8 (3.99 times)."
    )
    begins = ["openvino fp32", "onnxruntime int8", "For onnxruntime int8"]
    assert [each.partition(",")[0] for each in found.why] == begins
    assert (
        "changed 1 of 600 answers; 600 samples cannot exclude a loss of 0.5 points, about 2,600 most likely would."
        in found.why[1]
    )
    choice = choose_row(results, Limits())
    text, kind = said(choice, Limits(), results.baseline)
    assert (kind, choice.won) == ("warn", False)
    assert text.endswith(f"{found.why[1]} {found.why[2]}")
    page = str(outcome(results, "now"))
    assert "wb-warn" in page
    assert "about 2,600 most likely would" in page
    faster = made(WITHIN, WITHIN)
    assert outcome_text(faster)[2] == said(choose_row(faster, Limits()), Limits(), faster.baseline)[1] == "good"


def test_a_row_that_is_not_shown_to_be_faster_is_not_a_green_winner():
    rows = [
        recorded.measured(name, timing=recorded.timing(milliseconds, rounds=3), accuracy=WITHIN)
        for name, milliseconds in zip(NAMES, (8, 1), strict=False)
    ]
    results = replace(recorded.results(rows, baseline=NAMES[0]), budget="0.5 points")
    choice = choose_row(results, Limits())
    assert (choice.winner.spec.label, choice.won, choice.is_baseline) == (NAMES[1], False, False)
    text, kind = said(choice, Limits(), results.baseline)
    assert text.startswith(f"Most samples per second within 0.5 points: {NAMES[1]} @1, ")
    assert text.endswith(f"samples/s; it is not distinguishable from {NAMES[0]}.")
    unsure = choice._replace(ties=())
    assert said(unsure, Limits(), results.baseline)[0].endswith(f"samples/s, not shown to be faster than {NAMES[0]}.")
    assert kind == outcome_text(results)[2] == "warn"
    (headline,) = results.headlines()
    assert headline.why == ("Not shown to be faster: 3 usable rounds, at least 6 are needed.",)
