"""How right an engine is: the task's metric with an interval, agreement with the source, and paired flips."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.accuracy.agreement import (
    CLOSE,
    EVERY,
    Agreement,
    Comparable,
    agreement,
    check_outputs,
    classes_of,
    not_finite,
)
from workbench.accuracy.by_sample import is_ragged
from workbench.choices.metrics import Metric, threshold_of
from workbench.errors import InputError, RunError, during
from workbench.records import Accuracy
from workbench.statistics import estimates, paired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np


def score(
    engine_key: str,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    metric: Metric | None = None,
    output: str = "",
    comparable: Comparable = EVERY,
) -> Accuracy:
    """Compare an engine's outputs with the source model's on the same samples.

    Args:
        engine_key: the engine that gave ``outputs``.
        outputs: by name, shape (n, ...), or ragged (:mod:`workbench.accuracy.by_sample`).
        reference: the source model's outputs, same names and shapes.
        labels: true classes, int, shape (n,), or what ``metric`` compares with; ``None`` where there are none.
        metric: how right outputs are; ``None`` is top-1 where there are classes for labels.
        output: the one to score and to compare; "" compares all, and finds the one to score.
        comparable: what is known of the model's outputs.

    With labels one output is scored, and named in the result: the one that the source model is most often right with, among
    those that tell enough classes apart. The predicted class is the arg-max over the last axis, where that has at least two
    entries. One value per sample stands for two classes where there are labels 0 and 1.

    ``agreement`` is that of the output that agrees least, by the rules of :mod:`workbench.accuracy.agreement`; without labels
    ``output`` names it too. ``apart`` compares every output that the model repeats, whatever it means: the largest difference
    divided by the source's largest value.

    ``loss`` is the source's metric less the engine's, turned so that more is worse, with an interval from the pairs:
    :mod:`workbench.statistics.paired`.

    Raises:
        RunError: names, shapes or counts differ, or an output is not finite where the source model's is.
        InputError: the metric does not suit the outputs or labels, there is no such output, or none that can be compared.
    """
    import numpy as np

    check_outputs(outputs, reference, comparable.varying)
    if output and output not in reference:
        raise InputError(f"'score_output' names '{output}'. The model's outputs are: {', '.join(reference)}.")
    if metric is not None:
        return _score_by(metric, engine_key, outputs, reference, labels, output, comparable)
    scored = output or _scored_output(reference, labels)
    if labels is not None and not _fits(reference[scored], labels):
        labels = None
    if labels is not None:
        _check_repeated(scored, comparable)
    found = agreement(outputs, reference, comparable, only=output, scored=scored, two_classes=labels is not None)
    name = found.output if labels is None else scored
    count = len(reference[name])
    value = low = high = p_value = source_value = loss = None
    span: tuple[float | None, float | None] = (None, None)
    fixed = broken = 0
    if labels is not None:
        if len(labels) != count:
            raise RunError(f"There are {len(labels)} labels for {count} samples.")
        threshold = threshold_of(reference[name])
        ours, theirs = classes_of(outputs[name], threshold), classes_of(reference[name], threshold)
        right, source_right = ours == labels, theirs == labels
        value = float(right.mean())
        low, high = estimates.proportion_interval(int(right.sum()), count)
        fixed, broken = int((right & ~source_right).sum()), int((~right & source_right).sum())
        p_value = estimates.flips_p_value(fixed, broken)
        source_value = float(source_right.mean())
        loss, *ends = paired.difference_of_shares(source_right, right)
        span = (ends[0], ends[1])
    return Accuracy(
        engine_key=engine_key,
        samples=count,
        labelled=labels is not None,
        value=value,
        low=low,
        high=high,
        **_agreement_fields(found),
        fixed=fixed,
        broken=broken,
        p_value=p_value,
        output=name,
        source_not_finite=not_finite(reference),
        chance=None if labels is None else float(np.bincount(labels).max() / count),
        source_value=source_value,
        loss=loss,
        loss_low=span[0],
        loss_high=span[1],
    )


def _agreement_fields(found: Agreement) -> dict[str, Any]:
    """What a score says of agreement."""
    low, high = estimates.proportion_interval(found.agreeing, found.compared)
    return {
        "agreement": found.share,
        "agreement_low": low,
        "agreement_high": high,
        "agreement_output": found.output,
        "agreements": found.shares,
        "left_out": found.left_out,
        "not_compared": found.samples - found.compared,
        "apart": found.apart,
        "max_abs_diff": found.max_abs_diff,
    }


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


def _score_by(
    metric: Metric,
    engine_key: str,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    output: str,
    comparable: Comparable,
) -> Accuracy:
    """The score by a metric of its own; how many samples agree is told all the same."""
    plain = score(engine_key, outputs, reference, None, output=output, comparable=comparable)
    if labels is None and not metric.against_source:
        return replace(plain, metric=metric.name)
    name, theirs = _best_output(metric, reference, labels, output)
    _check_repeated(name, comparable)
    truth = reference[name] if labels is None else labels
    ours = metric_parts(metric, outputs, name, truth, reference)
    value, source_value = metric.value(ours), metric.value(theirs)
    sign = 1.0 if metric.higher_is_better else -1.0
    if metric.binary:
        span: tuple[float, float] | None = estimates.proportion_interval(int(ours.sum()), len(ours))
        _, *ends = paired.difference_of_shares(theirs, ours)
        lost: tuple[float, float] | None = (ends[0], ends[1])
    else:
        span = paired.bootstrap(ours, metric.value, resamples=metric.resamples)
        lost = paired.bootstrap_difference(theirs, ours, metric.value, resamples=metric.resamples)
    low, high = span or (None, None)
    loss_low, loss_high = sorted(sign * end for end in lost) if lost else (None, None)
    fixed, broken = (int((ours & ~theirs).sum()), int((theirs & ~ours).sum())) if metric.binary else (0, 0)
    return replace(
        plain,
        output=name,
        labelled=labels is not None,
        value=value,
        low=low,
        high=high,
        fixed=fixed,
        broken=broken,
        p_value=estimates.flips_p_value(fixed, broken) if metric.binary else None,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        share=metric.share,
        unit=metric.unit,
        source_value=source_value,
        loss=sign * (source_value - value),
        loss_low=loss_low,
        loss_high=loss_high,
    )


def metric_parts(
    metric: Metric,
    outputs: Mapping[str, np.ndarray],
    name: str,
    truth: np.ndarray,
    reference: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The metric's parts of one output, checked.

    Raises:
        InputError: the metric does not suit them, or gave something other than an entry per sample.
    """
    import numpy as np

    count = len(outputs[name])
    if len(truth) != count:
        raise InputError(f"There are {len(truth)} labels for {count} samples. Save one label per sample.")
    with during("score by", metric.name, InputError):
        parts = np.asarray(metric.measured(outputs if metric.whole else outputs[name], truth, reference[name]))
    if parts.ndim == 0 or len(parts) != count or parts.dtype.kind not in "fiub" or (metric.whole and parts.ndim != 1):
        raise InputError(
            f"The metric '{metric.name}' gave {parts.dtype} {list(parts.shape)} for {count} samples. It has to return an array "
            "with one number per sample."
        )
    return parts


