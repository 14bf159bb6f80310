"""Detectors: the outputs that hold boxes, and COCO's average precision by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.accuracy.outputs import finite_rows, inner_shape, shown, widened
from workbench.accuracy.truth import Truth
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

ROLES = ("boxes", "scores", "classes")
ORDERED = 0.5
"""Mean IoU above which another order of a box's four numbers is assumed to be the right one..."""
BETTER = 0.2
"""...if it exceeds the mean IoU of the numbers as they are by this much."""
SHARED, FEWEST_PAIRS = 0.1, 20
"""Share of equal class numbers, of at least so many boxes in the same place, below which the numbers have another meaning."""
MOST = 100
"""Number of boxes of one image that count, those with the highest scores: COCO's largest maxDets."""
USUAL = {
    "boxes": ("detection_boxes", "boxes", "bboxes", "box"),
    "scores": ("detection_scores", "scores", "confidences", "score"),
    "classes": ("detection_classes", "classes", "labels", "class_ids", "class"),
}
"""Names of outputs, as TensorFlow's Object Detection API, torchvision and others give them."""

Outputs = Mapping[str, "np.ndarray"]


def parse_roles(text: str) -> dict[str, str]:
    """Output names by role, from ``boxes=…,scores=…,classes=…``; empty text gives none.

    >>> parse_roles("boxes=out_0,scores=out_1,classes=out_2")
    {'boxes': 'out_0', 'scores': 'out_1', 'classes': 'out_2'}

    Raises:
        InputError: another form, or a role that is missing.
    """
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    found = {role.strip(): name.strip() for role, _, name in parts}
    if parts and (set(found) != set(ROLES) or not all(found.values())):
        raise InputError(
            f"'box_outputs' names the outputs of a detector; found '{text}'. Write boxes=NAME,scores=NAME,classes=NAME."
        )
    return found


def roles_of(shapes: Mapping[str, Sequence[int | None]], named: Mapping[str, str]) -> dict[str, str]:
    """The outputs that hold boxes, scores and class numbers: as named, by usual names, or by shapes.

    Args:
        shapes: by output, the shape per sample.
        named: from :func:`parse_roles`; empty: recognized.

    Raises:
        InputError: an output is missing, or the outputs cannot be recognized.
    """
    if named:
        for role, name in named.items():
            if name not in shapes:
                raise InputError(
                    f"'box_outputs' names '{name}' for {role}. The model's outputs are: {', '.join(shapes)}."
                )
        return dict(named)
    plain = {name.rpartition("/")[2].partition(":")[0].lower(): name for name in shapes}
    found = {role: next((plain[name] for name in names if name in plain), "") for role, names in USUAL.items()}
    if not found["boxes"]:
        fours = [name for name, shape in shapes.items() if len(shape) == 2 and shape[-1] == 4]
        found["boxes"] = fours[0] if len(fours) == 1 else ""
    if not all(found.values()):
        missing = ", ".join(role for role in ROLES if not found[role])
        shapes_text = ", ".join(f"{name} {shown(shape)}" for name, shape in shapes.items())
        raise InputError(
            f"The labels are boxes, and no output was recognized for {missing}; the model's outputs are: {shapes_text} for each image. Set "
            "'box_outputs' to boxes=NAME,scores=NAME,classes=NAME."
        )
    return found


def parts(outputs: Outputs, truth: Truth) -> np.ndarray:
    """COCOeval's result for each image, as an array of objects, (n,): for each class its matches, or ``None``.

    Raises:
        InputError: the outputs are not boxes in pixels (x1, y1, x2, y2), scores and class numbers.
    """
    import numpy as np

    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as cause:
        raise InputError(
            "'box-map' needs the package 'pycocotools', which is not installed. Install it with: pip install pycocotools"
        ) from cause
    found = _detections(outputs, truth)
    _check(found, truth)
    categories = class_numbers(truth)
    images = [{"id": image + 1} for image in range(len(truth))]
    base = {"images": images, "categories": [{"id": number} for number in categories]}
    with contextlib.redirect_stdout(io.StringIO()):
        wanted, given = COCO(), COCO()
        wanted.dataset = {**base, "annotations": _annotations(truth)}
        given.dataset = {**base, "annotations": found}
        wanted.createIndex()
        given.createIndex()
        judged = _evaluation(COCOeval, [image["id"] for image in images], categories)
        judged.cocoGt, judged.cocoDt = wanted, given
        judged.evaluate()
    result = np.empty(len(truth), object)
    for image in range(len(truth)):
        result[image] = [judged.evalImgs[place * len(truth) + image] for place in range(len(categories))]
    return result


