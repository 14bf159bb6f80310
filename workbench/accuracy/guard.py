"""The guard: checks of a variant against the accuracy budget, and of FP32 engines against the source model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from workbench.accuracy.budget import ABSOLUTE, FLIPS, POINTS, RELATIVE, Budget, budget_of
from workbench.accuracy.samples_needed import for_changed, for_loss, rounded
from workbench.records import CPU, Accuracy, PartLoss, Precision, Result
from workbench.stats.estimates import proportion_interval
from workbench.stats.paired import FEWEST

TOLERANCE = 1e-3
"""Largest difference of outputs that count as the source's, as a share of its largest value; also the limit for the conversion of an
FP32 model."""
TF32_TOLERANCE = 2e-2
"""The same for FP32 on a GPU that may round the inputs of matrix products to TF32, whose 10 bits of mantissa are FP16's."""
NOT_BY_SAMPLES = (
    "what was measured is not clearly smaller than that, so more samples are not likely to show that it is within the budget. "
    "Instead choose another precision or calibration, keep sensitive layers in FP32 ('keep'), or allow more ('budget')"
)
"""Where no number of samples is known to be enough: why, and what to do."""
SAME = f"its outputs are the source model's within {TOLERANCE:.1%} on every sample"


class Guard(StrEnum):
    """The guard's verdict on a variant."""

    WITHIN = "within"
    OVER = "over"
    UNSURE = "cannot tell"


@dataclass(frozen=True)
class Judgement:
    """A verdict with its figures: the loss, its 95 % interval and the allowed loss, in one unit."""

    verdict: Guard
    loss: float | None
    low: float | None
    high: float | None
    allowed: float
    percent: bool  # the figures are shares, shown as points or percent
    why: str = ""
    # samples that would show it to be within, at the observed rates; None: not known, or no number of samples would
    needed: int | None = None

    def __str__(self) -> str:
        """``within: loses 0.13 points [−0.20, 0.47]``."""
        if self.loss is None or self.low is None or self.high is None:
            return f"{self.verdict}: {self.why}" if self.why else str(self.verdict)
        loses = loss_text(self.loss, self.low, self.high, decimals=2 if self.percent else None)
        return f"{self.verdict}: {loses}{f'; {self.why}' if self.why else ''}"


def loss_text(loss: float, low: float, high: float, *, decimals: int | None) -> str:
    """``loses 0.13 points [−0.20, 0.47]``, or ``gains 0.13 points [−0.20, 0.47]`` with the interval of the gain: shares as points with so
    many decimals, other figures (``None``) with three digits.
    """
    scale, unit, digits = (1, "", "{:.3g}") if decimals is None else (100, " points", f"{{:.{decimals}f}}")
    gained = float(digits.format(scale * loss)) < 0  # as it is shown
    figures = (-loss, -high, -low) if gained else (loss, low, high)
    middle, *ends = (digits.format(scale * each + 0.0).replace("-", "−") for each in figures)
    return f"{'gains' if gained else 'loses'} {middle.lstrip('−')}{unit} [{', '.join(ends)}]"


def same_outputs(score: Accuracy) -> bool:
    """Whether all outputs equal the source's on every sample, within :data:`TOLERANCE` of the source's largest value, and all
    answers are the same.
    """
    return score.agreement == 1 and bool(score.relative_diffs) and max(score.relative_diffs.values()) <= TOLERANCE


def disagreement(result: Result) -> str:
    """A sentence about how an FP32 engine's outputs differ from the source model's; "" if they do not, or precision was lowered.

    FP32 does not lower precision: an engine that differs by more than rounding computes another function. Where an NVIDIA GPU may
    use TF32, differences of its size are not a disagreement.
    """
    score = result.accuracy
    if score is None or result.spec.asked != Precision.FP32 or not score.relative_diffs or same_outputs(score):
        return ""
    worst = max(score.relative_diffs, key=lambda name: score.relative_diffs[name])
    by = score.relative_diffs[worst]
    rounds = result.spec.tf32 and result.device not in ("", CPU)
    if by <= (TF32_TOLERANCE if rounds else TOLERANCE) and (rounds or score.agreement == 1):
        return ""
    difference = f"'{worst}' differs by up to {by:.2%} of its largest value" if by > TOLERANCE else "answers differ"
    changed = _changed(score)
    return (
        f"its outputs disagree with the source model's, which FP32 must not: {difference}, and {changed or 'none'} of {score.samples:,} "
        "samples get another answer; it is never recommended"
    )


