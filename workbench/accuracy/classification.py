"""Metrics of classes: the parts of each sample, and the value of parts.

Outputs and labels come in the form of :mod:`workbench.accuracy.outputs` and :mod:`workbench.accuracy.truth`; -1 means that there is no label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.accuracy.outputs import decided, shown
from workbench.accuracy.truth import LabelKind, Truth
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Parts = Callable[..., "np.ndarray"]
Value = Callable[["np.ndarray"], float]

TP, TRUE, FOUND, ALWAYS = range(4)
"""Rows of counted parts, (n, 4, classes): right, in the labels, in the outputs, and whether the class counts even if it is in
neither (as each of several labels does in scikit-learn)."""


def top_k_parts(k: int) -> Parts:
    def parts(outputs: np.ndarray, labels: Truth, threshold: float = 0.0) -> np.ndarray:
        """Whether each sample's class is among the k largest scores, bool, (n,)."""
        import numpy as np

        truth = labels.values
        if outputs.ndim == 2 and outputs.shape[1] > k:
            if k == 1:
                return np.asarray(outputs.argmax(axis=1) == truth)
            best = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
            return np.asarray((best == truth[:, None]).any(axis=1))
        if outputs.ndim == 1 and k == 1:
            return np.asarray(decided(outputs, truth, threshold) == truth)
        raise InputError(
            f"'top-{k}' needs scores of more than {k} classes, and the scored output is {shown(outputs.shape)}. Choose a smaller "
            "number, another output with 'score_output', or another 'metric'."
        )

    return parts


