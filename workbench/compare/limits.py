"""Which rows keep a limit of latency and a budget of accuracy, and which of them is to be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from workbench.accuracy.guard import Guard, judgement
from workbench.compare.comparison import comparison, variant_name
from workbench.records import Accuracy, Result, Results, Verdict

PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True)
class Limits:
    """What a row must keep. ``None``: anything goes."""

    latency_s: float | None = None  # of one call
    percent: int = 50  # which percentile of the latency
    loss: float | None = None  # share of the test samples, 0 to 1; see :func:`loss`


class Choice(NamedTuple):
    """The row to take, the rows that cannot be told from it, and why the others are out, by row."""

    winner: Result | None
    ties: tuple[Result, ...]
    out: dict[str, str]


def loss(score: Accuracy) -> float:
    """How much less accurate an engine is than the source model, as a share of the test samples; below 0: more accurate.

    With labels the difference of the two shares of right answers, which is that of the flips: (broken - fixed) / samples.
    Without labels the share of samples whose answer is another one, and so where the metric is no share; of other shares, such
    as F1, what of the metric is lost.
    """
    if score.value is None or not score.share:
        return 1 - score.agreement
    if score.p_value is None and score.loss is not None:
        return score.loss
    return (score.broken - score.fixed) / score.samples


def choose_row(results: Results, limits: Limits) -> Choice:
    """The row with the most samples per second among those that keep the limits, and the budget of the results' own guard.

    Ties are rows of the winner's batch that keep the limits too, and whose comparison with the winner says "cannot tell".
    Rows without a timing are neither in nor out.
    """
    out = {}
    kept = []
    for row in results.measured:
        why = "; ".join(filter(None, (_too_slow(row, limits), _too_wrong(row, limits), _over(row, results.budget))))
        if why:
            out[row.row] = why
        else:
            kept.append(row)
    if not kept:
        return Choice(None, (), out)
    # a person's own limit decides; without one a row that the guard cannot tell of does not win over one that is within
    sure = [row for row in kept if limits.loss is None and _guarded(row, results.budget) in (None, Guard.WITHIN)]
    winner = max(sure or kept, key=lambda row: row.timing.samples_per_s if row.timing else 0.0)
    names = {row.row for row in kept}
    compared = comparison(results, variant_name(winner.spec)).rows
    ties = tuple(
        row.result
        for row in compared
        if row.verdict == Verdict.CANNOT_TELL and row.result.batch == winner.batch and row.result.row in names
    )
    return Choice(winner, tuple(row for row in ties if row.row != winner.row), out)


def _over(row: Result, budget: str) -> str:
    """Why the guard never recommends the row; empty where it may."""
    return f"over the budget of {budget}" if _guarded(row, budget) == Guard.OVER else ""


def _guarded(row: Result, budget: str) -> Guard | None:
    found = judgement(row, budget)
    return None if found is None else found.verdict


def _too_slow(row: Result, limits: Limits) -> str:
    if limits.latency_s is None or row.timing is None:
        return ""
    found = row.timing.percentile_s(limits.percent)
    if found is None:
        return f"p{limits.percent} is not known: too few calls"
    if found <= limits.latency_s:
        return ""
    return f"p{limits.percent} is {found * 1e3:.3g} ms, the limit {limits.latency_s * 1e3:.3g} ms"


def _too_wrong(row: Result, limits: Limits) -> str:
    if limits.loss is None:
        return ""
    if row.accuracy is None:
        return "its answers were not compared"
    found = loss(row.accuracy)
    if found <= limits.loss:
        return ""
    what = (
        "fewer right than the source model" if row.accuracy.value is not None else "other answers than the source model"
    )
    return f"{found:.2%} {what}, the budget is {limits.loss:.2%}"
