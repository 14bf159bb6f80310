"""The rows within a limit of latency and a budget of accuracy, and the recommended one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from workbench.accuracy.guard import barred
from workbench.compare.advice import budget_held, fastest, in_doubt, is_baseline, judged_by, may_be_recommended, within
from workbench.compare.headline import passed, passed_over
from workbench.compare.pairs import comparison
from workbench.errors import InputError
from workbench.records import Accuracy, Result, Results, Verdict

PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True)
class Limits:
    """Limits of a row. ``None``: no limit."""

    latency_s: float | None = None  # of one call
    percent: int = 50  # which percentile of the latency
    loss: float | None = None  # share of the test samples, 0 to 1; see :func:`loss`

    @property
    def any(self) -> bool:
        """Whether one is set."""
        return self.latency_s is not None or self.loss is not None


class Recommendation(NamedTuple):
    """The recommended row, the rows that cannot be distinguished from it, and why others are excluded, by row; the budget of the guard that decided,
    "" where none did, and the rows that did not take turns with the winner.
    """

    winner: Result | None
    ties: tuple[Result, ...]
    out: dict[str, str]
    budget: str = ""
    not_interleaved: tuple[Result, ...] = ()
    within: bool = False  # the winner is within that budget; else it stands there as the baseline
    won: bool = False  # the winner is shown to be faster than the baseline
    is_baseline: bool = False  # the winner is the baseline
    why: tuple[str, ...] = ()  # of the rows that are faster than the winner, why each is not taken
    doubt: tuple[str, ...] = ()  # why no accuracy says anything, so that no row wins


def loss(score: Accuracy) -> float:
    """How much less accurate an engine is than the source model, as a share of the test samples; below 0: more accurate.

    With labels the difference of the two shares of right answers, which is that of the flips: (broken - fixed) / samples.
    Without labels the share of samples whose answer is another one, and also where the metric is not a share; of other shares, such
    as F1, what of the metric is lost.
    """
    if score.value is None or not score.share:
        return 1 - score.agreement
    if score.p_value is None and score.loss is not None:
        return score.loss
    return (score.broken - score.fixed) / score.samples


def choose_row(results: Results, limits: Limits) -> Recommendation:
    """The recommended row among those within the limits: of the fastest of each batch size the one with the most samples per second.

    :func:`workbench.compare.advice.may_be_recommended` decides which rows count, unless a limit of loss is set: a user's own limit
    then decides about rows that the guard cannot judge. Rows without a timing are not listed.
    """
    out = {}
    kept = []
    for row in results.measured:
        never = barred(row, budget_held(results)).replace("over budget", f"over the budget of {results.budget}")
        why = "; ".join(filter(None, (_too_slow(row, limits), _too_wrong(row, limits), never)))
        if why:
            out[row.row] = why
        else:
            kept.append(row)
    held = judged_by(results) if limits.loss is None else None
    budget = str(held) if held else ""
    best = fastest(results, (row for row in kept if not budget or may_be_recommended(row, results))).values()
    if not best:
        return Recommendation(None, (), out, "" if limits.any and not kept else budget)
    winner, ties, not_interleaved = max(
        best, key=lambda each: each.row.timing.samples_per_s if each.row.timing else 0.0
    )
    doubt = in_doubt(results)
    won, stays = not doubt and winner.row in _faster(results), is_baseline(winner, results)
    reasons = passed_over(results, passed(results, winner.batch, winner)) if stays and budget else ()
    return Recommendation(
        winner, ties, out, budget, not_interleaved, within(winner, results), won, stays, reasons, doubt
    )


def _faster(results: Results) -> set[str]:
    """The rows that are shown to be faster than the baseline; none where that was not measured."""
    try:
        return {row.result.row for row in comparison(results).rows if row.verdict == Verdict.FASTER}
    except InputError:
        return set()


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
