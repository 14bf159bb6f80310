"""Checks whether a model computes samples independently, and the assignment of an output's rows to samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.accuracy.matching import same_rows
from workbench.accuracy.outputs import by_row
from workbench.data.synthetic import DRAWS, generated
from workbench.errors import InputError
from workbench.models.formats import Runner
from workbench.records import Model, TensorSpec

if TYPE_CHECKING:
    import numpy as np

CLOSE = 1e-3
"""Largest difference that counts as rounding, as a share of an output's largest value: the order of sums depends on the batch
size."""


def mixed_outputs(model: Model, run: Runner) -> tuple[str, ...]:
    """Outputs whose values for one sample depend on the other samples of the batch, as by a softmax over the batch axis.

    The first samples of a random batch are run again as a smaller batch. ``model`` must have been probed. Nothing is found
    where it ran at one batch size only, or where its outputs for the same batch differ between runs.
    """
    sizes = sorted(model.probe.worked)[:2] if model.probe else []
    if len(sizes) < 2:
        return ()
    few, many = sizes
    samples = generated(model.inputs, "random", many)
    with suppress(InputError):
        whole, again, part = run(samples.feeds(0, many)), run(samples.feeds(0, many)), run(samples.feeds(0, few))
        return tuple(
            spec.name
            for spec in model.outputs
            if spec.batch_axis is not None
            and spec.name not in model.varying  # two short random outputs can be equal by chance
            and _same(whole[spec.name], again[spec.name])
            and not _same(_first(whole[spec.name], few * spec.rows, spec.batch_axis), part[spec.name])
        )
    return ()


Outputs = Mapping[str, "np.ndarray"]


def with_sample_index(model: Model, run: Runner) -> Model:
    """``model`` with the column of the sample index for outputs whose number of rows follows the data.

    A column holds the index in the batch if exchanging the samples of a batch exchanges the rows with these numbers, and changes
    nothing else. The column may be in another output with the same number of rows. Where generated inputs give no rows, the column
    is taken from the file's operations (``index_output``, as for NonMaxSuppression).
    """
    batch = min((size for size in (model.probe.worked if model.probe else ()) if size > 1), default=0)
    follow = {
        spec.name: spec.ragged_axis
        for spec in model.outputs
        if spec.ragged_axis is not None and spec.name not in model.varying
    }
    if not batch or not follow:
        return model
    found: dict[str, dict[tuple[str, int], bool]] = {}
    for kind, seed in DRAWS:
        samples = generated(model.inputs, kind, batch, seed=seed)
        try:
            seen = tuple(_by_rows(run(samples.feeds(start, batch)), follow) for start in (0, 1))
        except InputError:  # the model does not take such values
            continue
        for name in follow:
            if all(len(outputs[name]) for outputs in seen):
                columns = dict(_index_columns(name, seen, batch))
                known = found.get(name, columns)
                found[name] = {each: known[each] or columns[each] for each in known if each in columns}
    return replace(model, outputs=tuple(_with_index(spec, found.get(spec.name)) for spec in model.outputs))


def _with_index(spec: TensorSpec, found: Mapping[tuple[str, int], bool] | None) -> TensorSpec:
    """The output with the first column that was confirmed; unchanged where no run had rows."""
    if found is None:
        return spec
    name, column = next((each for each, proven in found.items() if proven), ("", 0))
    return replace(spec, index_output=name, index_column=column)


def _by_rows(outputs: Outputs, follow: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The outputs in ``follow`` with the rows on the first of two axes."""
    import numpy as np

    return {name: by_row(np.moveaxis(outputs[name], axis, 0)) for name, axis in follow.items()}


def _index_columns(
    name: str, seen: tuple[dict[str, np.ndarray], ...], batch: int
) -> Iterator[tuple[tuple[str, int], bool]]:
    """The columns, as output and number, that may hold the sample's index, and whether these runs confirm it.

    In the second run each sample is one position earlier. Samples with equal rows confirm nothing.
    """
    import numpy as np

    first, second = seen
    for other, array in first.items():
        if array.dtype.kind not in "iuf" or any(len(outputs[other]) != len(outputs[name]) for outputs in seen):
            continue
        for column in range(array.shape[1]):
            places = [outputs[other][:, column] for outputs in seen]
            if not all(np.isin(each, range(batch)).all() for each in places):
                continue
            rest = [
                np.delete(outputs[name], column, axis=1) if other == name else outputs[name]
                for outputs in (first, second)
            ]
            same, differ = _moved(rest, places, batch)
            if same:
                yield (other, column), differ


def _moved(rest: list[np.ndarray], places: list[np.ndarray], batch: int) -> tuple[bool, bool]:
    """Whether the rows of each sample are the same in both runs, and whether the rows of two samples differ."""
    import numpy as np

    before = [rest[0][places[0] == (place + 1) % batch] for place in range(batch)]
    after = [rest[1][places[1] == place] for place in range(batch)]
    tolerance = CLOSE * float(np.abs(rest[0]).max(initial=0.0)) if rest[0].dtype.kind == "f" else 0.0
    same = all(same_rows(one, other, tolerance) for one, other in zip(before, after, strict=True))
    return same, any(not same_rows(one, other, tolerance) for one, other in itertools.pairwise(before))


def _first(array: np.ndarray, count: int, axis: int) -> np.ndarray:
    import numpy as np

    return np.take(array, range(min(count, array.shape[axis])), axis=axis)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two outputs agree. Text, and shapes that differ because sizes depend on the data, count as agreement."""
    import numpy as np

    if first.shape != second.shape or first.dtype.kind not in "fiub":
        return True
    a, b = first.astype(np.float64), second.astype(np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    if not known.any():
        return True
    return float(np.abs(a[known] - b[known]).max()) <= CLOSE * float(
        max(np.abs(a[known]).max(), np.abs(b[known]).max())
    )
