"""Scores of an engine: the task's metric with an interval, agreement with the source model, and paired flips.

One output is scored, and named in the result. With labels it is the output with the source model's best score among those that
fit the labels; without labels the first with two axes, or else the first with fewer. Outputs that the model does not repeat, or
that do not depend on weights, are scored only if the labels fit no other.

Samples without a label, and those where the source model's scored output is not finite, are left out of the metric and
counted. An engine that gives NaN or infinity where the source model does not is refused.

The loss is the source's metric minus the engine's, with the sign chosen so that more is worse, with an interval from the pairs:
:mod:`workbench.stats.paired`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from workbench.accuracy import loss_by
from workbench.accuracy.agreement import (
    CLOSE,
    EVERY,
    Agreement,
    Comparable,
    agreement,
    check_outputs,
)
from workbench.accuracy.by_sample import by_call
from workbench.accuracy.chosen import ScoredOutput, best_output
from workbench.accuracy.class_order import order_setting, order_text, other_order
from workbench.accuracy.finite import not_finite
from workbench.accuracy.label_settings import Reading, shapes_of
from workbench.accuracy.metrics import DECIDED, Metric, top_k
from workbench.accuracy.reading import read_truth
from workbench.accuracy.truth import LabelKind, Truth
from workbench.errors import InputError
from workbench.records import Accuracy, PartLoss
from workbench.stats import estimates, paired

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def score(
    engine_key: str,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    labels: Truth | np.ndarray | None,
    metric: Metric | None = None,
    output: str = "",
    *,
    groups: tuple[str, np.ndarray] | None = None,
    losses: bool = True,
    comparable: Comparable = EVERY,
) -> Accuracy:
    """Compare an engine's outputs with the source model's on the same samples.

    Args:
        engine_key: the engine that gave ``outputs``.
        outputs: by name, shape (n, ...), or ragged (:mod:`workbench.accuracy.by_sample`).
        reference: the source model's outputs, same names and shapes.
        labels: a :class:`Truth`, or an array (n, ...) whose kind is determined here; ``None`` where there are no labels.
        metric: the accuracy metric; ``None`` is top-1 where there are labels.
        output: the output to score and to compare; "" compares all, and chooses the one to score.
        groups: the name of a grouping and the group of each sample, (n,), for the loss by group.
        comparable: facts about the model's outputs that are known before the comparison.
        losses: whether to compute the loss by class and by group, which takes milliseconds for each of them.

    Returns:
        The scores; ``by`` holds the loss by class and by group.

    Raises:
        RunError: names, shapes or counts differ, or an output is not finite where the source model's is.
        InputError: the metric does not fit the outputs or labels, or the model does not have the output.
    """
    check_outputs(outputs, reference, comparable.varying)
    if output and output not in reference:
        raise InputError(f"'score_output' names '{output}'. The model's outputs are: {', '.join(reference)}.")
    truth = labels
    if truth is not None and not isinstance(truth, Truth):
        truth = read_truth(truth, shapes_of(reference), metric, Reading(output=output))
    if truth is None and (metric is None or not metric.against_source):
        likely = output or _likely_output(reference)
        found = agreement(outputs, reference, comparable, only=output, scored=likely)
        plain = _agreement(engine_key, found, reference)
        return plain if metric is None else replace(plain, metric=metric.name)
    meaningless = {*comparable.varying, *comparable.unreached}
    chosen = best_output(top_k(1) if metric is None else metric, reference, truth, output, meaningless)
    _check_repeated(chosen.output, comparable)
    found = agreement(outputs, reference, comparable, only=output, scored=chosen.output, answers=chosen.by_labels)
    plain = replace(_agreement(engine_key, found, reference), output=chosen.output)
    rated = _ordered(_rated(plain, chosen, chosen.measured(outputs)), chosen, outputs)
    return replace(rated, by=_losses(chosen, outputs, groups)) if losses and outputs is not reference else rated


def usable_labels(
    reference: Mapping[str, np.ndarray], count: int, metric: Metric | None, output: str, varying: Collection[str]
) -> bool:
    """Whether labels of ``count`` samples, or a metric, can be used: not with outputs that have one entry for each call instead of
    each sample.
    """
    calls = by_call(reference, count)
    if not calls:
        return True
    return bool(set(reference) - {*calls, *varying}) and output not in calls and not (metric and metric.whole)


def _agreement(engine_key: str, agreed: Agreement, reference: Mapping[str, np.ndarray]) -> Accuracy:
    """Agreement with the source model and differences of outputs, without a metric."""
    low, high = estimates.proportion_interval(agreed.agreeing, agreed.compared)
    return Accuracy(
        engine_key=engine_key,
        samples=agreed.samples,
        labelled=False,
        value=None,
        low=None,
        high=None,
        agreement=agreed.share,
        agreement_low=low,
        agreement_high=high,
        fixed=0,
        broken=0,
        p_value=None,
        max_abs_diff=agreed.max_abs_diff,
        output=agreed.output,
        relative_diffs=agreed.relative_diffs,
        agreement_output=agreed.output,
        agreements=agreed.shares,
        left_out=agreed.left_out,
        source_not_finite=not_finite(reference),
        not_compared=agreed.samples - agreed.compared,
        positions=agreed.several,
    )


def _check_repeated(name: str, comparable: Comparable) -> None:
    """Refuse to score an output that the model itself does not repeat.

    Raises:
        InputError: ``name`` is such an output.
    """
    if name in comparable.varying:
        raise InputError(
            f"The output '{name}' cannot be scored: {comparable.varying[name]}. Choose another 'score_output', or export the model "
            "without its random operations."
        )


def _rated(plain: Accuracy, chosen: ScoredOutput, ours: np.ndarray) -> Accuracy:
    """The agreement with the metric, its loss and their intervals."""
    metric, theirs = chosen.metric, chosen.parts
    value, source_value = metric.value(ours), metric.value(theirs)
    sign = 1.0 if metric.higher_is_better else -1.0
    fixed = broken = 0
    if metric.binary:
        span: tuple[float, float] | None = estimates.proportion_interval(int(ours.sum()), len(ours))
        _, *ends = paired.difference_of_shares(theirs, ours)
        lost: tuple[float, float] | None = (ends[0], ends[1])
        fixed, broken = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    else:
        span = paired.bootstrap(ours, metric.value, resamples=metric.resamples)
        lost = paired.bootstrap_difference(theirs, ours, metric.value, resamples=metric.resamples)
        if metric.share and lost is not None and not any(lost):
            lost = paired.unchanged(len(ours))
    low, high = span or (None, None)
    loss_low, loss_high = sorted(sign * end for end in lost) if lost else (None, None)
    classes = chosen.truth.values if metric.name == "top-1" else None
    return replace(
        plain,
        labelled=chosen.labelled,
        value=value,
        low=low,
        high=high,
        fixed=fixed,
        broken=broken,
        p_value=estimates.flips_p_value(fixed, broken) if metric.binary else None,
        metric=metric.name,
        chance=None if classes is None else float(np.bincount(classes).max() / len(classes)),
        higher_is_better=metric.higher_is_better,
        share=metric.share,
        unit=metric.unit,
        source_value=source_value,
        loss=sign * (source_value - value),
        loss_low=loss_low,
        loss_high=loss_high,
        scored=len(ours),
        not_finite=chosen.not_finite,
        threshold=chosen.threshold if chosen.cut else None,
    )


def _ordered(rated: Accuracy, chosen: ScoredOutput, outputs: Mapping[str, np.ndarray]) -> Accuracy:
    """The score with the order of the classes in which far more answers would be right, if there is one."""
    if rated.chance is None or not chosen.truth.class_per_sample:
        return rated
    answers = chosen.answers(outputs[chosen.output][chosen.rows])
    if answers is None or answers.ndim != 1:
        return rated
    found = other_order(answers, chosen.truth.values)
    return replace(rated, reordered=found[0], order=found[1]) if found else rated


def _losses(
    chosen: ScoredOutput, outputs: Mapping[str, np.ndarray], groups: tuple[str, np.ndarray] | None
) -> tuple[PartLoss, ...]:
    """The loss by class, where labels are classes, and by group, where there are groups."""
    ours, metric, truth = chosen.measured(outputs), chosen.metric, chosen.truth
    found: tuple[PartLoss, ...] = ()
    if (
        metric.accepts is not None
        and chosen.labelled
        and truth.kind in (*DECIDED, LabelKind.MULTILABEL, LabelKind.BOXES)
    ):
        found = loss_by.by_class(
            chosen.form(outputs), chosen.source, truth, chosen.threshold, metric, (ours, chosen.parts)
        )
    if groups is not None:
        column, of_samples = groups
        found += loss_by.by_group(ours, chosen.parts, of_samples[chosen.rows], metric, column)
    return found


def score_text(accuracy: Accuracy) -> str:
    """The score as text: the metric or the agreement, the output that it refers to, and the largest difference of outputs."""
    share = f"{accuracy.agreement:.1%} agree" if accuracy.value is None else f"{accuracy.value:.1%} right"
    if accuracy.value is not None and accuracy.metric != "top-1":
        shown = f"{accuracy.value:.1%}" if accuracy.share else f"{accuracy.value:.4g} {accuracy.unit}".rstrip()
        share = f"{accuracy.metric} {shown}, {accuracy.agreement:.1%} agree"
    which = f" in '{accuracy.output}'" if len(accuracy.relative_diffs) > 1 else ""
    which += " (in all positions)" if accuracy.positions and accuracy.agreement < 1 else ""
    of = "samples" if accuracy.together == 1 or accuracy.value is not None else f"batches of {accuracy.together}"
    text = f"{share}{which} of {accuracy.samples - (accuracy.value is None) * accuracy.not_compared:,} {of}"
    if accuracy.scored and accuracy.scored < accuracy.samples:
        text += f" (the metric of {accuracy.scored:,})"
    if accuracy.value is not None and accuracy.agreement < 1 and accuracy.agreement_output not in ("", accuracy.output):
        text += f"; {accuracy.agreement:.1%} agree in '{accuracy.agreement_output}'"
    worst = max(accuracy.relative_diffs, key=lambda name: accuracy.relative_diffs[name], default="")
    if worst and accuracy.relative_diffs[worst] > CLOSE:
        text += f"; '{worst}' differs by up to {accuracy.relative_diffs[worst]:.1%} of its largest value"
    return text


def doubts(scores: Iterable[Accuracy]) -> tuple[str, ...]:
    """A sentence about scores none of which is shown to be better than one answer for all samples: the model gets other inputs than in
    training, or the labels are not its classes, and a loss against it says nothing.
    """
    known = [score for score in scores if score.value is not None and score.chance is not None]
    # labels that are all the same do not allow a comparison with guessing
    if not known or any(score.chance == 1 or _better_than_one_answer(score) for score in known):
        return ()
    best = max(known, key=lambda score: score.value or 0)
    ends = "" if best.low is None or best.high is None else f" [{100 * best.low:.1f}, {100 * best.high:.1f}]"
    text = (
        f"No variant is shown to be better than a guess: the best one is right for {100 * (best.value or 0):.1f} %{ends} of the samples, the "
        f"most frequent label alone would be for {100 * (best.chance or 0):.1f} %. {_what_to_do(known, best.output)}"
    )
    return (text,)


def _what_to_do(scores: Iterable[Accuracy], output: str) -> str:
    """The order of the classes where another one explains the answers; else what to check."""
    found = max(scores, key=lambda score: score.reordered or 0)
    if found.reordered is None:
        return (
            "Check the range of the values or pixels (a model that scales by 1/255 itself takes 0..255), the order of the classes (folders of "
            f"pictures are numbered by name: set 'class_order'), and that the labels belong to the output '{output}'."
        )
    order = found.class_order or order_setting(found.order, {})
    return f"{order_text(found.reordered, order)} If that is so, set 'class_order' to '{order}': only the scores are made again."


def _better_than_one_answer(score: Accuracy) -> bool:
    """Whether the interval of the mean recall over the classes lies above that of one answer for all, 1 / classes: where one class is
    frequent, a useful model need not be right more often than that class. Without losses by class the interval of the share decides.
    """
    classes = [part for part in score.by if part.by == "class"]
    if not classes:
        return (score.value or 0) > (score.chance or 0) if score.low is None else score.low > (score.chance or 0)
    mean = sum(part.value for part in classes) / len(classes)
    variance = sum(part.value * (1 - part.value) / part.samples for part in classes) / len(classes) ** 2
    return mean - 1.96 * math.sqrt(variance) > 1 / len(classes)


def _likely_output(reference: Mapping[str, np.ndarray]) -> str:
    """The output that is most likely an answer; states often have more axes."""

    def rank(array: np.ndarray) -> int:
        return (0 if array.shape[-1] > 1 else 1) if array.ndim == 2 else 1 if array.ndim < 2 else 2

    return min(reference, key=lambda name: rank(reference[name]))  # the first of the best
