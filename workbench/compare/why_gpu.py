"""Why a variant of lower precision is not faster on a GPU: what its layers' times, formats and shapes show.

On a GPU at a small batch the arithmetic is seldom what takes the time: a lower precision shortens nothing of the start of a kernel, of a
change of layout or of reading data that has been written a moment before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from workbench.compare.layer_view import aligned
from workbench.records import Result
from workbench.records.layers import CONVERT, LAYOUT, WEIGHTS, LayerProfile, LayerTime

WORTH_TELLING = 0.05
"""Causes that account for less than this share of the time are left out."""
SHORT_S = 10e-6
"""A kernel of a few microseconds is mostly its start, the filling and emptying of the multiprocessors and the reading of its data.
``benchmarks/gpu_overhead.py`` has the time of a launch."""
SAME = 1.1
"""A layer gains where the higher precision takes at least so many times as long."""
FEW_PER_BYTE = 100.0
"""Operations for each byte of input, output and weights below which a kernel is limited by the memory: in FP16 an H200 computes 990 TFLOP/s
and moves 4.8 TB/s, 206 operations a byte; an A100 156, a T4 203 (NVIDIA's data sheets, dense tensor cores)."""
BYTES = {
    "int8": 1,
    "uint8": 1,
    "fp8": 1,
    "bool": 1,
    "fp16": 2,
    "bf16": 2,
    "fp32": 4,
    "float32": 4,
    "float16": 2,
    "int32": 4,
    "int64": 8,
}
RANK = {"fp64": 0, "fp32": 1, "tf32": 1, "fp16": 2, "bf16": 2, "fp8": 3, "int8": 3, "int4": 4}
_TENSOR = re.compile(r"([a-z]+\d*)\s+((?:\d+×)*\d+)")


@dataclass(frozen=True)
class GpuEvidence:
    """One possible cause."""

    cause: str
    share: float | None  # of the variant's time that it could account for at most, 0 to 1; None: it touches all of it
    text: str  # the figures, in a sentence
    experiment: str  # what would confirm it, in a sentence


def on_gpu(result: Result, mine: LayerProfile, other: LayerProfile | None, than: str) -> Iterator[GpuEvidence]:
    """Evidence from the layers of a variant; ``other`` are those of the variant of higher precision, whose format is ``than`` ("fp16")."""
    yield from _starting(result, mine)
    within = min(1.0, mine.layers_s / mine.plain_s) if mine.plain_s else 1.0  # the part of a call that layers take
    of_layers = [*_reformats(mine), *_stayed(mine, str(result.spec.precision)), *_moving(mine)]
    of_layers += _gained_nothing(mine, other, than) if other is not None else ()
    for each in of_layers:
        yield replace(each, share=None if each.share is None else each.share * within)


def _starting(result: Result, mine: LayerProfile) -> Iterator[GpuEvidence]:
    """The host starts one kernel after another, and the GPU waits for it."""
    share = 1 - mine.layers_s / mine.plain_s if mine.plain_s else 0.0
    if share < 0.2:
        return
    graph = bool(result.timing and result.timing.device and result.timing.device.graph)
    how = (
        "A CUDA graph was replayed, so that the rest is copying and waiting: measure"
        if graph
        else "Measure with cuda_graph=true, which starts all of them at once, and"
    )
    yield GpuEvidence(
        "the host starts kernels one by one",
        share,
        f"The {len(mine.layers)} layers take {mine.layers_s * 1e3:.3f} of the {mine.plain_s * 1e3:.3f} ms of a call; the rest is the host's.",
        f"{how} batch {8 * mine.batch}: if the ratio is better there, this is the cause.",
    )  # fmt: skip


def _reformats(mine: LayerProfile) -> Iterator[GpuEvidence]:
    moved = [layer for layer in mine.layers if layer.kind in (CONVERT, LAYOUT)]
    share = share_of(mine, moved)
    if share < WORTH_TELLING:
        return
    changed = [layer for layer in moved if layer.kind == CONVERT or _format(layer.inputs) != _format(layer.outputs)]
    yield GpuEvidence(
        "reformats: layers that change a layout or a number format",
        share,
        f"{len(moved)} of {len(mine.layers)} layers compute nothing and take {share:.0%} of the layers' time; {len(changed)} of them change the "
        f"number format. The longest: {names_of(moved)}.",
        "Quantize the layers between them as well, or leave the layers around them in the higher precision ('keep').",
    )


def _stayed(mine: LayerProfile, asked: str) -> Iterator[GpuEvidence]:
    stayed = [
        layer
        for layer in mine.layers
        if layer.kind == WEIGHTS and layer.precision in RANK and RANK[layer.precision] < RANK.get(asked, 0)
    ]
    share = share_of(mine, stayed)
    if share < WORTH_TELLING:
        return
    formats = " and ".join(dict.fromkeys(layer.precision.upper() for layer in stayed))
    yield GpuEvidence(
        f"layers with weights that stayed in {formats}",
        share,
        f"{len(stayed)} of {sum(layer.kind == WEIGHTS for layer in mine.layers)} take {share:.0%} of the layers' time: {names_of(stayed)}.",
        "Look in the layer table whether they were left out on purpose, or whether the library has no faster kernel for them in this format.",
    )


def _gained_nothing(mine: LayerProfile, other: LayerProfile, than: str) -> Iterator[GpuEvidence]:
    """Layers that take as long in both formats, most of them because they are short."""
    if not any(layer.origin or layer.scope for each in (mine, other) for layer in each.layers):
        return
    table = aligned(other, mine)
    before, now = (f"ms, {each.label}" for each in (other, mine))
    if before == now:
        return
    same = table[(table[now] > 0) & (table[before] > 0) & (table[before] < SAME * table[now])]
    total = float(table[now].sum())
    share = float(same[now].sum()) / total if total else 0.0
    if share < WORTH_TELLING:
        return
    short = same[same[now] <= SHORT_S * 1e3]
    lost = float((same[now] - same[before]).clip(lower=0).sum())
    worst = same.sort_values(now, ascending=False).iloc[0]
    yield GpuEvidence(
        f"layers that are as fast in {than.upper()}",
        share,
        f"{len(same)} of {len(table)} groups of layers take as long in {than.upper()}, {share:.0%} of the layers' time"
        + (f"; {len(short)} of them at most {SHORT_S * 1e6:.0f} µs, which is mostly the start of a kernel and the reading of its data" if len(short) else "")
        + (f". Together they lose {lost:.3f} ms" if lost >= 0.001 else "")
        + f". The longest: {worst['model layer']} ({worst[before]:.4f} → {worst[now]:.4f} ms).",
        f"Measure batch {max(64, 8 * mine.batch)}: kernels last longer there, and their arithmetic weighs more.",
    )  # fmt: skip


def _moving(mine: LayerProfile) -> Iterator[GpuEvidence]:
    """Layers that do few operations for each byte, such as depthwise convolutions."""
    found = [
        (layer, size) for layer in mine.layers if layer.kind == WEIGHTS and layer.flops and (size := _bytes(layer))
    ]
    waiting = [(layer, size) for layer, size in found if layer.flops and layer.flops / size < FEW_PER_BYTE]
    share = share_of(mine, [layer for layer, _ in waiting])
    if share < WORTH_TELLING:
        return
    per_byte = sum(layer.flops or 0 for layer, _ in waiting) / sum(size for _, size in waiting)
    yield GpuEvidence(
        "memory: few operations for each byte that is moved",
        share,
        f"{len(waiting)} of {len(found)} layers with weights do {per_byte:.0f} operations for each byte of input, output and weights, under "
        f"{FEW_PER_BYTE:.0f}, and take {share:.0%} of the layers' time: {names_of([layer for layer, _ in waiting])}.",
        "A smaller number format moves fewer bytes and helps these by that alone. Compare with a model without depthwise convolutions, such as "
        "ResNet-50, at the same batch.",
    )


def _bytes(layer: LayerTime) -> int:
    """Of inputs, outputs and weights, as far as the profile tells their shapes; 0 where it tells none."""
    moved = sum(
        BYTES.get(kind, 4) * math.prod(map(int, shape.split("×")))
        for text in (layer.inputs, layer.outputs)
        for kind, shape in _TENSOR.findall(text)
    )
    return moved + layer.weight_elements * BYTES.get(layer.precision, 4) if moved else 0


def _format(text: str) -> str:
    found = _TENSOR.search(text)
    return found[1] if found else ""


def share_of(profile: LayerProfile, layers: list[LayerTime]) -> float:
    """The share of the layers' time that these take, 0 to 1."""
    total = sum(layer.median_s for layer in profile.layers)
    return sum(layer.median_s for layer in layers) / total if total else 0.0


def names_of(layers: list[LayerTime]) -> str:
    """The three that take longest, by the model's own names."""
    ranked = sorted(layers, key=lambda layer: -layer.median_s)
    named = ", ".join(dict.fromkeys(f"{layer.scope or layer.name} ({layer.op})" for layer in ranked[:3]))
    return f"{named} and others" if len(ranked) > 3 else named
