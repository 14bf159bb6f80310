"""Data files that are not arrays yet: a folder of images and a table, read into arrays by input name, once for all engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.choices.pixels import scaling
from workbench.data.samples import read_npz
from workbench.errors import InputError, brief
from workbench.records import TEXT

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import Model, TensorSpec

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
LABEL_COLUMNS = ("y", "label", "labels")
MOST_BYTES = 4 * 2**30
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training images from 0 to 1, by channel, as torchvision's pretrained models want them subtracted and divided."""


def arrays_of(path: Path, model: Model, pixels: str, group_column: str = "") -> tuple[dict[str, np.ndarray], str]:
    """The arrays in a data file by name (labels as ``y``), and what was done to make them, in words.

    Of a table ``group_column`` is read as it is, and is not among the inputs.

    Raises:
        InputError: missing, not readable, or not of the model's kind.
    """
    if path.is_dir():
        return _images(path, model, pixels)
    if path.suffix.lower() == ".csv":
        return _table(path, model, group_column), ""
    return read_npz(path), ""


def _images(folder: Path, model: Model, pixels: str) -> tuple[dict[str, np.ndarray], str]:
    """Images below ``folder``, in an order that is shuffled once and for all: calibration takes the first of them.

    A sub-folder is a class: its number where all sub-folders are numbers, else its place in the order of names, for which
    there have to be as many of them as the model has classes.
    """
    import numpy as np

    if len(model.inputs) != 1:
        raise InputError(
            f"A folder of images feeds one input, and the model has {len(model.inputs)}. Give an .npz file with the arrays by name."
        )
    spec = model.inputs[0]
    height, width, channels, first = _layout(spec)
    classes = _classes(folder, model)
    files = sorted(
        (path, number) for name, number in classes.items() for path in (folder / name).rglob("*") if _is_image(path)
    )
    if not files:
        raise InputError(
            f"'{folder}' holds no images ({', '.join(IMAGES)}). Put them there, one sub-folder for each class."
        )
    size = height * width * channels * np.dtype(spec.dtype).itemsize * len(files)
    if size > MOST_BYTES:
        raise InputError(
            f"{len(files):,} images of {height} × {width} take {size / 2**30:.1f} GiB, more than {MOST_BYTES // 2**30}. Give a "
            "folder with fewer."
        )
    order = np.random.default_rng(0).permutation(len(files))
    images = np.empty((len(files), *((channels, height, width) if first else (height, width, channels))), spec.dtype)
    for place, number in enumerate(order):
        pixel = _pixels(files[number][0], height, width, channels, pixels)
        images[place] = _stored(pixel.transpose(2, 0, 1) if first else pixel, spec)
    arrays = {spec.name: images, "image files": np.array([files[n][0].relative_to(folder).as_posix() for n in order])}
    told = f"; images cropped to the middle and resized to {width} × {height}, 0 to 255 as {pixels}"
    if list(classes) != ["."]:
        arrays["y"] = np.array([files[number][1] for number in order])
        shown = list(classes.items())[:5]
        told += f"; classes by folder: {', '.join(f'{name} is {number}' for name, number in shown)}"
        told += " …" if len(classes) > len(shown) else ""
    return arrays, told


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and path.is_file() and not path.name.startswith(".")


def _layout(spec: TensorSpec) -> tuple[int, int, int, bool]:
    """Height, width, channels, and whether the channels come first."""
    shape = spec.sized(1)
    if len(shape) != 4 or spec.batch_axis != 0 or spec.dtype == TEXT:
        raise InputError(
            f"The input {spec} takes no images: those are [batch × height × width × channels] or with the channels second. Give "
            "an .npz file."
        )
    first = shape[3] not in (1, 3)
    channels, height, width = (shape[1], shape[2], shape[3]) if first else (shape[3], shape[1], shape[2])
    if channels not in (1, 3):
        raise InputError(
            f"Images have 1 or 3 channels, and the input {spec} has neither first nor last so many. Give an .npz file."
        )
    return height, width, channels, first


