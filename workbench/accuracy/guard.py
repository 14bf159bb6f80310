"""The guard of a rewritten model: whether it holds a budget, tested on pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workbench.choices.budget import ABSOLUTE, FLIPS, POINTS, RELATIVE, Budget, budget_of
from workbench.records import Accuracy, PartLoss, Result


class Guard(StrEnum):
    """What the guard says of a variant."""

    WITHIN = "within"
    OVER = "over"
    UNSURE = "cannot tell"


@dataclass(frozen=True)
class Judgement:
    """A verdict with the figures that it rests on: the loss and its 95 % interval, and what is allowed, in one unit."""

    verdict: Guard
    loss: float | None
    low: float | None
    high: float | None
    allowed: float
    percent: bool  # the figures are shares, shown as points or percent
    why: str = ""

    def __str__(self) -> str:
        """``within: loses 0.13 points [−0.20, 0.47]``."""
        if self.loss is None or self.low is None or self.high is None:
            return f"{self.verdict}: {self.why}" if self.why else str(self.verdict)
        scale, unit = (100, " points") if self.percent else (1, "")
        digits = "{:.2f}" if self.percent else "{:.3g}"
        loss, low, high = (digits.format(scale * each).replace("-", "−") for each in (self.loss, self.low, self.high))
        return f"{self.verdict}: loses {loss}{unit} [{low}, {high}]{f'; {self.why}' if self.why else ''}"


def judge(score: Accuracy, budget: Budget) -> Judgement:
    """Whether a score holds the budget, by the 95 % interval of what is lost on the same samples.

    A test of non-inferiority: within, if the whole interval lies at or below what is allowed; over, if the whole interval lies
    above; else it cannot be told from so many samples. (The two-sided 95 % interval, as regulators ask: ICH E9, 3.3.2, and
    CPMP/EWP/482/99, Points to consider on switching between superiority and non-inferiority.) Without labels the loss is the
    share of answers that are others than the source's. A part of the source's own metric is taken of its measured value.
    """
    if budget.kind == FLIPS or score.value is None or score.loss is None:
        loss, low, high = 1 - score.agreement, 1 - score.agreement_high, 1 - score.agreement_low
        allowed = budget.amount if budget.kind == ABSOLUTE else budget.amount / 100
        return _decided(loss, low, high, allowed, percent=True)
    if budget.kind == POINTS and not score.share:
        why = f"points are for shares, and {score.metric} is none; give 'budget' as '1 %' or in the metric's own unit"
        return Judgement(Guard.UNSURE, score.loss, None, None, 0.0, percent=False, why=why)
    allowed = _allowed(budget, score.source_value)
    if score.loss_low is None or score.loss_high is None:
        why = f"{score.samples} samples are too few for an interval"
        return Judgement(Guard.UNSURE, score.loss, None, None, allowed, percent=score.share, why=why)
    return _decided(score.loss, score.loss_low, score.loss_high, allowed, percent=score.share)


def _allowed(budget: Budget, source_value: float | None) -> float:
    """What may be lost, in the unit of the metric."""
    return {
        POINTS: budget.amount / 100,
        ABSOLUTE: budget.amount,
        RELATIVE: budget.amount / 100 * abs(source_value or 0.0),
    }[budget.kind]


def part_over(part: PartLoss, score: Accuracy, budget: str) -> bool:
    """Whether a class or group is shown to lose more than the budget: its whole interval lies above what may be lost.

    A budget that is no part of a class's recall (flips, or a number in the unit of a metric that is not a share) judges none.
    """
    held = budget_of(budget)
    if held is None or part.low is None or held.kind == FLIPS:
        return False
    if part.share != score.share and held.kind == ABSOLUTE:
        return False
    if held.kind == POINTS and not part.share:
        return False
    return part.low > _allowed(held, part.source_value)


def _decided(loss: float, low: float, high: float, allowed: float, *, percent: bool) -> Judgement:
    if high <= allowed:
        return Judgement(Guard.WITHIN, loss, low, high, allowed, percent)
    if low > allowed:
        return Judgement(Guard.OVER, loss, low, high, allowed, percent)
    return Judgement(Guard.UNSURE, loss, low, high, allowed, percent, why="the interval includes the budget")


def judgement(result: Result, budget: str) -> Judgement | None:
    """What the guard says of a row; ``None`` where it has no score, or nothing is judged."""
    held = budget_of(budget)
    return judge(result.accuracy, held) if held and result.accuracy else None


def same_files(rows: Iterable[Result]) -> dict[str, str]:
    """Variants of one backend that were built from the very same file, although they were asked for by other names: by label,
    the name of the first of them.
    """
    first: dict[tuple[str, str, str], str] = {}
    twins: dict[str, str] = {}
    for row in rows:
        made = row.engine.source_sha256 if row.engine else ""
        if not made:
            continue
        name = first.setdefault((row.spec.backend_and_mode, made, str(row.spec.batch)), row.spec.asked)
        if name != row.spec.asked:
            twins[row.spec.label] = name
    return twins


def guarded(result: Result, budget: str) -> dict[str, Any]:
    """The cells of the table that tell of a row's metric, its loss and the budget."""
    cells: dict[str, Any] = {"metric": "", "budget": ""}
    if score := result.accuracy:
        scale = 100 if score.share else 1
        figures = {"score": score.value, "score low": score.low, "score high": score.high}
        figures |= {"loss": score.loss, "loss low": score.loss_low, "loss high": score.loss_high}
        cells |= {name: None if value is None else scale * value for name, value in figures.items()}
        cells["metric"] = score.metric if score.value is not None else ""
        if found := judgement(result, budget):
            cells["budget"] = str(found.verdict)
    return cells


