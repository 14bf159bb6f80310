"""Metrics by name: their formulas, the labels that they take, and the direction that is better.

A metric consists of *parts*, an array with one entry per sample, and a *value* of parts. An interval is computed by drawing
samples repeatedly and taking the value of their parts, and a paired difference by drawing the same samples for both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.accuracy import classification, detection, sequences, values
from workbench.accuracy.label_settings import AUTO
from workbench.accuracy.truth import IN_WORDS, LabelKind
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Parts = Callable[..., "np.ndarray"]
Value = Callable[["np.ndarray"], float]

CLASS = (LabelKind.CLASSES, LabelKind.ONE_HOT)
DECIDED = (LabelKind.CLASSES, LabelKind.ONE_HOT, LabelKind.POSITIONS)
REAL = (LabelKind.VALUES, LabelKind.SOFT)


@dataclass(frozen=True)
class Metric:
    """A metric of outputs.

    ``parts(outputs, truth)`` takes the scored output, shape (n, ...), and the labels, shape (n, ...), and returns an array whose
    first axis is the sample. ``value(parts)`` is the metric of those samples. With ``cut``, ``parts`` takes a third argument, the
    value above which a single output means yes. It is determined from the source model's outputs and is the same for every engine.

    A metric with ``accepts`` gets outputs and labels in the form of :class:`workbench.accuracy.truth.Truth`, without the samples
    that have no label. A metric without ``accepts`` gets both as they are.

    >>> import numpy as np
    >>> right = Metric("right", lambda outputs, labels: outputs.argmax(axis=1) == labels, lambda parts: float(parts.mean()))
    >>> right.value(right.parts(np.eye(4), np.array([0, 1, 2, 2])))
    0.75
    """

    name: str
    parts: Parts
    value: Value
    higher_is_better: bool = True
    share: bool = True  # from 0 to 1 and shown in percent
    unit: str = ""  # of a metric that is not a share
    binary: bool = False  # a sample is right or wrong, and the value is the share of right ones
    against_source: bool = False  # without labels, the source model's outputs serve as labels
    whole: bool = False  # parts takes all outputs, by name, instead of the scored one
    resamples: int = 999  # of the bootstrap: fewer for values that take long to compute
    cut: bool = False  # parts also takes the threshold of single values
    accepts: tuple[LabelKind, ...] | None = None  # the kinds of labels that it takes; None: labels as they were given
    positions: bool = True  # it also takes one-hot labels of positions
    formula: str = ""
    source: str = ""  # the definition that it follows
    range: str = "0 to 1"

    def __str__(self) -> str:
        return self.name

    def measured(self, outputs: Any, truth: Any, threshold: float = 0.0) -> np.ndarray:
        """The parts of one engine's outputs."""
        return self.parts(outputs, truth, threshold) if self.cut else self.parts(outputs, truth)

    def text(self, value: float) -> str:
        """A value as it is shown: ``97.1 %`` for shares, ``0.0312`` or ``38.2 dB`` for others."""
        return f"{value:.1%}".replace("%", " %") if self.share else f"{value:.4g} {self.unit}".rstrip()


def _mean(parts: np.ndarray) -> float:
    return float(parts.mean())


def top_k(k: int) -> Metric:
    """Share of samples whose class is among the ``k`` with the largest scores; of equal scores the lower class comes first.

    It is scikit-learn's ``top_k_accuracy_score``, which gives the share only, while paired tests need each sample's answer.
    """
    return Metric(
        f"top-{k}", classification.top_k_parts(k), _mean, binary=True, cut=True, accepts=CLASS, positions=False,
        formula="share of samples whose class is among the k with the largest scores; of equal scores the lower class comes first",
        source="scikit-learn, `top_k_accuracy_score` (k = 1: `accuracy_score`)",
    )  # fmt: skip


def _f1(average: str, accepts: tuple[LabelKind, ...], formula: str, *, name: str = "") -> Metric:
    return Metric(
        name or f"f1-{average}", classification.f1_parts(average), classification.f1_value(average), cut=True, accepts=accepts,
        formula=formula, source=f'scikit-learn, `f1_score(average="{average}")`',
    )  # fmt: skip


