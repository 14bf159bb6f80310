"""Every record that the workbench writes: frozen, plain, in SI units with the unit in the name.

Nothing here computes more than a property over what it holds, and nothing heavy is imported until one is asked for. This is the
place to import all of them from, whatever file they are written in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

from workbench.printable import lines, one_line
from workbench.records.blocks import Block, GpuState, Surroundings
from workbench.records.cost import Clock, Energy, InEffect, Peak, Peaks
from workbench.records.layers import LayerProfile, LayerTime
from workbench.records.load import Answer, ClosedLoop, Load, LoadBlock, LoadGenRun, LoadPlan, OpenLoop, OpenStretch
from workbench.records.losses import PartLoss
from workbench.records.model import (
    DEFAULT_AXIS,
    TEXT,
    Attempt,
    AxisRange,
    ExportCheck,
    Hop,
    Model,
    Probe,
    TensorSpec,
    real_numbers,
)
from workbench.records.terms import CPU, FINAL, Calibration, Ended, Precision, Region, Status, Until, Verdict, Wait
from workbench.records.timing import DeviceFacts, Launch, Timing, TimingPlan
from workbench.records.values import InputValues, ValueRange
from workbench.statistics.durations import Durations

__all__ = [
    "CPU",
    "DEFAULT_AXIS",
    "FINAL",
    "FORMAT",
    "TEXT",
    "Accuracy",
    "Answer",
    "Attempt",
    "AxisRange",
    "Block",
    "Calibration",
    "Clock",
    "ClosedLoop",
    "Comparison",
    "DeviceFacts",
    "Ended",
    "Energy",
    "EngineRecord",
    "EngineSpec",
    "Event",
    "ExportCheck",
    "Failure",
    "GpuState",
    "Hop",
    "InEffect",
    "InputValues",
    "Launch",
    "LayerProfile",
    "LayerTime",
    "Load",
    "LoadBlock",
    "LoadGenRun",
    "LoadPlan",
    "Machine",
    "Model",
    "OpenLoop",
    "OpenStretch",
    "PartLoss",
    "Peak",
    "Peaks",
    "Precision",
    "Probe",
    "RealizedPrecision",
    "Region",
    "Result",
    "Results",
    "Row",
    "Status",
    "Surroundings",
    "Tally",
    "TensorSpec",
    "Timing",
    "TimingPlan",
    "Until",
    "ValueRange",
    "Verdict",
    "Wait",
    "from_json",
    "real_numbers",
    "to_json",
]

FORMAT = 3
"""Version of the stored JSON. Raise it when a record changes meaning; older files are then built again."""


@dataclass(frozen=True)
class EngineSpec:
    """One variant: which backend builds what, in which precision, with which settings."""

    backend: str
    precision: Precision
    mode: str = ""  # a way of running that the backend offers, such as "xla"
    batch: int | None = None  # None: one engine for all batches; a number: shapes fixed to it
    batches: tuple[int, ...] = (1,)  # the batches it must serve, ascending
    threads: int = 1
    optimization_level: int | None = None  # None: the library's default
    workspace_bytes: int | None = None  # None: the library's default
    calibration: Calibration | None = None  # of methods with calibrated ranges
    calibration_samples: int = 0  # of those methods
    tf32: bool = True  # NVIDIA GPUs: FP32 matrix products may round their inputs to TF32
    cuda_graph: bool = False  # NVIDIA GPUs: replay the launches of one captured run
    streams: int = 1  # calls in flight at once that it is opened for; on an NVIDIA GPU each has a stream of its own
    build_options: tuple[str, ...] = ()  # options of one backend by name, such as "refit"
    method: str = (
        ""  # the way to the precision, where it is not the ordinary one: a suffix in workbench.choices.methods
    )
    quantize: tuple[str, ...] = ()  # operation types or node names to rewrite; empty: all that the method takes
    keep: tuple[str, ...] = ()  # operation types or node names to leave in FP32

    @property
    def asked(self) -> str:
        """Precision and method by the name that a user writes: ``int8``, ``int8-dynamic``, ``int4-weights``."""
        return f"{self.precision}-{self.method}" if self.method else str(self.precision)

    @property
    def backend_and_mode(self) -> str:
        return f"{self.backend}:{self.mode}" if self.mode else self.backend

    @property
    def label(self) -> str:
        """Short name of the variant in tables, plots and on the command line: ``onnxruntime int8``.

        Settings of which one run may hold several values are part of it where they are not the library's default:
        ``onnxruntime int8 level 1``, ``tensorrt fp16 workspace 64 MiB``, and ``b8`` where shapes are fixed to a batch.
        """
        level = f" level {self.optimization_level}" if self.optimization_level is not None else ""
        workspace = f" workspace {self.workspace_bytes / 2**20:g} MiB" if self.workspace_bytes is not None else ""
        fixed = f" b{self.batch}" if self.batch is not None else ""
        return f"{self.backend_and_mode} {self.asked}{level}{workspace}{fixed}"


@dataclass(frozen=True)
class RealizedPrecision:
    """What was really built, read back from the engine.

    ``layers`` counts the layers that carry weights (convolutions and matrix products) by the format they
    compute in; ``int8-weights`` and the like are those that store their weights in it and compute in floats. ``basis`` says
    where that was read.
    """

    layers: dict[str, int]
    basis: str

    @property
    def label(self) -> str:
        """``int8``, or ``int8 5/6`` where one layer with weights kept another format, or ``fp32 2/4 + int8 2/4``."""
        if not self.layers:
            return "unknown"
        total = sum(self.layers.values())
        most = max(self.layers.values())
        if most == total:
            return next(name for name, count in self.layers.items() if count)
        return " + ".join(f"{name} {most}/{total}" for name, count in sorted(self.layers.items()) if count == most)


@dataclass(frozen=True)
class EngineRecord:
    """An engine in the store: what was asked, what was built, from what, and at what cost."""

    spec: EngineSpec
    key: str
    library: str
    library_version: str
    realized: RealizedPrecision
    size_bytes: int
    build_s: float
    runnable: bool = True
    note: str = ""  # shown in the row, for example why an engine cannot run here
    built_at: str = ""  # UTC, ISO 8601
    device: str = CPU  # where it runs: "cpu" or "cuda:0"
    origin: str = ""  # the prepared form that it was built from: a path within the store, or one outside it
    inputs: tuple[TensorSpec, ...] = ()  # the model's, with the values that are made up for them
    model_layers: tuple[str, ...] = ()  # names of the model's own layers, where its file tells them
    source_sha256: str = ""  # of the rewritten file that it was built from, or that its library made by itself


@dataclass(frozen=True)
class Accuracy:
    """How right one engine is on the test samples, and how it differs from the source model."""

    engine_key: str
    samples: int
    labelled: bool
    value: float | None  # the metric; None without labels
    low: float | None  # 95 % interval: Wilson's of shares of samples, else by bootstrap
    high: float | None
    agreement: float  # share of samples with the source model's answer, in the output that agrees least
    agreement_low: float
    agreement_high: float
    fixed: int  # source wrong, engine right
    broken: int  # source right, engine wrong
    p_value: float | None  # exact McNemar test on the flips
    max_abs_diff: float  # largest difference of any output value from the source's
    metric: str = "top-1"
    output: str = ""  # which output was scored
    apart: dict[str, float] = field(default_factory=dict)  # by output: largest difference / the source's largest value
    chance: float | None = None  # share of the most frequent label: what always answering that would get right
    higher_is_better: bool = True
    share: bool = True  # the metric goes from 0 to 1 and is shown in percent
    unit: str = ""  # of a metric that is no share
    source_value: float | None = None  # the source model's metric on the same samples
    loss: float | None = None  # how much worse than the source's, in the metric's unit; below 0 where it is better
    loss_low: float | None = None  # 95 % interval of the loss, from pairs; None of too few samples
    loss_high: float | None = None
    basis: str = ""  # what gave the outputs, where it was not the engine itself
    agreement_output: str = ""  # the output that ``agreement`` is of: the worst of those compared
    agreements: dict[str, float] = field(default_factory=dict)  # by output: share of samples that agree
    left_out: dict[str, str] = field(default_factory=dict)  # outputs that agreement does not rest on, and why
    source_not_finite: dict[str, str] = field(
        default_factory=dict
    )  # by output of the source: "NaN for 3 of 300 samples"
    positions: bool = (
        False  # a sample has a class at each of several positions or steps, and agrees where all of them do
    )
    not_compared: int = 0  # samples left out of ``agreement``, because the source's values are not finite there
    labels: str = ""  # what the labels are, in words
    scored: int = 0  # samples that the metric is of: those with a label and a finite output of the source model
    not_finite: int = 0  # samples left out because the source model's scored output holds NaN or infinity
    threshold: float | None = None  # above which one value meant yes; None where no value was cut
    by: tuple[PartLoss, ...] = ()  # the loss by class and by group, of each the worst first


@dataclass(frozen=True)
class Failure:
    """Why a row has no result: the step, one clear sentence, the log's end, and how to see it again."""

    step: str
    message: str
    log: str = ""
    repro: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))
        object.__setattr__(self, "log", lines(self.log))


