"""Labels and groups of a data file: the arrays that hold them, and their meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.accuracy import box_labels
from workbench.accuracy.label_settings import AUTO, Reading, Shape
from workbench.accuracy.metrics import Metric, accepted_text, top_k
from workbench.accuracy.reading import read_truth
from workbench.accuracy.truth import NO_LABEL, LabelKind, Truth
from workbench.data.array_names import NO_COLUMNS, Columns, existing, label_name
from workbench.data.classes import class_numbers, named_classes
from workbench.data.images import FILES
from workbench.data.samples import Samples
from workbench.errors import InputError, brief
from workbench.records import TEXT, Model

if TYPE_CHECKING:
    import numpy as np

COCO_FILE = "truth.json"
"""COCO's JSON in a folder of images; for an .npz file it is a file of the same name with the ending .json in the same folder."""


@dataclass(frozen=True)
class Labelling:
    """How labels are read: the metric (``None``: top-1), the settings, the arrays that hold labels and groups, and the order of the classes."""

    metric: Metric | None = None
    how: Reading = field(default_factory=Reading)
    columns: Columns = NO_COLUMNS
    class_order: tuple[str, ...] = ()  # by the model's number; empty: as the data number them


def output_shapes(model: Model) -> tuple[Shape, ...]:
    """Shapes of the model's outputs for scoring: the sample on the first axis, the rows of one sample together."""
    shapes = []
    for spec in model.outputs:
        sizes = (spec.rows, *spec.inner) if spec.rows > 1 else spec.inner
        shapes.append(Shape(spec.name, sizes, spec.dtype[0] in "iub" and not spec.scale))
    return tuple(shapes)


def labelled(
    samples: Samples, arrays: Mapping[str, np.ndarray], model: Model, labelling: Labelling, path: Path
) -> tuple[Samples, set[str], dict[int, str]]:
    """The samples with their labels and groups, the names of the arrays that hold these, and the names of classes that the labels give.

    Raises:
        InputError: the labels or groups do not fit the samples, the model or the metric.
    """
    taken = {*samples.inputs, *samples.constants}
    used: set[str] = set()
    groups = _groups(samples, arrays, labelling.columns.group, path)
    used |= {labelling.columns.group} if groups is not None else set()
    boxes = _boxes(
        samples, {name: array for name, array in arrays.items() if name not in taken}, model, labelling, path
    )
    if boxes is not None:
        return replace(samples, truth=boxes, groups=groups), used | {*box_labels.ARRAYS, FILES}, {}
    key = label_name(arrays, labelling.columns.label, taken, path)
    used.add(FILES)
    if key is None:
        return replace(samples, groups=groups), used, {}
    where = f"the labels '{key}' of '{path.name}'"
    given, names = numbered(arrays[key], model, labelling, where)
    truth = truth_of(given, samples.count, model, labelling, where)
    return replace(samples, labels=given, truth=truth, groups=groups), used | {key}, names


def numbered(given: np.ndarray, model: Model, labelling: Labelling, where: str) -> tuple[np.ndarray, dict[int, str]]:
    """Labels that name classes as numbers in alphabetical order, with the names; other labels as they are.

    An empty text is no label (-1).

    Raises:
        InputError: the number of names differs from the model's number of classes.
    """
    import numpy as np

    metric = labelling.metric or top_k(1)
    names_classes = metric.accepts is not None and LabelKind.CLASSES in metric.accepts
    single = given.ndim > 0 and given.size == len(given)
    text = given.dtype.kind in "USO" and single and labelling.how.labels in (AUTO, LabelKind.CLASSES)
    if not (names_classes and text) or any(spec.dtype == TEXT for spec in model.outputs):
        return given, {}
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in given.ravel()]
    found = sorted({*words, *(name for name in labelling.class_order if not name.isdecimal())} - {""})
    numbers = class_numbers(
        found,
        model,
        f"{where[0].upper()}{where[1:]} hold {len(found)} names",
        "Set 'class_order' to the names of all classes, in the order in which the model numbers them.",
    )
    values = np.array([numbers.get(word, NO_LABEL) for word in words], np.int64)
    return values, named_classes(numbers)


def no_inputs(arrays: Mapping[str, np.ndarray], model: Model, labelling: Labelling, path: Path) -> set[str | None]:
    """The names of arrays that hold labels or groups, or list files."""
    inputs = [spec.name for spec in model.inputs]
    label = label_name(arrays, labelling.columns.label, inputs, path)
    return {label, labelling.columns.group, FILES, *box_labels.ARRAYS}