def _changed(score: Accuracy) -> int:
    """Number of samples with another answer than the source's. An answer that changed although all values are within the tolerance
    of agreement counts as well, where the labels show it.
    """
    return max(round((1 - score.agreement) * score.samples), score.fixed + score.broken)


def _share_changed(score: Accuracy) -> tuple[float, float, float]:
    """The share of changed answers with its 95 % interval."""
    turned = score.fixed + score.broken
    if turned <= round((1 - score.agreement) * score.samples):
        return 1 - score.agreement, 1 - score.agreement_high, 1 - score.agreement_low
    return turned / score.samples, *proportion_interval(turned, score.samples)


def judge(score: Accuracy, budget: Budget) -> Judgement:
    """Whether a score is within the budget, by the 95 % interval of the loss on the same samples.

    An engine whose outputs are the source's on every sample (:func:`same_outputs`) is within by construction, unless the metric shows
    a larger loss than allowed (equal outputs are equal within a share of the largest value, which one sample may raise). This applies
    to the source's own format, for which no number of samples would exclude a loss by chance. For other engines it is a test of
    non-inferiority: within, if the whole interval lies at or below the allowed loss; over, if the whole interval lies above it;
    else unsure, with the number of samples that would decide. (The two-sided 95 % interval, as regulators require: ICH E9, 3.3.2,
    and CPMP/EWP/482/99, Points to consider on switching between superiority and non-inferiority.) Without labels the loss is the
    share of answers that differ from the source's. A budget relative to the source's metric refers to its measured value.
    """
    same = same_outputs(score)
    if budget.kind == FLIPS or score.value is None or score.loss is None:
        ends = _share_changed(score)
        allowed = budget.amount if budget.kind == ABSOLUTE else budget.amount / 100
        found = _decided(*ends, allowed, percent=True)
    elif budget.kind == POINTS and not score.share:
        why = f"points are for shares, and {score.metric} is not a share; give 'budget' as '1 %' or in the metric's own unit"
        found = Judgement(Guard.UNSURE, score.loss, None, None, 0.0, percent=False, why=why)
    else:
        allowed = _allowed(budget, score.source_value)
        found = _decided(score.loss, score.loss_low, score.loss_high, allowed, percent=score.share)
    if same and (found.loss is None or found.loss <= found.allowed):
        return replace(found, verdict=Guard.WITHIN, why=SAME)
    return _explained(found, score, budget) if found.verdict == Guard.UNSURE and not found.why else found


def _allowed(budget: Budget, source_value: float | None) -> float:
    """The allowed loss, in the unit of the metric."""
    return {
        POINTS: budget.amount / 100,
        ABSOLUTE: budget.amount,
        RELATIVE: budget.amount / 100 * abs(source_value or 0.0),
    }[budget.kind]


def part_over(part: PartLoss, score: Accuracy, budget: str) -> bool:
    """Whether a class or group is shown to lose more than the budget: its whole interval lies above the allowed loss.

    A budget that does not apply to a class's recall (flips, or a number in the unit of a metric that is not a share) has no effect.
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


def _explained(judgement: Judgement, score: Accuracy, budget: Budget) -> Judgement:
    """The judgement with the number of samples that would show the variant to be within, if the loss stayed as it is."""
    by_answers = budget.kind == FLIPS or score.value is None or score.loss is None
    count = score.samples if by_answers else score.scored or score.samples
    if judgement.low is None:
        why = f"{count:,} samples are too few for an interval; at least {FEWEST} are needed"
        return replace(judgement, why=why, needed=FEWEST)
    needed = (for_changed if by_answers else for_loss)(score, judgement.allowed)
    changed = _changed(score)
    lost = (
        f"that more than {100 * judgement.allowed:.3g} % of the answers changed"
        if by_answers
        else f"a loss of {budget}"
    )
    why = f"changed {changed or 'none'} of {score.samples:,} answers; {count:,} samples cannot exclude {lost}"
    if needed is None:
        why += f"; {NOT_BY_SAMPLES}"
    else:
        why += f", about {rounded(needed):,} most likely would"
    return replace(judgement, why=why, needed=needed)


def could_show(source: Accuracy, budget: Budget) -> bool:
    """Whether the samples are enough to show that a variant without loss is within; ``source`` is the source model's own score."""
    changed = replace(source, relative_diffs={})  # decided by its interval, not by construction
    return judge(changed, budget).verdict == Guard.WITHIN