@dataclass(frozen=True)
class Result:
    """One row: a variant at a batch size, as far as it got."""

    spec: EngineSpec
    batch: int
    status: Status = Status.PLANNED
    engine: EngineRecord | None = None
    timing: Timing | None = None
    accuracy: Accuracy | None = None
    failure: Failure | None = None
    reused: bool = False  # the timing was measured by an earlier run
    also: tuple[
        Timing, ...
    ] = ()  # of the baseline: its timings in the further cohorts that did not fit beside the first
    load: Load | None = None  # several callers at once, arrivals at a rate, LoadGen

    @property
    def row(self) -> str:
        """Identity of the row within one experiment."""
        return f"{self.spec.label} @{self.batch}"

    @property
    def device(self) -> str:
        """Where its engine runs; "" while there is none."""
        return self.engine.device if self.engine else ""


@dataclass(frozen=True)
class Machine:
    """What two results must share before they may be compared."""

    cpu: str
    cores: int
    instructions: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    gpu: str = ""  # "" where there is none

    @property
    def label(self) -> str:
        gib = self.memory_bytes / 2**30
        return f"{self.cpu}, {self.cores} cores, {gib:.0f} GiB, {self.gpu or 'no GPU'}, {self.system}"


@dataclass(frozen=True)
class Row:
    """One variant compared with the baseline at one batch size."""

    result: Result
    verdict: Verdict
    speedup: float | None = None  # baseline's time divided by this one's: above 1 is faster
    low: float | None = None
    high: float | None = None
    why: str = ""  # for "cannot tell": what was missing
    across: str = ""  # the other device, where the baseline runs on another one
    note: str = ""  # what a reader should know of a verdict that was given