def truth_of(given: np.ndarray, count: int, model: Model, labelling: Labelling, where: str) -> Truth:
    """The meaning of labels for ``count`` samples. Outputs that are random, or do not depend on weights, count if no other fits.

    Raises:
        InputError: their number differs, or they fit neither the model nor the metric.
    """
    if given.ndim == 0 or len(given) != count:
        found = f"{len(given)} labels" if given.ndim else "a single label"
        raise InputError(f"There are {count} samples but {found}: {where}. Save one label per sample.")
    shapes = output_shapes(model)
    meaningless = {spec.name for spec in model.outputs if spec.unreached or spec.name in model.varying}
    known = (
        tuple(each for each in shapes if each.name not in meaningless or each.name == labelling.how.output) or shapes
    )
    try:
        return read_truth(given, known, labelling.metric, labelling.how, where=where)
    except InputError:
        if known == shapes:
            raise
    return read_truth(given, shapes, labelling.metric, labelling.how, where=where)


def classes_of(samples: Samples) -> np.ndarray | None:
    """One class number for each sample, shape (n,), where the labels are classes; else the labels as they were saved."""
    truth = samples.truth
    if truth is not None and truth.class_per_sample:
        return truth.values
    return samples.labels


def _groups(samples: Samples, arrays: Mapping[str, np.ndarray], column: str, path: Path) -> np.ndarray | None:
    if not column:
        return None
    found = arrays[existing("group_column", column, arrays, path)]
    if found.shape not in ((samples.count,), (samples.count, 1)) or found.dtype.kind not in "iubUSO":
        raise InputError(
            f"'group_column' names '{column}' of '{path.name}', which is {found.dtype} {list(found.shape)} for {samples.count} samples. "
            "Save one whole number or text per sample."
        )
    return found.reshape(samples.count).astype(str) if found.dtype.kind in "USO" else found.reshape(samples.count)


def _boxes(
    samples: Samples, arrays: Mapping[str, np.ndarray], model: Model, labelling: Labelling, path: Path
) -> Truth | None:
    """Boxes, where the data have them and no other kind of labels was set."""
    metric = labelling.metric or top_k(1)
    coco = path / COCO_FILE if path.is_dir() else path.with_suffix(".json")
    wanted = labelling.how.labels == LabelKind.BOXES or LabelKind.BOXES in (metric.accepts or ())
    given = any(name in arrays for name in box_labels.ARRAYS[:1])
    others = label_name(arrays, labelling.columns.label, (), path) is not None
    if metric.accepts is None or not (wanted or (given and not others and labelling.how.labels == AUTO)):
        return None
    if wanted and labelling.how.labels not in (AUTO, LabelKind.BOXES):
        raise InputError(
            f"'{metric}' takes {accepted_text(metric)}, and 'labels' is set to '{labelling.how.labels}'. Set 'labels' to 'boxes', or choose "
            f"another 'metric'."
        )
    if not given and not coco.is_file():
        raise InputError(
            f"'box-map' compares boxes, and '{path.name}' has none. Save y_boxes, y_class and y_image, or COCO's JSON as '{coco.name}' "
            f"{'in' if path.is_dir() else 'next to'} it."
        )
    if LabelKind.BOXES not in metric.accepts:
        raise InputError(
            f"'{metric}' takes {accepted_text(metric)}, and the labels of '{path.name}' are boxes. Set 'metric' to one of: box-map."
        )
    roles = labelling.how.box_outputs
    if given:
        return box_labels.from_arrays(arrays, samples.count, roles, f"'{path.name}'")
    return _from_coco(coco, samples, arrays.get(FILES), model, roles)


def _from_coco(coco: Path, samples: Samples, files: np.ndarray | None, model: Model, roles: Mapping[str, str]) -> Truth:
    """Boxes of a JSON file. Its images are found by file name in a folder, and by their order in the JSON's list for arrays."""
    where = f"'{coco.name}'"
    try:
        content: Any = json.loads(coco.read_text(encoding="utf-8"))
        listed = [(image["id"], image) for image in content["images"]]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise InputError(f"{where} is not COCO's JSON with 'images' and 'annotations': {brief(cause, 100)}.") from cause
    if files is None:
        if len(listed) != samples.count:
            raise InputError(
                f"{where} lists {len(listed)} images, and there are {samples.count} samples. List one image per row, in order."
            )
        return box_labels.from_coco(
            content, {key: row for row, (key, _) in enumerate(listed)}, samples.count, roles, where
        )
    names = {str(name): row for row, name in enumerate(files)}
    rows, placed = {}, {}
    height, width = _image_size(model)
    for key, image in listed:
        row = names.get(str(image.get("file_name")))
        if row is None:
            continue
        rows[key] = row
        if not image.get("width") or not image.get("height"):
            raise InputError(
                f"The image '{image.get('file_name')}' of {where} has no width and height. Add both, in pixels."
            )
        placed[key] = box_labels.cropped(int(image["width"]), int(image["height"]), width, height)
    if len(rows) != samples.count:
        raise InputError(
            f"{where} names {len(rows)} of {samples.count} images of the folder. Add the others to its list, also those without boxes."
        )
    return box_labels.from_coco(content, rows, samples.count, roles, where, placed)


def _image_size(model: Model) -> tuple[int, int]:
    """Height and width of the model's input images, in pixels."""
    shape = model.inputs[0].sized(1)
    return (shape[2], shape[3]) if shape[3] not in (1, 3) else (shape[1], shape[2])
