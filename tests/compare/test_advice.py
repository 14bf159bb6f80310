"""Which variant is to be taken, and what is said of it: the same in the report, in the panel's sentence and by its star."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import recorded

from workbench.accuracy.guard import Guard, judgement
from workbench.accuracy.score import score
from workbench.compare.advice import advice, best_told, recommended
from workbench.compare.limits import Limits, choose_row
from workbench.experiment import Experiment
from workbench.panel.compare import said
from workbench.panel.panel import _outcome
from workbench.panel.parts import PARTS
from workbench.records import Results

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


def test_nobody_is_taken_where_all_are_over_or_nothing_is_judged():
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
    assert best_told(alone) == (
        "none is shown to be within 0.5 points at batch 1: the baseline is onnxruntime int8, 7.98 ms",
    )
    slow = came_in_int8(UNSURE, WITHIN, milliseconds=(1, 4))
    assert best_told(slow)[0].startswith(
        "none is both within 0.5 points at batch 1 and shown to be faster than the baseline: onnxruntime int8, 0.9"
    )
    assert best_told(made(WITHIN, UNSURE))[0].startswith("fastest within 0.5 points at batch 1: onnxruntime fp32, 8")


def test_advice_names_those_over_and_those_that_cannot_be_told_with_their_figures():
    lines = advice(made(WITHIN, WITHIN, OVER, scored(600, broken=1)))
    assert len(lines) == 3
    assert lines[1].startswith("over 0.5 points, not recommended: onnxruntime int8, loses 10.00 points [")
    assert lines[2].startswith(
        "not shown to be within 0.5 points: openvino int8, 8.01 times as fast as the baseline, loses 0.17 points [−0."
    )
    assert lines[2].endswith(
        "; changed 1 of 600 answers; 600 samples cannot exclude a loss of 0.5 points, about 1,500 would"
    )


def test_what_is_as_fast_is_named_by_the_comparisons_own_verdict():
    results = made(WITHIN, WITHIN, WITHIN, UNSURE, milliseconds=(8, 1.001, 1, 1))
    best = recommended(results)[1]
    assert {best.row.spec.label, *(row.spec.label for row in best.ties)} == {"openvino fp32", "onnxruntime int8"}
    assert best_told(results)[0].endswith(f"; not told apart from {best.ties[0].spec.label}")
    choice = choose_row(results, Limits())
    assert (choice.winner, choice.ties) == (best.row, best.ties)
    assert f"it cannot be told from {best.ties[0].spec.label}" in said(choice, Limits())[0]


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
    assert (best.row, best.ties, best.apart) == (apart, (), results.rows[:1])
    assert best_told(results)[0].endswith("; not measured in turn with onnxruntime fp32")
    choice = choose_row(results, Limits())
    assert (choice.winner, choice.apart) == (apart, results.rows[:1])
    assert "not measured in turn with it: onnxruntime fp32" in said(choice, Limits())[0]


def test_bar_report_and_page_say_the_same():
    results = made(WITHIN, WITHIN, WITHIN, UNSURE)
    (told,) = best_told(results)
    assert (
        told
        == f"fastest within 0.5 points at batch 1: onnxruntime int8, {results.rows[2].timing.median_s * 1e3:.3g} ms"
    )
    assert _outcome(results)[0].endswith(f"F{told[1:]}.")
    (table,), (work,) = (PARTS[name](results, Experiment()) for name in ("table", "work"))
    assert told in str(table)
    assert told in work._repr_html_()
    assert said(choose_row(results, Limits()), Limits())[0].startswith(
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
            "None is both within 0.5 points and shown to have more samples per second than the b",
        ),
        ((UNSURE, UNSURE), Limits(loss=0.5), "Most samples per second within these limits: openvino int8 @1, "),
    ],
)
def test_the_page_says_what_the_star_stands_for(scores, limits, says):
    results = came_in_int8(*scores) if UNSURE in scores else made(*scores)
    assert said(choose_row(results, limits), limits)[0].startswith(says)