def class_numbers(truth: Truth) -> list[int]:
    """The class numbers of labelled boxes, ascending: those for which :func:`parts` has an entry in each image."""
    return sorted({int(number) for number in truth.values[:, 4]})


def _evaluation(kind: Any, images: list[int], categories: list[int]) -> Any:
    """COCO's evaluation for one number, AP: all areas together, and the most boxes an image."""
    judged = kind(iouType="bbox")
    judged.params.imgIds, judged.params.catIds = images, categories
    judged.params.areaRng, judged.params.areaRngLbl = judged.params.areaRng[:1], ["all"]
    judged.params.maxDets = [MOST]
    return judged


def mean_average_precision(parts: np.ndarray) -> float:
    """AP from the parts of images, by ``COCOeval.accumulate``, 0 to 1; classes without a box in these images are left out."""
    from pycocotools.cocoeval import COCOeval

    number = len(parts[0]) if len(parts) else 0
    judged = _evaluation(COCOeval, list(range(len(parts))), list(range(number)))
    judged._paramsEval = judged.params  # noqa: SLF001 - as evaluate() leaves it
    judged.evalImgs = [image[place] for place in range(number) for image in parts]
    if not any(each is not None for each in judged.evalImgs):
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        judged.accumulate()
    precision = judged.eval["precision"]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0


def _box(corners: Sequence[float]) -> list[float]:
    """COCO's x, y, width, height."""
    left, top, right, bottom = map(float, corners)
    return [left, top, right - left, bottom - top]


def _annotations(truth: Truth) -> list[dict[str, Any]]:
    assert truth.images is not None
    annotations = []
    for place, (row, image) in enumerate(zip(truth.values, truth.images, strict=True)):
        box = _box(row[:4])
        annotations.append({
            "id": place + 1, "image_id": int(image) + 1, "category_id": int(row[4]), "bbox": box,
            "area": box[2] * box[3], "iscrowd": int(row[5]),
        })  # fmt: skip
    return annotations


def _by_role(outputs: Outputs, truth: Truth) -> tuple[np.ndarray, ...]:
    """The outputs that hold boxes, scores and class numbers."""
    roles = roles_of({name: inner_shape(array) for name, array in outputs.items()}, dict(truth.roles))
    return tuple(outputs[roles[role]] for role in ROLES)


def _detections(outputs: Outputs, truth: Truth) -> list[dict[str, Any]]:
    """The boxes of all images in COCO's form; entries with a score of 0 or less are padding and are left out."""
    import numpy as np

    boxes, scores, classes = _by_role(outputs, truth)
    found: list[dict[str, Any]] = []
    for image in range(len(boxes)):
        corners, sure, numbers = (widened(np.asarray(each[image])) for each in (boxes, scores, classes))
        sure, numbers = sure.reshape(-1), numbers.reshape(-1)
        if corners.ndim != 2 or corners.shape[1] != 4 or not len(corners) == len(sure) == len(numbers):
            shapes_text = ", ".join(
                f"{role} {shown(np.shape(each[image]))}"
                for role, each in zip(ROLES, (boxes, scores, classes), strict=True)
            )
            raise InputError(
                f"'box-map' needs k boxes of four numbers with k scores and k class numbers for each image, and the outputs are: {shapes_text}. "
                "Set 'box_outputs'."
            )
        for place in np.flatnonzero(sure > 0):
            box = _box(corners[place])
            found.append({
                "id": len(found) + 1, "image_id": image + 1, "category_id": round(float(numbers[place])), "bbox": box,
                "area": box[2] * box[3], "score": float(sure[place]), "iscrowd": 0,
            })  # fmt: skip
    return found


def check_meaning(outputs: Outputs, truth: Truth) -> None:
    """Refuse labels of another meaning than the source model's boxes, which would give far too low a score without a message.

    Args:
        outputs: the source model's, samples that count.
        truth: boxes of the same samples.

    Raises:
        InputError: the four numbers of a box are in another order, or the class numbers differ.
    """
    found = _detections(outputs, truth)
    if found and len(truth.values):
        _check_order(found, truth)
        _check_classes(found, truth)


