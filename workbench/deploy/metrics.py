"""What a served model counts: the buckets of its histograms, from what was measured and from the test samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.deploy.chosen import Chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from workbench.records import Model, Timing

DOUBLINGS = 8
"""The last bucket of seconds ends at so many doublings of the slowest percentile that is known."""
PERCENTS = (10, 25, 50, 75, 90, 95, 99)
DECILES = tuple(range(10, 100, 10))
MOST_CLASSES = 1000


def metrics(chosen: Chosen) -> dict[str, Any]:
    """What ``model.py`` reads as ``metrics``: ``seconds`` and, by input, ``mean`` and ``deviation`` are upper ends of buckets, the latter with
    the share of test samples up to each.

    Those of a sample's mean and deviation are the deciles of the test samples, so that a bucket holds a tenth of what was measured. An
    ``output`` is named where there is one with scores of two to a thousand classes.
    """
    batched = all(spec.batch_axis == 0 for spec in chosen.model.inputs)
    output = _scores(chosen.model)
    return {
        "seconds": seconds(chosen.timings),
        "inputs": _inputs(chosen) if batched else {},
        "output": output[0],
        "classes": output[1],
    }


def seconds(timings: Sequence[Timing]) -> list[float]:
    """Upper ends of buckets: percentiles of the calls of every batch size, and doublings of the largest."""
    import numpy as np

    ends: set[float] = set()
    for timing in timings:
        ends |= {float(each) for each in np.percentile(timing.samples_s, PERCENTS)}
    largest = max(ends)
    return _ascending([*ends, *(largest * 2**number for number in range(1, DOUBLINGS + 1))])


def _inputs(chosen: Chosen) -> dict[str, dict[str, dict[str, list[float]]]]:
    import numpy as np

    ends = {}
    for name, array in chosen.samples.inputs.items():
        if array.dtype.kind not in "fiu":
            continue
        rows = array[:1000].reshape(len(array[:1000]), -1).astype(np.float64)
        named = {"mean": rows.mean(1), "deviation": rows.std(1)}
        ends[name] = {kind: _buckets(values) for kind, values in named.items()}
    return ends


def _buckets(values: np.ndarray) -> dict[str, list[float]]:
    """``ends``, the deciles, and ``shares``, the part of the values up to each of them."""
    import numpy as np

    ends = _ascending(np.percentile(values, DECILES))
    return {"ends": ends, "shares": [float((values <= end).mean()) for end in ends]}


def _ascending(values: Sequence[float]) -> list[float]:
    """Different values of three digits, ascending; buckets must differ."""
    return sorted({float(f"{value:.3g}") for value in values})


def _scores(model: Model) -> tuple[str, int]:
    """The output with scores of classes, and how many; ("", 0) where there is not exactly one."""
    found = [
        (spec.name, spec.shape[1])
        for spec in model.outputs
        if len(spec.shape) == 2
        and spec.dtype.startswith("float")
        and spec.shape[1]
        and 2 <= spec.shape[1] <= MOST_CLASSES
    ]
    return (str(found[0][0]), int(found[0][1] or 0)) if len(found) == 1 else ("", 0)
