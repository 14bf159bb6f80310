"""Deciding what labels are: the readings that fit the labels' shape, type and values, the model's outputs and the metric.

One reading has to be left. Where two are, both are named and the setting that chooses; where none is, what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.accuracy.label_settings import AUTO, Reading, Shape
from workbench.accuracy.metrics import Metric, accepted_in_words, that_accept, top_k
from workbench.accuracy.outputs import alike, class_axes, misfit, shown, squeezed
from workbench.accuracy.truth import IN_WORDS, NO_LABEL, Kind, Truth
from workbench.accuracy.whole_numbers import WholeNumbers, one_at_most, without_channel
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np


MANY = 16
"""Rows of zeros with a single 1 each that are not taken for chance: fewer can be several labels or masks as well."""


def read_truth(
    given: np.ndarray,
    outputs: Sequence[Shape],
    metric: Metric | None = None,
    how: Reading | None = None,
    *,
    where: str = "the labels",
) -> Truth:
    """Decide what labels are.

    Args:
        given: the labels as they were saved, (n, ...).
        outputs: the model's.
        metric: what compares them; ``None`` is top-1, which is what "auto" means where there are labels.
        how: what was set.
        where: names them in messages.

    Raises:
        InputError: no reading fits them, the outputs and the metric, or several do.

    >>> from workbench.accuracy.reading import Shape, read_truth
    >>> print(read_truth(numpy.eye(3)[[0, 2, 1]], [Shape("scores", (3,))]))
    labels: one-hot, 3 classes
    """
    metric = top_k(1) if metric is None else metric
    return _Reader(given, outputs, metric, how or Reading(), where).truth()


class _Reader:
    """The readings of one array of labels, each looked at once."""

    def __init__(self, given: np.ndarray, outputs: Sequence[Shape], metric: Metric, how: Reading, where: str) -> None:
        self.given, self.metric, self.how, self.where = given, metric, how, where
        self.outputs = [each for each in outputs if how.output in ("", each.name)] or list(outputs)
        self.inner = given.shape[1:]
        self.numbers = WholeNumbers(given, self.how)
        self.why: list[str] = []  # what speaks against class numbers, in words
        self.misfits: list[str] = []  # shapes that do not fit, one sentence each

    def truth(self) -> Truth:
        if self.given.ndim == 0 or self.given.dtype.kind not in "fiubUSO":
            raise InputError(f"{self._told()} are neither numbers nor text. Save one entry per sample.")
        if self.metric.accepts is None:
            return Truth(Kind.GIVEN, self.given, self.given)
        fits = self._fitting()
        accepted = [kind for kind in fits if kind in self.metric.accepts and self._position_wise(kind)]
        if not accepted:
            raise InputError(self._refused(fits))
        if Kind.SOFT in accepted and Kind.VALUES in accepted:
            accepted.remove(Kind.VALUES)  # the same number by every metric
        if len(accepted) > 1:
            first, second = accepted[:2]
            raise InputError(
                f"{self._told()} can be {IN_WORDS[first]} or {IN_WORDS[second]}. Set 'labels' to '{first}' or '{second}'."
            )
        found = fits[accepted[0]]()
        if not found.labelled.any():
            raise InputError(f"No row of {self.where} has a label. Give labels for some rows, or none at all.")
        return found

    def _position_wise(self, kind: Kind) -> bool:
        return self.metric.positions or kind != Kind.ONE_HOT or len(squeezed(self.inner)) < 2

    def _fitting(self) -> dict[Kind, Callable[[], Truth]]:
        """Every reading that fits, with what makes it; of what was set, that one only."""
        tests: dict[Kind, Callable[[Shape], int | None]] = {
            Kind.CLASSES: self._classes,
            Kind.ONE_HOT: self._one_hot,
            Kind.POSITIONS: self._positions,
            Kind.MULTILABEL: self._multilabel,
            Kind.SOFT: self._soft,
            Kind.VALUES: self._values,
            Kind.TEXT: self._text,
        }
        if Kind.SEQUENCES in (self.metric.accepts or ()):
            tests[Kind.SEQUENCES] = self._sequences
        if self.how.labels != AUTO:
            tests = {kind: test for kind, test in tests.items() if kind == self.how.labels}
        fits: dict[Kind, Callable[[], Truth]] = {}
        for kind, test in tests.items():
            sizes = [size for shape in self.outputs if (size := test(shape)) is not None]
            if sizes:
                fits[kind] = partial(self._made, kind, max(sizes))
        if Kind.ONE_HOT in fits and self._exactly_one():
            # a row of several labels, or of real values, can hold a single 1 too, but not each of many rows
            for kind in (Kind.MULTILABEL, Kind.VALUES, Kind.POSITIONS):
                fits.pop(kind, None)
        return fits

    # what fits one output: how many classes it distinguishes, 0 where that is not known; None: it does not fit

    def _classes(self, shape: Shape) -> int | None:
        if not self.numbers.whole or squeezed(self.inner):
            return None
        sizes = squeezed(shape.inner)
        if len(sizes) > 1:
            return None
        number = (0 if shape.whole else 2) if not sizes else sizes[0] or 0
        return self._within(number, shape, binary=not sizes and not shape.whole)

    def _positions(self, shape: Shape) -> int | None:
        if not self.numbers.whole or not squeezed(self.inner):
            return None
        found = []
        for inner in without_channel(self.inner):
            axes = class_axes(shape.inner, inner, self.how.class_axis)
            found += [shape.inner[axis - 1] or 0 for axis in axes]
        if found:
            return self._within(max(found), shape)
        single = len(squeezed(self.inner)) > 1 or self.inner[-1:] == (1,) or self.how.labels == Kind.POSITIONS
        if (single or shape.whole) and alike(squeezed(shape.inner), squeezed(self.inner)):
            return self._within(0 if shape.whole else 2, shape, binary=not shape.whole)
        return None

    def _within(self, number: int, shape: Shape, *, binary: bool = False) -> int | None:
        """``number`` where the labels may be so many classes."""
        kind = Kind.POSITIONS if squeezed(self.inner) else Kind.CLASSES
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
        """The negative label that is not ignored because of what was set, and what to do about it."""
        numbers = self.numbers.plain()
        found = sorted({int(number) for number in numbers[numbers < 0]} - {self.how.ignored})
        if self.how.ignored is None:
            return (
                f"{found[0]}, which 'ignore_label' set to '{self.how.ignore}' does not leave out; set it to {found[0]}"
            )
        return f"{found[0]} beside the ignored {self.how.ignored}; save those as {self.how.ignored} as well"

    def _one_hot(self, shape: Shape) -> int | None:
        axes = self._one_hot_axes(shape)
        return max(self.inner[axis - 1] for axis in axes) if axes else None

    def _one_hot_axes(self, shape: Shape) -> list[int]:
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

    def _exactly_one(self) -> bool:
        """Whether there are many rows with a single 1, and no other row."""
        axes = {axis for shape in self.outputs for axis in self._one_hot_axes(shape)}
        ones = [(self.numbers.plain() == 1).sum(axis=axis) for axis in axes]
        return any(bool(each.all()) and each.size >= MANY for each in ones)

    def _multilabel(self, shape: Shape) -> int | None:
        sizes = squeezed(self.inner)
        if not self.numbers.whole or not sizes or not alike(squeezed(shape.inner), sizes):
            return None
        numbers, _ = self.numbers.marked(Kind.MULTILABEL, 0)
        return sizes[-1] if ((numbers >= NO_LABEL) & (numbers <= 1)).all() else None

    def _soft(self, shape: Shape) -> int | None:
        import numpy as np

        if self.given.dtype.kind != "f" or not self.inner or not alike(shape.inner, self.inner):
            return None
        wide = self.given.astype(np.float64)
        known = wide[~np.isnan(wide).reshape(len(wide), -1).any(axis=1)]
        if self.numbers.whole and self.how.labels != Kind.SOFT:
            return None
        axis = -1 if self.how.class_axis is None else self.how.class_axis
        sums_to_one = self.inner[-1] > 1 and bool((np.abs(known.sum(axis=axis) - 1) < 1e-3).all())
        return self.inner[-1] if sums_to_one and known.min(initial=0) >= 0 else None

    def _values(self, shape: Shape) -> int | None:
        import numpy as np

        if self.given.dtype.kind not in "fiub":
            return None
        if self.given.dtype.kind == "f" and np.isinf(self.given).any():
            self.misfits.append(f"{self._told()} hold infinity. Remove such rows.")
            return None
        if alike(squeezed(shape.inner), squeezed(self.inner)):
            return 0
        self.misfits.append(misfit(str(self.metric), shape.name, (len(self.given), *shape.inner), self.given.shape))
        return None

    def _sequences(self, shape: Shape) -> int | None:
        return 0 if self.numbers.whole and len(self.inner) == 1 and len(shape.inner) in (1, 2) else None

    def _text(self, shape: Shape) -> int | None:  # noqa: ARG002 - text fits whatever gives text, or is read as text
        return 0 if self.given.dtype.kind in "USO" else None

    def _made(self, kind: Kind, classes: int) -> Truth:
        import numpy as np

        axis = self.how.class_axis
        if kind in (Kind.TEXT, Kind.SEQUENCES):
            return Truth(kind, self.given if kind == Kind.TEXT else self.numbers.plain(), self.given)
        if kind in (Kind.SOFT, Kind.VALUES):
            sizes = (size for size in squeezed(self.inner) if size is not None)
            return Truth(
                kind, self.given.astype(np.float64).reshape(len(self.given), *sizes), self.given, classes, axis
            )
        if kind == Kind.ONE_HOT:
            return self._made_one_hot(classes)
        self.numbers.refuse_two_meanings(kind, self._told())
        numbers, ignored = self.numbers.marked(kind, classes)
        if kind == Kind.CLASSES:
            numbers = numbers.reshape(len(numbers))
        elif kind == Kind.MULTILABEL:
            numbers = numbers.reshape(len(numbers), *(size for size in squeezed(self.inner) if size is not None))
        elif kind == Kind.POSITIONS:
            numbers = numbers.reshape(len(numbers), *self._position_shape())
            for shape in self.outputs:
                if None not in shape.inner and len(class_axes(shape.inner, numbers.shape[1:], axis)) > 1:
                    raise InputError(
                        f"The output '{shape.name}' {shown(('n', *shape.inner))} may hold its classes on axis 1 or on the last. "
                        "Set 'class_axis' to 1 or -1."
                    )
        return Truth(kind, numbers, self.given, classes, axis, ignored)

    def _position_shape(self) -> tuple[int, ...]:
        """The labels' shape per sample without a channel of their own."""
        for inner in without_channel(self.inner):
            if any(class_axes(shape.inner, inner, self.how.class_axis) for shape in self.outputs):
                return inner
        return without_channel(self.inner)[-1]

    def _made_one_hot(self, classes: int) -> Truth:
        import numpy as np

        axes = {axis for shape in self.outputs for axis in self._one_hot_axes(shape)}
        if len(axes) > 1:
            raise InputError(
                f"{self._told()} are one-hot along axis {' and axis '.join(map(str, sorted(axes)))}. Set 'class_axis'."
            )
        (axis,), plain = axes, self.numbers.plain()
        known = (plain == 1).any(axis=axis) & (plain >= 0).all(axis=axis)
        values = np.where(known, (plain == 1).argmax(axis=axis), NO_LABEL)
        words = [] if known.all() else ["rows without a 1"]
        if (values == self.how.ignored).any() and self.how.ignored != NO_LABEL:  # the class of that number
            values = np.where(values == self.how.ignored, NO_LABEL, values)
            words.append(f"class {self.how.ignored}")
        if len(squeezed(self.inner)) == 1:
            values = values.reshape(len(values))
        return Truth(Kind.ONE_HOT, values, self.given, classes, self.how.class_axis, " and ".join(words))

    # messages

    def _told(self) -> str:
        import numpy as np

        where = self.where[0].upper() + self.where[1:]
        text = f"{where}, {self.given.dtype} {shown(self.given.shape)}"
        known = self.given[~np.isnan(self.given)] if self.given.dtype.kind == "f" else self.given
        if self.given.dtype.kind in "fiub" and known.size:
            low, high = float(known.min()), float(known.max())
            text += f" from {low:g} to {high:g}"
        return f"{text},"

    def _refused(self, fits: Mapping[Kind, Any]) -> str:
        """Why no reading is left, and what would fit."""
        name, told = f"'{self.metric}'", self._told()
        reason = next(iter(self.why), "") or _transposed(self.given, self.outputs, str(self.metric))
        if self.how.labels != AUTO and not fits:
            return f"{told} cannot be read as '{self.how.labels}'{f': {reason}' if reason else ''}.".replace("..", ".")
        if not fits and {Kind.VALUES} & set(self.metric.accepts or ()) and self.misfits:
            return self.misfits[0]
        if not fits and self.why:
            return f"{reason[0].upper()}{reason[1:]}. Check that the labels belong to this model."
        wants = f"{name} takes {accepted_in_words(self.metric)}, and {told[0].lower()}{told[1:]}"
        if fits:
            words = " or ".join(IN_WORDS[kind] for kind in fits)
            placed = Kind.ONE_HOT in fits and len(squeezed(self.inner)) > 1
            positions = " per position" if placed else ""
            fitting = ", ".join(that_accept(fits, positions=placed))
            because = f" ({self.why[0]})" if self.why else ""
            names = f"Set 'metric' to one of: {fitting}"
            if Kind.TEXT in fits and Kind.CLASSES in (self.metric.accepts or ()):
                names = f"Save the names of classes as class numbers, or for text set 'metric' to one of: {fitting}"
            return f"{wants} are {words}{positions}{because}. {names}."
        outputs = "; ".join(f"'{shape.name}' {shown(('n', *shape.inner))}" for shape in self.outputs)
        if not reason and self.how.class_axis is not None:
            reason = f"'class_axis' is {self.how.class_axis}: without that axis an output has to have the labels' shape"
        if not reason and self.given.dtype.kind == "f" and not self.numbers.whole:
            reason = f"Real values are compared by {', '.join(that_accept([Kind.VALUES]))}, with an output of the labels' shape"
        return f"{wants} fit none of the model's outputs: {outputs}. {reason or 'Check that the labels belong to this model'}.".replace(
            "..", "."
        )


def _transposed(given: np.ndarray, outputs: Sequence[Shape], metric: str) -> str:
    """The line that puts the labels' axes in order, where that helps; else ""."""
    for shape in outputs:
        for wanted in (shape.inner, shape.inner[1:], shape.inner[:-1]):
            if len(wanted) == given.ndim - 1 > 1:
                text = misfit(metric, shape.name, (None, *wanted), given.shape)
                if "transpose" in text:
                    return text.rpartition("]. ")[2]
    return ""