def _check(predictions: Sequence[Mapping[str, Any]], truth: Truth) -> None:
    """Refuse boxes in another form than the labels', which would give a score of 0 without a message."""
    import numpy as np

    if not predictions or not len(truth.values):
        return
    sizes = np.array([one["bbox"][2:] for one in predictions])
    ends = np.array([[one["bbox"][0] + one["bbox"][2], one["bbox"][1] + one["bbox"][3]] for one in predictions])
    if (sizes < 0).any():
        raise InputError(
            f"Boxes have to be corners, x1, y1, x2, y2, and {int((sizes < 0).any(axis=1).sum()):,} of {len(predictions):,} found boxes have "
            "x2 < x1 or y2 < y1. Export the model with corners in pixels."
        )
    found, labelled = ends.max(), truth.values[:, 2:4].max()
    reach = f"The model's boxes reach to {found:.3g} and the labels to {labelled:.3g}"
    if found <= 2 and labelled > 8:
        fix = "Export it with boxes in pixels, or save 'y_boxes' as shares as well."
        raise InputError(f"{reach}: the model seems to give shares of the image. {fix}")
    if found > 8 and labelled <= 2:
        raise InputError(f"{reach}: the labels seem to be shares of the image. Save 'y_boxes' in pixels.")
    ours, theirs = {one["category_id"] for one in predictions}, {int(number) for number in truth.values[:, 4]}
    if not ours & theirs:
        raise InputError(
            f"The model's class numbers ({_few(ours)}) and those of the labels ({_few(theirs)}) have none in common. Save 'y_class' "
            "with the model's numbers."
        )


def _check_order(predictions: Sequence[Mapping[str, Any]], truth: Truth) -> None:
    """Refuse labels whose four numbers differ in meaning from the model's: boxes overlap far better in another order.

    Raises:
        InputError: the message has the line that puts the labels in order.
    """
    import numpy as np

    assert truth.images is not None
    plain = truth.values[:, :4]
    orders = {
        "y_boxes = y_boxes[:, [1, 0, 3, 2]]": plain[:, [1, 0, 3, 2]],  # the model gives y first
        "y_boxes[:, 2:] += y_boxes[:, :2]": np.concatenate([plain[:, :2], plain[:, :2] + plain[:, 2:]], axis=1),
    }
    now = float(_best(predictions, plain, truth.images)[0].mean())
    best, line = max((float(_best(predictions, boxes, truth.images)[0].mean()), line) for line, boxes in orders.items())
    if best > ORDERED and best - now > BETTER:
        raise InputError(
            f"The model's boxes overlap those of the labels with a mean IoU of {now:.2f}, and of {best:.2f} with the labels' numbers in "
            f"another order. Write {line}."
        )


def _check_classes(predictions: Sequence[Mapping[str, Any]], truth: Truth) -> None:
    """Refuse class numbers that almost never agree for boxes in the same place.

    Raises:
        InputError: the message has the line that shifts the labels' numbers, where that helps.
    """
    assert truth.images is not None
    overlap, ours = _best(predictions, truth.values[:, :4], truth.images)
    there = overlap >= ORDERED
    ours, theirs = ours[there], truth.values[there, 4]
    if there.sum() < FEWEST_PAIRS or (ours == theirs).mean() >= SHARED:
        return
    shifts = {shift: float((ours == theirs + shift).mean()) for shift in (-1, 1)}
    shift = max(shifts, key=lambda each: shifts[each])
    fix = "Save 'y_class' with the model's numbers."
    if shifts[shift] > ORDERED:
        fix = f"They seem to begin at another number: write y_class = y_class {'+' if shift > 0 else '-'} 1."
    raise InputError(
        f"Of {int(there.sum()):,} labelled boxes that the model found, {(ours == theirs).mean():.0%} have the class number that the model "
        f"gives. {fix}"
    )


def _best(
    predictions: Sequence[Mapping[str, Any]], boxes: np.ndarray, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each labelled box the IoU with the best matching found box of the same image, and the class number of that box; 0 and -1
    if it does not exist.
    """
    import numpy as np
    from pycocotools import mask

    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for one in predictions:
        by_image.setdefault(one["image_id"] - 1, []).append(one)
    best, classes = np.zeros(len(boxes)), np.full(len(boxes), -1)
    for image, given in by_image.items():
        rows = np.flatnonzero(images == image)
        if len(rows):
            wanted = np.concatenate([boxes[rows, :2], boxes[rows, 2:] - boxes[rows, :2]], axis=1)
            overlaps = mask.iou(np.array([one["bbox"] for one in given]), wanted, np.zeros(len(rows), np.uint8))
            best[rows] = overlaps.max(axis=0)
            classes[rows] = np.array([one["category_id"] for one in given])[overlaps.argmax(axis=0)]
    return best, classes


def _few(numbers: set[int]) -> str:
    shown_ = [str(number) for number in sorted(numbers)[:5]]
    return ", ".join(shown_) + (" …" if len(numbers) > len(shown_) else "")


def finite(outputs: Outputs, truth: Truth) -> np.ndarray:
    """The images with only finite boxes, scores and class numbers, bool, (n,)."""
    import numpy as np

    return np.asarray(np.logical_and.reduce([finite_rows(array) for array in _by_role(outputs, truth)]))