@dataclass(frozen=True)
class Comparison:
    """All rows against one baseline, and the pairs that must not be compared, each with its reason."""

    baseline: str
    rows: tuple[Row, ...]
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Event:
    """One step of a running experiment: a line for people, and the row that changed, if one did.

    A ``detail`` is a step within a step: of use while it lasts, not in a log.
    """

    text: str
    result: Result | None = None
    detail: bool = False
    rows: tuple[str, ...] = ()  # of a detail: the rows it is about
    log: str = ""  # path of what the worker prints that serves these rows now
    at: float = field(default_factory=time.time)  # seconds since 1970

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", one_line(self.text))  # names of files and nodes may hold anything


@dataclass(frozen=True)
class Tally:
    """What a run really did and what it took from the store."""

    built: int = 0
    reused_builds: int = 0
    measured: int = 0
    reused_timings: int = 0
    scored: int = 0
    reused_scores: int = 0
    build_s: float = 0.0  # exporting, rewriting and building, this run
    measure_s: float = 0.0  # warming up and measuring, this run
    wall_s: float = 0.0

    def plus(self, **amounts: float) -> Tally:
        return replace(self, **{name: getattr(self, name) + more for name, more in amounts.items()})

    def __str__(self) -> str:
        return (
            f"built {self.built} (reused {self.reused_builds}), "
            f"measured {self.measured} (reused {self.reused_timings}), "
            f"scored {self.scored} (reused {self.reused_scores}) in {self.wall_s:.1f} s"
        )


R = TypeVar("R")


@cache
def _converter() -> Any:
    from cattrs.preconf.json import make_converter

    converter = make_converter()
    # the only long sequences in a record are durations of calls
    converter.register_structure_hook_func(lambda kind: kind == Sequence[int], lambda found, _: Durations(found))
    converter.register_unstructure_hook_func(lambda kind: kind == Sequence[int], list)
    return converter


def to_json(record: object) -> Any:
    """A record as plain dicts, lists, strings and numbers."""
    return _converter().unstructure(record)


def from_json(kind: type[R], data: Any) -> R:
    """The inverse of :func:`to_json`; raises what cattrs raises where a field is missing or of a wrong kind."""
    record: R = _converter().structure(data, kind)
    return record


@dataclass(frozen=True)
class Results:
    """What an experiment came to; everything shown to a reader is derived from this."""

    model: Model
    machine: Machine
    rows: tuple[Result, ...]
    baseline: str
    data: str  # what the samples are, in words
    plan: TimingPlan = field(default_factory=TimingPlan)
    tally: Tally = field(default_factory=Tally)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # what a reader must know before the numbers; shown first
    export: ExportCheck | None = None  # how the model became ONNX, where it had to
    examination: Any = None  # what its graph holds: of workbench.examine, as JSON
    peaks: Peaks | None = None  # what this machine can do at most, where that was asked for
    layer_profiles: tuple[LayerProfile, ...] = ()  # of the engines whose layers were timed
    budget: str = ""  # what a rewritten variant may lose; "": nothing is judged, as on made-up samples
    run: str = ""  # what the run is called in the store and its history
    tested_digest: str = ""  # SHA-256 of the samples that it was timed and scored with, and of their labels
    calibrated_digest: str = ""  # of those that ranges were found with; "" where no variant needs any
    values: tuple[InputValues, ...] = ()  # smallest, largest and mean of what each numeric input was fed

    @property
    def measured(self) -> tuple[Result, ...]:
        return tuple(row for row in self.rows if row.timing is not None)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({row.batch for row in self.rows}))