MACRO = (
    "mean over classes (or labels) of 2 tp / (2 tp + fp + fn); a class counts if it occurs or was found, a label always"
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        top_k(1),
        top_k(5),
        _f1("macro", (*DECIDED, LabelKind.MULTILABEL), MACRO, name="f1"),
        _f1("macro", (*DECIDED, LabelKind.MULTILABEL), f"{MACRO} (the same as `f1`)"),
        _f1("micro", (*DECIDED, LabelKind.MULTILABEL), "2 tp / (2 tp + fp + fn) with tp, fp and fn summed over all classes (or labels)"),
        _f1("samples", (LabelKind.MULTILABEL,), "mean over samples of 2 tp / (2 tp + fp + fn) over the sample's labels; 0 where all are 0"),
        _f1("binary", DECIDED, "2 tp / (2 tp + fp + fn) of class 1, of a model with two classes"),
        Metric(
            "map", classification.ranking_parts, classification.mean_average_precision, resamples=199,
            accepts=(LabelKind.CLASSES, LabelKind.ONE_HOT, LabelKind.MULTILABEL), positions=False,
            formula="mean over the classes (or labels) that occur of the average precision Σ (Rᵢ − Rᵢ₋₁) Pᵢ, not interpolated; "
            "with one score per sample the average precision of class 1",
            source='scikit-learn, `average_precision_score(average="macro")`',
        ),
        Metric(
            "iou", classification.overlap_parts, classification.mean_iou, cut=True, accepts=DECIDED,
            formula="mean of tp / (tp + fp + fn) over the classes that occur or were found, over all positions of all samples "
            "together; ignored positions are left out",
            source='scikit-learn, `jaccard_score(average="macro")`; PASCAL VOC (Everingham et al. 2010, 4.3)',
        ),
        Metric(
            "box-map", detection.parts, detection.mean_average_precision, whole=True, resamples=99, accepts=(LabelKind.BOXES,),
            formula="mean over classes and over IoU from 0.50 to 0.95 by 0.05 of the average precision at 101 recalls, at most 100 boxes an image",
            source="COCO (Lin et al. 2014), pycocotools `COCOeval`, AP",
        ),
        Metric(
            "rmse", values.squared_error_parts, values.root_mean_square, higher_is_better=False, share=False,
            against_source=True, accepts=REAL, range="0 to ∞",
            formula="square root of the mean squared error; of labels (n, k) the mean of the k columns' roots, of more axes over all values",
            source="scikit-learn, `root_mean_squared_error`",
        ),
        Metric(
            "mae", values.absolute_error_parts, _mean, higher_is_better=False, share=False, against_source=True,
            accepts=REAL, range="0 to ∞", formula="mean absolute error", source="scikit-learn, `mean_absolute_error`",
        ),
        Metric(
            "cosine", values.cosine_parts, _mean, share=False, against_source=True, accepts=REAL, range="−1 to 1",
            formula="mean over samples of a·b / (|a| |b|); 0 where either is all zeros",
            source="scikit-learn, `cosine_similarity`",
        ),
        Metric(
            "psnr", values.peak_parts, values.peak_signal_to_noise, share=False, unit="dB", against_source=True,
            accepts=REAL, range=f"−∞ to {values.CEILING_DB:g} dB",
            formula="10 log₁₀(peak² / mean squared error) over all values; the peak is the span of the labels' values",
            source="scikit-image, `peak_signal_noise_ratio`",
        ),
        Metric(
            "wer", sequences.edit_parts(words=True), sequences.rate, higher_is_better=False, accepts=(LabelKind.TEXT,), range="0 to ∞",
            formula="edits (insertions, deletions, substitutions of words) of all samples / words of all labels",
            source="Levenshtein's distance by RapidFuzz",
        ),
        Metric(
            "cer", sequences.edit_parts(words=False), sequences.rate, higher_is_better=False,
            accepts=(LabelKind.TEXT, LabelKind.SEQUENCES), range="0 to ∞",
            formula="edits of characters (or class numbers) of all samples / characters of all labels; scores are read greedily as CTC",
            source="Levenshtein's distance by RapidFuzz; Graves et al. 2006",
        ),
    )
}  # fmt: skip
"""Metrics by name; ``top-`` and any number is a name as well. ``map`` ranks samples by a class's score; ``box-map`` is COCO's for
boxes."""


def that_accept(kinds: Iterable[LabelKind], *, positions: bool = False) -> tuple[str, ...]:
    """The names of the metrics that take one of these kinds of labels; with ``positions`` those that take them per position."""
    wanted = set(kinds)
    return tuple(
        name
        for name, metric in METRICS.items()
        if wanted & set(metric.accepts or ()) and (metric.positions or not positions)
    )


def accepted_text(metric: Metric) -> str:
    """The kinds of labels that a metric takes, as text."""
    words = [IN_WORDS[kind] for kind in metric.accepts or ()]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def check_name(name: str) -> None:
    """Refuse a text that is not the name of a metric.

    Raises:
        InputError: the message lists the known names.
    """
    if name not in (AUTO, *METRICS) and not re.fullmatch(r"top-[1-9]\d{0,3}", name):
        raise InputError(f"Unknown value '{name}' for 'metric'. Choose from: {AUTO}, {', '.join(METRICS)}.")


def metric_of(chosen: Any) -> Metric | None:
    """The metric for a name, a function or a :class:`Metric`; ``None`` for "auto".

    A function ``score(outputs, labels)`` takes the outputs by name, each of shape (n, ...), and the labels as they were given,
    and returns a number per sample, (n,), where more is better; their mean is the metric. For a metric where less is better, or
    that is not a mean, make a :class:`Metric`, whose ``parts`` take one output.

    Raises:
        InputError: the name is unknown, or the argument has another type.
    """
    if isinstance(chosen, Metric):
        return chosen
    if isinstance(chosen, str):
        check_name(chosen)
        return None if chosen == AUTO else METRICS.get(chosen) or top_k(int(chosen.removeprefix("top-")))
    if callable(chosen):
        return Metric(getattr(chosen, "__name__", "metric").strip("<>"), chosen, _mean, share=False, whole=True)
    raise InputError(f"A metric is a name, a function or a workbench.Metric; found {type(chosen).__name__}.")
