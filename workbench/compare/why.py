"""Why a variant of lower precision is not faster than FP32: evidence with figures, ranked, each with the experiment that would
confirm it.

Nothing here is a verdict. A share says how much of the variant's own time the cause could account for at most, so that the
first line is the first thing to try.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from workbench import backends
from workbench.choices import methods
from workbench.choices.methods import method_of
from workbench.compare.layer_view import aligned, transitions
from workbench.compare.pairs import comparison, variant_name
from workbench.errors import InputError
from workbench.records import CPU, Precision, Result, Results, Row, Verdict
from workbench.records.layers import CONVERT, LAYOUT, OTHER, WEIGHTS, LayerProfile, LayerTime
from workbench.runs.layer_pass import can_profile

if TYPE_CHECKING:
    import pandas as pd

WORTH_TELLING = 0.05
"""Causes that account for less than this share of the time are left out."""
SLOWER = 1.1
TINY_FLOPS = 2e6
"""At the 100 to 120 GFLOP/s that the demo's convolutions reach in FP32 on one core of an AMD EPYC, such a layer is over in 20 µs:
calling a kernel and preparing its data then weigh as much as the arithmetic."""
SEARCHED = ("onnxruntime", "openvino")
"""Backends with which ``workbench.mixed_precision`` tries static INT8, the only method that it tries."""
FEW_PER_BYTE = 8.0
"""Operations for each byte of weights. A dense layer does 2 for each weight and sample: 0.5 a byte in FP32 at batch 1, 2 in INT8.
Below 8 (batch 16 in FP32, 4 in INT8) it is nearer to a matrix times a vector than to a product of matrices."""
IDLE = 0.75
"""Threads that are busy for less than this share of the time."""
NEEDS: dict[Precision, tuple[str, ...]] = {
    Precision.INT8: ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
    Precision.BF16: ("avx512_bf16", "amx_bf16", "bf16"),
    Precision.FP16: ("avx512_fp16", "amx_fp16", "asimd"),
}
"""Instructions that multiply in this format; one of them is enough. Names as in /proc/cpuinfo."""


@dataclass(frozen=True)
class Evidence:
    """One possible cause."""

    cause: str
    share: float | None  # of the variant's time that it could account for at most, 0 to 1; None: it touches all of it
    told: str  # the figures, in a sentence
    experiment: str  # what would confirm it, in a sentence


@dataclass(frozen=True)
class Card:
    """A variant that is not faster than the FP32 variant of the same backend at the same batch, and what speaks for which cause."""

    variant: str
    sibling: str
    batch: int
    verdict: str  # "slower" or "cannot tell"
    speedup: float | None
    low: float | None
    high: float | None
    evidence: tuple[Evidence, ...]  # the strongest first
    missing: str = ""  # what would have to be measured for more

    @property
    def headline(self) -> str:
        """``onnxruntime int8, batch 1: ×0.90 [0.88, 0.93] slower than onnxruntime fp32``."""
        if self.speedup is None or self.low is None or self.high is None:
            return f"{self.variant}, batch {self.batch}: whether it is faster than {self.sibling} cannot be told"
        than = (
            f"slower than {self.sibling}"
            if self.verdict == Verdict.SLOWER
            else f"not clearly faster than {self.sibling}"
        )
        return f"{self.variant}, batch {self.batch}: ×{self.speedup:.2f} [{self.low:.2f}, {self.high:.2f}], {than}"


def why_not_faster(results: Results) -> tuple[Card, ...]:
    """A card for every measured variant of lower precision that is not faster than its FP32 sibling: same backend, mode and
    batch. Shares need times per layer (``layers=True`` in the experiment); without them only what is known of the machine and
    of other batches is told.
    """
    profiles = {(each.engine_key, each.batch): each for each in results.layer_profiles}
    cards = []
    for row, sibling in _disappointing(results):
        result = row.result
        mine = profiles.get((result.engine.key if result.engine else "", result.batch))
        other = profiles.get((sibling.engine.key if sibling.engine else "", sibling.batch))
        found = [*_general(results, result)]
        if mine is not None:
            floats = result.spec.method == methods.WEIGHTS  # as it was asked for: no evidence of anything
            leaving = _leaving(result, results)
            for change in CHANGES:
                found += change(mine, other, leaving)
            for rule in RULES:
                found += [] if floats and rule is _left_in_float else rule(mine, other)
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


MISSING = "Times per layer would tell more: run again with 'layers' set to true."


def _missing(results: Results, profiles: Iterable[tuple[Result, LayerProfile | None]]) -> str:
    """What to do for times per layer, or why there are none; "" where both rows have them."""
    without = [row for row, profile in profiles if profile is None]
    for row in without:
        able = can_profile(row)
        if not able:
            return f"Times per layer would tell more, and {row.spec.label} {able.reason}."
    if without and results.layer_profiles:  # it was set, and one went wrong
        return f"The layers of {without[0].spec.label} could not be timed; the run's log says why."
    return MISSING if without else ""


def _leaving(result: Result, results: Results) -> str:
    """How ``{which}`` layers of this variant are left in FP32, in a sentence; what can be done goes by what rewrote the model."""
    spec = result.spec
    form = backends.get(spec.backend).source(spec, results.model)
    if not form.startswith("onnx:") or form.startswith("onnx:fp32"):
        return (
            f"{backends.get(spec.backend).title} chooses by itself what it computes in {spec.asked}: measure another backend, "
            "or another method."
        )
    again = "Name {which} in 'keep', which leaves them in FP32, and measure again"
    static = method_of(spec.asked).calibrated and spec.precision == Precision.INT8
    if static and spec.backend in SEARCHED and not spec.mode:
        return f"{again}; workbench.mixed_precision(backend='{spec.backend}') searches for the best such list and times it."
    return f"{again}."


def _disappointing(results: Results) -> Iterator[tuple[Row, Result]]:
    """Rows of lower precision that are not faster than their FP32 sibling, with that sibling."""
    plain = {
        (row.spec.backend_and_mode, row.batch): row for row in results.measured if row.spec.precision == Precision.FP32
    }
    for name in dict.fromkeys(variant_name(row.spec) for row in plain.values()):
        try:
            judged = comparison(results, name).rows
        except InputError:
            continue
        for row in judged:
            sibling = plain.get((row.result.spec.backend_and_mode, row.result.batch))
            mine = sibling is not None and variant_name(sibling.spec) == name
            lower = row.result.spec.precision != Precision.FP32
            if sibling is not None and mine and lower and row.verdict in (Verdict.SLOWER, Verdict.CANNOT_TELL):
                yield row, sibling


def _general(results: Results, result: Result) -> Iterator[Evidence]:
    """What is known without times per layer."""
    spec, timing = result.spec, result.timing
    if spec.method == methods.WEIGHTS:
        yield Evidence(
            "it computes in floats",
            None,
            f"{spec.asked} stores its weights in fewer bits and turns them back into floats in every call: smaller, not faster.",
            "Measure a method that computes in integers, such as int8 or int8-dynamic.",
        )
    needed = NEEDS.get(spec.precision, ()) if spec.method != methods.WEIGHTS else ()
    if result.device == CPU and needed and not set(needed) & set(results.machine.instructions):
        have = ", ".join(results.machine.instructions) or "none that matter here"
        yield Evidence(
            f"this CPU has no instruction that multiplies in {str(spec.precision).upper()}",
            None,
            f"It has {have}, and would need one of {', '.join(needed)}; without, products are put together from wider ones.",
            "Measure the same variants on a CPU that has one of them.",
        )
    if timing is not None and spec.threads > 1 and timing.cores_used < IDLE * spec.threads:
        idle = 1 - timing.cores_used / spec.threads
        yield Evidence(
            "its threads wait for one another",
            idle,
            f"{spec.threads} threads kept {timing.cores_used:.1f} cores busy.",
            "Measure both with threads=1: if the ratio is better there, layers are too small to be shared out.",
        )
    if spec.threads > results.machine.cores:
        yield Evidence(
            "there are more threads than cores",
            None,
            f"{spec.threads} threads on {results.machine.cores} cores.",
            f"Measure with threads={results.machine.cores}.",
        )


def _conversions(mine: LayerProfile, other: LayerProfile | None, leaving: str) -> Iterator[Evidence]:
    share, before = mine.share(CONVERT), other.share(CONVERT) if other else 0.0
    if share - before < WORTH_TELLING:
        return
    table: pd.DataFrame = transitions(mine).sort_values("ms", ascending=False)
    worst = table.iloc[0]
    count = sum(layer.kind == CONVERT for layer in mine.layers)
    yield Evidence(
        "conversions between number formats",
        share,
        f"{count} layers that quantize, dequantize or cast take {share:.0%} of the layers' time; most of it between "
        f"{worst['after']} and {worst['before']} ({worst['ms']:.3f} ms).",
        leaving.format(which="the nodes around the most expensive ones"),
    )


def _left_in_float(mine: LayerProfile, other: LayerProfile | None) -> Iterator[Evidence]:  # noqa: ARG001 - one signature
    floats = [layer for layer in mine.layers if layer.kind == WEIGHTS and layer.precision in ("fp32", "fp64")]
    share = _share(mine, floats)
    if share < WORTH_TELLING:
        return
    yield Evidence(
        "layers with weights that stayed in FP32",
        share,
        f"{len(floats)} of {sum(layer.kind == WEIGHTS for layer in mine.layers)} take {share:.0%} of the layers' time: "
        f"{_names(floats)}.",
        "Look whether they were left out on purpose (a list of nodes), or have no kernel in this format in this library; "
        "try another backend for the same file.",
    )


def _slower_layers(mine: LayerProfile, other: LayerProfile | None, leaving: str) -> Iterator[Evidence]:
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
    yield Evidence(
        "layers that are slower than in FP32",
        share,
        f"{len(slow)} layers with weights take longer than their FP32 form, {lost * 1e3:.3f} ms in all; worst: "
        f"{worst['model layer']} ({worst.iloc[3]:.3f} → {worst.iloc[6]:.3f} ms).",
        leaving.format(which=f"exactly these ({_some(slow['nodes'])})"),
    )


def _tiny(mine: LayerProfile, other: LayerProfile | None) -> Iterator[Evidence]:  # noqa: ARG001
    tiny = [layer for layer in mine.layers if layer.kind == WEIGHTS and layer.flops and layer.flops < TINY_FLOPS]
    share = _share(mine, tiny)
    if share < WORTH_TELLING:
        return
    yield Evidence(
        "matrix products that are too small",
        share,
        f"{len(tiny)} layers with weights do fewer than {TINY_FLOPS / 1e6:.0f} million operations a call each, and take {share:.0%} "
        f"of the layers' time: {_names(tiny)}.",
        f"Measure a larger batch, such as {8 * mine.batch}: if the ratio is better there, it is this.",
    )


def _memory(mine: LayerProfile, other: LayerProfile | None) -> Iterator[Evidence]:  # noqa: ARG001
    waiting = [
        layer
        for layer in mine.layers
        if layer.kind == WEIGHTS
        and layer.flops
        and layer.weight_elements
        and layer.flops / (layer.weight_elements * _bytes(layer)) < FEW_PER_BYTE
    ]
    share = _share(mine, waiting)
    if share < WORTH_TELLING:
        return
    size = sum(layer.weight_elements * _bytes(layer) for layer in waiting)
    seconds = sum(layer.median_s for layer in waiting)
    rate = f" ({size / seconds / 1e9:.1f} GB/s)" if seconds else ""
    yield Evidence(
        f"memory: weights are read for few operations at batch {mine.batch}",
        share,
        f"{len(waiting)} layers read {size / 1e6:.2f} MB of weights for under {FEW_PER_BYTE:.0f} operations a byte, and take {share:.0%} "
        f"of the layers' time{rate}.",
        f"Measure batch {8 * mine.batch}: the same weights serve more samples there, and time per sample should fall.",
    )


def _untouched(mine: LayerProfile, other: LayerProfile | None) -> Iterator[Evidence]:  # noqa: ARG001
    layers = [layer for layer in mine.layers if layer.kind in (OTHER, LAYOUT)]
    share = _share(mine, layers)
    if share < 0.25:
        return
    moved = mine.share(LAYOUT)
    yield Evidence(
        "work that no precision makes faster",
        share,
        f"Layers without weights take {share:.0%} of the layers' time, {moved:.0%} of it for moving data: {_names(layers)}.",
        "Compare with a backend that fuses more of them; a smaller number format does not touch them.",
    )


def _outside(mine: LayerProfile, other: LayerProfile | None) -> Iterator[Evidence]:  # noqa: ARG001
    share = 1 - mine.layers_s / mine.profiled_s
    if share < 0.2:
        return
    yield Evidence(
        "time outside all layers",
        share,
        f"The layers account for {mine.layers_s * 1e3:.3f} of {mine.profiled_s * 1e3:.3f} ms of a profiled call; the rest is "
        "calling, copying, waiting and the profiling itself.",
        f"Measure a larger batch, such as {8 * mine.batch}, or the region 'compute', which leaves copies out.",
    )


RULES: tuple[Callable[[LayerProfile, LayerProfile | None], Iterator[Evidence]], ...] = (
    _left_in_float, _tiny, _memory, _untouched, _outside,
)  # fmt: skip
CHANGES: tuple[Callable[[LayerProfile, LayerProfile | None, str], Iterator[Evidence]], ...] = (
    _conversions,
    _slower_layers,
)
"""Those whose experiment is to leave layers in FP32; how that is done is told by the variant's method."""


