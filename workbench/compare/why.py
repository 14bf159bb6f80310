"""Why a variant of lower precision is not faster than FP32: evidence with figures, ranked, each with the experiment that would
confirm it.

Nothing here is a verdict. A share says how much of the variant's own time the cause could account for at most, so that the
first line is the first thing to try.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from workbench import backends
from workbench.compare.advice import can_keep_layers
from workbench.compare.layer_view import aligned, transitions
from workbench.compare.pairs import comparison, variant_name
from workbench.compare.why_gpu import RANK, WORTH_TELLING, GpuEvidence, names_of, on_gpu, share_of
from workbench.errors import InputError
from workbench.records import CPU, Precision, Result, Results, Row, Verdict, methods
from workbench.records.layers import CONVERT, LAYOUT, OTHER, WEIGHTS, LayerProfile, LayerTime
from workbench.runs.layer_pass import can_profile
from workbench.system.machine import MULTIPLY

if TYPE_CHECKING:
    import pandas as pd

SLOWER = 1.1
TINY_FLOPS = 2e6
"""At the 100 to 120 GFLOP/s that the demo's convolutions reach in FP32 on one core of an AMD EPYC, such a layer is over in 20 µs:
calling a kernel and preparing its data then weigh as much as the arithmetic."""
FEW_PER_BYTE = 8.0
"""Operations for each byte of weights. A dense layer does 2 for each weight and sample: 0.5 a byte in FP32 at batch 1, 2 in INT8.
Below 8 (batch 16 in FP32, 4 in INT8) it is nearer to a matrix times a vector than to a product of matrices."""
IDLE = 0.75
"""Threads that are busy for less than this share of the time."""


@dataclass(frozen=True)
class Card:
    """A variant that is not faster than the FP32 variant of the same backend at the same batch, or on a GPU the FP16 one, and what speaks for which
    cause.
    """

    variant: str
    sibling: str
    batch: int
    verdict: str  # "slower" or "cannot tell"
    speedup: float | None
    low: float | None
    high: float | None
    evidence: tuple[GpuEvidence, ...]  # the strongest first
    missing: str = ""  # what would have to be measured for more

    @property
    def headline(self) -> str:
        """``onnxruntime int8, batch 1: ×0.90 [0.88, 0.93] slower than onnxruntime fp32``."""
        if self.speedup is None or self.low is None or self.high is None:
            return f"{self.variant}, batch {self.batch}: cannot tell whether it is faster than {self.sibling}"
        than = (
            f"slower than {self.sibling}"
            if self.verdict == Verdict.SLOWER
            else f"not clearly faster than {self.sibling}"
        )
        return f"{self.variant}, batch {self.batch}: ×{self.speedup:.2f} [{self.low:.2f}, {self.high:.2f}], {than}"


def explain(results: Results) -> tuple[Card, ...]:
    """A card for every measured variant of lower precision that is not faster than its FP32 sibling: same backend, mode and
    batch. Shares need times per layer (``layers=True`` in the experiment); without them only what is known of the machine and
    of the other batches is named.
    """
    profiles = {(each.engine_key, each.batch): each for each in results.layer_profiles}
    cards = []
    # a GPU computes in FP16 as fast as it is built for: rows of fewer bits are held against their FP16 sibling there, too
    for row, sibling in chain(_not_faster(results, Precision.FP32), _not_faster(results, Precision.FP16)):
        result = row.result
        mine = profiles.get((result.engine.key if result.engine else "", result.batch))
        other = profiles.get((sibling.engine.key if sibling.engine else "", sibling.batch))
        found = [*_general(results, result)]
        if mine is not None:
            floats = result.spec.method == methods.WEIGHTS  # as requested: not evidence of a cause
            leaving = _leaving(result, results)
            if result.device != CPU:
                found += on_gpu(result, mine, other, str(sibling.spec.precision))
            for change in CHANGES if result.device == CPU else ():
                found += change(mine, other, leaving)
            for rule in RULES if result.device == CPU else ():
                found += [] if floats and rule is _left_in_float else rule(mine)
        ranked = sorted(found, key=lambda each: -1.0 if each.share is None else -each.share)
        cards.append(
            Card(
                variant=variant_name(result.spec),
                sibling=variant_name(sibling.spec),
                batch=result.batch,
                verdict=row.verdict,
                speedup=row.speedup,
                low=row.low,
                high=row.high,
                evidence=tuple(ranked),
                missing=_missing(results, ((result, mine), (sibling, other))),
            )
        )
    return tuple(cards)


NOT_RECORDED = "Times per layer would show more; this imported run has none."
MISSING = "Times per layer would show more: run again with 'layers' set to true."


def _missing(results: Results, profiles: Iterable[tuple[Result, LayerProfile | None]]) -> str:
    """What to do for times per layer, or why there are none; "" where both rows have them."""
    without = [row for row, profile in profiles if profile is None]
    if results.imported:
        return NOT_RECORDED if without else ""
    for row in without:
        able = can_profile(row)
        if not able:
            return f"Times per layer would show more, and {row.spec.label} {able.reason}."
    if without and results.layer_profiles:  # it was set, and one went wrong
        return f"The layers of {without[0].spec.label} could not be timed; the run's log says why."
    return MISSING if without else ""


def _leaving(result: Result, results: Results) -> str:
    """How ``{which}`` layers of this variant are left in FP32, in a sentence; what can be done goes by what rewrote the model."""
    spec = result.spec
    if spec.backend not in backends.names():
        return f"Install the package that has the backend '{spec.backend}', to see what can be done."
    form = backends.get(spec.backend).source(spec, results.model)
    if not form.startswith("onnx:") or form.startswith("onnx:fp32"):
        return (
            f"{backends.get(spec.backend).title} chooses by itself what it computes in {spec.asked}: measure another backend, "
            "or another method."
        )
    again = "Name {which} in 'keep', which leaves them in FP32, and measure again"
    if can_keep_layers(spec):
        return f"{again}; workbench.mixed_precision(backend='{spec.backend}') searches for the best such list and times it."
    return f"{again}."


def _not_faster(results: Results, than: Precision) -> Iterator[tuple[Row, Result]]:
    """Rows of lower precision that are not faster than their sibling of this one, with that sibling; of several builds the first ones."""
    plain: dict[tuple[str, int], Result] = {}
    for timed in results.measured:
        if timed.spec.precision == than and (than == Precision.FP32 or timed.device != CPU):
            known = plain.get((timed.spec.address, timed.batch))
            first = known if known and known.spec.variant == timed.spec.variant else timed
            plain[timed.spec.address, timed.batch] = first
    reported = set()
    for name in dict.fromkeys(row.spec.variant for row in plain.values()):
        try:
            judged = comparison(results, name).rows
        except InputError:
            continue
        for row in judged:
            sibling = plain.get((row.result.spec.address, row.result.batch))
            mine = sibling is not None and sibling.spec.variant == name
            lower = RANK.get(str(row.result.spec.precision), 0) > RANK[than]
            this = (row.result.spec.variant, row.result.batch, name)
            if sibling is None or not mine or not lower or this in reported:
                continue
            if row.verdict in (Verdict.SLOWER, Verdict.CANNOT_TELL):
                reported.add(this)
                yield row, sibling


def _general(results: Results, result: Result) -> Iterator[GpuEvidence]:
    """What is known without times per layer."""
    spec, timing = result.spec, result.timing
    if spec.method == methods.WEIGHTS:
        yield GpuEvidence(
            "it computes in floats",
            None,
            f"{spec.asked} stores its weights in fewer bits and turns them back into floats in every call: smaller, not faster.",
            "Measure a method that computes in integers, such as int8 or int8-dynamic.",
        )
    needed = MULTIPLY.get(spec.precision, ()) if spec.method != methods.WEIGHTS else ()
    if result.device == CPU and needed and not set(needed) & set(results.machine.instructions):
        have = ", ".join(results.machine.instructions) or "none of those that matter for inference"
        yield GpuEvidence(
            f"this CPU has no instruction that multiplies in {str(spec.precision).upper()}",
            None,
            f"It has {have}, and would need one of {', '.join(needed)}; without them, products are computed in a wider format.",
            "Measure the same variants on a CPU that has one of them.",
        )
    if timing is not None and spec.threads > 1 and timing.cores_used < IDLE * spec.threads:
        idle = 1 - timing.cores_used / spec.threads
        yield GpuEvidence(
            "its threads wait for one another",
            idle,
            f"{spec.threads} threads kept {timing.cores_used:.1f} cores busy.",
            "Measure both with threads=1: if the ratio is better there, layers are too small to be divided among threads.",
        )
    if spec.threads > results.machine.cores:
        yield GpuEvidence(
            "there are more threads than cores",
            None,
            f"{spec.threads} threads on {results.machine.cores} cores.",
            f"Measure with threads={results.machine.cores}.",
        )


def _conversions(mine: LayerProfile, other: LayerProfile | None, leaving: str) -> Iterator[GpuEvidence]:
    share, before = mine.share(CONVERT), other.share(CONVERT) if other else 0.0
    if share - before < WORTH_TELLING:
        return
    table: pd.DataFrame = transitions(mine).sort_values("ms", ascending=False)
    worst = table.iloc[0]
    count = sum(layer.kind == CONVERT for layer in mine.layers)
    yield GpuEvidence(
        "conversions between number formats",
        share,
        f"{count} layers that quantize, dequantize or cast take {share:.0%} of the layers' time; most of it between "
        f"{worst['after']} and {worst['before']} ({worst['ms']:.3f} ms).",
        leaving.format(which="the nodes around the most expensive ones"),
    )


def _left_in_float(mine: LayerProfile) -> Iterator[GpuEvidence]:
    floats = [layer for layer in mine.layers if layer.kind == WEIGHTS and layer.precision in ("fp32", "fp64")]
    share = share_of(mine, floats)
    if share < WORTH_TELLING:
        return
    yield GpuEvidence(
        "layers with weights that stayed in FP32",
        share,
        f"{len(floats)} of {sum(layer.kind == WEIGHTS for layer in mine.layers)} take {share:.0%} of the layers' time: "
        f"{names_of(floats)}.",
        "Look whether they were left out on purpose (a list of nodes), or have no kernel in this format in this library; "
        "try another backend for the same file.",
    )


def _slower_layers(mine: LayerProfile, other: LayerProfile | None, leaving: str) -> Iterator[GpuEvidence]:
    """Layers that take longer than in FP32: kernels that this format does not suit, such as depthwise convolutions."""
    if other is None:
        return
    table = aligned(other, mine)
    weights = {layer.scope or layer.name for layer in mine.layers if layer.kind == WEIGHTS}
    slow = table[(table["difference ms"] > 0) & (table["ratio"] < 1 / SLOWER) & table["model layer"].isin(weights)]
    lost = float(slow["difference ms"].sum()) * 1e-3
    share = lost / sum(layer.median_s for layer in mine.layers)
    if share < WORTH_TELLING:
        return
    worst = slow.sort_values("difference ms", ascending=False).iloc[0]
    yield GpuEvidence(
        "layers that are slower than in FP32",
        share,
        f"{len(slow)} layers with weights take longer than their FP32 form, {lost * 1e3:.3f} ms in all; worst: "
        f"{worst['model layer']} ({worst.iloc[3]:.3f} → {worst.iloc[6]:.3f} ms).",
        leaving.format(which=f"exactly these ({_some(slow['nodes'])})"),
    )


def _tiny(mine: LayerProfile) -> Iterator[GpuEvidence]:
    tiny = [layer for layer in mine.layers if layer.kind == WEIGHTS and layer.flops and layer.flops < TINY_FLOPS]
    share = share_of(mine, tiny)
    if share < WORTH_TELLING:
        return
    yield GpuEvidence(
        "matrix products that are too small",
        share,
        f"{len(tiny)} layers with weights do fewer than {TINY_FLOPS / 1e6:.0f} million operations a call each, and take {share:.0%} "
        f"of the layers' time: {names_of(tiny)}.",
        f"Measure a larger batch, such as {8 * mine.batch}: if the ratio is better there, this is the cause.",
    )


def _memory(mine: LayerProfile) -> Iterator[GpuEvidence]:
    waiting = [
        layer
        for layer in mine.layers
        if layer.kind == WEIGHTS
        and layer.flops
        and layer.weight_elements
        and layer.flops / (layer.weight_elements * _bytes(layer)) < FEW_PER_BYTE
    ]
    share = share_of(mine, waiting)
    if share < WORTH_TELLING:
        return
    size = sum(layer.weight_elements * _bytes(layer) for layer in waiting)
    seconds = sum(layer.median_s for layer in waiting)
    rate = f" ({size / seconds / 1e9:.1f} GB/s)" if seconds else ""
    yield GpuEvidence(
        f"memory: weights are read for few operations at batch {mine.batch}",
        share,
        f"{len(waiting)} layers read {size / 1e6:.2f} MB of weights for under {FEW_PER_BYTE:.0f} operations a byte, and take {share:.0%} "
        f"of the layers' time{rate}.",
        f"Measure batch {8 * mine.batch}: the same weights serve more samples there, and time per sample should fall.",
    )


def _untouched(mine: LayerProfile) -> Iterator[GpuEvidence]:
    layers = [layer for layer in mine.layers if layer.kind in (OTHER, LAYOUT)]
    share = share_of(mine, layers)
    if share < 0.25:
        return
    moved = mine.share(LAYOUT)
    yield GpuEvidence(
        "work that no precision makes faster",
        share,
        f"Layers without weights take {share:.0%} of the layers' time, {moved:.0%} of it for moving data: {names_of(layers)}.",
        "Compare with a backend that fuses more of them; a smaller number format does not make them faster.",
    )


def _outside(mine: LayerProfile) -> Iterator[GpuEvidence]:
    share = 1 - mine.layers_s / mine.profiled_s
    if share < 0.2:
        return
    yield GpuEvidence(
        "time outside all layers",
        share,
        f"The layers account for {mine.layers_s * 1e3:.3f} of {mine.profiled_s * 1e3:.3f} ms of a profiled call; the rest is "
        "calling, copying, waiting and the profiling itself.",
        f"Measure a larger batch, such as {8 * mine.batch}, or the region 'compute', which leaves copies out.",
    )


RULES: tuple[Callable[[LayerProfile], Iterator[GpuEvidence]], ...] = (
    _left_in_float, _tiny, _memory, _untouched, _outside,
)  # fmt: skip
CHANGES: tuple[Callable[[LayerProfile, LayerProfile | None, str], Iterator[GpuEvidence]], ...] = (
    _conversions,
    _slower_layers,
)
"""Those whose experiment is to leave layers in FP32; how that is done depends on the variant's method."""


def _some(nodes: Iterable[str]) -> str:
    """Names of nodes as 'keep' takes them, the first of many."""
    names = [name for each in nodes for name in each.split(", ") if name]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _bytes(layer: LayerTime) -> int:
    return {"int8": 1, "fp16": 2, "bf16": 2}.get(layer.precision, 4)
