"""Comparison of detections or rows of two engines in any order.

Two lists of detections agree if they can be paired one to one, so that both of a pair have the same class and boxes that overlap by
an intersection over union of at least 0.5 (the criterion of PASCAL VOC: Everingham et al., The PASCAL Visual Object Classes
Challenge, 2010, section 4.2). Other outputs whose number of rows follows the data agree if they hold the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.accuracy.by_sample import is_ragged
from workbench.accuracy.outputs import by_row

if TYPE_CHECKING:
    import numpy as np

OVERLAP = 0.5
MOST_ROWS = 3000
"""Most rows of a sample that are paired one by one; more are compared in sorted order only."""
BOXES = ("box", "bbox", "rois")
CLASSES = ("class", "label", "categor", "cls")
SCORES = ("score", "conf", "prob")


@dataclass(frozen=True)
class Detections:
    """The outputs that hold detections together. Each has one row for each box."""

    boxes: str  # [rows, 4]; or [rows, 6 or 7] with scores and classes in the same rows
    classes: str = ""
    scores: str = ""
    columns: tuple[slice, int, int] | None = None  # of packed rows: those of the box, of the score and of the class

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, (self.boxes, self.classes, self.scores))))


PACKED = {6: (slice(0, 4), 4, 5), 7: (slice(1, 5), 6, 5)}
"""Rows of one tensor with everything: x1, y1, x2, y2, score, class (Ultralytics' exports with NMS); or image, x1, y1, x2, y2, class,
score (those of YOLOv7 with NMS)."""


def detections(outputs: Mapping[str, np.ndarray]) -> Detections | None:
    """The outputs that are detections, by names, shapes and values; ``None`` where there are none.

    These are an output [rows, 4] for each sample that has a usual name of boxes or a number of rows that follows the data, with an
    output of one class or one score for each of its rows; else a single output whose rows hold boxes, scores and classes.

    Args:
        outputs: the source model's, first axis = sample.
    """
    for name, array in outputs.items():
        if _inner(array) != (4,) or not (is_ragged(array) or any(word in name.lower() for word in BOXES)):
            continue
        beside = {
            other: found
            for other, found in outputs.items()
            if other != name and _inner(found) in ((), (1,)) and _rows(found) == _rows(array)
        }
        classes = next((key for key, found in beside.items() if _named(key, CLASSES) or _whole_type(found)), "")
        rest = [key for key in beside if key != classes and not _whole_type(beside[key])]
        scores = next((key for key in rest if _named(key, SCORES)), next(iter(rest), ""))
        if classes or scores:
            return Detections(name, classes, scores)
    for name, array in outputs.items():
        inner = _inner(array)
        if inner in ((6,), (7,)) and _looks_packed(array, PACKED[inner[0]]):
            return Detections(name, columns=PACKED[inner[0]])
    return None


def same_detections(
    detections: Detections, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The samples with the source's detections, bool, shape (n,). Rows with a score of 0 or less are padding."""
    import numpy as np

    count = len(theirs[detections.boxes])
    return np.array(
        [_paired(*(_sample(detections, side, place) for side in (ours, theirs))) for place in range(count)], bool
    )


def same_rows(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays [rows, ...] hold the same rows, in any order; numbers may differ by ``tolerance``."""
    import numpy as np

    if ours.shape != theirs.shape:
        return False
    if ours.size == 0:
        return True
    one, other = (by_row(np.asarray(each, np.float64)) for each in (ours, theirs))
    with np.errstate(invalid="ignore"):
        if _near(one, other, tolerance).all() or _near(_sorted(one), _sorted(other), tolerance).all():
            return True
    # near ties may be sorted differently
    if len(one) > MOST_ROWS or not tolerance:
        return False
    return _matching(np.array([_near(row, other, tolerance).all(axis=1) for row in one]))


def in_order(wanted: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """``outputs`` with its rows in the order of the closest rows of ``wanted``, by an assignment over both arrays.

    Arrays that are equal, differ in shape, hold values that are not finite numbers, or have more than :data:`MOST_ROWS` rows are
    returned unchanged.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    numbers = wanted.dtype.kind in "fiub" and outputs.dtype.kind in "fiub"
    if wanted.shape != outputs.shape or not numbers or not 1 < len(wanted) <= MOST_ROWS or not wanted.size:
        return outputs
    if np.array_equal(wanted, outputs):
        return outputs
    rows = [by_row(each).astype(np.float64) for each in (wanted, outputs)]
    if not all(np.isfinite(each).all() for each in rows):
        return outputs
    _, order = linear_sum_assignment(cdist(*rows, "chebyshev"))
    return np.asarray(outputs[order])


def _near(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> np.ndarray:
    import numpy as np

    return np.asarray((np.abs(ours - theirs) <= tolerance) | (ours == theirs))


def _sorted(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.asarray(rows[np.lexsort(rows.T[::-1])])


def _matching(allowed: np.ndarray) -> bool:
    """Whether every row can be paired with a different column, given the allowed pairs."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    if not (allowed.any(axis=0).all() and allowed.any(axis=1).all()):
        return False
    rows, columns = linear_sum_assignment(np.where(allowed, 0.0, 1.0))
    return bool(allowed[rows, columns].all())


def _paired(ours: tuple[np.ndarray, np.ndarray | None], theirs: tuple[np.ndarray, np.ndarray | None]) -> bool:
    import numpy as np

    (boxes, classes), (wanted, wanted_classes) = ours, theirs
    if len(boxes) != len(wanted):
        return False
    if not len(boxes):
        return True
    allowed = overlaps(boxes, wanted) >= OVERLAP
    # two boxes without an area overlap only where they are the same
    allowed |= (boxes[:, None] == wanted[None]).all(axis=2)
    if classes is not None and wanted_classes is not None:
        allowed &= np.equal.outer(classes, wanted_classes)
    return _matching(allowed)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes, shapes [a, 4] and [b, 4], as corners x1, y1, x2, y2; shape [a, b], 0 to 1.

    Example:
        >>> import numpy as np
        >>> overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1], [5, 5, 6, 6]])).tolist()
        [[0.5, 0.0]]

    """
    import numpy as np

    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _sample(
    detections: Detections, outputs: Mapping[str, np.ndarray], place: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes [rows, 4] as corners, and the class of each where there are classes."""
    import numpy as np

    rows = np.asarray(outputs[detections.boxes][place], np.float64)
    scores: np.ndarray | None
    classes: np.ndarray | None
    if detections.columns is not None:
        box, score, kind = detections.columns
        boxes, scores, classes = rows[:, box], rows[:, score], rows[:, kind]
    else:
        boxes = rows.reshape(-1, 4)
        scores = np.asarray(outputs[detections.scores][place], np.float64).reshape(-1) if detections.scores else None
        classes = np.asarray(outputs[detections.classes][place]).reshape(-1) if detections.classes else None
    if scores is not None and len(scores) == len(boxes):
        kept = scores > 0
        boxes, classes = boxes[kept], classes[kept] if classes is not None and len(classes) == len(kept) else None
    return _corners(boxes), classes


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes as corners; boxes whose third and fourth number do not exceed the first two are a centre with a width and a height."""
    import numpy as np

    if not len(boxes) or (boxes[:, 2:] >= boxes[:, :2]).all():
        return boxes
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _inner(array: np.ndarray) -> tuple[int, ...] | None:
    """The shape of one row of each sample; ``None`` where samples have no rows."""
    first = array[0] if len(array) else array
    return tuple(first.shape[1:]) if getattr(first, "ndim", 0) >= 1 else None


def _rows(array: np.ndarray) -> tuple[int, ...]:
    """Number of rows of each sample."""
    return tuple(len(each) for each in array)


def _named(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name.lower() for word in words)


def _whole_type(array: np.ndarray) -> bool:
    return bool((array[0] if is_ragged(array) else array).dtype.kind in "iu")


def _looks_packed(array: np.ndarray, columns: tuple[slice, int, int]) -> bool:
    """Whether every row has a box with its corners in order, a score from 0 to 1 and an integer class."""
    import numpy as np

    found = [np.asarray(each, np.float64) for each in array]
    rows = np.concatenate(found) if found else np.zeros((0, 1))
    if not len(rows) or not np.isfinite(rows).all():
        return False
    box, score, kind = columns
    boxes, scores, classes = rows[:, box], rows[:, score], rows[:, kind]
    ordered = (boxes[:, 2:] >= boxes[:, :2]).all()
    shares = ((scores >= 0) & (scores <= 1)).all() and bool((scores > 0).any())
    return bool(ordered and shares and (classes == np.round(classes)).all() and (classes >= -1).all())
