"""Samples: arrays by input name, given to engines in batches, and stored in ``.npz`` files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.accuracy.truth import Truth
from workbench.data.npz import map_npz
from workbench.errors import InputError, brief, writing
from workbench.store.arrays import write_npz

if TYPE_CHECKING:
    import numpy as np

_LABELS = "labels"
_INPUT, _CONSTANT, _AXIS = "input:", "constant:", "axis:"
_TEXT = "text:"
_TRUTH, _VALUES, _IMAGES, _GROUPS = "truth", "truth values", "truth images", "groups"
CHUNK_BYTES = 2**26
WHOLE = -1
"""Value in :attr:`Samples.axes` for an input without a batch axis: each sample is the whole input of one call."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs by name, first axis = sample, and labels where they are known.

    ``constants`` are inputs that are the same for every call, such as a sampling rate. ``axes`` gives the batch axis of
    inputs whose batch is not the first axis (a state of shape [2, batch, 128] is held as [n, 2, 128]).
    ``labels`` are the labels as they were saved, ``truth`` their meaning; ``groups`` names the group of each sample.
    """

    name: str
    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    axes: dict[str, int] = field(default_factory=dict)
    number: int = 1  # of samples, where all inputs are constants
    truth: Truth | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def count(self) -> int:
        return len(next(iter(self.inputs.values()))) if self.inputs else self.number

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names, dtypes, shapes and bytes of inputs and labels; the samples' own name is left out."""
        total = hashlib.sha256()
        for name, array in sorted(_arrays(self).items()):
            total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            if array.dtype == object:
                total.update(repr(array.tolist()).encode())
                continue
            for rows in chunks(array):
                total.update(rows.tobytes())
        return total.hexdigest()

    def take(self, chosen: slice | np.ndarray | list[int]) -> Samples:
        """The chosen samples, in that order."""
        inputs = {name: array[chosen] for name, array in self.inputs.items()}
        number = self.number if inputs or not isinstance(chosen, slice) else len(range(self.number)[chosen])
        labels, groups = (None if each is None else each[chosen] for each in (self.labels, self.groups))
        truth = None if self.truth is None else self.truth.take(chosen)
        return replace(self, inputs=inputs, labels=labels, truth=truth, groups=groups, number=number)

    @cached_property
    def truth_digest(self) -> str:
        """SHA-256 over the meaning of the labels and over the groups; "" where there is neither."""
        if self.truth is None and self.groups is None:
            return ""
        total = hashlib.sha256((self.truth.digest if self.truth else "").encode())
        if self.groups is not None:
            total.update(json.dumps(self.groups.tolist()).encode())
        return total.hexdigest()

    def feeds(self, start: int, size: int) -> dict[str, np.ndarray]:
        """Exactly ``size`` samples from ``start`` on, continued from the first sample after the last; C-contiguous copies."""
        import numpy as np

        return self.feeds_of(np.arange(start, start + size) % self.count)

    def feeds_of(self, chosen: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The samples of these numbers, in that order; C-contiguous copies."""
        import numpy as np

        rows, feeds = np.asarray(chosen), {}
        for name, array in self.inputs.items():
            axis = self.axes.get(name, 0)
            feeds[name] = _contiguous(array[rows[0]] if axis == WHOLE else np.moveaxis(array[rows], 0, axis))
        return feeds | {name: array.copy() for name, array in self.constants.items()}


def _contiguous(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.require(array, requirements=["C", "A"])  # unlike ascontiguousarray it leaves scalars without axes


def chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """``array`` in consecutive parts of its first axis of about 64 MiB, so that work on them needs no copy of the whole."""
    if array.ndim == 0:
        yield array
        return
    step = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _arrays(samples: Samples) -> dict[str, np.ndarray]:
    import numpy as np

    arrays = {_INPUT + name: array for name, array in samples.inputs.items()}
    arrays |= {_CONSTANT + name: array for name, array in samples.constants.items()}
    arrays |= {_AXIS + name: np.array(axis) for name, axis in samples.axes.items()}
    return arrays if samples.labels is None else {**arrays, _LABELS: samples.labels}


def _extras(samples: Samples) -> dict[str, np.ndarray]:
    """The arrays that the digest leaves out: it covers the inputs and the labels as they were saved."""
    truth = samples.truth
    found = {_GROUPS: samples.groups}
    found |= {_VALUES: truth.values, _IMAGES: truth.images} if truth is not None else {}
    return {name: array for name, array in found.items() if array is not None}


def save_samples(samples: Samples, path: Path) -> None:
    """Write ``samples`` as an uncompressed ``.npz`` file that :func:`load_samples` reads."""
    import numpy as np

    arrays: dict[str, Any] = {"name": np.array(samples.name), "number": np.array(samples.number)}
    if samples.truth is not None:
        arrays[_TRUTH] = np.array(json.dumps(samples.truth.head()))
    for key, array in (_arrays(samples) | _extras(samples)).items():
        # text is held as Python strings, which would need a pickle; fixed-width text does not
        arrays |= {_TEXT + key: array.astype(str)} if array.dtype == object else {key: array}
    with writing(path), path.open("wb") as file:
        write_npz(file, arrays)


def load_samples(path: Path) -> Samples:
    """The inverse of :func:`save_samples`. Large arrays are mapped from the file, not copied into memory."""
    arrays = map_npz(path)
    for key in [key for key in arrays if key.startswith(_TEXT)]:
        arrays[key.removeprefix(_TEXT)] = arrays.pop(key).astype(object)
    parts = {
        mark: {key.removeprefix(mark): array for key, array in arrays.items() if key.startswith(mark)}
        for mark in (_INPUT, _CONSTANT, _AXIS)
    }
    if not (parts[_INPUT] or parts[_CONSTANT]) or "name" not in arrays or "number" not in arrays:
        raise InputError(f"'{path}' was not written by the workbench ({brief(ValueError(', '.join(arrays)))}).")
    labels, truth = arrays.get(_LABELS), None
    if _TRUTH in arrays:
        truth = Truth.of(json.loads(str(arrays[_TRUTH])), arrays[_VALUES], labels, arrays.get(_IMAGES))
    return Samples(
        str(arrays["name"]),
        parts[_INPUT],
        labels,
        parts[_CONSTANT],
        {name: int(axis) for name, axis in parts[_AXIS].items()},
        int(arrays["number"]),
        truth,
        arrays.get(_GROUPS),
    )
