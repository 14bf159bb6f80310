"""Builders of records for tests: the records are real ones, the durations are drawn from a seeded generator."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.records import (
    Accuracy,
    Block,
    DeviceFacts,
    EngineRecord,
    EngineSpec,
    Failure,
    GpuState,
    Machine,
    Model,
    Precision,
    RealizedPrecision,
    Region,
    Result,
    Results,
    Status,
    TensorSpec,
    Timing,
)
from workbench.stats.estimates import flips_p_value, proportion_interval

BASE, PEER = "tensorflow fp32", "onnxruntime fp32"
MACHINE = Machine("AMD EPYC 9B14", 2, ("avx2", "avx512_vnni"), 24 * 2**30, "Linux 6.1", "3.11.7")

# variant: (milliseconds at batch 1, share of the time that grows with the batch, right answers of 1000)
PEERS: dict[str, tuple[float, float, int]] = {
    "tensorflow fp32": (0.81, 0.5, 960),
    "tensorflow:xla fp32": (0.79, 0.7, 960),
    "tensorflow:predict fp32": (61.0, 0.01, 960),
    "onnxruntime fp32": (0.24, 0.8, 960),
    "onnxruntime fp16": (0.31, 0.8, 959),
    "onnxruntime int8": (0.12, 0.8, 957),
    "openvino fp32": (0.30, 0.75, 960),
    "openvino fp16": (0.29, 0.75, 960),
    "openvino bf16": (0.20, 0.7, 958),
    "openvino int8": (0.14, 0.7, 952),
    "tensorrt fp16": (0.45, 0.2, 959),
    "tensorrt int8": (0.40, 0.2, 941),
}


def model(name: str = "digits-cnn") -> Model:
    return Model(
        path=f"{name}.keras",
        name=name,
        format="keras",
        inputs=(TensorSpec("image", "float32", (None, 28, 28, 1)),),
        outputs=(TensorSpec("class", "float32", (None, 10)),),
        parameters=149_000,
        size_bytes=612_000,
        digest="0" * 64,
    )


def spec(label: str, **changes: Any) -> EngineSpec:
    """``spec("tensorflow:xla fp32")``, with other fields of EngineSpec by name."""
    name, precision = label.split()
    backend, _, mode = name.partition(":")
    return EngineSpec(backend=backend, mode=mode, precision=Precision(precision), **changes)


def engine(of: EngineSpec, **changes: Any) -> EngineRecord:
    record = EngineRecord(
        spec=of,
        key=f"key-{of.label}",
        library=of.backend,
        library_version="1.0",
        realized=RealizedPrecision({str(of.precision): 6}, "node types"),
        size_bytes=612_000,
        build_s=1.25,
    )
    return replace(record, **changes)


def timing(
    median_ms: float, batch: int = 1, *, seed: int = 0, rounds: int = 12, calls: int = 60, **changes: Any
) -> Timing:
    """Durations skewed to the right as real ones are, with a drift over the rounds that all variants share."""
    draw = np.random.default_rng(seed)
    drift = 1 + 0.04 * np.sin(np.arange(rounds))
    blocks = tuple(
        block(number, median_ms * drift[number] * draw.lognormal(0, 0.004) * draw.lognormal(0, 0.06, calls))
        for number in range(rounds)
    )
    record = Timing(
        engine_key="key",
        batch=batch,
        region=Region.HOST_TO_HOST,
        group="one",
        blocks=blocks,
        warm_up_ns=(int(median_ms * 5e6),),
        load_s=0.2,
        peak_rss_bytes=310 * 2**20,
        base_rss_bytes=120 * 2**20,
        measured_at="2025-11-24T10:00:00+00:00",
    )
    return replace(record, **changes)


def block(number: int, milliseconds: Iterable[float], *, quiet: bool = True) -> Block:
    samples = tuple(int(value * 1e6) for value in milliseconds)
    wall_s = sum(samples) * 1e-9
    return Block(number, 0, samples, cpu_s=wall_s, wall_s=wall_s, quiet=quiet)


def accuracy(right: int | None = 960, samples: int = 1000, *, agree: int = 990, fixed: int = 3) -> Accuracy:
    """``right=None``: no labels were given."""
    low, high = proportion_interval(right, samples) if right is not None else (None, None)
    agree_low, agree_high = proportion_interval(agree, samples)
    fixed = max(fixed, (right or 0) - 960)
    broken = fixed + 960 - right if right is not None else 0
    return Accuracy(
        engine_key="key",
        samples=samples,
        labelled=right is not None,
        value=None if right is None else right / samples,
        low=low,
        high=high,
        agreement=agree / samples,
        agreement_low=agree_low,
        agreement_high=agree_high,
        fixed=fixed if right is not None else 0,
        broken=broken,
        p_value=None if right is None else flips_p_value(fixed, broken),
        max_abs_diff=0.01,
    )


def measured(label: str, batch: int = 1, *, median_ms: float = 1.0, right: int | None = 960, **changes: Any) -> Result:
    """A finished row. ``changes`` are fields of Result, or of Timing with the prefix ``timing_``."""
    of = changes.pop("spec", None) or spec(label)
    inner = {name.removeprefix("timing_"): changes.pop(name) for name in list(changes) if name.startswith("timing_")}
    inner.setdefault("seed", zlib.crc32(f"{label}@{batch}".encode()))
    row = Result(
        spec=of,
        batch=batch,
        status=Status.DONE,
        engine=engine(of),
        timing=timing(median_ms, batch, **inner),
        accuracy=accuracy(right),
    )
    return replace(row, **changes)


def on_gpu(label: str, batch: int = 1, **changes: Any) -> Result:
    """A finished row of a GPU; ``changes`` as in :func:`measured`, and ``graph_note`` and ``throttled``."""
    note, throttled = changes.pop("graph_note", ""), changes.pop("throttled", ())
    facts = DeviceFacts(
        device="cuda:0, NVIDIA H100 80GB HBM3",
        copy_in_ns=(5_000, 6_000, 7_000),
        compute_ns=(60_000, 61_000, 90_000),
        copy_out_ns=(4_000, 4_000, 4_000),
        memory_bytes=606 * 2**20,
        memory_basis="NVML, this process with its CUDA context",
        graph=not note,
        graph_note=note,
    )
    row = measured(label, batch, timing_device=facts, **changes)
    assert row.timing
    assert row.engine
    state = GpuState(1980, 2619, 312.0, 41, throttled)
    blocks = tuple(replace(block, gpu=state) for block in row.timing.blocks)
    return replace(row, timing=replace(row.timing, blocks=blocks), engine=replace(row.engine, device="cuda:0"))


def failed(label: str, batch: int = 1, message: str = "This CPU has no kernel for bf16 convolution.") -> Result:
    failure = Failure(step="build", message=message, log="…", repro="workbench run …")
    return Result(spec=spec(label), batch=batch, status=Status.FAILED, failure=failure)


def results(rows: Sequence[Result], *, baseline: str = "tensorflow fp32", name: str = "digits-cnn") -> Results:
    return Results(
        model=model(name),
        machine=MACHINE,
        rows=tuple(rows),
        baseline=baseline,
        data="1000 digits",
        tested_digest="5" * 64,
    )


def sweep(
    variants: Iterable[str] = tuple(PEERS), batches: Sequence[int] = (1, 8, 32), *, labels: bool = True, **more: Any
) -> Results:
    """A whole experiment over ``PEERS``, with one row that failed."""
    rows = []
    for label in variants:
        base_ms, growth, right = PEERS[label]
        for batch in batches:
            median_ms = base_ms * (1 + growth * (batch - 1))
            rows.append(measured(label, batch, median_ms=median_ms, right=right if labels else None))
    rows.append(failed("onnxruntime bf16", batches[0]))
    return results(rows, **more)


def frame_of(found, baseline: str = ""):
    """The table of results with all of its values."""
    return found.table(baseline).frame()


def seen(table):
    """What a page shows of a table: every cell as text, by the headings."""
    import pandas as pd

    columns = [*table.shown(), *(column for column in table.columns if column.note)]
    rows = [{column.heading or column.name: column.text(row) for column in columns} for row in table.rows]
    return pd.DataFrame(rows, columns=[column.heading or column.name for column in columns], dtype="str")
