"""Choice of the scored output and of the samples that count, with the source model's parts of the metric."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.accuracy import detection
from workbench.accuracy.metrics import DECIDED, Metric, accepted_text, that_accept
from workbench.accuracy.outputs import ROUNDING, by_row, finite_rows, in_form_of, inner_shape, threshold_of, widened
from workbench.accuracy.truth import LabelKind, Truth
from workbench.errors import InputError, during

NEAR_ZERO = 0.05
"""Share of the largest value up to which the smallest one counts as 0: the smallest of a logit is far from 0, on either side."""
DIRECT = (LabelKind.MULTILABEL, LabelKind.SOFT, LabelKind.VALUES)
"""Kinds of labels that define answers in addition to those of ``DECIDED``."""


@dataclass(frozen=True, eq=False)
class ScoredOutput:
    """The output that is scored, the samples that count, and the source model's parts."""

    metric: Metric
    output: str
    truth: Truth  # of the samples that count
    rows: np.ndarray  # the samples that count, bool, (n,)
    labelled: bool
    not_finite: int
    threshold: float
    source: np.ndarray  # the source model's output in the labels' form, samples that count
    parts: np.ndarray  # its parts

    def form(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """An engine's output in the labels' form, for the samples that count."""
        return in_form_of(self.truth, outputs[self.output][self.rows], self.output, self.metric.name)

    def answers(self, output: np.ndarray) -> np.ndarray | None:
        """The answers of the scored output for every sample: class numbers or 0 and 1, (n, ...); ``None`` for no classes.

        Args:
            output: the scored output of the source model or of an engine, (n, ...), all samples.
        """
        if self.truth.kind == LabelKind.VALUES:
            return None
        form = in_form_of(self.truth, output, self.output, self.metric.name)
        if self.truth.kind == LabelKind.SOFT or form.shape[1:] != self.truth.values.shape[1:]:
            return np.asarray(form.argmax(axis=-1))
        return form if form.dtype.kind in "iu" else (form > self.threshold).astype("int64")

    def measured(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """An engine's parts."""
        return _parts(self.metric, outputs, self.output, self.truth, self.rows, self.threshold)

    @property
    def by_labels(self) -> Callable[[np.ndarray], np.ndarray | None] | None:
        """:meth:`answers`, where there are labels that define answers; else ``None``."""
        has_answers = self.labelled and self.metric.accepts is not None
        return self.answers if has_answers and self.truth.kind in (*DECIDED, *DIRECT) else None

    @property
    def cut(self) -> bool:
        """Whether values are compared with the threshold."""
        return self.metric.cut and self.source.dtype.kind == "f" and self.source.shape == self.truth.values.shape


def best_output(
    metric: Metric,
    reference: Mapping[str, np.ndarray],
    truth: Truth | None,
    output: str,
    meaningless: Collection[str] = (),
) -> ScoredOutput:
    """The output with the source model's best score among those that fit the metric; a ``meaningless`` one only if no other fits.

    A copied input, for instance, is perfect where the labels are the inputs themselves.
    """
    found: list[ScoredOutput] = []
    problem: InputError | None = None
    names = [output] if output else list(reference)
    if metric.whole and not output:
        names = names[:1]
    for name in names:
        try:
            found.append(_choice(metric, reference, truth, name))
        except InputError as error:
            problem = problem or error
    found = [each for each in found if each.output not in meaningless] or found
    if not found:
        assert problem is not None
        raise problem
    if truth is None:
        return found[0]  # every output is its own truth
    return (max if metric.higher_is_better else min)(found, key=lambda each: metric.value(each.parts))


def _choice(metric: Metric, reference: Mapping[str, np.ndarray], truth: Truth | None, name: str) -> ScoredOutput:
    """One output, compared with the labels, or with itself where there are none.

    Raises:
        InputError: it does not fit them, or no sample remains that counts.
    """
    source, own = reference[name], truth
    if own is None:
        if source.dtype.kind not in "fiub":
            raise InputError(
                f"'{metric}' compares numbers, and the output '{name}' holds text. Choose wer or cer for text."
            )
        sizes = (size for size in source.shape[1:] if size != 1)
        own = Truth(LabelKind.VALUES, widened(source).astype(np.float64).reshape(len(source), *sizes))
    if len(own) != len(source):
        raise InputError(
            f"There are {len(own):,} labels for {len(source):,} rows of the output '{name}'. Save one label per sample."
        )
    if metric.accepts is None:
        rows = _without_nan(reference if metric.whole else {name: source})
        if not rows.any():
            raise InputError(
                f"The source model gives NaN for all of {len(rows):,} samples, so that no sample can be scored. Look for NaN in its "
                "weights and inputs."
            )
        kept, threshold = own.take(rows), threshold_of(source)
        parts = _parts(metric, reference, name, kept, rows, threshold)
        return ScoredOutput(
            metric, name, kept, rows, truth is not None, int((~rows).sum()), threshold, source[rows], parts
        )
    _check_kind(metric, own)
    finite = detection.finite(reference, own) if own.kind == LabelKind.BOXES else finite_rows(source)
    rows = finite & (own.labelled | (truth is None))
    if truth is not None and not own.labelled.any():
        raise InputError(
            f"None of the {len(own):,} test samples has a label. Give labels for more rows, or a smaller "
            "'calibration_samples'."
        )
    if not rows.any():
        raise InputError(
            f"The source model's output '{name}' is not finite for {int((~finite).sum()):,} of {len(finite):,} samples, and no "
            "labelled sample is left. Look for NaN in its weights and inputs."
        )
    kept, threshold = own.take(rows), threshold_of(source)
    form = in_form_of(kept, source[rows], name, metric.name)
    _check_yes_or_no(form, kept, name)
    parts = _parts(metric, reference, name, kept, rows, threshold)
    if own.kind == LabelKind.BOXES:
        detection.check_meaning({key: array[rows] for key, array in reference.items()}, kept)
    return ScoredOutput(metric, name, kept, rows, truth is not None, int((~finite).sum()), threshold, form, parts)


def _without_nan(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The samples without NaN in all outputs, bool, (n,), which are passed to a user's function."""
    rows = np.ones(len(next(iter(outputs.values()))), bool)
    for array in outputs.values():
        if None in inner_shape(array):
            rows &= [each.dtype.kind != "f" or not np.isnan(each).any() for each in array]
        elif array.dtype.kind == "f":
            rows &= ~by_row(np.isnan(array)).any(axis=1)
    return rows


def _check_kind(metric: Metric, truth: Truth) -> None:
    taken = metric.accepts is None or truth.kind in metric.accepts
    if taken and (metric.positions or not truth.per_position):
        return
    raise InputError(
        f"'{metric}' takes {accepted_text(metric)}, and the labels are {str(truth).partition(': ')[2]}. Set 'metric' to one of: "
        f"{', '.join(that_accept([truth.kind], positions=truth.per_position))}."
    )


def _check_yes_or_no(form: np.ndarray, truth: Truth, name: str) -> None:
    """Refuse values of yes or no, which are compared with a threshold or are 0 or 1, whose threshold is not known."""
    one_value = truth.kind in DECIDED and truth.values.max(initial=0) <= 1 and form.shape == truth.values.shape
    if truth.kind == LabelKind.MULTILABEL or one_value:
        (_check_scale if form.dtype.kind == "f" else _check_whole_numbers)(form, truth, name)


def _check_scale(form: np.ndarray, truth: Truth, name: str) -> None:
    """Refuse values from 0 to above 1, such as percent: as logits, all of them would mean 1."""
    if len(np.unique(truth.values[truth.values >= 0])) < 2:
        return
    low, high = float(form.min()), float(form.max())
    if 0 <= low <= NEAR_ZERO * high and high > 1 + ROUNDING:
        raise InputError(
            f"The output '{name}' holds values from {low:.4g} to {high:.4g} for labels of 0 and 1. They are not probabilities, and as "
            "logits all of them mean 1, so that the value above which they mean 1 is not known. Export the model with "
            "probabilities or logits."
        )


def _check_whole_numbers(form: np.ndarray, truth: Truth, name: str) -> None:
    """Refuse integers that are scores of yes or no, because their threshold is not known."""
    several = truth.kind == LabelKind.MULTILABEL
    if form.dtype.kind == "i" and form.max(initial=0) > 1 and (several or form.max(initial=0) <= 255):
        raise InputError(
            f"The output '{name}' holds whole numbers from {int(form.min())} to {int(form.max())} for labels of 0 and 1, and the "
            "number from which on they mean 1 is not known. Export the model with a floating-point output."
        )


def _parts(
    metric: Metric, outputs: Mapping[str, np.ndarray], name: str, truth: Truth, rows: np.ndarray, threshold: float
) -> np.ndarray:
    """The metric's parts of one output, checked.

    Raises:
        InputError: the metric does not fit them, or did not return one entry per sample.
    """
    count = int(rows.sum())
    labels: Any = truth.values if metric.accepts is None else truth
    given: Any = {key: array[rows] for key, array in outputs.items()} if metric.whole else outputs[name][rows]
    if metric.accepts is not None and not metric.whole:
        given = in_form_of(truth, given, name, metric.name)
    with during("score by", metric.name, InputError):
        parts = np.asarray(metric.measured(given, labels, threshold))
    plain = parts.dtype.kind in "fiub" or metric.accepts is not None
    if (
        parts.ndim == 0
        or len(parts) != count
        or not plain
        or (metric.accepts is None and metric.whole and parts.ndim != 1)
    ):
        raise InputError(
            f"The metric '{metric.name}' gave {parts.dtype} {list(parts.shape)} for {count} samples. It has to return an array "
            "with one number per sample."
        )
    if metric.accepts is None and parts.dtype.kind == "f" and not np.isfinite(parts).all():
        wrong = int((~np.isfinite(parts)).reshape(count, -1).any(axis=1).sum())
        raise InputError(
            f"The metric '{metric.name}' gave NaN or infinity for {wrong:,} of {count:,} samples. It has to return finite numbers."
        )
    return parts
