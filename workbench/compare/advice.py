"""Which variant is recommended: one rule for the report and the panel.

Recommended is the fastest of those that are within the budget. Engines whose outputs are the source model's are within by
construction, the source's own format among them; FP32 engines whose outputs disagree with the source are never recommended. A
baseline in the format that the model came in which is not shown to be within is called the baseline and nothing else. One is faster
than another by their comparison, so the candidates that cannot be distinguished from the fastest are named with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from workbench import backends
from workbench.accuracy.budget import Budget, budget_of
from workbench.accuracy.guard import Guard, disagreement, hidden_losses, judgement
from workbench.accuracy.score import doubts
from workbench.compare.pairs import comparison, variant_name, variant_of
from workbench.records import EngineSpec, Precision, Result, Results, Row, Verdict
from workbench.records.methods import method_of


class Best(NamedTuple):
    """The fastest candidate of a batch size, the candidates that cannot be distinguished from it, and those that did not take turns with it."""

    row: Result
    ties: tuple[Result, ...]
    not_interleaved: tuple[Result, ...]


def in_doubt(results: Results) -> tuple[str, ...]:
    """Why no accuracy of these results says anything (:func:`workbench.accuracy.score.doubts`); empty where it does."""
    return doubts(row.accuracy for row in results.rows if row.accuracy)


def fitting_order(results: Results) -> str:
    """The value of the setting ``class_order`` with which far more answers are right, where none is better than a guess without; else ""."""
    if not in_doubt(results):
        return ""
    found = max((row.accuracy for row in results.rows if row.accuracy), key=lambda score: score.reordered or 0)
    return "" if found.reordered is None else found.class_order


def budget_held(results: Results) -> str:
    """The budget that rows are judged by; "" where no row has a score, or none is better than a guess."""
    return results.budget if any(row.accuracy for row in results.rows) and not in_doubt(results) else ""


def judged_by(results: Results) -> Budget | None:
    """:func:`budget_held`; ``None`` where there is none."""
    return budget_of(budget_held(results))


def within(row: Result, results: Results) -> bool:
    """Whether the guard says that the row is within the budget."""
    found = judgement(row, budget_held(results))
    return found is not None and found.verdict == Guard.WITHIN


def may_be_recommended(row: Result, results: Results) -> bool:
    """Whether the row may be recommended: it is within the budget, or the baseline in the format that the model came in and not
    over it; any row, where nothing is judged. Never an FP32 engine whose outputs disagree with the source model's.
    """
    if disagreement(row):
        return False
    if judged_by(results) is None or within(row, results):
        return True
    found = judgement(row, results.budget)
    return (found is None or found.verdict != Guard.OVER) and _as_it_came(row, results) and is_baseline(row, results)


def fastest(results: Results, candidates: Iterable[Result]) -> dict[int, Best]:
    """By batch size the candidate with the smallest median that no other candidate is faster than, by their comparison."""
    batches: dict[int, list[Result]] = {}
    for row in candidates:
        if row.timing is not None:
            batches.setdefault(row.batch, []).append(row)
    return {
        batch: _best(replace(results, rows=tuple(row for row in results.measured if row.batch == batch)), rows)
        for batch, rows in sorted(batches.items())
    }


def _best(results: Results, candidates: Sequence[Result]) -> Best:
    ordered = sorted(candidates, key=lambda row: row.timing.median_s if row.timing else 0.0)
    found: list[dict[str, Row]] = []
    for row in ordered:
        found.append({each.result.row: each for each in comparison(results, variant_name(row.spec)).rows})
        if not any(other.row in found[-1] and found[-1][other.row].verdict == Verdict.FASTER for other in ordered):
            break
    else:  # each is slower than another: noise, and the smallest median stands
        row, found = ordered[0], found[:1]
    others = [other for other in ordered if other is not row]
    slower = _slower_than_baseline(row, results)
    ties = tuple(
        other
        for other in others
        if other.row in found[-1] and may_tie(found[-1][other.row]) and other.row not in slower
    )
    return Best(row, ties, tuple(other for other in others if other.row not in found[-1]))


def _slower_than_baseline(row: Result, results: Results) -> set[str]:
    """Rows that are slower than the baseline where ``row`` is not: they are slower than it, whatever their own comparison shows."""
    if not results.baseline or not any(is_baseline(each, results) for each in results.measured):
        return set()
    verdicts = {each.result.row: each.verdict for each in comparison(results).rows}
    if verdicts.get(row.row) not in (Verdict.FASTER, Verdict.BASELINE):
        return set()
    return {name for name, verdict in verdicts.items() if verdict == Verdict.SLOWER}


def can_keep_layers(spec: EngineSpec) -> bool:
    """Whether a search finds the layers of this variant to keep in FP32: INT8 with calibrated ranges, of a backend with such a search."""
    static = method_of(spec.asked).calibrated and spec.precision == Precision.INT8
    return static and spec.backend in backends.searching() and not spec.mode


def may_tie(row: Row) -> bool:
    """Whether a row may be as fast as the one it is compared with: there is no verdict, and no interval below 1.

    A row can lack a verdict for another reason than its interval, such as noise in a single launch.
    """
    return row.verdict == Verdict.CANNOT_TELL and (row.high is None or row.high >= 1)


def recommended(results: Results) -> dict[int, Best]:
    """The recommended row of each batch size; none where no accuracy is judged."""
    if judged_by(results) is None:
        return {}
    return fastest(results, (row for row in results.measured if may_be_recommended(row, results)))


def recommended_text(results: Results) -> tuple[str, ...]:
    """In words, a line for each batch size: the one to take, and what it cannot be distinguished from."""
    budget = judged_by(results)
    return tuple(
        _recommendation(best, results, f"{budget} at batch {batch}") for batch, best in recommended(results).items()
    )


def _recommendation(best: Best, results: Results, where: str) -> str:
    assert best.row.timing is not None
    name = f"{best.row.spec.label}, {best.row.timing.median_s * 1e3:.3g} ms"
    if within(best.row, results) and is_baseline(best.row, results):
        text = f"none within {where} is shown to be faster than the baseline: {name}"
    elif within(best.row, results):
        text = f"fastest within {where}: {name}"
    elif (
        best.ties
        or best.not_interleaved
        or any(other.batch == best.row.batch and within(other, results) for other in results.measured)
    ):
        text = f"none is both within {where} and shown to be faster than the baseline: {name}"
    else:
        text = f"none is shown to be within {where}: the baseline is {name}"
    for said, rows in (("not distinguishable from", best.ties), ("not measured in turn with", best.not_interleaved)):
        text += f"; {said} {', '.join(row.spec.label for row in rows)}" if rows else ""
    return "; but ".join([text, *hidden_losses(best.row, results.budget)])


def advice(results: Results, without: Collection[str] = ()) -> tuple[str, ...]:
    """In words: the one to take, the variants over the budget with figures, and those for which it is not known, but for ``without``."""
    budget = judged_by(results)
    if budget is None:
        return ()
    lines = [*recommended_text(results)]
    labels = {Guard.OVER: f"over {budget}, not recommended", Guard.UNSURE: f"not shown to be within {budget}"}
    for verdict, text in labels.items():
        lines += [
            f"{text}: {label}, {said}" for label, said in _judged(results, verdict).items() if label not in without
        ]
    disagreeing = {row.spec.label: why for row in results.rows if (why := disagreement(row))}
    return (*lines, *(f"{label}: {why}" for label, why in disagreeing.items()))


def _judged(results: Results, verdict: Guard) -> dict[str, str]:
    """The variants of one verdict, each once, and the figures behind it; of the baseline only that it is over."""
    found: dict[str, str] = {}
    faster = _faster(results) if verdict == Guard.UNSURE else {}
    for row in results.rows:
        said = judgement(row, results.budget)
        baseline = _as_it_came(row, results) and is_baseline(row, results)
        if said is not None and said.verdict == verdict and (verdict == Guard.OVER or not baseline):
            figures = str(said).partition(": ")[2]
            found.setdefault(row.spec.label, faster.get(row.spec.label, "") + figures)
    return found


def _faster(results: Results) -> dict[str, str]:
    """By variant: its speed relative to the baseline at its first batch size, as text; only variants that are shown to be faster."""
    if not results.measured:
        return {}
    found: dict[str, str] = {}
    for row in comparison(results).rows:
        if times := times_faster(row):
            found.setdefault(row.result.spec.label, f"{times} times as fast as the baseline, ")
    return found


def times_faster(row: Row | None) -> str:
    """``8.01``, how many times as fast as the baseline; "" where the row is not shown to be faster."""
    if row is None or row.verdict != Verdict.FASTER or row.speedup is None:
        return ""
    return f"{row.speedup:.3g}"


def _as_it_came(row: Result, results: Results) -> bool:
    """Whether no precision was lowered: FP32, or the format that the model came in."""
    return row.spec.asked in (Precision.FP32, results.model.quantized)


def is_baseline(row: Result, results: Results) -> bool:
    """Whether the row is one of the variant that all others are compared with."""
    return row.spec.variant == variant_of(results, results.baseline)
