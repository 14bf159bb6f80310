"""The classes of a folder of images by its sub-folders, and refusal of folders whose sub-folders are not classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.errors import InputError
from workbench.records import Model

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
TRAINING = {"train", "training", "trn", "trainset"}
OTHER_SPLITS = {
    "val",
    "valid",
    "validation",
    "valset",
    "test",
    "testing",
    "testset",
    "tst",
    "eval",
    "evaluation",
    "dev",
    "holdout",
}
"""Names of parts of a data set, in lower case. Sub-folders are not classes where all have such names, or where some are for
training and others for testing."""
BESIDE_SPLITS = {"set", "data", "dataset", "split", "images", "image", "imgs", "img", "part", "extra"}
"""Words that may be combined with such a name, as in "train_images"; digits may be as well, as in "val2017"."""
PICTURES = {"image", "images", "img", "imgs", "jpegimages", "pictures", "input", "inputs"}
TRUTHS = {"label", "labels", "mask", "masks", "annotation", "annotations", "segmentation", "segmentationclass", "target",
          "targets", "truth", "gt", "groundtruth"}  # fmt: skip
_NO_CLASSES = ("__MACOSX", "__pycache__")


def is_image(path: Path) -> bool:
    """Whether this is a file with the ending of an image format that is read."""
    return path.suffix.lower() in IMAGES and path.is_file() and not path.name.startswith(".")


def classes(folder: Path, model: Model) -> dict[str, int]:
    """Class numbers by name of sub-folder: the name itself where all names are numbers, else its index in the sorted names.

    Returns:
        One entry for each sub-folder; ``{".": 0}`` where there are none, and the images have no labels.

    Raises:
        InputError: the sub-folders are parts of a data set, are images and their masks, or contain folders; or their number
            differs from the model's number of classes.
    """
    names = _folders(folder)
    if not names:
        return {".": 0}
    _refuse_parts(folder, names)
    _refuse_deeper(folder, names)
    numbers = class_numbers(
        names, model, f"'{folder.name}' has {len(names)} sub-folders", "Name the sub-folders by class number, from 0."
    )
    if len(set(numbers.values())) < len(numbers):
        raise InputError(
            f"Two sub-folders of '{folder.name}' stand for the same class number ({', '.join(names[:5])}). Keep one of them."
        )
    return numbers


def class_numbers(names: Sequence[str], model: Model, found: str, remedy: str) -> dict[str, int]:
    """Class numbers by name: the name itself where all names are numbers, else its index.

    Args:
        names: of all classes, sorted.
        model: whose outputs give the number of classes.
        found: a phrase that says how many names there are, for messages.
        remedy: a sentence that says what to do where the model has another number of classes.

    Raises:
        InputError: the number of names differs from the model's number of classes.
    """
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    counts = {spec.shape[-1] for spec in model.outputs if len(spec.shape) == 2 and spec.shape[-1]}
    counts |= {2} if 1 in counts else set()
    if counts and len(names) not in counts:
        raise InputError(
            f"{found}, and the model has {max(counts)} classes, so that the names do not determine the class numbers. {remedy}"
        )
    return {name: number for number, name in enumerate(names)}


def named_classes(numbers: Mapping[str, int]) -> dict[int, str]:
    """The names of the classes by number; empty where they are numbers."""
    return {number: name for name, number in numbers.items() if not name.isdecimal()}


def class_names(folder: Path, model: Model) -> dict[int, str]:
    """The names of the classes by number; empty where the data are no folder of classes, or its sub-folders are named by number.

    Raises:
        InputError: as :func:`classes`.
    """
    if not folder.is_dir():
        return {}
    numbers = classes(folder, model)
    return {} if "." in numbers else named_classes(numbers)


def _folders(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in _NO_CLASSES
    )


def _refuse_parts(folder: Path, names: list[str]) -> None:
    lower = {name.lower() for name in names}
    train, other = ({name for name in names if _is_part(name, kind)} for kind in (TRAINING, OTHER_SPLITS))
    if (train and other) or train | other == set(names):
        raise InputError(
            f"The sub-folders of '{folder}' ({', '.join(names)}) are parts of a data set, not classes. Choose one of them, such as "
            f"'{folder / _preferred(names)}'."
        )
    if lower & PICTURES and lower & TRUTHS and lower <= PICTURES | TRUTHS:
        raise InputError(
            f"The sub-folders of '{folder}' ({', '.join(names)}) look like images and their truth, not classes. Give an .npz file "
            "with the images as x and the truth as y."
        )


def _is_part(name: str, kind: set[str]) -> bool:
    """Whether a folder's name is that of a part of a data set of this kind, such as "Train", "val2017" or "test_images"."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    return bool(words & kind) and words <= kind | BESIDE_SPLITS


def _preferred(names: list[str]) -> str:
    """The part to suggest: one for testing, else one that is not for training."""
    testing = [name for name in names if _is_part(name, OTHER_SPLITS)]
    return next(iter(testing or [name for name in names if not _is_part(name, TRAINING)] or names))


def _refuse_deeper(folder: Path, names: list[str]) -> None:
    """Refuse nested folders, where it is not clear which level contains the classes.

    A single sub-folder of the same name in every class, such as ``images``, is accepted.
    """
    inner = {name: {sub for sub in _folders(folder / name) if _holds_images(folder / name / sub)} for name in names}
    deeper = {sub for subs in inner.values() for sub in subs}
    if not deeper or (len(deeper) == 1 and all(len(subs) == 1 for subs in inner.values())):
        return
    name = next(name for name in names if inner[name])
    shown = [f"{name}/{sub}" for name in names for sub in sorted(inner[name])]
    raise InputError(
        f"The images of '{folder}' lie one level deeper than its sub-folders ({', '.join(shown[:4])}{' …' if len(shown) > 4 else ''}), "
        f"so that it is not clear which folders are the classes. Choose the folder whose sub-folders are the classes, such as "
        f"'{folder / _preferred([each for each in names if inner[each]] or [name])}', or put the images of each class directly into its folder."
    )


def _holds_images(folder: Path) -> bool:
    return any(is_image(path) for path in folder.rglob("*"))
