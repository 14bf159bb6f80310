"""Triton's model configuration of a deployment, made from what was measured.

The fields are those of ``model_config.proto`` of Triton's repository ``common``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.deploy.reference import output_dtype
from workbench.errors import InputError
from workbench.records import Deployment, Queue, Result, Timing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.records import Model, TensorSpec

TYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
"""Names of the v2 protocol by those of NumPy."""
DRAIN_S = 1.0
"""A full queue is worked off within this time at the speed that was measured."""
SHORTEST, LONGEST = 8, 1024
FEWEST = 3
"""Instances where requests are joined. The batcher of Triton 2.51 misses requests that arrive while its instances are busy, and looks
again after half a second. ``benchmarks/triton_stalls.py`` counted such requests: up to 3 % with one instance, 0.1 % with two, and none with
three or without batching.
"""


def type_of(dtype: str, name: str) -> str:
    """The protocol's name of a NumPy type.

    Raises:
        InputError: it has none.
    """
    if dtype not in TYPES:
        raise InputError(
            f"'{name}' has the type {dtype}, which the v2 protocol does not have. Deploy a model without it."
        )
    return TYPES[dtype]


def queue_of(row: Result, timings: Sequence[Timing], model: Model, cores: int) -> Queue:
    """How the server forms batches for a row.

    The batch that the row was measured at is preferred, and the largest batch that was measured is not exceeded. A lone request never
    waits for others. As many requests may wait as are answered in a second, and at least a batch. There are as many instances as there
    were callers where several were fastest under load, but no more than the cores serve; and at least :data:`FEWEST` where requests are
    joined.
    """
    batched = all(spec.batch_axis == 0 for spec in (*model.inputs, *model.outputs))
    timing = row.timing
    assert timing is not None
    largest = max([row.batch, *(one.batch for one in timings)])
    length = round(timing.queries_per_s * row.batch * DRAIN_S)
    best = row.load.best.concurrency if row.load and row.load.best else 1
    return Queue(
        max_batch=(row.spec.batch or largest) if batched else 0,
        preferred_batch=row.batch if batched else 0,
        delay_us=0,
        length=min(LONGEST, max(SHORTEST, row.batch, length)),
        instances=max(FEWEST if batched else 1, min(best, cores // row.spec.threads)),
    )


def config(deployment: Deployment, *, batching: bool | None = None, watch: Mapping[str, Any] | None = None) -> str:
    """``config.pbtxt`` for the Python backend; ``batching`` overrides whether requests are joined. Without, none is refused either.
    ``watch`` are the settings of ``watching.py``.
    """
    queue = deployment.queue
    lines = [
        f"name: {json.dumps(deployment.name)}",
        'backend: "python"',
        f"max_batch_size: {queue.max_batch}",
        *(_tensor("input", spec, spec.dtype, batched=queue.max_batch > 0) for spec in deployment.inputs),
        *(_tensor("output", spec, output_dtype(spec), batched=queue.max_batch > 0) for spec in deployment.outputs),
        f"instance_group [{{ kind: KIND_CPU count: {queue.instances} }}]",
        _warm_up(deployment),
    ]
    if queue.max_batch and (queue.batching if batching is None else batching):
        lines.append(_batching(queue))
    if watch:
        text = json.dumps(json.dumps(dict(watch)))  # a string within the text format
        lines.append(f'parameters [{{ key: "watch" value: {{ string_value: {text} }} }}]')
    return "\n".join(lines) + "\n"


def _tensor(role: str, spec: TensorSpec, dtype: str, *, batched: bool) -> str:
    sizes = [-1 if size is None else size for size in spec.shape[1 if batched else 0 :]]
    dims = ", ".join(map(str, sizes)) or "1"
    reshape = "" if sizes else " reshape { shape: [ ] }"
    kind = type_of(dtype, spec.name)
    return f"{role} [{{ name: {json.dumps(spec.name)} data_type: TYPE_{kind} dims: [{dims}]{reshape} }}]"


def _batching(queue: Queue) -> str:
    """The dynamic batcher, which joins requests, and refuses those that find its queue full."""
    policy = f"default_queue_policy {{ max_queue_size: {queue.length} timeout_action: REJECT }}"
    preferred = f"preferred_batch_size: [{queue.preferred_batch}] " if queue.preferred_batch > 1 else ""
    return f"dynamic_batching {{ {preferred}max_queue_delay_microseconds: {queue.delay_us} {policy} }}"


def _warm_up(deployment: Deployment) -> str:
    """One call with zeros before the server is ready, so that no client waits for what the first call of a shape costs."""
    batch = deployment.fixed_batch or deployment.batch
    batched = deployment.queue.max_batch > 0
    parts = []
    for spec in deployment.inputs:
        dims = ", ".join(map(str, spec.sized(batch)[1 if batched else 0 :])) or "1"
        kind = type_of(spec.dtype, spec.name)
        parts.append(
            f"inputs {{ key: {json.dumps(spec.name)} value: {{ data_type: TYPE_{kind} dims: [{dims}] zero_data: true }} }}"
        )
    size = f"batch_size: {batch} " if batched else ""
    return f'model_warmup [{{ name: "zeros" {size}{" ".join(parts)} }}]'
