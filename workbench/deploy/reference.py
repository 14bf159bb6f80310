"""The reference of a deployment: inputs of some calls, and the answers of the engine that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.deploy.chosen import Chosen
from workbench.errors import InputError
from workbench.records import TEXT, Precision

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import TensorSpec

CALLS, SAMPLES, MOST_BYTES = 8, 64, 2**25
"""Fewest calls for small batches, the samples that they hold, and the size that all inputs have at most (but for one call)."""
DRIFT_SAMPLES = 750
TOLERANCES = {Precision.FP32: 1e-4}
LOWER = 0.05
"""Largest difference from the measured engine's answers that is accepted, as a share of the largest value. With integers another CPU
may round a value to the neighbouring step; wrong answers differ by far more."""


def tolerance(precision: Precision) -> float:
    """The tolerance for engines of this precision."""
    return TOLERANCES.get(precision, LOWER)


def check_tensors(chosen: Chosen) -> None:
    """Refuse tensors that a server cannot pass on, or whose rows do not belong to samples.

    Raises:
        InputError: the text names the tensor.
    """
    model = chosen.model
    for spec in (*model.inputs, *model.outputs):
        if spec.dtype == TEXT or spec.stored:
            kind = "text" if spec.dtype == TEXT else spec.stored
            raise InputError(
                f"'{spec.name}' holds {kind}, which is not deployed. Choose a signature with numbers of 8 to 64 bits."
            )
    for spec in model.outputs:
        array = chosen.outputs.get(spec.name)
        if array is None or array.dtype == object or spec.ragged_axis is not None or not _by_sample(spec):
            raise InputError(
                f"The rows of the output '{spec.name}' do not belong to one sample each, so that its answers cannot be checked where "
                "it is deployed. Deploy a model without it."
            )


def output_dtype(spec: TensorSpec) -> str:
    """The type of an output's arrays: quantized outputs are given as the real numbers that they represent."""
    return "float32" if spec.scale else spec.dtype


def drift_reference(chosen: Chosen) -> dict[str, np.ndarray]:
    """Arrays for ``drift.npz``: ``input:NAME`` and ``output:NAME`` of test samples, the first axis is the sample; what live samples are
    compared with. Without inputs that are not numbers.
    """
    inputs = {name: array for name, array in chosen.samples.inputs.items() if array.dtype.kind in "fiu"}
    one = sum(array[:1].nbytes for array in inputs.values())
    count = min(DRIFT_SAMPLES, chosen.samples.count, max(1, MOST_BYTES // max(1, one)))
    arrays = {f"input:{name}": array[:count] for name, array in inputs.items()}
    outputs = {spec.name: chosen.outputs[spec.name][:count].astype(output_dtype(spec)) for spec in chosen.model.outputs}
    return arrays | {f"output:{name}": array for name, array in outputs.items()}


def _by_sample(spec: TensorSpec) -> bool:
    return spec.batch_axis == 0 and spec.rows == 1 and spec.samples_per_row == 1


def reference(chosen: Chosen) -> dict[str, np.ndarray]:
    """Arrays for ``reference.npz``: ``input:NAME`` and ``output:NAME``, whose first axis is the call, each of the row's batch size."""
    import numpy as np

    samples, batch = chosen.samples, chosen.row.batch
    one = sum(array.nbytes for array in samples.feeds(0, batch).values())
    calls = max(1, min(max(CALLS, SAMPLES // batch), MOST_BYTES // max(1, one), -(-samples.count // batch)))
    feeds = [samples.feeds(call * batch, batch) for call in range(calls)]
    arrays = {f"input:{name}": np.stack([feed[name] for feed in feeds]) for name in feeds[0]}
    rows = np.arange(calls * batch).reshape(calls, batch) % samples.count
    for spec in chosen.model.outputs:
        arrays[f"output:{spec.name}"] = chosen.outputs[spec.name][rows].astype(output_dtype(spec))
    return arrays
