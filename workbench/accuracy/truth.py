"""What the labels of the test samples are: one typed value, decided once, that every metric reads.

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
"""Stands in :attr:`Truth.values` for a class number, a position or an entry that has no label."""
BOX_COLUMNS = 6
"""Columns of a box in :attr:`Truth.values`: x1, y1, x2, y2 in pixels, class number, and 1 for a crowd (COCO's iscrowd)."""


class Kind(StrEnum):
    """What labels are. The values up to ``BOXES`` are those of the setting ``labels``."""

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
    Kind.CLASSES: "class numbers",
    Kind.POSITIONS: "class numbers per position",
    Kind.ONE_HOT: "one-hot",
    Kind.MULTILABEL: "several labels (0 or 1 for each)",
    Kind.SOFT: "soft labels (a probability for each class)",
    Kind.VALUES: "real values",
    Kind.BOXES: "boxes",
    Kind.TEXT: "text",
    Kind.SEQUENCES: "sequences of class numbers",
    Kind.GIVEN: "as they were given, for a function",
}


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels and what they mean.

    ``values`` has one form per kind, so that a metric never has to look at how the labels were saved:

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

    One-hot labels are turned into class numbers here, which is why they give the same number under every metric.
    """

    kind: Kind
    values: np.ndarray
    given: np.ndarray | None = None  # as it was saved, (n, ...): what a function of the user's own is called with
    classes: int = 0  # how many the model distinguishes, or the labels' columns; 0: not known
    class_axis: int | None = None  # the axis of the scored output that holds the classes, where that was set
    ignored: str = ""  # the value that was left out, in words; "" where none was found
    images: np.ndarray | None = None  # boxes: the sample that each box belongs to, int64, (boxes,)
    number: int = 0  # boxes: how many samples there are
    roles: tuple[tuple[str, str], ...] = ()  # boxes: the outputs by role, where they were named

    def __len__(self) -> int:
        return self.number if self.images is not None else len(self.values)

    @property
    def per_position(self) -> bool:
        """Whether ``values`` holds a class number for each of several positions of a sample."""
        return self.kind in (Kind.POSITIONS, Kind.ONE_HOT) and self.values.ndim > 1

    @cached_property
    def labelled(self) -> np.ndarray:
        """Which samples have a label, bool, (n,)."""
        import numpy as np

        if self.kind in (Kind.CLASSES, Kind.POSITIONS, Kind.ONE_HOT, Kind.MULTILABEL):
            return np.asarray((self.values >= 0).reshape(len(self), -1).any(axis=1))
        if self.kind in (Kind.SOFT, Kind.VALUES):
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
        if self.kind == Kind.ONE_HOT and self.per_position:
            kind += " per position"
        text = f"labels: {kind}"
        if self.classes > 1:
            text += f", {self.classes:,} {'labels' if self.kind == Kind.MULTILABEL else 'classes'}"
        if self.images is not None:
            text += f", {len(self.values):,} in {len(self):,} images"
        return "; ".join([text, *self._left_out()])

    def _left_out(self) -> list[str]:
        parts = []
        entries = int((self.values < 0).sum()) if self.kind == Kind.MULTILABEL or self.per_position else 0
        if entries:
            what = "entries" if self.kind == Kind.MULTILABEL else "positions"
            parts.append(
                f"{entries:,} of {self.values.size:,} {what} ignored{f' ({self.ignored})' if self.ignored else ''}"
            )
        rows = int((~self.labelled).sum())
        if rows:
            why = f" ({self.ignored})" if self.ignored and not entries else ""
            parts.append(f"{rows:,} {'row' if rows == 1 else 'rows'} without a label left out{why}")
        return parts

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what the labels are and their values."""
        total = hashlib.sha256(json.dumps(self.head()).encode())
        for array in (self.values, self.images):
            if array is not None:
                total.update(f"{array.dtype} {array.shape}".encode())
                total.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        return total.hexdigest()

    def head(self) -> dict[str, Any]:
        """All but the arrays, as JSON."""
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
        return cls(**{**head, "kind": Kind(head["kind"]), "roles": roles}, values=values, given=given, images=images)
