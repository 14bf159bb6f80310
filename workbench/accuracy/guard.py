"""The guard: whether a variant keeps the budget of accuracy, and whether an FP32 engine computes what the source model does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from workbench.accuracy.samples_needed import for_changed, for_loss, rounded
from workbench.choices.budget import ABSOLUTE, FLIPS, POINTS, RELATIVE, Budget, budget_of
from workbench.records import CPU, Accuracy, PartLoss, Precision, Result
from workbench.statistics.paired import FEWEST

TOLERANCE = 1e-3
"""Outputs are the source's where they differ by no more than this share of its largest value: what a conversion of an FP32 model
is held to as well."""
TF32_TOLERANCE = 2e-2
"""The same for FP32 on a GPU that may round the inputs of matrix products to TF32, whose 10 bits of mantissa are FP16's."""
SAME = f"its outputs are the source model's within {TOLERANCE:.1%} on every sample"


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
    needed: int | None = (
        None  # samples that would show it to be within, at the rates seen; None: not known, or no number would
    )

    def __str__(self) -> str:
        """``within: loses 0.13 points [−0.20, 0.47]``."""
        if self.loss is None or self.low is None or self.high is None:
            return f"{self.verdict}: {self.why}" if self.why else str(self.verdict)
        scale, unit = (100, " points") if self.percent else (1, "")
        digits = "{:.2f}" if self.percent else "{:.3g}"
        loss, low, high = (digits.format(scale * each).replace("-", "−") for each in (self.loss, self.low, self.high))
        return f"{self.verdict}: loses {loss}{unit} [{low}, {high}]{f'; {self.why}' if self.why else ''}"


def same_outputs(score: Accuracy) -> bool:
    """Whether all outputs are the source's on every sample, within :data:`TOLERANCE` of the source's largest value, with the same
    answers throughout.
    """
    return score.agreement == 1 and bool(score.apart) and max(score.apart.values()) <= TOLERANCE


def disagreement(result: Result) -> str:
    """How an FP32 engine's outputs differ from the source model's, in words; "" where they do not, or precision was lowered.

    FP32 has nothing to lose: an engine that differs by more than rounding computes something else. Where an NVIDIA GPU may use
    TF32, differences of its size are no disagreement.
    """
    score = result.accuracy
    if score is None or result.spec.asked != Precision.FP32 or not score.apart or same_outputs(score):
        return ""
    worst = max(score.apart, key=lambda name: score.apart[name])
    by = score.apart[worst]
    rounds = result.spec.tf32 and result.device not in ("", CPU)
    if by <= (TF32_TOLERANCE if rounds else TOLERANCE) and (rounds or score.agreement == 1):
        return ""
    told = f"'{worst}' differs by up to {by:.2%} of its largest value" if by > TOLERANCE else "answers differ"
    changed = round((1 - score.agreement) * score.samples)
    return (
        f"its outputs disagree with the source model's, which FP32 must not: {told}, and {changed or 'none'} of {score.samples:,} "
        "samples get another answer; it is never recommended"
    )


def judge(score: Accuracy, budget: Budget) -> Judgement:
    """Whether a score holds the budget, by the 95 % interval of what is lost on the same samples.

    An engine whose outputs are the source's on every sample (:func:`same_outputs`) is within by construction: this is so of the
    source's own format, for which any number of samples would be too few to exclude a loss by chance alone. Of the others it is
    a test of non-inferiority: within, if the whole interval lies at or below what is allowed; over, if the whole interval
    lies above; else so many samples cannot tell, and the judgement says how many would. (The two-sided 95 % interval, as regulators
    ask: ICH E9, 3.3.2, and CPMP/EWP/482/99, Points to consider on switching between superiority and non-inferiority.) Without labels
    the loss is the share of answers that are others than the source's. A part of the source's own metric is taken of its measured
    value.
    """
    same = same_outputs(score)
    if budget.kind == FLIPS or score.value is None or score.loss is None:
        ends = (1 - score.agreement, 1 - score.agreement_high, 1 - score.agreement_low)
        allowed = budget.amount if budget.kind == ABSOLUTE else budget.amount / 100
        found = _decided(*ends, allowed, percent=True)
    elif budget.kind == POINTS and not score.share:
        why = f"points are for shares, and {score.metric} is none; give 'budget' as '1 %' or in the metric's own unit"
        found = Judgement(Guard.UNSURE, score.loss, None, None, 0.0, percent=False, why=why)
    else:
        allowed = _allowed(budget, score.source_value)
        found = _decided(score.loss, score.loss_low, score.loss_high, allowed, percent=score.share)
    if same:
        return replace(found, verdict=Guard.WITHIN, why=SAME)
    return _explained(found, score, budget) if found.verdict == Guard.UNSURE and not found.why else found


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


def _decided(loss: float, low: float | None, high: float | None, allowed: float, *, percent: bool) -> Judgement:
    verdict = Guard.UNSURE
    if low is not None and high is not None:
        verdict = Guard.WITHIN if high <= allowed else Guard.OVER if low > allowed else Guard.UNSURE
    return Judgement(verdict, loss, low, high, allowed, percent)


def _explained(found: Judgement, score: Accuracy, budget: Budget) -> Judgement:
    """The judgement with what is missing to be within: how many samples would show it, if the loss stayed as it is."""
    by_answers = budget.kind == FLIPS or score.value is None or score.loss is None
    count = score.samples if by_answers else score.scored or score.samples
    if found.low is None:
        why = f"{count:,} samples are too few for an interval; at least {FEWEST} are needed"
        return replace(found, why=why, needed=FEWEST)
    needed = (for_changed if by_answers else for_loss)(score, found.allowed)
    changed = round((1 - score.agreement) * score.samples)
    lost = f"that more than {100 * found.allowed:.3g} % of the answers changed" if by_answers else f"a loss of {budget}"
    why = f"changed {changed or 'none'} of {score.samples:,} answers; {count:,} samples cannot exclude {lost}"
    if needed is None:
        why += ", and nor would more, unless they show a smaller loss"
    else:
        why += f", about {rounded(needed):,} would"
    return replace(found, why=why, needed=needed)


def could_show(source: Accuracy, budget: Budget) -> bool:
    """Whether so many samples could show that a variant without any loss is within; ``source`` is the source model's own score."""
    changed = replace(source, apart={})  # judged by its interval, not by construction
    return judge(changed, budget).verdict == Guard.WITHIN


def judgement(result: Result, budget: str) -> Judgement | None:
    """What the guard says of a row; ``None`` where it has no score, or nothing is judged."""
    held = budget_of(budget)
    return judge(result.accuracy, held) if held and result.accuracy else None


def barred(result: Result, budget: str) -> str:
    """Why a row is never recommended, in a few words; "" where it may be."""
    if disagreement(result):
        return "disagrees with the source"
    found = judgement(result, budget)
    return "over budget" if found is not None and found.verdict == Guard.OVER else ""


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
    if said is not None and said.verdict == Guard.UNSURE and said.needed is not None:
        parts.append(said.why)
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
