"""Settings of measuring: single calls, and under load."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from workbench.errors import InputError
from workbench.records import Region, Until
from workbench.settings.declared import declared
from workbench.settings.kinds import Choice, Integer, Integers, Number, Text, YesNo, shown
from workbench.system.in_effect import expanded, ranges

SEARCH = "auto"
SCENARIOS = {"mlperf-singlestream": "SingleStream", "mlperf-offline": "Offline", "mlperf-server": "Server"}
"""Protocols under which LoadGen runs, with LoadGen's name of each."""
PROTOCOLS = ("trtexec-10", "trtexec-11", *SCENARIOS)
_seconds = partial(Number, unit="seconds", low=0, open_low=True, high=86400, condition=False)


def _cores(value: Any) -> str:
    """Cores in the kernel's notation, ``0-2,5``, from text, a number or several numbers."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    text = ",".join(map(str, value)) if several else str(value)
    try:
        return ranges(sorted(set(expanded(text)))) if text.strip() else ""
    except ValueError as cause:
        raise InputError(f"'cores' must be numbers of cores, such as 0,2 or 0-3; found {json.dumps(text)}.") from cause


def _rate(value: Any) -> str:
    """Rates as text: ``""`` (also for 0), ``"auto"``, or numbers above 0, ascending, separated by commas."""
    parts = [str(part).strip() for part in (value if isinstance(value, list | tuple) else str(value).split(","))]
    if parts == [SEARCH]:
        return SEARCH
    try:
        rates = sorted({float(part) for part in parts if part})
        if rates not in ([], [0.0]) and not all(0 < rate < float("inf") for rate in rates):
            raise ValueError
    except ValueError as cause:
        raise InputError(
            f"'rate' must be queries per second, such as 100 or 50,100,200, or auto; found {shown(value)}."
        ) from cause
    return ",".join(f"{rate:.10g}" for rate in rates if rate)


@dataclass(frozen=True)
class MeasuringSettings:
    """Settings of timing."""

    GROUP: ClassVar[str] = "Measuring"

    protocol: str = declared(Choice(
        default="",
        help="measure as another tool does; with mlperf, MLPerf LoadGen drives every engine too, unofficially",
        choices=PROTOCOLS,
        empty="own settings",
    ))  # fmt: skip
    region: str = declared(Choice(
        default="host-to-host",
        label="Timed region",
        help="what one timed call encloses; host-to-host: arrays in and out, compute: inputs are in place, device: a GPU's own clock",
        choices=tuple(map(str, Region)),
    ))  # fmt: skip
    measure_s: float = declared(_seconds(
        default=1.0,
        label="Seconds per row",
        help="timed seconds per variant and batch size in the first launch",
        basic=True,
    ))  # fmt: skip
    max_measure_s: float = declared(_seconds(
        default=4.0,
        label="At most (s)",
        help="timed seconds per variant and batch size at most; below 2.5 times measure_s there is a single launch",
        example="20",
        basic=True,
    ))  # fmt: skip
    rounds: int = declared(Integer(
        default=12,
        help="interleaved rounds over all variants; an interval and a verdict need at least 6",
        low=1,
        high=10_000,
        condition=False,
    ))  # fmt: skip
    within: float = declared(Number(
        default=0.02,
        label="Known within",
        help="measure until every ratio is known within this share of it, 0.02 is 2 %",
        example="0.02",
        low=0,
        open_low=True,
        high=1,
        open_high=True,
        basic=True,
        condition=False,
    ))  # fmt: skip
    until: str = declared(Choice(
        default="known",
        label="Measure until",
        help="known: stop as soon as the faster one is known too, narrow: only when every interval is as narrow as asked for",
        choices=tuple(map(str, Until)),
        basic=True,
        condition=False,
    ))  # fmt: skip
    baseline: str = declared(Text(
        label="Compare with",
        help="variant that all others are compared with",
        example="onnxruntime fp32",
        empty="TensorFlow in FP32, or else the first variant in FP32",
        basic=True,
        condition=False,
    ))  # fmt: skip
    seed: int = declared(Integer(
        default=0,
        help="seed of the order of measuring, of generated inputs, of the choice of samples and of arrivals",
        low=0,
        high=2**63 - 1,
        condition=False,
    ))  # fmt: skip
    cores: str = declared(Text(
        help="CPU cores that every engine is limited to",
        example="0-3",
        empty="any",
        read=_cores,
    ))  # fmt: skip
    clocks: bool = declared(YesNo(
        help="time each engine over every region, in turn, to see what conversions and calls cost",
        condition=False,
    ))  # fmt: skip
    roofline: bool = declared(YesNo(
        help="measure the peak rates of this machine once, and the share of them that each variant reaches",
        condition=False,
    ))  # fmt: skip
    layers: bool = declared(YesNo(
        label="Time per layer",
        help="time every layer of every engine that supports it, in a separate pass of about 4 s a row",
        condition=False,
    ))  # fmt: skip


@dataclass(frozen=True)
class LoadSettings:
    """Settings of several callers at once, arrivals at a rate, and MLPerf LoadGen."""

    GROUP: ClassVar[str] = "Load"

    concurrency: tuple[int, ...] = declared(Integers(
        default=(1,),
        label="Callers at once",
        help="callers of one engine at the same time, each calling again as soon as it is answered",
        example="1,2,4",
        low=1,
        high=64,
        condition=False,
    ))  # fmt: skip
    rate: str = declared(Text(
        label="Rate (queries/s)",
        help='mean rates of queries that arrive at random times, or "auto" for the highest rate that keeps the latency limit',
        example="50,100",
        empty="off",
        read=_rate,
        condition=False,
    ))  # fmt: skip
    latency_limit_ms: float = declared(Number(
        default=100.0,
        label="Latency limit (ms)",
        help="limit of the time from a query's arrival to its answer, waiting included",
        unit="milliseconds",
        low=0,
        open_low=True,
        high=3_600_000,
        condition=False,
    ))  # fmt: skip
    latency_percentile: float = declared(Number(
        default=99.0,
        label="Percentile in the limit",
        help="percentile of latency that must be within the limit",
        low=50,
        high=100,
        open_high=True,
        condition=False,
    ))  # fmt: skip
    loadgen_s: float = declared(_seconds(
        default=3.0,
        label="LoadGen (s)",
        help="least time that MLPerf LoadGen runs per variant and batch size; the rules of MLPerf ask for 600 s",
    ))  # fmt: skip
    loadgen_queries: int = declared(Integer(
        default=0,
        label="LoadGen queries",
        help="least number of queries that MLPerf LoadGen sends",
        example="1000",
        empty="100, or 1000 for mlperf-server",
        low=0,
        high=10**8,
        condition=False,
    ))  # fmt: skip
