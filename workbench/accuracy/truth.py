"""The labels of the test samples: one typed value, determined once, that every metric reads.

:func:`workbench.accuracy.reading.read_truth` makes it from an array of labels and the model's outputs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NO_LABEL = -1
"""Value in :attr:`Truth.values` of a class number, a position or an entry without a label."""
BOX_COLUMNS = 6
"""Columns of a box in :attr:`Truth.values`: x1, y1, x2, y2 in pixels, class number, and 1 for a crowd (COCO's iscrowd)."""


class LabelKind(StrEnum):
    """Kinds of labels. The values up to ``BOXES`` are those of the setting ``labels``."""

    CLASSES = "classes"
    POSITIONS = "positions"
    ONE_HOT = "one-hot"
    MULTILABEL = "multilabel"
    SOFT = "soft"
    VALUES = "values"
    BOXES = "boxes"
    TEXT = "text"
    SEQUENCES = "sequences"
    GIVEN = "as given"


IN_WORDS = {
    LabelKind.CLASSES: "class numbers",
    LabelKind.POSITIONS: "class numbers per position",
    LabelKind.ONE_HOT: "one-hot",
    LabelKind.MULTILABEL: "several labels (0 or 1 for each)",
    LabelKind.SOFT: "soft labels (a probability for each class)",
    LabelKind.VALUES: "real values",
    LabelKind.BOXES: "boxes",
    LabelKind.TEXT: "text",
    LabelKind.SEQUENCES: "sequences of class numbers",
    LabelKind.GIVEN: "as they were given, for a function",
}


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels with their meaning.

    ``values`` has one form per kind, so that metrics do not depend on how the labels were saved:

    ==============================  =======================================================================================
    kind                            ``values``
    ==============================  =======================================================================================
    classes, one-hot                int64, (n,): the class number; -1 where a sample has no label
    positions, one-hot positions    int64, (n, ...): a class number for each position; -1 where a position is ignored
    multilabel                      int64, (n, ..., labels) without axes of size one: 0 or 1; -1 where an entry is ignored
    soft, values                    float64, (n, ...) without axes of size one; NaN where there is no value
    boxes                           float64, (boxes, 6): see :data:`BOX_COLUMNS`; ``images`` holds the sample of each box
    text, sequences, as given       the array as it was saved
    ==============================  =======================================================================================

    One-hot labels are converted to class numbers here, so that they give the same value of every metric.
    """

    kind: LabelKind
    values: np.ndarray
    given: np.ndarray | None = None  # as it was saved, (n, ...): the argument of a user's function
    classes: int = 0  # number that the model distinguishes, or the labels' columns; 0: not known
    class_axis: int | None = None  # the axis of the scored output that holds the classes, where that was set
    ignored: str = ""  # the value that was left out, as text; "" where none was found
    images: np.ndarray | None = None  # boxes: the sample that each box belongs to, int64, (boxes,)
    number: int = 0  # boxes: number of samples
    roles: tuple[tuple[str, str], ...] = ()  # boxes: the outputs by role, where they were named

    def __len__(self) -> int:
        return self.number if self.images is not None else len(self.values)

    @property
    def class_per_sample(self) -> bool:
        """There is one class number for each sample."""
        return self.kind in (LabelKind.CLASSES, LabelKind.ONE_HOT) and not self.per_position

    @property
    def per_position(self) -> bool:
        """Whether ``values`` holds a class number for each of several positions of a sample."""
        return self.kind in (LabelKind.POSITIONS, LabelKind.ONE_HOT) and self.values.ndim > 1

    @cached_property
    def labelled(self) -> np.ndarray:
        """The samples that have a label, bool, (n,)."""
        import numpy as np

        if self.kind in (LabelKind.CLASSES, LabelKind.POSITIONS, LabelKind.ONE_HOT, LabelKind.MULTILABEL):
            return np.asarray((self.values >= 0).reshape(len(self), -1).any(axis=1))
        if self.kind in (LabelKind.SOFT, LabelKind.VALUES):
            return np.asarray(~np.isnan(self.values).reshape(len(self), -1).any(axis=1))
        return np.ones(len(self), bool)

    def take(self, chosen: Any) -> Truth:
        """The labels of the chosen samples, in that order; ``chosen`` indexes the first axis."""
        import numpy as np

        given = None if self.given is None else self.given[chosen]
        if self.images is None:
            return replace(self, values=self.values[chosen], given=given)
        rows = np.arange(self.number)[chosen]
        parts = [np.flatnonzero(self.images == row) for row in rows]
        found = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        images = np.repeat(np.arange(len(rows)), [len(part) for part in parts])
        return replace(self, values=self.values[found], images=images, number=len(rows), given=given)

    def __str__(self) -> str:
        """``labels: one-hot, 10 classes; 3 rows without a label left out``."""
        kind = IN_WORDS[self.kind]
        if self.kind == LabelKind.ONE_HOT and self.per_position:
            kind += " per position"
        text = f"labels: {kind}"
        if self.classes > 1:
            text += f", {self.classes:,} {'labels' if self.kind == LabelKind.MULTILABEL else 'classes'}"
        if self.images is not None:
            text += f", {len(self.values):,} in {len(self):,} images"
        return "; ".join([text, *self._left_out()])

    def _left_out(self) -> list[str]:
        parts = []
        entries = int((self.values < 0).sum()) if self.kind == LabelKind.MULTILABEL or self.per_position else 0
        if entries:
            what = "entries" if self.kind == LabelKind.MULTILABEL else "positions"
            parts.append(
                f"{entries:,} of {self.values.size:,} {what} ignored{f' ({self.ignored})' if self.ignored else ''}"
            )
        if rows := int((~self.labelled).sum()):
            why = f" ({self.ignored})" if self.ignored and not entries else ""
            parts.append(f"{rows:,} {'row' if rows == 1 else 'rows'} without a label left out{why}")
        return parts

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the kind of the labels and their values."""
        total = hashlib.sha256(json.dumps(self.head()).encode())
        for array in (self.values, self.images):
            if array is not None:
                total.update(f"{array.dtype} {array.shape}".encode())
                total.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        return total.hexdigest()

    def head(self) -> dict[str, Any]:
        """All fields except the arrays, as JSON."""
        return {
            "kind": str(self.kind),
            "classes": self.classes,
            "class_axis": self.class_axis,
            "ignored": self.ignored,
            "number": self.number,
            "roles": [list(pair) for pair in self.roles],
        }

    @classmethod
    def of(cls, head: dict[str, Any], values: np.ndarray, given: np.ndarray | None, images: np.ndarray | None) -> Truth:
        """The inverse of :meth:`head`, with the arrays."""
        roles = tuple((role, name) for role, name in head["roles"])
        return cls(
            **{**head, "kind": LabelKind(head["kind"]), "roles": roles}, values=values, given=given, images=images
        )
