"""Peaks of a made-up machine, and results that were measured on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import recorded

from workbench.records import Clock, InEffect, Peak, Peaks, Results

PEAKS = Peaks(
    threads=1,
    compute=(
        Peak("fp32", 1e9, (0.02, 0.01, 0.01, 0.01), "a loop"),  # 100 G/s
        Peak("fp32", 1e9, (0.02,), "a worse loop"),
        Peak("int8", 4e9, (0.01,), "a loop"),  # 400 G/s
    ),
    transfer=(
        Peak("L2", 1e9, (0.01,), "copy", 1_000_000),  # 100 GB/s
        Peak("memory", 1e8, (0.01,), "copy"),  # 10 GB/s
        Peak("memory", 2e8, (0.01,), "add"),  # 20 GB/s
    ),
    absent={"bf16": "the CPU has none of avx512_bf16"},
)
CLOCKS = (
    Clock("host-to-host", "NumPy in, NumPy out", tuple((2_400_000, 2_500_000) for _ in range(8))),
    Clock("library", "its own call", tuple((2_200_000,) for _ in range(8))),
    Clock("compute", "in place", tuple((2_000_000,) for _ in range(8))),
)


def results(*rows: Any, flops: int | None = 1_000_000, parameters: int = 250_000, **changes: Any) -> Results:
    """The model of ``recorded`` takes 784 and gives 10 numbers of FP32 for each sample."""
    looked = {"facts": {"flops": flops, "parameters": parameters}}
    return replace(recorded.results(rows), peaks=PEAKS, examination=looked, **changes)


def reported(**values: str) -> tuple[InEffect, ...]:
    return tuple(InEffect(name.replace("_", " "), value, "test") for name, value in values.items())
