"""Whether a model computes each sample by itself."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from workbench.data.synthetic import generated
from workbench.errors import InputError
from workbench.models.formats import Runner
from workbench.records import Model

if TYPE_CHECKING:
    import numpy as np

CLOSE = 1e-3
"""Differences up to this share of an output's largest value are put down to rounding: libraries add in another order for
another batch size."""


def mixed_outputs(model: Model, run: Runner) -> tuple[str, ...]:
    """Outputs of which one sample's result depends on the other samples of its batch, as by a softmax over the batch axis.

    The first samples of a random batch are run again as a smaller batch. ``model`` must have been probed: nothing is found
    where it ran at one batch size only, or where it answers the same batch differently each time.
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
            and _same(whole[spec.name], again[spec.name])
            and not _same(_first(whole[spec.name], few * spec.rows, spec.batch_axis), part[spec.name])
        )
    return ()


def _first(array: np.ndarray, count: int, axis: int) -> np.ndarray:
    import numpy as np

    return np.take(array, range(min(count, array.shape[axis])), axis=axis)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two outputs agree; text, and shapes that differ because sizes inside depend on the data, count as agreement."""
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
