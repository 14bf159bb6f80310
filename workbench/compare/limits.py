"""Which rows keep a limit of latency and a budget of accuracy, and which of them is to be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from workbench.accuracy.guard import barred
from workbench.compare.advice import fastest, judged_by, may_be_taken, within
from workbench.records import Accuracy, Result, Results

PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True)
class Limits:
    """What a row must keep. ``None``: anything goes."""

    latency_s: float | None = None  # of one call
    percent: int = 50  # which percentile of the latency
    loss: float | None = None  # share of the test samples, 0 to 1; see :func:`loss`

    @property
    def any(self) -> bool:
        """Whether one is set."""
        return self.latency_s is not None or self.loss is not None


class Choice(NamedTuple):
    """The row to take, the rows that cannot be told from it, and why others are out, by row; the budget of the guard that decided,
    "" where none did, and the rows that did not take turns with the winner.
    """

    winner: Result | None
    ties: tuple[Result, ...]
    out: dict[str, str]
    budget: str = ""
    apart: tuple[Result, ...] = ()
    within: bool = False  # the winner is within that budget; else it stands there as the baseline


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
    """The row to take among those that keep the limits: of the fastest of each batch size the one with the most samples per second.

    Who may be taken at all is :func:`workbench.compare.advice.may_be_taken`, unless a limit of loss is set: a person's own limit
    then decides of those that the guard cannot tell of. Rows without a timing are neither in nor out.
    """
    out = {}
    kept = []
    for row in results.measured:
        why = "; ".join(filter(None, (_too_slow(row, limits), _too_wrong(row, limits), _barred(row, results.budget))))
        if why:
            out[row.row] = why
        else:
            kept.append(row)
    held = judged_by(results) if limits.loss is None else None
    budget = str(held) if held else ""
    best = fastest(results, (row for row in kept if not budget or may_be_taken(row, results))).values()
    if not best:
        return Choice(None, (), out, "" if limits.any and not kept else budget)
    winner, ties, apart = max(best, key=lambda each: each.row.timing.samples_per_s if each.row.timing else 0.0)
    return Choice(winner, ties, out, budget, apart, within(winner, results))


def _barred(row: Result, budget: str) -> str:
    """Why the row is never recommended, with the budget; empty where it may be."""
    return barred(row, budget).replace("over budget", f"over the budget of {budget}")


def _too_slow(row: Result, limits: Limits) -> str:
    if limits.latency_s is None or row.timing is None:
        return ""
    found = row.timing.percentile_s(limits.percent)
    if found is None:
        return f"p{limits.percent} is not known: {row.timing.no_percentile(limits.percent)}"
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
