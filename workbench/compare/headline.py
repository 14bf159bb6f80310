"""The result of a run in one sentence for each batch size, and why no other row is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workbench.accuracy.guard import Guard, hidden_losses, judgement, loss_text, one_class_right
from workbench.compare.advice import (
    Best,
    budget_held,
    can_keep_layers,
    fastest,
    in_doubt,
    is_baseline,
    judged_by,
    recommended,
    times_faster,
    within,
)
from workbench.compare.formats import interval, score_text, seconds, speedup_parts
from workbench.compare.pairs import comparison
from workbench.records import Accuracy, Precision, Result, Results, Row, Verdict

NO_ACCURACY = "No engine is shown to answer better than a guess, so accuracy is not judged."
KEEP = "For {names}, the command 'repair' (in Python workbench.mixed_precision) finds the layers to keep in FP32."
MORE = "For {names}, test on more samples: give more data, or set 'calibration_samples' lower than {aside:,}."
TOO_FEW = "For {names}, more data is needed to test on: all {data:,} samples are most likely too few."
"""What to do where samples are too few to show that a loss is small: fewer for calibration help, or not."""
MOST_KEPT = 3
"""Largest number of nodes kept in FP32 that are named with a variant."""
CALIBRATES = 50
"""So many samples are left for calibration where fewer are advised."""


class Headline(NamedTuple):
    """The result of one batch size.

    Attributes:
        batch: samples in one call.
        row: the row that is recommended, or the baseline; ``None`` where neither is known.
        won: whether ``row`` is shown to be faster than the baseline and, where accuracy is judged, within the budget.
        text: one or two sentences.
        why: a sentence each: that no variant is better than a guess; why ``row`` is not shown to be faster; classes or groups of it that
            lose more than the budget; rows that are faster and not recommended.
        passed: those rows.

    """

    batch: int
    row: Result | None
    won: bool
    text: str
    why: tuple[str, ...] = ()
    passed: tuple[Passed, ...] = ()


class Passed(NamedTuple):
    """A row that is faster than the one that is taken, and why it is not taken. ``times``: its speed-up, "" where it is not shown to be faster
    than the baseline. ``unsure``: it is not shown to be within the budget, and not shown to be over it. ``needed``: samples that would most
    likely show that its loss is small; 0: they would not, or it is not small. ``keepable``: it is over the budget,
    and some of its layers may be kept in FP32.
    """

    label: str
    batch: int
    times: str
    reason: str
    unsure: bool = False
    needed: int = 0
    keepable: bool = False


def headlines(results: Results) -> tuple[Headline, ...]:
    """A headline for each batch size that was measured, in ascending order."""
    if not results.measured:
        return ()
    best = recommended(results) if judged_by(results) else fastest(results, results.measured)
    judged = _by_row(results)
    batches = sorted({row.batch for row in results.measured})
    doubt = in_doubt(results)
    found = (_headline(batch, best.get(batch), results, judged) for batch in batches)
    if not doubt:
        return tuple(found)
    return tuple(one._replace(won=False, text=f"{NO_ACCURACY} {one.text}", why=(*doubt, *one.why)) for one in found)


def _headline(batch: int, best: Best | None, results: Results, judged: dict[str, Row]) -> Headline:
    found = passed(results, batch, best.row if best else None)
    more, faster_ones = passed_over(results, found), faster_in_doubt(found, results)
    if best is None:
        text = f"No row is shown to be within {judged_by(results)}. {faster_ones}".rstrip()
        return Headline(batch, None, won=False, text=text, why=more, passed=found)
    why = (*(f"{best.row.spec.label}: {text}." for text in hidden_losses(best.row, budget_held(results))), *more)
    row = judged.get(best.row.row)
    if is_baseline(best.row, results):
        text = f"{_kept(best, results)} {faster_ones}".rstrip()
        return Headline(batch, best.row, won=False, text=text, why=why, passed=found)
    text = f"{with_kept(best.row)} {_times(row, results)}, {_median(best.row)}{_score(best.row, results)}."
    faster = row is not None and row.verdict == Verdict.FASTER
    if row and row.verdict == Verdict.CANNOT_TELL and row.why:
        why = (f"Not shown to be faster: {row.why}.", *why)
    text = f"{text}{_others(best)} {faster_ones}".rstrip()
    return Headline(batch, best.row, won=faster, text=text, why=why, passed=found)


def _kept(best: Best, results: Results) -> str:
    """The sentence where the baseline is as good as any other row that may be taken, and whether that is a result or a lack of one."""
    budget = judged_by(results)
    inside = f" within {budget}" if budget else ""
    begin = "No clear winner: the baseline" if best.ties else "Keep the baseline"
    text = f"{begin} {best.row.spec.label}, {_median(best.row)}; no other row{inside} is shown to be faster."
    return text + _others(best)


def _times(row: Row | None, results: Results) -> str:
    """How it compares with the baseline: ``is 4.18 times as fast as tensorflow fp32 [3.95, 4.42]``."""
    base, budget = results.baseline, judged_by(results)
    shortest = f"has the shortest time of the rows within {budget}" if budget else "has the shortest time"
    if row is None or row.speedup is None or row.low is None or row.high is None:
        return f"{shortest} and was not compared with {base}" if base else shortest
    value, ends = speedup_parts(row.verdict, row.speedup, row.low, row.high)
    if row.verdict == Verdict.CANNOT_TELL:
        return f"{shortest}, but is not shown to be faster than {base}: {value} times as fast {ends}"
    return f"is {value} times as fast as {base} {ends}"


def with_kept(row: Result) -> str:
    """The variant, and what is kept in FP32 where its precision is lowered: ``openvino int8 (dense_1 in FP32)``."""
    keep = row.spec.keep if row.spec.precision != Precision.FP32 else ()
    if not keep:
        return row.spec.label
    return f"{row.spec.label} ({', '.join(keep) if len(keep) <= MOST_KEPT else f'{len(keep)} nodes or types of nodes'} in FP32)"


def _median(row: Result) -> str:
    return f"{seconds(row.timing.median_s)} per call" if row.timing else ""


def _score(row: Result, results: Results) -> str:
    """Its accuracy and loss with intervals, and what the guard says: ``; top-1 97.6 %, loses 0.13 points [−0.20, 0.47], within 0.5 points``."""
    score = row.accuracy
    if score is None:
        return "; its accuracy is not known"
    scale = 100 if score.share else 1
    if score.value is None:
        agreed = interval(100 * score.agreement, 100 * score.agreement_low, 100 * score.agreement_high, " %")
        said = f"agrees with the source model on {agreed} of {score.samples:,} samples"
    elif score.low is None or score.high is None:
        said = f"{score.metric} {scale * score.value:.4g}"
    elif score.share:
        said = f"{score.metric} {interval(100 * score.value, 100 * score.low, 100 * score.high, ' %')}"
    else:
        said = score_text(score.metric, score.value, score.low, score.high)
    inside = f", within {judged_by(results)}" if within(row, results) else ""
    return f"; {said}{_lost(score, results)}{inside}"


def _lost(score: Accuracy, results: Results) -> str:
    """``, loses 0.13 points [−0.20, 0.47]``; "" where no accuracy is judged, there is no interval, or the metric is not a share."""
    if (
        judged_by(results) is None
        or not score.share
        or score.loss is None
        or score.loss_low is None
        or score.loss_high is None
    ):
        return ""
    return f", {loss_text(score.loss, score.loss_low, score.loss_high, decimals=2)}"


def _others(best: Best) -> str:
    parts = []
    for said, rows in (
        ("Not distinguishable from it", best.ties),
        ("Not measured in turn with it", best.not_interleaved),
    ):
        parts += [f" {said}: {', '.join(row.spec.label for row in rows)}."] if rows else []
    return "".join(parts)


def _by_row(results: Results) -> dict[str, Row]:
    return {row.result.row: row for row in comparison(results).rows}


def passed(results: Results, batch: int, best: Result | None) -> tuple[Passed, ...]:
    """The rows of this batch size that are faster than the one that is taken, and why each is not taken."""
    taken = best.timing.median_s if best and best.timing else float("inf")
    judged, found = _by_row(results), []
    for row in results.measured:
        said = judgement(row, budget_held(results))
        faster = row.batch == batch and row.timing is not None and row.timing.median_s < taken
        if not faster or said is None or said.verdict == Guard.WITHIN:
            continue
        figures = str(said).partition(": ")[2]
        figures = f"it {figures}" if figures.startswith(("loses", "gains")) else figures
        reason = f"is not recommended: {figures}, over the budget of {judged_by(results)}"
        unsure = said.verdict == Guard.UNSURE
        if unsure:
            reason = f"is not shown to be within {judged_by(results)}: {figures}"
        elif same := one_class_right(row.accuracy):
            reason = f"{reason}; {same}"
        times = times_faster(judged.get(row.row))
        needed = said.needed or 0 if unsure else 0
        keepable = not unsure and not row.spec.keep and can_keep_layers(row.spec)
        found.append(Passed(row.spec.label, batch, times, reason, unsure, needed, keepable))
    return tuple(found)


def passed_over(results: Results, found: Sequence[Passed]) -> tuple[str, ...]:
    """Rows that are not taken, a sentence for each variant and reason, and what would show more."""
    several = len({row.batch for row in results.measured}) > 1
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in found:
        times = reasons.setdefault((each.label, each.reason), [])
        if each.times:
            more = "" if times else " as fast as the baseline"
            times.append(f"{each.times} times{more}" + f" at batch {each.batch}" * several)
    text = tuple(
        f"{label}, {', '.join(times)}, {reason}." if times else f"{label} {reason}."
        for (label, reason), times in reasons.items()
    )
    over = dict.fromkeys(each.label for each in found if each.keepable)
    return (*text, *_more(results, found), *([KEEP.format(names=", ".join(over))] if over else []))


def _more(results: Results, found: Sequence[Passed]) -> tuple[str, ...]:
    """Of which variants more samples would show that the loss is small, and whether fewer for calibration are enough."""
    needed: dict[str, int] = {}
    for each in found:
        if each.needed:
            needed[each.label] = min(each.needed, needed.get(each.label, each.needed))
    if not needed:
        return ()
    aside = max(row.spec.calibration_samples for row in results.rows)
    data = aside + max(row.accuracy.samples for row in results.rows if row.accuracy)
    enough = [label for label, count in needed.items() if count + min(aside, CALIBRATES) < data]
    few = [label for label in needed if label not in enough]
    return (
        *([MORE.format(names=", ".join(enough), aside=aside)] if enough else []),
        *([TOO_FEW.format(names=", ".join(few), data=data)] if few else []),
    )


def faster_in_doubt(found: Sequence[Passed], results: Results) -> str:
    """``Faster, but not shown to be within 0.5 points: litert int8 (3.21 times at batch 8).``; "" where there is none."""
    several, times = len({row.batch for row in results.measured}) > 1, dict[str, list[str]]()
    for each in found:
        if each.unsure and each.times:
            where = f" at batch {each.batch}" * several
            times.setdefault(each.label, []).append(f"{each.times} times{where}")
    shown = "; ".join(f"{label} ({', '.join(of)})" for label, of in times.items())
    return f"Faster, but not shown to be within {judged_by(results)}: {shown}." if shown else ""