def _share(profile: LayerProfile, layers: list[LayerTime]) -> float:
    total = sum(layer.median_s for layer in profile.layers)
    return sum(layer.median_s for layer in layers) / total if total else 0.0


def _names(layers: list[LayerTime]) -> str:
    ranked = sorted(layers, key=lambda layer: -layer.median_s)
    told = ", ".join(dict.fromkeys(f"{layer.scope or layer.name} ({layer.op})" for layer in ranked[:3]))
    return f"{told} and others" if len(ranked) > 3 else told


def _some(nodes: Iterable[str]) -> str:
    """Names of nodes as 'keep' takes them, the first of many."""
    names = [name for each in nodes for name in each.split(", ") if name]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _bytes(layer: LayerTime) -> int:
    return {"int8": 1, "fp16": 2, "bf16": 2}.get(layer.precision, 4)


def html(cards: tuple[Card, ...]) -> str:
    """The cards as HTML without scripts, folded away; "" where there are none."""
    return "".join(_card(card) for card in cards)


def _card(card: Card) -> str:
    items = "".join(
        f"<li><b>{escape(each.cause)}</b>{'' if each.share is None else f' (at most {each.share:.0%} of its time)'}: "
        f"{escape(each.told)} <i>To confirm: {escape(each.experiment)}</i></li>"
        for each in card.evidence
    )
    body = f"<ol>{items}</ol>" if items else "<p>Nothing that was measured speaks for any cause that is known here.</p>"
    missing = f"<p>{escape(card.missing)}</p>" if card.missing else ""
    return f'<details class="wb-why" open><summary>Why isn\'t it faster? {escape(card.headline)}</summary>{body}{missing}</details>'


def text(cards: tuple[Card, ...]) -> str:
    """The cards for a terminal."""
    lines = []
    for card in cards:
        lines.append(f"Why isn't it faster? {card.headline}")
        for number, each in enumerate(card.evidence, 1):
            share = "" if each.share is None else f" (at most {each.share:.0%} of its time)"
            lines += [f"  {number}. {each.cause}{share}: {each.told}", f"     To confirm: {each.experiment}"]
        lines += [f"  {card.missing}"] if card.missing else []
    return "\n".join(lines)
