"""Integer labels: values that mean no label, and values with two possible meanings."""

from __future__ import annotations

import numpy as np

from workbench.accuracy.label_settings import NOTHING_IGNORED, Reading
from workbench.accuracy.outputs import squeezed
from workbench.accuracy.truth import NO_LABEL, LabelKind
from workbench.errors import InputError

VOID = 255
"""Void in masks of 8 bits (PASCAL VOC, Cityscapes, ADE20K)."""
MISSING = -(2**63)
"""Value for NaN among integers of a floating type: no label, whatever is set."""


class WholeNumbers:
    """Integer labels, int64, in the shape in which they were saved."""

    def __init__(self, given: np.ndarray, how: Reading) -> None:
        self.how = how
        self.shape = given.shape[1:]
        found = _whole(given)
        self.whole = found is not None  # whether all labels are integers
        self._numbers = found

    def plain(self) -> np.ndarray:
        """The integers, with :data:`NO_LABEL` in place of NaN."""
        assert self._numbers is not None
        return np.where(self._numbers == MISSING, NO_LABEL, self._numbers)

    def marked(self, kind: LabelKind, classes: int) -> tuple[np.ndarray, str]:
        """The integers with -1 wherever there is no label, and the ignored values as text."""
        assert self._numbers is not None
        missing = self._numbers == MISSING
        numbers = self.plain()
        if self.how.ignored is not None:
            others = np.where((numbers == NO_LABEL) & ~missing, NO_LABEL - 1, numbers)
            return np.where(numbers == self.how.ignored, NO_LABEL, others), str(self.how.ignored)
        if self.how.ignore == NOTHING_IGNORED:
            return np.where(missing, NO_LABEL, np.where(numbers < 0, numbers - 1, numbers)), ""
        words = ["negative"] if (numbers < 0).any() and not missing.any() else ["no value"] if missing.any() else []
        chosen = numbers < 0
        masks = kind == LabelKind.POSITIONS and len(squeezed(self.shape)) > 1
        if masks and classes <= VOID and (numbers == VOID).any():
            chosen |= numbers == VOID
            words.append(str(VOID))
        return np.where(chosen, NO_LABEL, numbers), " and ".join(words)

    def refuse_two_meanings(self, kind: LabelKind, labels: str) -> None:
        """Refuse values with two possible meanings: -1 for "no" or for no label, 255 for white or for void, and an ignored 0 or 1
        that is also one of two answers.
        """
        if kind == LabelKind.MULTILABEL and self.how.ignored in (0, 1):
            raise InputError(
                f"{labels} are several labels, of which 'ignore_label' {self.how.ignored} would leave out every {'no' if self.how.ignored == 0 else 'yes'}. "
                "Mark entries without a label with another number, such as -1."
            )
        if self.how.ignore:
            return
        found = set(np.unique(self.plain()).tolist()) if self.whole else set()
        if found == {-1, 1}:
            raise InputError(
                f"{labels} are -1 and 1, where -1 can be a class or stand for no label. Save classes as y = (y > 0), or set "
                "'ignore_label' to -1."
            )
        if kind == LabelKind.POSITIONS and VOID in found and found <= {0, VOID, -1}:
            raise InputError(
                f"{labels} are 0 and {VOID}, where {VOID} can be a class or stand for void. Save classes as y = y // {VOID}, or "
                f"set 'ignore_label' to {VOID}."
            )


def _whole(given: np.ndarray) -> np.ndarray | None:
    """The labels as int64 where all are integers that int64 holds, with :data:`MISSING` for NaN; else ``None``."""
    if given.dtype.kind in "iub":
        return None if given.dtype == np.uint64 and (given > -MISSING - 1).any() else given.astype(np.int64)
    if given.dtype.kind != "f":
        return None
    missing = np.isnan(given)
    if (np.abs(given[~missing]) >= -MISSING).any() or missing.all():  # also true for infinity
        return None
    if (given[~missing] != np.round(given[~missing])).any():
        return None
    return np.where(missing, MISSING, np.where(missing, 0, given).astype(np.int64))


def one_at_most(numbers: np.ndarray, axis: int) -> bool:
    """Whether an axis holds zeros with at most a single 1, or negative numbers for no label, and there is a 1 somewhere."""
    ones = (numbers == 1).sum(axis=axis)
    return bool((numbers <= 1).all() and (ones <= 1).all() and ones.any())


def without_channel(inner: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shape per sample, and the shapes without a first or last axis of size one."""
    found = [inner]
    if len(inner) > 1:
        found += [inner[:-1]] * (inner[-1] == 1) + [inner[1:]] * (inner[0] == 1)
    return found