def _classes(folder: Path, model: Model) -> dict[str, int]:
    """Class numbers by sub-folder; one "." where there are none."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        return {".": 0}
    if all(name.isdigit() for name in names):
        return {name: int(name) for name in names}
    told = {spec.shape[-1] for spec in model.outputs if len(spec.shape) == 2 and spec.shape[-1]}
    told |= {2} if 1 in told else set()
    if told and len(names) not in told:
        raise InputError(
            f"'{folder.name}' has {len(names)} sub-folders, and the model tells {max(told)} classes apart, so that names alone do "
            "not say which class is which. Name the sub-folders by class number, from 0."
        )
    return {name: number for number, name in enumerate(names)}


def _pixels(path: Path, height: int, width: int, channels: int, pixels: str) -> np.ndarray:
    """One image, float32, [height, width, channels], scaled."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
            values = np.asarray(fitted, np.float32).reshape(height, width, channels) / np.float32(255)
    except Exception as cause:
        raise InputError(
            f"The image '{path}' cannot be read: {brief(cause, 150)}. Take it out of the folder."
        ) from cause
    ends = scaling(pixels)
    if ends is None:
        mean, deviation = (np.array(each[:channels], np.float32) for each in (MEAN, DEVIATION))
        scaled = (values - mean) / deviation
    else:
        scaled = values * np.float32(ends[1] - ends[0]) + np.float32(ends[0])
    return np.asarray(scaled, np.float32)


def _stored(values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    import numpy as np

    if spec.dtype[0] == "f":
        return values.astype(spec.dtype)
    if spec.scale:  # stands for scale × (stored - zero_point)
        values = values / np.float32(spec.scale) + np.float32(spec.zero_point)
    ends = np.iinfo(spec.dtype)
    return np.clip(np.round(values), ends.min, ends.max).astype(spec.dtype)


def _table(path: Path, model: Model, group_column: str = "") -> dict[str, np.ndarray]:
    """The columns of a CSV file as inputs by name.

    An input of one value per sample is the column of its name; one of k values the columns ``name_0`` to ``name_<k-1>``, or
    where it is the only input all columns but the labels. Labels are in ``y``, ``label`` or ``labels``.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"The data '{path}' was not found. Give the path of a .csv file.")
    try:
        table: Any = pd.read_csv(path)
    except Exception as cause:
        raise InputError(
            f"'{path}' is not a readable CSV file: {brief(cause, 150)}. Save it with one line of names."
        ) from cause
    inputs = {spec.name for spec in model.inputs}
    label = next((name for name in LABEL_COLUMNS if name in table.columns and name not in inputs), None)
    rest = [name for name in table.columns if name not in (label, group_column or label)]
    arrays = {spec.name: _columns(table, spec, rest, path, single=len(model.inputs) == 1) for spec in model.inputs}
    if label is not None:
        arrays["y"] = _whole(table, [label], path)[:, 0]
    if group_column in table.columns:
        arrays[group_column] = table[group_column].to_numpy()
    return arrays


def _columns(table: Any, spec: TensorSpec, rest: list[str], path: Path, *, single: bool) -> np.ndarray:
    import numpy as np

    inner = [size for axis, size in enumerate(spec.shape) if axis != spec.batch_axis]
    count = int(np.prod([size or 0 for size in inner])) if inner else 1
    names = [f"{spec.name}_{number}" for number in range(count)]
    if count == 1 and spec.name in table.columns:
        names = [spec.name]
    elif single and not set(names) <= set(table.columns):
        names = rest
    missing = [name for name in names if name not in table.columns]
    if missing or len(names) != count or None in inner:
        found = f"column '{missing[0]}' is missing" if missing else f"there are {len(names)} columns for it"
        raise InputError(
            f"The input {spec} takes {count} values per line of '{path.name}', and {found}. Name the columns {spec.name}_0, "
            f"{spec.name}_1 and so on, and the labels y."
        )
    values = _whole(table, names, path)
    if spec.dtype == TEXT:
        return values.astype(str).reshape(-1, *inner)
    if values.dtype.kind not in "fiub":
        bad = next(name for name in names if table[name].dtype.kind not in "fiub")
        raise InputError(
            f"The column '{bad}' of '{path.name}' holds no numbers. Turn it into numbers first, as in training."
        )
    if spec.dtype[0] in "iu" and (values != np.round(values)).any():
        raise InputError(
            f"The input {spec} takes whole numbers, and '{path.name}' has others. Round them as in training."
        )
    return values.astype(spec.dtype).reshape(-1, *(size or 1 for size in inner))


def _whole(table: Any, names: list[str], path: Path) -> np.ndarray:
    """These columns as one array, [lines, columns], none of them empty."""
    empty = table[names].isna().any(axis=1)
    if empty.any():
        line = int(empty.to_numpy().argmax()) + 2
        raise InputError(f"Line {line} of '{path.name}' has an empty cell. Fill it or take the line out.")
    values: np.ndarray = table[names].to_numpy()
    return values
