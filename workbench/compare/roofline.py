"""The position of each variant below this machine's roofline, and whether memory or arithmetic limits it.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures" (Communications
of the ACM 52(4), 2009): at most min(peak operations per second, operations per byte × bytes per second) can be attained.

The operations are those of :func:`workbench.graph.facts.graph_facts`. The bytes are the fewest that a call can move: every
weight once, in the smallest format that the engine has for any, and the model's inputs and outputs; what passes between layers
is taken to stay in the caches. Fewer bytes mean more operations per byte, and a roof that is not too low: a share of it is at
least what is said. Bytes come from the nearest place that holds them all, because calls of one engine follow each other.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.pairs import variant_name
from workbench.records import CPU, TEXT

if TYPE_CHECKING:
    from workbench.records import Model, Result, Results

BYTES = {"fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Bytes of one weight by the format that a layer computes in."""


class SampleWork(NamedTuple):
    """What one sample costs by the model alone."""

    flops: int  # a multiply-add counted as two
    parameters: int


class Placed(NamedTuple):
    """One row below its roof; ``why_not`` says why where it has none, and the numbers are 0 then."""

    name: str
    batch: int
    format: str = ""  # whose peak its roof is
    flops: float = 0.0  # of one call
    bytes: float = 0.0  # of one call, at least
    achieved: float = 0.0  # operations per second, by the median over the timed region
    attainable: float = 0.0
    bound: str = ""  # "compute", or the place where the bytes come from: "memory", "L3"
    why_not: str = ""

    @property
    def intensity(self) -> float:
        """Operations per byte, at most."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def share(self) -> float | None:
        """Of what is attainable; above 1 the peak was found too low, or the engine does fewer operations than were counted."""
        return self.achieved / self.attainable if self.attainable else None


def work(results: Results) -> SampleWork | None:
    """FLOPs and weights of one sample; ``None`` where the graph was not looked at or could not be counted."""
    facts: Any = (results.examination or {}).get("facts") or {}
    flops = facts.get("flops")
    return SampleWork(int(flops), int(facts["parameters"])) if flops else None


def placed(results: Results) -> tuple[Placed, ...]:
    """Every measured row, in the order of the results."""
    found = work(results)
    return tuple(_placed(results, row, found) for row in results.measured)


def _placed(results: Results, row: Result, work: SampleWork | None) -> Placed:
    name, timing, engine, peaks = variant_name(row.spec), row.timing, row.engine, results.peaks
    assert timing is not None
    assert engine is not None

    def without(why: str) -> Placed:
        return Placed(name, row.batch, why_not=why)

    if engine.device != CPU:
        return without("peaks of a GPU are not measured")
    if peaks is None:
        return without("the machine's peaks were not measured (roofline = true does it)")
    if work is None:
        return without("the model's operations could not be counted")
    formats = [name for name, count in engine.realized.layers.items() if count]
    best = {name: peak for name in formats if (peak := peaks.best(name))}
    if not best:
        unmeasured = ", ".join(formats) or "its format is not known"
        return without(f"no peak was measured for {unmeasured}{_absent(peaks.absent, formats)}")
    computed, peak = max(best.items(), key=lambda item: item[1].per_s)
    flops = float(work.flops * row.batch)
    moved = float(work.parameters * min(BYTES.get(name, 1) for name in formats) + _passed(results.model, row.batch))
    source = peaks.nearest(moved)
    by_bytes = source.per_s * flops / moved if source else float("inf")
    return Placed(
        name=name,
        batch=row.batch,
        format=computed,
        flops=flops,
        bytes=moved,
        achieved=flops / timing.median_s,
        attainable=min(peak.per_s, by_bytes),
        bound="compute" if peak.per_s <= by_bytes or source is None else source.what,
    )


def _absent(absent: dict[str, str], formats: list[str]) -> str:
    reasons = [absent[name] for name in formats if name in absent]
    return f": {reasons[0]}" if reasons else ""


def _passed(model: Model, batch: int) -> int:
    """Bytes of all inputs and outputs of one call, free axes at their usual size, as the operations were counted."""
    import numpy as np

    return sum(
        prod(spec.sized(batch)) * (spec.rows if spec in model.outputs else 1) * np.dtype(spec.dtype).itemsize
        for spec in (*model.inputs, *model.outputs)
        if spec.dtype != TEXT
    )
