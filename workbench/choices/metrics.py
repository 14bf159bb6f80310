"""Task metrics by name: what is compared, which direction is better, and how samples add up to one number.

A metric is made of *parts*, an array with one entry per sample, and a *value* of parts. An interval comes from drawing samples
anew and taking the value of their parts, and a paired difference from drawing the same samples for both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

AUTO = "auto"
BLANK = 0
"""The class that stands for no character in what CTC gives (Graves et al. 2006), as Paddle's and most recognizers have it."""
CEILING_DB = 100.0
"""PSNR of what has no error at all, which would be infinite: beyond rounding of 32-bit floats."""

Parts = Callable[..., "np.ndarray"]
Value = Callable[["np.ndarray"], float]


@dataclass(frozen=True)
class Metric:
    """One way to say how right outputs are.

    ``parts(outputs, truth)`` takes the scored output, shape (n, ...), and the labels, shape (n, ...), and gives an array whose
    first axis is the sample. ``value(parts)`` is the metric of those samples. With ``cut`` parts takes a third argument, the
    value above which a single one means yes: it comes from the source model's outputs and is the same for every engine.
    """

    name: str
    parts: Parts
    value: Value
    higher_is_better: bool = True
    share: bool = True  # from 0 to 1 and shown in percent
    unit: str = ""  # where it is no share
    binary: bool = False  # a sample is right or wrong, and the value is the share of right ones
    against_source: bool = False  # without labels, the source model's outputs stand for the truth
    whole: bool = False  # parts takes all outputs, by name, instead of the scored one
    resamples: int = 999  # of the bootstrap: fewer where the value takes long
    cut: bool = False  # parts takes the threshold of single values as well

    def __str__(self) -> str:
        return self.name

    def measured(self, outputs: Any, truth: Any, source: np.ndarray) -> np.ndarray:
        """The parts of one engine's outputs; ``source`` is the source model's output that is scored."""
        return self.parts(outputs, truth, threshold_of(source)) if self.cut else self.parts(outputs, truth)

    def text(self, value: float) -> str:
        """A value for people: ``97.1 %`` for shares, ``0.0312`` or ``38.2 dB`` for others."""
        return f"{value:.1%}".replace("%", " %") if self.share else f"{value:.4g} {self.unit}".rstrip()


def _mean(parts: np.ndarray) -> float:
    return float(parts.mean())


