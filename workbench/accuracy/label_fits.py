"""The readings of labels that fit an output of the model, by the labels' shape, type and values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.accuracy.label_settings import Reading, Shape
from workbench.accuracy.outputs import alike, class_axes, misfit, shown, squeezed
from workbench.accuracy.truth import NO_LABEL, LabelKind
from workbench.accuracy.whole_numbers import WholeNumbers, one_at_most, without_channel

MANY = 16
"""Fewest rows of zeros with a single 1 that count as one-hot: fewer rows can be several labels or masks as well."""


class LabelFits:
    """Tests of one array of labels against an output, a method for each kind of labels.

    A test returns the number of classes that the output distinguishes, 0 where that is not known, and ``None`` where the labels do
    not fit it.
    """

    def __init__(self, given: np.ndarray, outputs: Sequence[Shape], metric: str, how: Reading, where: str) -> None:
        self.given, self.metric, self.how, self.where = given, metric, how, where
        self.outputs = [each for each in outputs if how.output in ("", each.name)] or list(outputs)
        self.inner = given.shape[1:]
        self.numbers = WholeNumbers(given, how)
        self.why: list[str] = []  # reasons against class numbers
        self.misfits: list[str] = []  # shapes that do not fit, one sentence each

    @property
    def subject(self) -> str:
        """The labels as the subject of a sentence: their name, type, shape and range."""
        where = self.where[0].upper() + self.where[1:]
        text = f"{where}, {self.given.dtype} {shown(self.given.shape)}"
        known = self.given[~np.isnan(self.given)] if self.given.dtype.kind == "f" else self.given
        if self.given.dtype.kind in "fiub" and known.size:
            low, high = float(known.min()), float(known.max())
            text += f" from {low:g} to {high:g}"
        return f"{text},"

    def classes(self, shape: Shape) -> int | None:
        if not self.numbers.whole or squeezed(self.inner):
            return None
        sizes = squeezed(shape.inner)
        if len(sizes) > 1:
            return None
        number = (0 if shape.whole else 2) if not sizes else sizes[0] or 0
        return self._within(number, shape, binary=not sizes and not shape.whole)

    def positions(self, shape: Shape) -> int | None:
        if not self.numbers.whole or not squeezed(self.inner):
            return None
        found = []
        for inner in without_channel(self.inner):
            axes = class_axes(shape.inner, inner, self.how.class_axis)
            found += [shape.inner[axis - 1] or 0 for axis in axes]
        if found:
            return self._within(max(found), shape)
        single = len(squeezed(self.inner)) > 1 or self.inner[-1:] == (1,) or self.how.labels == LabelKind.POSITIONS
        if (single or shape.whole) and alike(squeezed(shape.inner), squeezed(self.inner)):
            return self._within(0 if shape.whole else 2, shape, binary=not shape.whole)
        return None

    def _within(self, number: int, shape: Shape, *, binary: bool = False) -> int | None:
        """``number`` where the labels can be that many classes; else ``None``."""
        kind = LabelKind.POSITIONS if squeezed(self.inner) else LabelKind.CLASSES
        numbers, _ = self.numbers.marked(kind, number)
        lowest, highest = int(numbers.min(initial=0)), int(numbers.max(initial=0))
        if lowest < NO_LABEL:
            self.why.append(f"class numbers start at 0, and {self.where} hold {self._negative()}")
            return None
        if number and highest >= number:
            what = f"'{shape.name}' has {number} classes (0 to {number - 1})"
            if binary:
                what = f"'{shape.name}' has one value per sample, which stands for two classes (0 and 1)"
            known = numbers[numbers >= 0]
            more = "; they seem to start at 1: write y = y - 1" if highest == number and known.min() == 1 else ""
            if not self.how.ignore and known.min() < number and (known[known >= number] == highest).all():
                more += f"; if {highest} means that there is no label, set 'ignore_label' to {highest}"
            self.why.append(f"{self.where} go up to {highest}, and the output {what}{more}")
            return None
        return number

    def _negative(self) -> str:
        """A phrase about the negative label that the settings do not ignore, with the remedy."""
        numbers = self.numbers.plain()
        found = sorted({int(number) for number in numbers[numbers < 0]} - {self.how.ignored})
        if self.how.ignored is None:
            return (
                f"{found[0]}, which 'ignore_label' set to '{self.how.ignore}' does not leave out; set it to {found[0]}"
            )
        return f"{found[0]} as well as the ignored {self.how.ignored}; save those as {self.how.ignored} as well"

    def one_hot(self, shape: Shape) -> int | None:
        axes = self.one_hot_axes(shape)
        return max(self.inner[axis - 1] for axis in axes) if axes else None

    def one_hot_axes(self, shape: Shape) -> list[int]:
        """The labels' axes that hold one 1 (or none, for no label) everywhere, if the output fits that."""
        count = len(self.inner) + 1
        if not self.numbers.whole or count < 2:
            return []
        set_axis = self.how.class_axis
        flat = len(squeezed(self.inner)) == 1  # scores of one sample, perhaps with axes of size one
        if flat:
            tried: tuple[int, ...] = (1 + next(axis for axis, size in enumerate(self.inner) if size != 1),)
        elif set_axis is None:
            tried = (count - 1, 1)
        else:
            tried = (set_axis % count,) if -count <= set_axis < count else ()
        found = []
        for axis in dict.fromkeys(tried):
            size, rest = self.inner[axis - 1], (*self.inner[: axis - 1], *self.inner[axis:])
            if axis == 0 or size < 2 or not one_at_most(self.numbers.plain(), axis):
                continue
            fits = alike(shape.inner, self.inner) or (flat and alike(squeezed(shape.inner), squeezed(self.inner)))
            single = (shape.whole or size == 2) and alike(squeezed(shape.inner), squeezed(rest))
            if fits or single:
                found.append(axis)
        return found

    def exactly_one(self) -> bool:
        """Whether there are many rows, and each has a single 1."""
        axes = {axis for shape in self.outputs for axis in self.one_hot_axes(shape)}
        ones = [(self.numbers.plain() == 1).sum(axis=axis) for axis in axes]
        return any(bool(each.all()) and each.size >= MANY for each in ones)

    def multilabel(self, shape: Shape) -> int | None:
        sizes = squeezed(self.inner)
        if not self.numbers.whole or not sizes or not alike(squeezed(shape.inner), sizes):
            return None
        numbers, _ = self.numbers.marked(LabelKind.MULTILABEL, 0)
        return sizes[-1] if ((numbers >= NO_LABEL) & (numbers <= 1)).all() else None

    def soft(self, shape: Shape) -> int | None:
        if self.given.dtype.kind != "f" or not self.inner or not alike(shape.inner, self.inner):
            return None
        wide = self.given.astype(np.float64)
        known = wide[~np.isnan(wide).reshape(len(wide), -1).any(axis=1)]
        if self.numbers.whole and self.how.labels != LabelKind.SOFT:
            return None
        axis = -1 if self.how.class_axis is None else self.how.class_axis
        sums_to_one = self.inner[-1] > 1 and bool((np.abs(known.sum(axis=axis) - 1) < 1e-3).all())
        return self.inner[-1] if sums_to_one and known.min(initial=0) >= 0 else None

    def values(self, shape: Shape) -> int | None:
        if self.given.dtype.kind not in "fiub":
            return None
        if self.given.dtype.kind == "f" and np.isinf(self.given).any():
            self.misfits.append(f"{self.subject} hold infinity. Remove such rows.")
            return None
        if alike(squeezed(shape.inner), squeezed(self.inner)):
            return 0
        self.misfits.append(misfit(self.metric, shape.name, (len(self.given), *shape.inner), self.given.shape))
        return None

    def sequences(self, shape: Shape) -> int | None:
        return 0 if self.numbers.whole and len(self.inner) == 1 and len(shape.inner) in (1, 2) else None

    def text(self, shape: Shape) -> int | None:  # noqa: ARG002 - text fits every output that is text or is read as text
        return 0 if self.given.dtype.kind in "USO" else None

    def position_shape(self) -> tuple[int, ...]:
        """The labels' shape per sample without a channel axis of size one."""
        for inner in without_channel(self.inner):
            if any(class_axes(shape.inner, inner, self.how.class_axis) for shape in self.outputs):
                return inner
        return without_channel(self.inner)[-1]
