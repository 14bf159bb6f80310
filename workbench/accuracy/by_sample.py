"""Outputs of an engine for every sample: arrays by output name whose first axis is the sample, and their file.

Most outputs have the same shape for every sample and are one array [n, ...]. An output whose size follows the data
(NonMaxSuppression, NonZero) has a different shape for every sample. It is *ragged*: an array of objects [n], each of them an array
with the rows as its first axis. Text is an array of strings.

Integers are returned as int64, so that arithmetic on them does not wrap; the file stores them in the narrowest type. In the
file, an ``.npz`` without pickles, a ragged output is two arrays: ``ragged:<name>``, the values of all samples one after another,
and ``shapes:<name>``, the shape of each sample's array, int64 [n, axes].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.accuracy.outputs import by_row
from workbench.accuracy.outputs import widened as wide
from workbench.errors import RunError, during
from workbench.store.arrays import write_npz

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import TensorSpec

RAGGED, SHAPES = "ragged:", "shapes:"

Run = Callable[[Mapping[str, "np.ndarray"]], Mapping[str, "np.ndarray"]]
Feeds = Callable[[int, int], Mapping[str, "np.ndarray"]]
"""Inputs of a number of samples from a first one on; always full, continued from the first sample after the last."""


class NotBySampleError(RunError):
    """The rows of an output cannot be assigned to the samples of the batch."""


def of_all_samples(
    run: Run, feeds: Feeds, count: int, batch: int, outputs: Sequence[TensorSpec] = (), *, together: bool = False
) -> dict[str, np.ndarray]:
    """Run every sample once and return the outputs by name, with the sample as their first axis.

    Where the number of an output's rows follows the data, each sample is run in a batch of 1, whatever ``batch`` is. An engine
    that does not run at a batch of 1 is run at ``batch``. Rows with a known batch index (``TensorSpec.index_output``) are then
    assigned to their samples, and the index becomes 0, as in a batch of 1. For other such outputs the first axis is the call:
    an entry has the rows of ``batch`` samples, and the last one includes samples from the beginning where ``batch`` does not
    divide ``count``.

    Args:
        run: an open engine.
        feeds: inputs of the samples.
        count: the number of samples.
        batch: samples in a call; every call is full, because an engine may have a fixed batch.
        outputs: the model's; an output that is not listed has the batch on its first axis.
        together: run at ``batch`` even where a batch of 1 is possible.

    Returns:
        Integers as int64. Outputs that are the same for every batch are left out where there are others.

    Raises:
        RunError: a call failed, or a batch index is outside the batch.
    """
    layout = {spec.name: spec for spec in outputs}
    alone = batch == 1
    if not alone and not together and any(spec.ragged_axis is not None for spec in outputs):
        alone = _runs_alone(run, feeds)
    if not alone:
        calls = _calls(run, feeds, count, batch, layout)
        with during("join", "the outputs of all samples", RunError):
            found, unclear = _split_calls(calls, count, batch, layout)
            alone = bool(unclear) and not together and _runs_alone(run, feeds)
    if alone:
        calls = _calls(run, feeds, count, 1, layout)
        with during("join", "the outputs of all samples", RunError):
            found = {name: _joined(name, arrays, layout.get(name)) for name, arrays in calls.items()}
    return {name: widened(array) for name, array in found.items()}


def _runs_alone(run: Run, feeds: Feeds) -> bool:
    """Whether the engine runs at a batch of 1."""
    try:
        run(feeds(0, 1))
    except Exception:  # libraries raise errors of any class
        return False
    return True


def _calls(
    run: Run, feeds: Feeds, count: int, batch: int, layout: Mapping[str, TensorSpec]
) -> dict[str, list[np.ndarray]]:
    """The outputs of every call, by name."""
    import numpy as np

    whole = {name for name, spec in layout.items() if spec.batch_axis is None and spec.ragged_axis is None}
    calls: dict[str, list[np.ndarray]] = {}
    for start in range(0, count, batch):
        with during("run", f"samples {start} to {start + batch - 1}", RunError):
            found = run(feeds(start, batch))
        for name, array in found.items():
            if name not in whole or len(whole) >= len(found):
                calls.setdefault(name, []).append(np.array(array))
    return calls


def _split_calls(
    calls: Mapping[str, list[np.ndarray]], count: int, batch: int, layout: Mapping[str, TensorSpec]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The outputs of all samples, and the names of outputs whose rows fit neither the batch nor their description."""
    import numpy as np

    found, unclear = {}, []
    for name, arrays in calls.items():
        spec = layout.get(name)
        if spec is None or spec.ragged_axis is None:
            try:
                found[name] = np.concatenate([by_sample(name, array, spec, batch) for array in arrays])[:count]
            except NotBySampleError:
                found[name] = ragged([array if array.ndim else array.reshape(1) for array in arrays])
                unclear.append(name)
        elif spec.index_output in calls:
            index = layout[spec.index_output]
            pairs = zip(arrays, calls[spec.index_output], strict=True)
            found[name] = ragged([rows for pair in pairs for rows in _by_index(spec, index, *pair, batch)][:count])
        else:
            rows = [np.moveaxis(array, spec.ragged_axis, 0) for array in arrays]
            if spec.batch_axis is not None:
                axis = spec.batch_axis + (spec.batch_axis < spec.ragged_axis)
                rows = [one for array in rows for one in np.moveaxis(array, axis, 0)][:count]
            found[name] = ragged(rows)
    return found, unclear


def _by_index(
    spec: TensorSpec, index: TensorSpec, array: np.ndarray, indices: np.ndarray, batch: int
) -> list[np.ndarray]:
    """One output of one call as the rows of each of its samples, in the order of the samples."""
    import numpy as np

    assert spec.ragged_axis is not None
    assert index.ragged_axis is not None
    rows = np.array(np.moveaxis(array, spec.ragged_axis, 0), order="C")  # a copy: other outputs need the index as it is
    places = by_row(np.moveaxis(indices, index.ragged_axis, 0))[:, spec.index_column]
    wrong = places[~np.isin(places, range(batch))]
    if len(wrong) or len(places) != len(rows):
        wrong_text = f"{len(places)} rows" if len(places) != len(rows) else f"{wrong[0]} in column {spec.index_column}"
        raise RunError(
            f"The rows of the output '{spec.name}', {len(rows)} for a batch of {batch}, cannot be assigned to samples: the batch "
            f"index, output '{index.name}', has {wrong_text}. Use a batch of 1, or export the model with a dynamic batch."
        )
    if spec.name == index.name:
        by_row(rows)[:, spec.index_column] = 0
    return [rows[places == place] for place in range(batch)]


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
            except NotBySampleError:  # all samples have the same number of rows, which differs from the declared one
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
    """Whether this is an array of objects with one array for each sample; text is not."""
    import numpy as np

    return array.dtype == object and array.ndim == 1 and len(array) > 0 and isinstance(array[0], np.ndarray)


def by_call(outputs: Mapping[str, np.ndarray], count: int) -> list[str]:
    """Names of the outputs of ``count`` samples that have one entry for each call instead of each sample."""
    return [name for name, array in outputs.items() if is_ragged(array) and len(array) < count]


def widened(array: np.ndarray) -> np.ndarray:
    """An output, also a ragged one, in a type whose arithmetic does not wrap (:func:`workbench.accuracy.outputs.widened`)."""
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
        else:  # text is held as Python strings, which would need a pickle
            arrays[name] = array.astype(str) if array.dtype == object else narrowed(array)
    with path.open("wb") as file:
        write_npz(file, arrays)


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
