"""Labelled boxes from arrays or from COCO's JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.accuracy.outputs import shown
from workbench.accuracy.truth import BOX_COLUMNS, LabelKind, Truth
from workbench.errors import InputError

ARRAYS = ("y_boxes", "y_class", "y_image")

Placed = Callable[[Sequence[float]], "tuple[float, float, float, float] | None"]
"""Converts corners x1, y1, x2, y2 in the image file to corners in the model's image; ``None`` for a box outside of it."""


def from_arrays(arrays: Mapping[str, np.ndarray], count: int, roles: Mapping[str, str], where: str) -> Truth:
    """Boxes from ``y_boxes`` (m, 4), corners x1, y1, x2, y2 in pixels; ``y_class`` (m,), class numbers as the model gives them;
    ``y_image`` (m,), the sample of each box, from 0.

    Raises:
        InputError: an array is missing or of another form.
    """
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise InputError(
            f"The boxes of {where} lack the array '{missing[0]}'. Save y_boxes [m × 4] (x1, y1, x2, y2 in pixels), y_class [m] and "
            "y_image [m]."
        )
    boxes, classes, images = (arrays[name] for name in ARRAYS)
    forms = (boxes.ndim == 2 and boxes.shape[1] == 4, classes.shape == (len(boxes),), images.shape == (len(boxes),))
    kinds = boxes.dtype.kind in "fiu", classes.dtype.kind in "iu", images.dtype.kind in "iu"
    if not all(forms) or not all(kinds):
        listed = ", ".join(
            f"{name} {array.dtype} {shown(array.shape)}"
            for name, array in zip(ARRAYS, (boxes, classes, images), strict=True)
        )
        raise InputError(
            f"The boxes of {where} are {listed}. Save y_boxes [m × 4], and y_class and y_image as whole numbers [m]."
        )
    values = np.zeros((len(boxes), BOX_COLUMNS))
    values[:, :4], values[:, 4] = boxes, classes
    if len(images) and (images.min() < 0 or images.max() >= count):
        raise InputError(
            f"'y_image' of {where} goes from {images.min()} to {images.max()}, and there are {count} samples, numbered from 0."
        )
    return _checked(values, images, count, roles, where)


def _checked(values: np.ndarray, images: Any, count: int, roles: Mapping[str, str], where: str) -> Truth:
    corners = values[:, :4]
    if not np.isfinite(corners).all():
        raise InputError(f"The boxes of {where} hold NaN or infinity. Remove them.")
    wrong = np.asarray((corners[:, 2:] < corners[:, :2]).any(axis=1))
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum()):,} of {len(wrong):,} boxes of {where} have x2 < x1 or y2 < y1. Save corners, x1, y1, x2, y2, in pixels."
        )
    if not len(corners):
        raise InputError(f"There are no boxes in {where}. Give images with boxes.")
    images = np.array(images, np.int64)
    return Truth(LabelKind.BOXES, values, images=images, number=count, roles=tuple(roles.items()))


def from_coco(
    content: Any,
    rows: Mapping[Any, int],
    count: int,
    roles: Mapping[str, str],
    where: str,
    placed: Mapping[Any, Placed] | None = None,
) -> Truth:
    """Boxes from COCO's JSON, as read: ``annotations`` with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``iscrowd``.

    Args:
        content: the JSON.
        rows: the sample of each image, by its id; boxes of images that are listed but have no sample are left out.
        count: number of samples.
        roles: outputs by role.
        where: the name of the JSON in messages.
        placed: by image id, the function that converts corners to the model's image; without it they stay.

    Raises:
        InputError: not COCO's form, an image that is listed twice, or a box of an image that is not listed.
    """
    found, images = [], []
    try:
        listed = Counter(image["id"] for image in content["images"])
        if twice := [key for key, number in listed.items() if number > 1]:
            raise InputError(f"{where} lists the image {twice[0]} more than once. Give every image a different id.")
        for one in content["annotations"]:
            if one["image_id"] not in listed:
                raise InputError(
                    f"{where} has a box of the image {one['image_id']}, which is not among its 'images'. Add the image, or remove the box."
                )
            if one["image_id"] not in rows:
                continue
            left, top, width, height = map(float, one["bbox"])
            corners: Sequence[float] | None = (left, top, left + width, top + height)
            if placed is not None:
                corners = placed[one["image_id"]](corners)  # type: ignore[arg-type]
            if corners is None:
                continue
            found.append([*corners, int(one["category_id"]), int(one.get("iscrowd", 0))])
            images.append(rows[one["image_id"]])
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise InputError(
            f"{where} is not in COCO's form: each of its 'annotations' needs image_id, category_id and bbox (x, y, width, height)."
        ) from cause
    values = np.array(found, np.float64).reshape(-1, BOX_COLUMNS)
    return _checked(values, images, count, roles, where)


def cropped(width: int, height: int, to_width: int, to_height: int) -> Placed:
    """The conversion of a box's corners for a crop to the middle with resizing (Pillow's ``ImageOps.fit``)."""
    ratio = to_width / to_height
    across, down = (ratio * height, float(height)) if width / height >= ratio else (float(width), width / ratio)
    left, top = (width - across) / 2, (height - down) / 2

    def placed(corners: Sequence[float]) -> tuple[float, float, float, float] | None:
        x = [min(max((corners[place] - left) * to_width / across, 0.0), float(to_width)) for place in (0, 2)]
        y = [min(max((corners[place] - top) * to_height / down, 0.0), float(to_height)) for place in (1, 3)]
        return (x[0], y[0], x[1], y[1]) if x[0] < x[1] and y[0] < y[1] else None

    return placed