def remarks(result: Result, budget: str, twin: str = "") -> list[str]:
    """What to say of a row beside its numbers; ``twin`` is what :func:`same_files` says of it."""
    said = judgement(result, budget)
    parts = [f"the same file as {twin}: the method changed nothing"] if twin else []
    if said is not None and said.verdict == Guard.OVER:
        parts.append(f"over the budget of {budget_of(budget)}, not recommended: {str(said).partition(': ')[2]}")
    return parts + score_remarks(result, budget)


def score_remarks(result: Result, budget: str) -> list[str]:
    """How the score of a row came about, and a warning of classes and groups that lose more than the mean shows."""
    if result.accuracy is None:
        return []
    said = judgement(result, budget)
    hidden = _hidden(result.accuracy, budget) if said is not None and said.verdict != Guard.OVER else []
    return _of_score(result.accuracy) + hidden


def _of_score(score: Accuracy) -> list[str]:
    """How the score came about, where that is not plain from its numbers."""
    parts = [f"scored by {score.basis}"] if score.basis else []
    if score.threshold is not None:
        parts.append(f"a value above {score.threshold:g} counts as yes")
    if score.not_finite:
        parts.append(
            f"no accuracy is claimed for {score.not_finite:,} of {score.samples:,} samples, where the source model gives NaN or infinity"
        )
    return parts


def _hidden(score: Accuracy, budget: str) -> list[str]:
    """A warning of classes or groups that lose more than the budget while the mean is not shown to."""
    over = [part for part in score.by if part_over(part, score, budget)]
    told = []
    for by in dict.fromkeys(part.by for part in over):
        worst, *others = [part for part in over if part.by == by]
        scale, unit, digits = (100, " points", "{:.1f}") if worst.share else (1, "", "{:.3g}")
        loss, low, high = (
            digits.format(scale * each).replace("-", "−") for each in (worst.loss, worst.low or 0.0, worst.high or 0.0)
        )
        more = f" and {len(others)} more" if others else ""
        verb = "lose" if others else "loses"
        told.append(
            f"{by} {worst.name}{more} {verb} more than the budget of {budget_of(budget)} although the mean does not: {by} {worst.name} "
            f"loses {loss}{unit} [{low}, {high}] on {worst.samples:,} samples"
        )
    return told