def counted(outputs: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Counts of each class in each sample, int64, (n, 4, classes); see :data:`TP`."""
    import numpy as np

    found = decided(outputs, truth, threshold)
    number = outputs.shape[-1] if outputs.shape != truth.shape else 2
    number = int(max(number, truth.max(initial=0) + 1, found.max(initial=0) + 1))
    known = truth >= 0
    rows = np.broadcast_to(np.arange(len(truth)).reshape(-1, *[1] * (truth.ndim - 1)), truth.shape)
    parts = np.zeros((len(truth), 4, number), np.int64)
    for place, chosen, classes in ((TP, known & (found == truth), truth), (TRUE, known, truth), (FOUND, known, found)):
        flat = rows[chosen] * number + classes[chosen]
        parts[:, place] = np.bincount(flat, minlength=len(truth) * number).reshape(len(truth), number)
    return parts


def labels_counted(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Counts of each of several labels in each sample, int64, (n, 4, labels); both 0 or 1, and -1 where there is no label."""
    import numpy as np

    known = truth >= 0
    each = (known & (answers == 1) & (truth == 1), known & (truth == 1), known & (answers == 1))
    inner = tuple(range(1, truth.ndim - 1))
    parts = np.ones((len(truth), 4, truth.shape[-1]), np.int64)
    for place, chosen in enumerate(each):
        parts[:, place] = chosen.sum(axis=inner) if inner else chosen
    return parts


def totals(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts over all samples by class: right, in the labels, and in the outputs; and the classes that count.

    ``parts`` are (n, 2), a class number from the labels and one from the outputs, or counts, (n, 4, classes).
    """
    import numpy as np

    if parts.ndim == 2:
        truth, found = parts[:, 0], parts[:, 1]
        number = int(parts.max(initial=0)) + 1
        right = np.bincount(truth[truth == found], minlength=number)
        of_class, of_found = np.bincount(truth, minlength=number), np.bincount(found, minlength=number)
        return right, of_class, of_found, of_class + of_found > 0
    right, of_class, of_found, always = parts.sum(axis=0)
    return right, of_class, of_found, (of_class + of_found > 0) | (always > 0)


def overlap_parts(outputs: np.ndarray, labels: Truth, threshold: float = 0.0) -> np.ndarray:
    """Pairs of class numbers, (n, 2), or counts of each class, (n, 4, classes); see :func:`totals`."""
    import numpy as np

    truth = labels.values
    if truth.ndim == 1:
        return np.stack([truth, decided(outputs, truth, threshold)], axis=1)
    return counted(outputs, truth, threshold)


def f1_parts(average: str) -> Parts:
    def parts(outputs: np.ndarray, labels: Truth, threshold: float = 0.0) -> np.ndarray:
        import numpy as np

        truth = labels.values
        if labels.kind == LabelKind.MULTILABEL:
            found = (outputs > threshold).astype(np.int64) if outputs.dtype.kind == "f" else outputs
            if average == "samples":
                return _f1_of_samples(found, truth)
            return labels_counted(found, truth)
        single = outputs.shape == truth.shape
        if average == "binary" and (truth.max(initial=0) > 1 or (not single and outputs.shape[-1] != 2)):
            classes = max(int(truth.max(initial=0)) + 1, 0 if single else outputs.shape[-1])
            raise InputError(
                f"'f1-binary' is for two classes, and there are {classes}. Choose 'f1' (the mean over classes) or 'f1-micro'."
            )
        return overlap_parts(outputs, labels, threshold)

    return parts


def _f1_of_samples(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """F1 over the labels of each sample, float64, (n,); with further axes its mean over them. 0 where all are 0."""
    import numpy as np

    known = truth >= 0
    right = (known & (answers == 1) & (truth == 1)).sum(axis=-1)
    either = (known & (truth == 1)).sum(axis=-1) + (known & (answers == 1)).sum(axis=-1)
    return np.asarray((2 * right / np.maximum(either, 1)).reshape(len(truth), -1).mean(axis=1))


def f1_value(average: str) -> Value:
    def value(parts: np.ndarray) -> float:
        import numpy as np

        if average == "samples":
            return float(parts.mean())
        right, of_class, of_found, counts = totals(parts)
        if average == "micro":
            return float(2 * right.sum() / max(int((of_class + of_found).sum()), 1))
        scores = 2 * right / np.maximum(of_class + of_found, 1)
        if average == "binary":
            return float(scores[1]) if len(scores) > 1 else 0.0
        return float(scores[counts].mean()) if counts.any() else 0.0

    return value


def mean_iou(parts: np.ndarray) -> float:
    """Mean over classes of tp / (tp + fp + fn), all positions of all samples together."""
    import numpy as np

    right, of_class, of_found, counts = totals(parts)
    either = of_class + of_found - right
    return float((right / np.maximum(either, 1))[counts].mean()) if counts.any() else 0.0


def ranking_parts(outputs: np.ndarray, labels: Truth) -> np.ndarray:
    """Labels (0, 1, or -1 for none) and scores of each class, float64, (n, 2, classes)."""
    import numpy as np

    truth = labels.values
    if truth.ndim == 1:
        if outputs.ndim == 1:
            if outputs.dtype.kind != "f":
                raise InputError(
                    "'map' ranks scores, and the scored output holds class numbers. Choose 'top-1' or 'f1'."
                )
            outputs = outputs[:, None]
            truth = truth[:, None]
        else:
            truth = np.eye(outputs.shape[1])[truth]
    if truth.ndim > 2:
        raise InputError(
            f"'map' ranks samples, and the scored output is {shown(outputs.shape)}, with several positions each. Choose 'f1'."
        )
    return np.stack([truth.astype(np.float64), outputs.astype(np.float64)], axis=1)


def mean_average_precision(parts: np.ndarray) -> float:
    """Mean over the classes that occur of scikit-learn's average precision, which does not interpolate."""
    import numpy as np
    from sklearn.metrics import average_precision_score

    truth, scores = parts[:, 0], parts[:, 1]
    occurs = (truth == 1).any(axis=0)
    if not occurs.any():
        return 0.0
    if (truth >= 0).all():
        return float(average_precision_score(truth[:, occurs], scores[:, occurs], average="macro"))
    each = [
        average_precision_score(truth[known, column], scores[known, column])
        for column in np.flatnonzero(occurs)
        if (known := truth[:, column] >= 0).any()
    ]
    return float(np.mean(each))
