"""How right an engine is: the task's metric with an interval, agreement with the source, and paired flips."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.accuracy import loss_by
from workbench.accuracy.chosen import Chosen, best_output
from workbench.accuracy.label_settings import Reading, shapes_of
from workbench.accuracy.metrics import DECIDED, Metric, top_k
from workbench.accuracy.outputs import threshold_of
from workbench.accuracy.reading import read_truth
from workbench.accuracy.truth import Kind, Truth
from workbench.errors import InputError, RunError
from workbench.records import Accuracy, PartLoss
from workbench.statistics import estimates, paired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np


CLOSE = 1e-3


def score(
    engine_key: str,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    labels: Truth | np.ndarray | None,
    metric: Metric | None = None,
    output: str = "",
    *,
    groups: np.ndarray | None = None,
    column: str = "group",
    losses: bool = True,
) -> Accuracy:
    """Compare an engine's outputs with the source model's on the same samples.

    Args:
        engine_key: the engine that gave ``outputs``.
        outputs: by name, shape (n, ...).
        reference: the source model's outputs, same names and shapes.
        labels: what is right, decided (:class:`Truth`) or as an array, (n, ...), that is read here; ``None`` where there is none.
        metric: how right outputs are; ``None`` is top-1 where there are labels.
        output: the one to score; "" finds it.
        groups: the group of each sample, (n,), for the loss by group.
        column: what the groups are called.
        losses: whether the loss by class and by group is wanted, which takes milliseconds for each of them.

    One output is scored, and named in the result: with labels the one that the source model is best in, of those that the
    labels fit; without, the first of two axes, or else the first of fewer.

    Samples without a label, and those where the source model's scored output is not finite, are left out of the metric and
    counted. An engine that gives NaN or infinity where the source model does not is refused.

    ``loss`` is the source's metric less the engine's, turned so that more is worse, with an interval from the pairs:
    :mod:`workbench.statistics.paired`. ``by`` holds it by class and by group.

    Raises:
        RunError: names, shapes or counts differ, or an output is not finite where the source model's is.
        InputError: the metric does not suit the outputs or labels, or there is no such output.
    """
    _check_outputs(outputs, reference)
    if output and output not in reference:
        raise InputError(f"'score_output' names '{output}'. The model's outputs are: {', '.join(reference)}.")
    truth = labels
    if truth is not None and not isinstance(truth, Truth):
        truth = read_truth(truth, shapes_of(reference), metric, Reading(output=output))
    if truth is None and (metric is None or not metric.against_source):
        plain = _agreement(engine_key, outputs, reference, output or _likely_output(reference), labelled=False)
        return plain if metric is None else replace(plain, metric=metric.name)
    chosen = best_output(top_k(1) if metric is None else metric, reference, truth, output)
    plain = _agreement(engine_key, outputs, reference, chosen.output, labelled=truth is not None)
    rated = _rated(plain, chosen, chosen.measured(outputs))
    return replace(rated, by=_losses(chosen, outputs, groups, column)) if losses and outputs is not reference else rated


def _agreement(
    engine_key: str,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    name: str,
    *,
    labelled: bool,
) -> Accuracy:
    """How many samples agree with the source model, and how far outputs lie apart; no metric.

    Samples agree if all of their classes do (arg-max over the last axis, where that has at least two entries), or if all values of
    the output are the source's within 0.1 % of its largest. One value per sample stands for two classes where there are labels or
    the source model's values are probabilities: above 0.5 for probabilities, else above 0. Any other single value, such as a
    regression's, agrees by its size alone. ``apart`` compares every output: the largest difference divided by the source's largest
    value.
    """
    same = _close(outputs[name], reference[name])
    count = len(same)
    if _tells_classes(reference[name], labelled=labelled):
        threshold = threshold_of(reference[name])
        ours, theirs = _classes(outputs[name], threshold), _classes(reference[name], threshold)
        same |= (ours == theirs).reshape(count, -1).all(axis=1)
    agree = int(same.sum())
    agreement_low, agreement_high = estimates.proportion_interval(agree, count)
    return Accuracy(
        engine_key=engine_key,
        samples=count,
        labelled=False,
        value=None,
        low=None,
        high=None,
        agreement=agree / count,
        agreement_low=agreement_low,
        agreement_high=agreement_high,
        fixed=0,
        broken=0,
        p_value=None,
        max_abs_diff=max(_max_abs_diff(outputs[key], reference[key]) for key in outputs),
        output=name,
        apart={key: _relative(outputs[key], reference[key]) for key in reference},
    )


def _check_outputs(outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> None:
    import numpy as np

    if set(outputs) != set(reference):
        raise RunError(f"The engine's outputs are {sorted(outputs)}; the source model's are {sorted(reference)}.")
    for name, array in outputs.items():
        if array.shape != reference[name].shape:
            raise RunError(
                f"Output '{name}' has the shape {array.shape}; the source model's has {reference[name].shape}."
            )
        if array.dtype.kind != "f" or reference[name].dtype.kind != "f":
            continue
        broken = ~np.isfinite(array) & np.isfinite(reference[name])
        if broken.any():
            count = int(broken.reshape(len(broken), -1).any(axis=1).sum())
            raise RunError(
                f"Output '{name}' holds NaN or infinity for {count:,} of {len(array):,} samples where the source model's does not: "
                "the engine's range overflowed."
            )


def _rated(plain: Accuracy, chosen: Chosen, ours: np.ndarray) -> Accuracy:
    """The agreement with the metric, its loss and their intervals."""
    import numpy as np

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


def _losses(
    chosen: Chosen, outputs: Mapping[str, np.ndarray], groups: np.ndarray | None, column: str
) -> tuple[PartLoss, ...]:
    """The loss by class, where labels are classes, and by group, where there are groups."""
    ours, metric, truth = chosen.measured(outputs), chosen.metric, chosen.truth
    found: tuple[PartLoss, ...] = ()
    if metric.accepts is not None and chosen.labelled and truth.kind in (*DECIDED, Kind.MULTILABEL):
        found = loss_by.by_class(
            chosen.form(outputs), chosen.source, truth, chosen.threshold, metric, (ours, chosen.parts)
        )
    if groups is not None:
        found += loss_by.by_group(ours, chosen.parts, groups[chosen.rows], metric, column)
    return found


def told(accuracy: Accuracy) -> str:
    """The score in words: what was right or agreed, of which output, and how far the outputs lie apart."""
    share = f"{accuracy.agreement:.1%} agree" if accuracy.value is None else f"{accuracy.value:.1%} right"
    if accuracy.value is not None and accuracy.metric != "top-1":
        shown = f"{accuracy.value:.1%}" if accuracy.share else f"{accuracy.value:.4g} {accuracy.unit}".rstrip()
        share = f"{accuracy.metric} {shown}, {accuracy.agreement:.1%} agree"
    which = f" in '{accuracy.output}'" if len(accuracy.apart) > 1 else ""
    text = f"{share}{which} of {accuracy.samples:,} samples"
    if accuracy.scored and accuracy.scored < accuracy.samples:
        text += f" (the metric of {accuracy.scored:,})"
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


def _likely_output(reference: Mapping[str, np.ndarray]) -> str:
    """The output that most looks like an answer; states are often maps."""

    def rank(array: np.ndarray) -> int:
        return (0 if array.shape[-1] > 1 else 1) if array.ndim == 2 else 1 if array.ndim < 2 else 2

    return min(reference, key=lambda name: rank(reference[name]))  # the first of the best


def _tells_classes(reference: np.ndarray, *, labelled: bool) -> bool:
    single = reference.ndim < 2 or reference.shape[-1] == 1
    return not single or labelled or reference.dtype.kind != "f" or threshold_of(reference) > 0


def _close(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which samples have the source's values within :data:`CLOSE` of the largest, shape (n,), bool."""
    import numpy as np

    if reference.dtype.kind != "f":
        return np.zeros(len(reference), bool)
    ours, theirs = (each.reshape(len(each), -1).astype(np.float64) for each in (outputs, reference))
    finite = np.isfinite(theirs)
    largest = float(np.abs(theirs[finite]).max()) if finite.any() else 0.0
    with np.errstate(invalid="ignore"):
        near = (np.abs(ours - theirs) <= CLOSE * largest) | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return np.asarray(near.all(axis=1))


def _classes(array: np.ndarray, threshold: float) -> np.ndarray:
    """Predicted class of each sample, shape (n,), or of each of its positions, shape (n, ...)."""
    if array.ndim >= 2 and array.shape[-1] > 1:
        classes: np.ndarray = array.argmax(axis=-1)
        return classes
    single: np.ndarray = array.reshape(len(array), -1)
    single = single[:, 0] if single.shape[1] == 1 else single
    return single > threshold if single.dtype.kind == "f" else single


def _max_abs_diff(one: np.ndarray, other: np.ndarray) -> float:
    """Over the values that are finite in both; text is 1 apart or not at all."""
    import numpy as np

    if other.dtype.kind in "OUS":
        return float((one.astype(str) != other.astype(str)).any())
    ours, theirs = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    return float(np.abs(ours[finite] - theirs[finite]).max()) if finite.any() else 0.0


def _relative(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference as a share of the largest finite value of ``other``."""
    import numpy as np

    apart = _max_abs_diff(one, other)
    if other.dtype.kind in "OUS":
        return apart
    theirs = other.astype(np.float64)
    largest = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0))
    return apart / largest if largest else apart
