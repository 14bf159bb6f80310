"""Which variant is to be taken: one rule for the report, the panel's sentence and its winner.

Recommended is the fastest of those that are within the budget. Engines whose outputs are the source model's are within by
construction, the source's own format among them; FP32 engines whose outputs disagree with the source are never recommended. A
baseline in the format that the model came in which is not shown to be within is called the baseline and nothing else. One is faster
than another by their comparison, so those that it cannot tell from the fastest are named with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from workbench.accuracy.guard import Guard, disagreement, judgement
from workbench.choices.budget import Budget, budget_of
from workbench.compare.pairs import comparison, plain_name, variant_name
from workbench.records import Precision, Result, Results, Verdict


class Best(NamedTuple):
    """The fastest candidate of a batch size, the candidates that cannot be told from it, and those that did not take turns with it."""

    row: Result
    ties: tuple[Result, ...]
    apart: tuple[Result, ...]


def judged_by(results: Results) -> Budget | None:
    """The budget that rows are judged by; ``None`` where none is set or no row has a score."""
    return budget_of(results.budget) if any(row.accuracy for row in results.rows) else None


def within(row: Result, results: Results) -> bool:
    """Whether the guard says that the row is within the budget."""
    found = judgement(row, results.budget)
    return found is not None and found.verdict == Guard.WITHIN


def may_be_taken(row: Result, results: Results) -> bool:
    """Whether the row may be recommended: it is within the budget, or the baseline in the format that the model came in and not
    over it; any row, where nothing is judged. Never an FP32 engine whose outputs disagree with the source model's.
    """
    if disagreement(row):
        return False
    if judged_by(results) is None or within(row, results):
        return True
    found = judgement(row, results.budget)
    return (found is None or found.verdict != Guard.OVER) and _as_it_came(row, results) and _is_baseline(row, results)


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
    verdicts: list[dict[str, Verdict]] = []
    for row in ordered:
        compared = comparison(results, variant_name(row.spec)).rows
        verdicts.append({each.result.row: each.verdict for each in compared})
        if all(verdicts[-1].get(other.row) != Verdict.FASTER for other in ordered):
            break
    else:  # each is slower than another: noise, and the smallest median stands
        row, verdicts = ordered[0], verdicts[:1]
    others = [other for other in ordered if other is not row]
    ties = tuple(other for other in others if verdicts[-1].get(other.row) == Verdict.CANNOT_TELL)
    return Best(row, ties, tuple(other for other in others if other.row not in verdicts[-1]))


def recommended(results: Results) -> dict[int, Best]:
    """The one to take at each batch size. Where nothing is judged, none is."""
    if judged_by(results) is None:
        return {}
    return fastest(results, (row for row in results.measured if may_be_taken(row, results)))


def best_told(results: Results) -> tuple[str, ...]:
    """In words, a line for each batch size: the one to take, and what it cannot be told from."""
    budget = judged_by(results)
    return tuple(_told(best, results, f"{budget} at batch {batch}") for batch, best in recommended(results).items())


def _told(best: Best, results: Results, where: str) -> str:
    assert best.row.timing is not None
    name = f"{best.row.spec.label}, {best.row.timing.median_s * 1e3:.3g} ms"
    if within(best.row, results):
        text = f"fastest within {where}: {name}"
    elif best.ties or best.apart or _others(best.row, results):
        text = f"none is both within {where} and shown to be faster than the baseline: {name}"
    else:
        text = f"none is shown to be within {where}: the baseline is {name}"
    for said, rows in (("not told apart from", best.ties), ("not measured in turn with", best.apart)):
        text += f"; {said} {', '.join(row.spec.label for row in rows)}" if rows else ""
    return text


def _others(row: Result, results: Results) -> bool:
    """Whether there are others of this batch size that are within the budget."""
    return any(other.batch == row.batch and within(other, results) for other in results.measured)


def advice(results: Results) -> tuple[str, ...]:
    """In words: the one to take, the variants over the budget with figures, and those that cannot be told."""
    budget = judged_by(results)
    if budget is None:
        return ()
    lines = [*best_told(results)]
    told = {Guard.OVER: f"over {budget}, not recommended", Guard.UNSURE: f"not shown to be within {budget}"}
    for verdict, text in told.items():
        lines += [f"{text}: {label}, {said}" for label, said in _judged(results, verdict).items()]
    apart = {row.spec.label: why for row in results.rows if (why := disagreement(row))}
    return (*lines, *(f"{label}: {why}" for label, why in apart.items()))


def _judged(results: Results, verdict: Guard) -> dict[str, str]:
    """The variants of one verdict, each once, and the figures behind it; of the baseline only that it is over."""
    found: dict[str, str] = {}
    faster = _times_as_fast(results) if verdict == Guard.UNSURE else {}
    for row in results.rows:
        said = judgement(row, results.budget)
        baseline = _as_it_came(row, results) and _is_baseline(row, results)
        if said is not None and said.verdict == verdict and (verdict == Guard.OVER or not baseline):
            figures = str(said).partition(": ")[2]
            found.setdefault(row.spec.label, faster.get(row.spec.label, "") + figures)
    return found


def _times_as_fast(results: Results) -> dict[str, str]:
    """By variant: how many times as fast as the baseline it is at its first batch size, in words; those shown to be faster."""
    if not results.measured:
        return {}
    rows = comparison(results).rows
    found: dict[str, str] = {}
    for row in rows:
        if row.verdict == Verdict.FASTER and row.speedup is not None:
            found.setdefault(row.result.spec.label, f"{row.speedup:.3g} times as fast as the baseline, ")
    return found


def _as_it_came(row: Result, results: Results) -> bool:
    """Whether no precision was lowered: FP32, or the format that the model came in."""
    return row.spec.asked in (Precision.FP32, results.model.quantized)


def _is_baseline(row: Result, results: Results) -> bool:
    return variant_name(row.spec) == plain_name(results, results.baseline)