def top_k(k: int) -> Metric:
    """Share of samples whose label is among the ``k`` largest entries of the last axis; labels are class numbers, (n,).

    scikit-learn's ``top_k_accuracy_score`` gives the share alone, and pairs need each sample's; ties go to lower classes.
    """

    def parts(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        import numpy as np

        _wants(
            f"top-{k}",
            outputs.ndim == 2 and outputs.shape[-1] > k,
            f"scores, [samples × more than {k} classes]",
            outputs,
        )
        best: np.ndarray = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
        right: np.ndarray = (best == labels[:, None]).any(axis=1)
        return right

    return Metric(f"top-{k}", parts, _mean, binary=True)


def _f1(parts: np.ndarray) -> np.ndarray:
    """F1 of every class that occurs or was found: 2 tp / (2 tp + fp + fn), as scikit-learn's, but fast enough to bootstrap."""
    import numpy as np

    truth, found = (each.ravel() for each in parts.reshape(len(parts), 2, -1).swapaxes(0, 1))
    classes = int(parts.max(initial=0)) + 1
    of_class, of_found = np.bincount(truth, minlength=classes), np.bincount(found, minlength=classes)
    right = np.bincount(truth[truth == found], minlength=classes)
    either = of_class + of_found
    return np.where(either > 0, 2 * right / np.maximum(either, 1), np.nan)


def _macro_f1(parts: np.ndarray) -> float:
    import numpy as np

    return float(np.nanmean(_f1(parts)))


def _positive_f1(parts: np.ndarray) -> float:
    scores = _f1(parts)
    return float(scores[1]) if len(scores) > 1 else 0.0


def threshold_of(source: np.ndarray) -> float:
    """Where a single value turns from no to yes: 0.5 where all of the source model's values are from 0 to 1, as probabilities
    are, else 0, as of logits.
    """
    if source.dtype.kind != "f":
        return 0.0
    return 0.5 if source.size == 0 or (source.min() >= 0 and source.max() <= 1) else 0.0


def _found(name: str, outputs: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """The class of each label. Where outputs have the labels' shape, each entry is a yes or no of its own (several classes at a
    time, or notes over time); else the class is the largest entry of the last axis, or a single one's yes or no.
    """
    import numpy as np

    if outputs.dtype.kind in "iub":
        found = outputs.astype(np.int64)
    elif outputs.shape == labels.shape or outputs.ndim == 1:
        found = (outputs > threshold).astype(np.int64)
    elif outputs.shape[-1] > 1:
        found = outputs.argmax(axis=-1)
    else:
        found = (outputs[..., 0] > threshold).astype(np.int64)
    wanted = f"a class or a probability per label {list(labels.shape)}"
    _wants(name, found.shape == labels.shape, wanted, outputs)
    return found


def _decisions(outputs: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Label and decision of each sample, or of each of its entries; (n, 2, ...)."""
    import numpy as np

    found = _found("f1", outputs, labels, threshold)
    return np.stack([labels.astype(np.int64), found], axis=1)


def _ranked(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Truth and scores of each class, (n, 2, classes)."""
    import numpy as np

    _wants("map", outputs.ndim == 2 and outputs.shape[1] > 1, "scores, [samples × classes]", outputs)
    truth = labels if labels.shape == outputs.shape else np.eye(outputs.shape[1])[labels]
    return np.stack([truth.astype(np.float64), outputs.astype(np.float64)], axis=1)


def _mean_average_precision(parts: np.ndarray) -> float:
    """Over the classes that occur; scikit-learn's average precision, which does not interpolate."""
    from sklearn.metrics import average_precision_score

    truth, scores = parts.swapaxes(0, 1)
    known = truth.any(axis=0)
    return float(average_precision_score(truth[:, known], scores[:, known], average="macro")) if known.any() else 0.0


def _overlap(outputs: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Pixels in common and pixels in either, by sample and class; (n, 2, classes)."""
    import numpy as np

    found = _found("iou", outputs, labels, threshold)
    classes = int(max(outputs.shape[-1] if outputs.shape != labels.shape else 2, labels.max() + 1, found.max() + 1))
    found, truth = found.reshape(len(found), -1), labels.reshape(len(labels), -1)
    parts = np.empty((len(found), 2, classes))
    for number in range(classes):
        ours, theirs = found == number, truth == number
        parts[:, 0, number], parts[:, 1, number] = (ours & theirs).sum(axis=1), (ours | theirs).sum(axis=1)
    return parts


def _mean_iou(parts: np.ndarray) -> float:
    """Over the classes that occur, of the pixels of all samples together (Everingham et al. 2010, PASCAL VOC, 4.3)."""
    common, either = parts.sum(axis=0)
    known = either > 0
    return float((common[known] / either[known]).mean()) if known.any() else 1.0


def _errors(power: int, name: str) -> Parts:
    """Mean absolute errors of each sample, to this power."""

    def parts(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
        import numpy as np

        if outputs.size == truth.size and len(outputs) == len(truth):
            truth = truth.reshape(outputs.shape)  # a single value per sample may come without its axis
        _wants(name, outputs.shape == truth.shape, f"the shape of the labels, {list(truth.shape)}", outputs)
        apart = np.abs(outputs.astype(np.float64) - truth.astype(np.float64)) ** power
        return np.asarray(apart.reshape(len(apart), -1).mean(axis=1))

    return parts


def _cosine(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    import numpy as np

    _wants("cosine", outputs.shape == truth.shape, f"the shape of the labels, {list(truth.shape)}", outputs)
    ours, theirs = (each.reshape(len(each), -1).astype(np.float64) for each in (outputs, truth))
    sizes = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.asarray(np.divide((ours * theirs).sum(axis=1), sizes, out=np.zeros(len(ours)), where=sizes > 0))


def _squares_and_peak(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    import numpy as np

    peak = float(truth.max()) - float(truth.min())
    return np.stack([_errors(2, "psnr")(outputs, truth), np.full(len(outputs), peak**2)], axis=1)


def _psnr(parts: np.ndarray) -> float:
    """10 log10(peak² / mean squared error), over all samples; the peak is the span of the truth's values."""
    import numpy as np

    error, peak = parts[:, 0].mean(), parts[0, 1]
    return min(CEILING_DB, float(10 * np.log10(peak / error))) if error > 0 and peak > 0 else CEILING_DB


def _edits(words: bool) -> Parts:
    """Edits from what was found to the truth, and the truth's length, (n, 2); Levenshtein's distance by RapidFuzz."""

    def parts(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
        import numpy as np

        try:
            from rapidfuzz.distance import Levenshtein
        except ImportError as cause:
            raise InputError(
                "Word and character errors need the package 'rapidfuzz', which is not installed. Install it with: pip install "
                '"inference-workbench[text]"'
            ) from cause
        found, wanted = _sequences(outputs, words), _sequences(truth, words)
        return np.array([(Levenshtein.distance(a, b), len(b)) for a, b in zip(found, wanted, strict=True)], np.float64)

    return parts


def _sequences(array: np.ndarray, words: bool) -> list[Sequence[Any]]:
    """Characters or words of each sample. Text is split; scores, [samples × steps × classes], are read greedily as CTC: the
    largest of each step, repetitions merged, blanks (class 0) left out; rows of whole numbers are classes, up to -1.
    """
    import numpy as np

    if array.dtype.kind in "OUS":
        texts = [str(text) for text in array.ravel()]
        return [text.split() if words else list(text) for text in texts]
    if words:
        raise InputError(
            "'wer' compares words, and this output is no text. Choose 'cer', or give a function as 'metric'."
        )
    if array.dtype.kind == "f":
        _wants("cer", array.ndim == 3, "text, or scores [samples × steps × classes]", array)
        best = array.argmax(axis=2)
        changed = np.diff(best, axis=1, prepend=-1) != 0
        return [row[keep & (row != BLANK)].tolist() for row, keep in zip(best, changed, strict=True)]
    return [row[row >= 0].tolist() for row in array.reshape(len(array), -1)]


def _rate(parts: np.ndarray) -> float:
    """All edits by all lengths: long samples count for more, as is usual for word and character errors."""
    edits, lengths = parts.sum(axis=0)
    return float(edits / lengths) if lengths else 0.0


def _wants(name: str, fits: bool, wanted: str, outputs: np.ndarray) -> None:
    if not fits:
        raise InputError(
            f"'{name}' needs {wanted}, and the scored output is {list(outputs.shape)}. Choose another output with "
            "'score_output', or another 'metric'."
        )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        top_k(1),
        top_k(5),
        Metric("f1", _decisions, _macro_f1, cut=True),
        Metric("f1-positive", _decisions, _positive_f1, cut=True),
        Metric("map", _ranked, _mean_average_precision, resamples=199),
        Metric("iou", _overlap, _mean_iou, cut=True),
        Metric(
            "rmse",
            _errors(2, "rmse"),
            lambda p: float(p.mean()) ** 0.5,
            higher_is_better=False,
            share=False,
            against_source=True,
        ),
        Metric("mae", _errors(1, "mae"), _mean, higher_is_better=False, share=False, against_source=True),
        Metric("cosine", _cosine, _mean, share=False, against_source=True),
        Metric("psnr", _squares_and_peak, _psnr, share=False, unit="dB", against_source=True),
        Metric("wer", _edits(words=True), _rate, higher_is_better=False),
        Metric("cer", _edits(words=False), _rate, higher_is_better=False),
    )
}
"""By name; ``top-`` and any number is one too. ``map`` is the mean average precision of scores by class, not that of boxes: a
detector's boxes take a function of your own."""


def check_name(name: str) -> None:
    """Refuse what is no metric's name.

    Raises:
        InputError: those that there are.
    """
    if name not in (AUTO, *METRICS) and not re.fullmatch(r"top-[1-9]\d{0,3}", name):
        raise InputError(f"Unknown value '{name}' for 'metric'. Choose from: {AUTO}, {', '.join(METRICS)}.")


def metric_of(chosen: Any) -> Metric | None:
    """The metric of a name, of a function, or given as it is; ``None`` for "auto".

    A function ``score(outputs, labels)`` takes the outputs by name, each of shape (n, ...), and the labels as they were given,
    and returns a number per sample, (n,), of which more is better; their mean is the metric. For less is better, or for what
    is no mean, make a :class:`Metric`, whose ``parts`` take one output.

    Raises:
        InputError: unknown, or none of these.
    """
    if isinstance(chosen, Metric):
        return chosen
    if isinstance(chosen, str):
        check_name(chosen)
        return None if chosen == AUTO else METRICS.get(chosen) or top_k(int(chosen.removeprefix("top-")))
    if callable(chosen):
        return Metric(getattr(chosen, "__name__", "metric").strip("<>"), chosen, _mean, share=False, whole=True)
    raise InputError(f"A metric is a name, a function or a workbench.Metric; found {type(chosen).__name__}.")


def takes_free_labels(metric: Metric | None) -> bool:
    """Whether labels may be other than one class number per sample: where a metric was chosen that counts no right answers."""
    return metric is not None and not metric.binary
