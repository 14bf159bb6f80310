"""What an engine gives for every sample: arrays by output name whose first axis is the sample, and their file.

Most outputs have one shape for every sample and are one array [n, ...]. An output whose size follows the data
(NonMaxSuppression, NonZero) has another shape for every sample. It is *ragged*: an array of objects [n], each an array of its own
with the rows as its first axis. Text is an array of strings.

Integers are given as int64, so that no arithmetic on them wraps; the file keeps them as narrow as the engine gave them. In the
file, an ``.npz`` without pickles, a ragged output is two arrays: ``ragged:<name>``, the values of all samples one after another,
and ``shapes:<name>``, the shape of each sample's array, int64 [n, axes].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.accuracy.outputs import widened as wide
from workbench.errors import RunError, during

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import TensorSpec

RAGGED, SHAPES = "ragged:", "shapes:"

Run = Callable[[Mapping[str, "np.ndarray"]], Mapping[str, "np.ndarray"]]
Feeds = Callable[[int, int], Mapping[str, "np.ndarray"]]
"""Inputs of so many samples, from a first one on; always full, beginning again at the end."""


class NotBySampleError(RunError):
    """The rows of an output cannot be assigned to the samples of the batch."""


def of_all_samples(
    run: Run, feeds: Feeds, count: int, batch: int, outputs: Sequence[TensorSpec] = ()
) -> dict[str, np.ndarray]:
    """Run every sample once; outputs by name with the sample as their first axis.

    Where the number of an output's rows follows the data, rows can be assigned to samples only if each is run alone: such models
    are run at a batch of 1, whatever ``batch`` is.

    Args:
        run: an open engine.
        feeds: inputs of the samples.
        count: the number of samples.
        batch: samples in a call; every call is full, because an engine may have a fixed batch.
        outputs: the model's; where nothing is said of one, its first axis is the batch.

    Returns:
        Integers as int64. Outputs that are the same for every batch are left out where there are others.

    Raises:
        RunError: a call failed, or the engine takes no batch of 1 where one is needed.
    """
    layout = {spec.name: spec for spec in outputs}
    if batch == 1:
        return {name: widened(array) for name, array in _run_all(run, feeds, count, 1, layout).items()}
    try:
        if any(spec.ragged_axis is not None for spec in outputs):
            raise NotBySampleError("An output has as many rows as the data asks for.")
        found = _run_all(run, feeds, count, batch, layout)
    except NotBySampleError as error:
        found = _alone(run, feeds, count, layout, error)
    return {name: widened(array) for name, array in found.items()}


def _alone(
    run: Run, feeds: Feeds, count: int, layout: Mapping[str, TensorSpec], error: NotBySampleError
) -> dict[str, np.ndarray]:
    try:
        run(feeds(0, 1))
    except Exception as cause:
        raise RunError(
            f"{error.message} Which rows belong to which sample is known only at a batch of 1, and this engine does not run with "
            "one. Set 'batches' to 1, or export the model with a dynamic batch."
        ) from cause
    return _run_all(run, feeds, count, 1, layout)


def _run_all(run: Run, feeds: Feeds, count: int, batch: int, layout: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    import numpy as np

    parts: dict[str, list[Any]] = {}
    whole = {name for name, spec in layout.items() if spec.batch_axis is None and spec.ragged_axis is None}
    for start in range(0, count, batch):
        with during("run", f"samples {start} to {start + batch - 1}", RunError):
            found = run(feeds(start, batch))
        left = min(batch, count - start)
        for name, array in found.items():
            if name in whole and len(whole) < len(found):
                continue
            array = np.asarray(array)  # noqa: PLW2901
            # a single sample's arrays are looked at when all are there: only then is it known whether their shapes differ
            kept = array if batch == 1 else by_sample(name, array, layout.get(name), batch)[:left]
            parts.setdefault(name, []).append(kept.copy())
    with during("join", "the outputs of all samples", RunError):
        if batch == 1:
            return {name: _joined(name, arrays, layout.get(name)) for name, arrays in parts.items()}
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def by_sample(name: str, array: np.ndarray, spec: TensorSpec | None, batch: int) -> np.ndarray:
    """One output of one call with the sample as its first axis.

    An output with several rows for each sample becomes [batch, rows, ...]; where several samples share a row, each gets it.

    Raises:
        NotBySampleError: the number of rows does not fit the batch.
    """
    import numpy as np

    if spec is not None and spec.batch_axis is None:
        return np.asarray(array)[np.newaxis]
    axis, rows, per = (spec.batch_axis or 0, spec.rows, spec.samples_per_row) if spec else (0, 1, 1)
    if array.ndim <= axis or array.shape[axis] * per != batch * rows:
        raise NotBySampleError(
            f"Output '{name}' has the shape {array.shape} for a batch of {batch}; axis {axis} should have "
            f"{batch * rows // per}."
        )
    moved = np.moveaxis(array, axis, 0)
    if per > 1:
        return np.repeat(moved, per, axis=0)
    return moved.reshape(batch, rows, *moved.shape[1:]) if rows > 1 else moved


def _joined(name: str, arrays: list[np.ndarray], spec: TensorSpec | None) -> np.ndarray:
    """The arrays of calls with one sample each as one: ragged where their shapes differ, or differ from what was declared."""
    import numpy as np

    if spec is None or spec.ragged_axis is None:
        shapes = {array.shape for array in arrays}
        if len(shapes) == 1:
            try:
                return np.concatenate([by_sample(name, array, spec, 1) for array in arrays])
            except NotBySampleError:  # every sample has as many rows as every other, though not as many as declared
                return np.stack(arrays)
    return ragged([_rows(array, arrays, spec) for array in arrays])


def _rows(array: np.ndarray, others: Sequence[np.ndarray], spec: TensorSpec | None) -> np.ndarray:
    """One sample's array with its rows as the first axis, without the axis of the batch of 1."""
    import numpy as np

    axis = spec.ragged_axis if spec else None
    if axis is None or axis >= array.ndim:
        sizes = [{other.shape[place] for other in others if other.ndim == array.ndim} for place in range(array.ndim)]
        axis = next((place for place, found in enumerate(sizes) if len(found) > 1), 0)
    if array.ndim == 0:
        return array.reshape(1)
    moved = np.moveaxis(array, axis, 0)
    batch = spec.batch_axis if spec else None
    if batch is None or batch == axis or array.ndim <= batch or array.shape[batch] != 1:
        return moved
    return moved.squeeze(axis=batch + 1 if batch < axis else batch)