def _best_output(
    metric: Metric, reference: Mapping[str, np.ndarray], labels: np.ndarray | None, output: str
) -> tuple[str, np.ndarray]:
    """The output to score, and the source's parts of it: of those that the metric suits the one that it is best in."""
    found: dict[str, np.ndarray] = {}
    problem: InputError | None = None
    names = [output] if output else list(reference)[:1] if metric.whole else list(reference)
    for name in names:
        try:
            found[name] = metric_parts(
                metric, reference, name, reference[name] if labels is None else labels, reference
            )
        except InputError as error:
            problem = error
    if not found:
        assert problem is not None
        raise problem
    if labels is None:
        best = next(iter(found))  # every output is its own truth
    else:
        best = (max if metric.higher_is_better else min)(found, key=lambda name: metric.value(found[name]))
    return best, found[best]


def told(accuracy: Accuracy) -> str:
    """The score in words: what was right or agreed, of which output, and how far the outputs lie apart."""
    share = f"{accuracy.agreement:.1%} agree" if accuracy.value is None else f"{accuracy.value:.1%} right"
    if accuracy.value is not None and accuracy.metric != "top-1":
        shown = f"{accuracy.value:.1%}" if accuracy.share else f"{accuracy.value:.4g} {accuracy.unit}".rstrip()
        share = f"{accuracy.metric} {shown}, {accuracy.agreement:.1%} agree"
    which = f" in '{accuracy.output}'" if len(accuracy.apart) > 1 else ""
    text = f"{share}{which} of {accuracy.samples - (accuracy.value is None) * accuracy.not_compared:,} samples"
    if accuracy.value is not None and accuracy.agreement < 1 and accuracy.agreement_output not in ("", accuracy.output):
        text += f"; {accuracy.agreement:.1%} agree in '{accuracy.agreement_output}'"
    worst = max(accuracy.apart, key=lambda name: accuracy.apart[name], default="")
    if worst and accuracy.apart[worst] > CLOSE:
        text += f"; '{worst}' differs by up to {accuracy.apart[worst]:.1%} of its largest value"
    return text


def doubts(scores: Iterable[Accuracy]) -> tuple[str, ...]:
    """What makes the scores of one experiment worth little, in words."""
    known = [
        (score.value, score.chance, score) for score in scores if score.value is not None and score.chance is not None
    ]
    # labels that are all the same say nothing about guessing
    if not known or any(value > chance or chance == 1 for value, chance, _ in known):
        return ()
    best, first = max(value for value, _, _ in known), known[0][2]
    text = (
        f"No variant is right more often ({best:.1%}) than always answering the most frequent label would be "
        f"({first.chance:.1%}): do the labels belong to the output '{first.output}'?"
    )
    return (text,)


def _scored_output(reference: Mapping[str, np.ndarray], labels: np.ndarray | None) -> str:
    """The output that the labels belong to, or the one that most looks like an answer; states are often maps."""

    def rank(array: np.ndarray) -> int:
        return (0 if array.shape[-1] > 1 else 1) if array.ndim == 2 else 1 if array.ndim < 2 else 2

    best = min(reference, key=lambda name: rank(reference[name]))  # the first of the best
    if labels is None:
        return best
    right = {
        name: float((classes_of(array, threshold_of(array)) == labels).mean())
        for name, array in reference.items()
        if _fits(array, labels)
    }
    return max(right, key=lambda name: right[name]) if right else best


def _fits(output: np.ndarray, labels: np.ndarray) -> bool:
    """Whether these may be the classes that this output tells apart: one class per sample, enough of them."""
    if len(output) != len(labels) or labels.ndim != 1 or output.ndim > 2 or is_ragged(output):
        return False
    classes = output.shape[-1] if output.ndim == 2 else 1
    return bool(labels.max(initial=0) < classes if classes > 1 else ((labels == 0) | (labels == 1)).all())