def judgement(result: Result, budget: str) -> Judgement | None:
    """The guard's judgement of a row; ``None`` where it has no score, or there is no budget."""
    held = budget_of(budget)
    return judge(result.accuracy, held) if held and result.accuracy else None


def barred(result: Result, budget: str) -> str:
    """Why a row is never recommended, as a short phrase; "" where it may be."""
    if disagreement(result):
        return "disagrees with the source"
    found = judgement(result, budget)
    return "over budget" if found is not None and found.verdict == Guard.OVER else ""


def same_files(rows: Iterable[Result]) -> dict[str, str]:
    """Variants of one backend that were built from the same file although they have different names: by label, the name of the
    first of them.
    """
    first: dict[tuple[str, str, str], str] = {}
    twins: dict[str, str] = {}
    for row in rows:
        if made := row.engine.source_sha256 if row.engine else "":
            name = first.setdefault((row.spec.address, made, str(row.spec.batch)), row.spec.asked)
            if name != row.spec.asked:
                twins[row.spec.label] = name
    return twins


def guarded(result: Result, budget: str) -> dict[str, Any]:
    """The cells of the table for a row's metric, its loss and the budget."""
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
    """Remarks on a row; ``twin`` is its entry of :func:`same_files`."""
    said = judgement(result, budget)
    parts = [f"the same file as {twin}: the method changed nothing"] if twin else []
    if said is not None and said.verdict == Guard.UNSURE and said.needed is not None:
        parts.append(said.why)
    if said is not None and said.why == SAME and said.high is not None and said.high > said.allowed:
        parts.append(f"within the budget although the interval of the loss is wider, because {SAME}")
    if said is not None and said.verdict == Guard.OVER:
        parts.append(f"over the budget of {budget_of(budget)}, not recommended: {str(said).partition(': ')[2]}")
    return parts + score_remarks(result, budget)


def score_remarks(result: Result, budget: str) -> list[str]:
    """Remarks on how a row was scored, and a warning about classes and groups that lose more than the mean shows."""
    score = result.accuracy
    if score is None:
        return []
    parts = [f"scored by {score.basis}"] if score.basis else []
    if score.threshold is not None:
        parts.append(f"a value above {score.threshold:g} counts as yes (class 1)")
    if score.not_finite:
        parts.append(
            f"no accuracy is claimed for {score.not_finite:,} of {score.samples:,} samples, where the source model gives NaN or infinity"
        )
    return parts + hidden_losses(result, budget)


def one_class_right(score: Accuracy | None) -> str:
    """``it is right for every sample of class malignant and for no other``, where the source model is right in several classes; else ""."""
    parts = [part for part in score.by if part.by == "class"] if score and score.metric == "top-1" else []
    right = [part for part in parts if part.value > 0]
    several = sum(part.source_value > 0 for part in parts) > 1
    if not several or len(parts) < parts[0].of or len(right) != 1 or right[0].value < 1:
        return ""
    return f"it is right for every sample of class {right[0].name} and for no other"


def hidden_losses(result: Result, budget: str) -> list[str]:
    """Sentences about classes and groups that lose more than the budget although the mean does not, for a row that is not over it."""
    said, score = judgement(result, budget), result.accuracy
    if score is None or said is None or said.verdict == Guard.OVER:
        return []
    over = [part for part in score.by if part_over(part, score, budget)]
    warnings = []
    for by in dict.fromkeys(part.by for part in over):
        worst, *others = [part for part in over if part.by == by]
        loses = loss_text(worst.loss, worst.low or 0.0, worst.high or 0.0, decimals=1 if worst.share else None)
        more = f" and {len(others)} more" if others else ""
        verb = "lose" if others else "loses"
        warnings.append(
            f"{by} {worst.name}{more} {verb} more than the budget of {budget_of(budget)} although the mean does not: {by} {worst.name} "
            f"{loses} on {worst.samples:,} samples"
        )
    return warnings