def ragged(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of different shapes as one array of objects, one entry for each sample.

    Example:
        >>> import numpy as np
        >>> found = ragged([np.zeros((2, 3)), np.zeros((0, 3))])
        >>> found.shape, found[1].shape
        ((2,), (0, 3))
    """
    import numpy as np

    found = np.empty(len(arrays), dtype=object)
    for place, array in enumerate(arrays):
        found[place] = array
    return found


def is_ragged(array: np.ndarray) -> bool:
    """Whether this is an output with an array of its own for each sample; text is not."""
    import numpy as np

    return array.dtype == object and array.ndim == 1 and len(array) > 0 and isinstance(array[0], np.ndarray)


def widened(array: np.ndarray) -> np.ndarray:
    """An output in a type whose arithmetic does not wrap (:func:`workbench.accuracy.outputs.widened`), ragged ones too."""
    return ragged([widened(each) for each in array]) if is_ragged(array) else wide(array)


def narrowed(array: np.ndarray) -> np.ndarray:
    """Integers in the narrowest type that holds all of them, for a file."""
    import numpy as np

    if array.dtype != np.int64 or not array.size:
        return array
    return array.astype(np.result_type(np.min_scalar_type(array.min()), np.min_scalar_type(array.max())))


def save_outputs(outputs: Mapping[str, np.ndarray], path: Path) -> None:
    """Write outputs by sample as an ``.npz`` file that :func:`load_outputs` reads."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, array in outputs.items():
        if is_ragged(array):
            depth = max(each.ndim for each in array)
            arrays[RAGGED + name] = narrowed(np.concatenate([each.ravel() for each in array]))
            arrays[SHAPES + name] = np.array([(*each.shape, *(-1,) * (depth - each.ndim)) for each in array], np.int64)
        else:  # text is held as Python strings, which only a pickle could store
            arrays[name] = array.astype(str) if array.dtype == object else narrowed(array)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_outputs(path: Path) -> dict[str, np.ndarray]:
    """The inverse of :func:`save_outputs`."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found = {}
    for name, array in arrays.items():
        if name.startswith(RAGGED):
            plain = name.removeprefix(RAGGED)
            found[plain] = _split(widened(array), arrays[SHAPES + plain])
        elif not name.startswith(SHAPES):
            found[name] = widened(array)
    return found


def _split(values: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    import numpy as np

    kept = [tuple(int(size) for size in shape if size >= 0) for shape in shapes]
    ends = np.cumsum([int(np.prod(shape)) for shape in kept])
    return ragged([part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), kept, strict=True)])
