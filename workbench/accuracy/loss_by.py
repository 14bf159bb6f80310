"""Loss by class and by group: a small mean loss can hide a large loss of one class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.accuracy.classification import TP, TRUE, counted, labels_counted
from workbench.accuracy.detection import class_numbers
from workbench.accuracy.outputs import decided
from workbench.accuracy.truth import LabelKind, Truth
from workbench.records import PartLoss
from workbench.stats import paired
from workbench.stats.estimates import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.accuracy.metrics import Metric

MOST = 100
"""Number of classes or groups that are kept of each kind, those with the largest loss; all count for the correction."""
TAIL = 10
"""Bootstrap values that should lie beyond an interval's end; without any there is no interval."""
MOST_RESAMPLES = 1999


def by_class(
    ours: np.ndarray,
    theirs: np.ndarray,
    truth: Truth,
    threshold: float,
    metric: Metric,
    parts: tuple[np.ndarray, np.ndarray],
) -> tuple[PartLoss, ...]:
    """Loss of recall of each class, the worst first. For top-k, recall is the share of samples whose class is among the k; for boxes,
    the share that is found with an IoU of at least 0.5 among the 100 highest scores of the image.

    Args:
        ours: an engine's output, in the labels' form; it is not used for boxes.
        theirs: the source model's, the same shape.
        truth: classes, positions, one-hot, several labels or boxes, the same samples.
        threshold: the value above which a single output means yes.
        metric: what is measured.
        parts: the metric's, of the engine and of the source model.

    For one class per sample the interval is Newcombe's of paired shares; for positions and boxes, which are not independent within a
    sample, that of a ratio over samples by its linearized variance (Cochran 1977, Sampling Techniques, 6.4).
    """
    if metric.binary:
        return by_group(*parts, truth.values, metric, "class")
    if truth.kind == LabelKind.MULTILABEL:
        found = [(each > threshold).astype(np.int64) if each.dtype.kind == "f" else each for each in (ours, theirs)]
        return _by_ratio("label", *(labels_counted(each, truth.values) for each in found))
    if truth.kind == LabelKind.BOXES:
        return _by_ratio("class", *(boxes_found(each) for each in parts), numbers=class_numbers(truth))
    if truth.per_position:
        return _by_ratio("class", *(counted(each, truth.values, threshold) for each in (ours, theirs)))
    right, source_right = (decided(each, truth.values, threshold) == truth.values for each in (ours, theirs))
    numbers = np.unique(truth.values)
    confidence = _each(len(numbers))
    rows = {str(number): truth.values == number for number in numbers}
    return _worst(
        _of_shares("class", name, right[chosen], source_right[chosen], confidence, len(numbers))
        for name, chosen in rows.items()
    )


def by_group(
    ours: np.ndarray, theirs: np.ndarray, groups: np.ndarray, metric: Metric, column: str
) -> tuple[PartLoss, ...]:
    """Loss of the metric in each group, the worst first.

    Args:
        ours: an engine's parts, first axis the sample.
        theirs: the source model's parts of the same samples.
        groups: the group of each sample, (n,), numbers or text.
        metric: the metric of the parts.
        column: the name of the grouping.
    """
    names = np.unique(groups)
    confidence, sign = _each(len(names)), 1.0 if metric.higher_is_better else -1.0
    resamples = min(MOST_RESAMPLES, max(metric.resamples, round(2 * TAIL / (1 - confidence))))
    found = []
    for name in names:
        rows = groups == name
        if metric.binary:
            found.append(_of_shares(column, str(name), ours[rows], theirs[rows], confidence, len(names)))
            continue
        value, source = metric.value(ours[rows]), metric.value(theirs[rows])
        ends = None
        if resamples * (1 - confidence) >= 2:
            ends = paired.bootstrap_difference(theirs[rows], ours[rows], metric.value, confidence, resamples)
            if ends and metric.share and not any(ends):
                ends = paired.unchanged(int(rows.sum()), confidence)
        low, high = sorted(sign * end for end in ends) if ends else (None, None)
        loss = sign * (source - value)
        found.append(
            PartLoss(column, str(name), int(rows.sum()), value, source, loss, low, high, len(names), metric.share)
        )
    return _worst(found)


def _each(number: int) -> float:
    """The confidence of each of ``number`` simultaneous intervals (Bonferroni; Dunn 1961)."""
    return 1 - (1 - CONFIDENCE) / max(number, 1)


def _of_shares(
    by: str, name: str, right: np.ndarray, source_right: np.ndarray, confidence: float, number: int
) -> PartLoss:
    loss, low, high = paired.difference_of_shares(source_right, right, confidence)
    return PartLoss(by, name, len(right), float(right.mean()), float(source_right.mean()), loss, low, high, number)


def _by_ratio(by: str, ours: np.ndarray, theirs: np.ndarray, *, numbers: Sequence[int] = ()) -> tuple[PartLoss, ...]:
    """Loss of recall from counts of each sample, (n, 4, classes); ``numbers`` are the class numbers where they do not count from 0."""
    from scipy.stats import t

    classes = max(ours.shape[2], theirs.shape[2])
    ours, theirs = (np.pad(each, ((0, 0), (0, 0), (0, classes - each.shape[2]))) for each in (ours, theirs))
    occurring = np.flatnonzero(ours[:, TRUE].sum(axis=0))
    confidence = _each(len(occurring))
    found = []
    for number in occurring:
        name = str(numbers[int(number)] if numbers else number)
        there = ours[:, TRUE, number] > 0
        sizes = ours[there, TRUE, number].astype(np.float64)
        differences = (theirs[there, TP, number] - ours[there, TP, number]).astype(np.float64)
        loss, count = float(differences.sum() / sizes.sum()), len(sizes)
        value, source = (float(each[there, TP, number].sum() / sizes.sum()) for each in (ours, theirs))
        low = high = None
        if sizes.max() == 1:  # one entry a sample: shares
            right, source_right = (each[there, TP, number] > 0 for each in (ours, theirs))
            found.append(_of_shares(by, name, right, source_right, confidence, len(occurring)))
            continue
        if count >= paired.FEWEST:
            spread = np.square(differences - loss * sizes).sum() / (count - 1)
            half = float(t.isf((1 - confidence) / 2, count - 1) * np.sqrt(count * spread) / sizes.sum())
            low, high = (loss - half, loss + half) if differences.any() else paired.unchanged(count, confidence)
        found.append(PartLoss(by, name, count, value, source, loss, low, high, len(occurring)))
    return _worst(found)


def boxes_found(parts: np.ndarray) -> np.ndarray:
    """Counts of each class in each image from the parts of ``box-map``, int64, (n, 4, classes), in the order of
    :func:`workbench.accuracy.detection.class_numbers`.

    Of the four (:data:`TP`) the first two are filled: the boxes that were found with an IoU of at
    least 0.5, and all but crowds. They are COCOeval's matches at its first threshold.
    """
    counts = np.zeros((len(parts), 4, len(parts[0]) if len(parts) else 0), np.int64)
    for image, classes in enumerate(parts):
        for place, each in enumerate(classes):
            if each is not None:
                wanted = ~np.asarray(each["gtIgnore"], bool)
                counts[image, TRUE, place] = wanted.sum()
                counts[image, TP, place] = (wanted & (np.asarray(each["gtMatches"])[0] > 0)).sum()
    return counts


def _worst(losses: Iterable[PartLoss]) -> tuple[PartLoss, ...]:
    return tuple(sorted(losses, key=lambda part: -part.loss)[:MOST])
