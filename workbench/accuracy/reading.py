"""The kind of labels: the readings that fit the labels' shape, type and values, the model's outputs and the metric.

Exactly one reading must fit. For two, the message names both and the setting that chooses; for none, it says what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from workbench.accuracy.label_fits import LabelFits
from workbench.accuracy.label_settings import AUTO, Reading, Shape
from workbench.accuracy.metrics import Metric, accepted_text, that_accept, top_k
from workbench.accuracy.outputs import class_axes, misfit, shown, squeezed
from workbench.accuracy.truth import IN_WORDS, NO_LABEL, LabelKind, Truth
from workbench.errors import InputError


def read_truth(
    given: np.ndarray,
    outputs: Sequence[Shape],
    metric: Metric | None = None,
    how: Reading | None = None,
    *,
    where: str = "the labels",
) -> Truth:
    """Determine the kind of labels.

    Args:
        given: the labels as they were saved, (n, ...).
        outputs: the model's.
        metric: the metric that compares them; ``None`` is top-1, the meaning of "auto" where there are labels.
        how: the settings.
        where: the name of the labels in messages.

    Raises:
        InputError: no reading fits the labels, the outputs and the metric, or several readings fit.

    >>> import numpy
    >>> print(read_truth(numpy.eye(3)[[0, 2, 1]], [Shape("scores", (3,))]))
    labels: one-hot, 3 classes
    """
    metric = top_k(1) if metric is None else metric
    return _Reader(given, outputs, metric, how or Reading(), where).truth()


class _Reader:
    """Chooses the reading of one array of labels, and makes the :class:`Truth` of it."""

    def __init__(self, given: np.ndarray, outputs: Sequence[Shape], metric: Metric, how: Reading, where: str) -> None:
        self.labels = LabelFits(given, outputs, str(metric), how, where)
        self.given, self.metric, self.how = given, metric, how
        self.inner, self.numbers = self.labels.inner, self.labels.numbers

    def truth(self) -> Truth:
        if self.given.ndim == 0 or self.given.dtype.kind not in "fiubUSO":
            raise InputError(f"{self.labels.subject} are neither numbers nor text. Save one entry per sample.")
        if self.metric.accepts is None:
            return Truth(LabelKind.GIVEN, self.given, self.given)
        fits = self._fitting()
        accepted = [kind for kind in fits if kind in self.metric.accepts and self._position_wise(kind)]
        if not accepted:
            raise InputError(self._refused(fits))
        if LabelKind.SOFT in accepted and LabelKind.VALUES in accepted:
            accepted.remove(LabelKind.VALUES)  # the same number by every metric
        if len(accepted) > 1:
            first, second = accepted[:2]
            raise InputError(
                f"{self.labels.subject} can be {IN_WORDS[first]} or {IN_WORDS[second]}. Set 'labels' to '{first}' or '{second}'."
            )
        found = fits[accepted[0]]()
        if not found.labelled.any():
            raise InputError(
                f"No row of {self.labels.where} has a label. Give labels for some rows, or remove the labels."
            )
        return found

    def _position_wise(self, kind: LabelKind) -> bool:
        return self.metric.positions or kind != LabelKind.ONE_HOT or len(squeezed(self.inner)) < 2

    def _fitting(self) -> dict[LabelKind, Callable[[], Truth]]:
        """Every reading that fits, with the function that makes its :class:`Truth`; only the reading that was set, if one was."""
        tests: dict[LabelKind, Callable[[Shape], int | None]] = {
            LabelKind.CLASSES: self.labels.classes,
            LabelKind.ONE_HOT: self.labels.one_hot,
            LabelKind.POSITIONS: self.labels.positions,
            LabelKind.MULTILABEL: self.labels.multilabel,
            LabelKind.SOFT: self.labels.soft,
            LabelKind.VALUES: self.labels.values,
            LabelKind.TEXT: self.labels.text,
        }
        if LabelKind.SEQUENCES in (self.metric.accepts or ()):
            tests[LabelKind.SEQUENCES] = self.labels.sequences
        if self.how.labels != AUTO:
            tests = {kind: test for kind, test in tests.items() if kind == self.how.labels}
        fits: dict[LabelKind, Callable[[], Truth]] = {}
        for kind, test in tests.items():
            sizes = [size for shape in self.labels.outputs if (size := test(shape)) is not None]
            if sizes:
                fits[kind] = partial(self._made, kind, max(sizes))
        if LabelKind.ONE_HOT in fits and self.labels.exactly_one():
            # a row of several labels, or of real values, can also hold a single 1, but not each of many rows
            for kind in (LabelKind.MULTILABEL, LabelKind.VALUES, LabelKind.POSITIONS):
                fits.pop(kind, None)
        return fits

    def _made(self, kind: LabelKind, classes: int) -> Truth:
        axis = self.how.class_axis
        if kind in (LabelKind.TEXT, LabelKind.SEQUENCES):
            return Truth(kind, self.given if kind == LabelKind.TEXT else self.numbers.plain(), self.given)
        if kind in (LabelKind.SOFT, LabelKind.VALUES):
            sizes = (size for size in squeezed(self.inner) if size is not None)
            return Truth(
                kind, self.given.astype(np.float64).reshape(len(self.given), *sizes), self.given, classes, axis
            )
        if kind == LabelKind.ONE_HOT:
            return self._made_one_hot(classes)
        self.numbers.refuse_two_meanings(kind, self.labels.subject)
        numbers, ignored = self.numbers.marked(kind, classes)
        if kind == LabelKind.CLASSES:
            numbers = numbers.reshape(len(numbers))
        elif kind == LabelKind.MULTILABEL:
            numbers = numbers.reshape(len(numbers), *(size for size in squeezed(self.inner) if size is not None))
        elif kind == LabelKind.POSITIONS:
            numbers = numbers.reshape(len(numbers), *self.labels.position_shape())
            for shape in self.labels.outputs:
                if None not in shape.inner and len(class_axes(shape.inner, numbers.shape[1:], axis)) > 1:
                    raise InputError(
                        f"The output '{shape.name}' {shown(('n', *shape.inner))} may hold its classes on axis 1 or on the last. "
                        "Set 'class_axis' to 1 or -1."
                    )
        return Truth(kind, numbers, self.given, classes, axis, ignored)

    def _made_one_hot(self, classes: int) -> Truth:
        axes = {axis for shape in self.labels.outputs for axis in self.labels.one_hot_axes(shape)}
        if len(axes) > 1:
            raise InputError(
                f"{self.labels.subject} are one-hot along axis {' and axis '.join(map(str, sorted(axes)))}. Set 'class_axis'."
            )
        (axis,), plain = axes, self.numbers.plain()
        known = (plain == 1).any(axis=axis) & (plain >= 0).all(axis=axis)
        values = np.where(known, (plain == 1).argmax(axis=axis), NO_LABEL)
        words = [] if known.all() else ["rows without a 1"]
        if (values == self.how.ignored).any() and self.how.ignored != NO_LABEL:  # the class with that number
            values = np.where(values == self.how.ignored, NO_LABEL, values)
            words.append(f"class {self.how.ignored}")
        if len(squeezed(self.inner)) == 1:
            values = values.reshape(len(values))
        return Truth(LabelKind.ONE_HOT, values, self.given, classes, self.how.class_axis, " and ".join(words))

    def _no_such_axis(self) -> str:
        """A phrase about the set class axis where no output has it; else ""."""
        axis, counts = self.how.class_axis, [len(shape.inner) + 1 for shape in self.labels.outputs]
        if axis is None or any(-count <= axis < count for count in counts):
            return ""
        return f"'class_axis' is {axis}, and the axes of the output after the sample's are 1 to {max(counts) - 1}"

    def _refused(self, fits: Mapping[LabelKind, Any]) -> str:
        """A message that says why no reading fits, and what would fit."""
        name, labels = f"'{self.metric}'", self.labels.subject
        reason = next(iter(self.labels.why), "") or self._no_such_axis()
        reason = reason or _transposed(self.given, self.labels.outputs, str(self.metric))
        if self.how.labels != AUTO and not fits:
            return f"{labels} cannot be read as '{self.how.labels}'{f': {reason}' if reason else ''}.".replace(
                "..", "."
            )
        if not fits and {LabelKind.VALUES} & set(self.metric.accepts or ()) and self.labels.misfits:
            return self.labels.misfits[0]
        if not fits and self.labels.why:
            return f"{reason[0].upper()}{reason[1:]}. Check that the labels belong to this model."
        wants = f"{name} takes {accepted_text(self.metric)}, and {labels[0].lower()}{labels[1:]}"
        if fits:
            words = " or ".join(IN_WORDS[kind] for kind in fits)
            placed = LabelKind.ONE_HOT in fits and len(squeezed(self.inner)) > 1
            positions = " per position" if placed else ""
            fitting = ", ".join(that_accept(fits, positions=placed))
            because = f" ({self.labels.why[0]})" if self.labels.why else ""
            names = f"Set 'metric' to one of: {fitting}"
            if LabelKind.TEXT in fits and LabelKind.CLASSES in (self.metric.accepts or ()):
                names = f"Save the names of classes as class numbers, or for text set 'metric' to one of: {fitting}"
            return f"{wants} are {words}{positions}{because}. {names}."
        outputs = "; ".join(f"'{shape.name}' {shown(('n', *shape.inner))}" for shape in self.labels.outputs)
        if not reason and self.how.class_axis is not None:
            reason = f"'class_axis' is {self.how.class_axis}: without that axis an output has to have the labels' shape"
        if not reason and self.given.dtype.kind == "f" and not self.numbers.whole:
            reason = f"Real values are compared by {', '.join(that_accept([LabelKind.VALUES]))}, with an output of the labels' shape"
        return f"{wants} fit none of the model's outputs: {outputs}. {reason or 'Check that the labels belong to this model'}.".replace(
            "..", "."
        )


def _transposed(given: np.ndarray, outputs: Sequence[Shape], metric: str) -> str:
    """The line that puts the labels' axes in order, where such an order fits; else ""."""
    for shape in outputs:
        for wanted in (shape.inner, shape.inner[1:], shape.inner[:-1]):
            if len(wanted) == given.ndim - 1 > 1:
                text = misfit(metric, shape.name, (None, *wanted), given.shape)
                if "transpose" in text:
                    return text.rpartition("]. ")[2]
    return ""
