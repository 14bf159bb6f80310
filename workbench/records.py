"""Every record that the workbench writes: frozen, plain, in SI units with the unit in the name.

Nothing here computes more than a property over what it holds, and nothing heavy is imported until one is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from workbench import stats

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
"""Version of the stored JSON. Raise it when a record changes meaning; older files are then built again."""


class Precision(StrEnum):
    """The number format asked for in the layers that carry weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class Region(StrEnum):
    """What one timed call encloses."""

    HOST_TO_HOST = "host-to-host"  # NumPy arrays in, NumPy arrays out
    COMPUTE = "compute"  # inputs already in place; the call runs the engine and waits for it


class Calibration(StrEnum):
    """How INT8 activation ranges are chosen from calibration samples."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class Status(StrEnum):
    """Where a row of the results stands."""

    PLANNED = "planned"
    PREPARING = "preparing"
    BUILDING = "building"
    BUILT = "built"
    MEASURING = "measuring"
    SCORING = "scoring"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNSUPPORTED = "not possible"


FINAL = frozenset({Status.BUILT, Status.DONE, Status.FAILED, Status.CANCELLED, Status.UNSUPPORTED})


class Verdict(StrEnum):
    """What a comparison says."""

    FASTER = "faster"
    SLOWER = "slower"
    CANNOT_TELL = "cannot tell"
    BASELINE = "baseline"


@dataclass(frozen=True)
class TensorSpec:
    """Name, NumPy dtype name and shape of one input or output; ``None`` is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, size in enumerate(self.shape) if size is None)

    def __str__(self) -> str:
        sizes = " × ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class Model:
    """A trained model as it was found: signature, size, digest. ``path`` is where it lies now."""

    path: str
    name: str
    format: str  # "keras", "saved_model" or "onnx"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    size_bytes: int
    digest: str  # sha256 over the file, or over every file of the folder with its name
    signature: str = ""  # the SavedModel signature in use
    signatures: tuple[str, ...] = ()

    @property
    def is_tensorflow(self) -> bool:
        return self.format in ("keras", "saved_model")

    @property
    def dynamic_batch(self) -> bool:
        return all(spec.shape and spec.shape[0] is None for spec in self.inputs)


@dataclass(frozen=True)
class ExportCheck:
    """What a conversion to ONNX gave when it was compared with its source on samples."""

    route: str  # the steps taken, in words
    opset: int
    batches: tuple[int, ...]  # batch sizes compared
    real_samples: bool  # real data, or random inputs where none were given
    max_abs_diff: float
    max_rel_diff: float  # max_abs_diff divided by the largest absolute value of that output
    tolerance: float  # limit on max_rel_diff


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
    calibration: Calibration | None = None  # INT8 only
    calibration_samples: int = 0  # INT8 only

    @property
    def backend_and_mode(self) -> str:
        return f"{self.backend}:{self.mode}" if self.mode else self.backend

    @property
    def label(self) -> str:
        """Short name of the variant in tables, plots and on the command line: ``onnxruntime int8``."""
        fixed = f" b{self.batch}" if self.batch is not None else ""
        return f"{self.backend_and_mode} {self.precision}{fixed}"


@dataclass(frozen=True)
class RealizedPrecision:
    """What was really built, read back from the engine.

    ``layers`` counts the layers that carry weights (convolutions and matrix products) by the format they
    compute in. ``basis`` says where that was read.
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


@dataclass(frozen=True)
class TimingPlan:
    """How long and in how many interleaved rounds every variant is measured."""

    region: Region = Region.HOST_TO_HOST
    rounds: int = 12
    block_s: float = 0.08
    warm_up_s: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Block:
    """One uninterrupted run of timed calls of one variant inside one round."""

    round: int
    position: int  # place in the round's random order
    samples_ns: tuple[int, ...]  # duration of every call
    cpu_s: float  # CPU time of the worker's process over the block, all threads
    wall_s: float
    quiet: bool  # the worker's own threads were asleep again before the next variant began


@dataclass(frozen=True)
class Timing:
    """Every raw duration of one engine at one batch size, and what was around it."""

    engine_key: str
    batch: int
    region: Region
    group: str  # variants of one group were interleaved with each other; only those may be compared
    blocks: tuple[Block, ...]
    warm_up_ns: tuple[int, ...]
    load_s: float  # opening the engine, library already imported
    peak_rss_bytes: int  # high-water mark of the worker's resident memory, library included
    base_rss_bytes: int  # the same process after importing the library, before opening the engine
    measured_at: str  # UTC, ISO 8601

    @property
    def samples_s(self) -> np.ndarray:
        """All timed calls in seconds, in the order they were made, shape (n,), float64."""
        import numpy as np

        return np.concatenate([np.asarray(b.samples_ns, dtype=np.float64) for b in self.blocks]) * 1e-9

    @property
    def block_medians_s(self) -> dict[int, float]:
        """Median seconds of one call, by round."""
        import numpy as np

        return {b.round: float(np.median(b.samples_ns)) * 1e-9 for b in self.blocks}

    def percentile_s(self, percent: float) -> float | None:
        """Latency percentile in seconds, or ``None`` where the sample is too small to support it."""
        return stats.percentile(self.samples_s, percent)

    @property
    def median_s(self) -> float:
        import numpy as np

        return float(np.median(self.samples_s))

    @property
    def queries_per_s(self) -> float:
        """Calls per second of timed time, one call after another."""
        samples = self.samples_s
        return float(len(samples) / samples.sum())

    @property
    def samples_per_s(self) -> float:
        return self.queries_per_s * self.batch

    @property
    def cores_used(self) -> float:
        """CPU seconds per wall second inside the timed blocks: 1.0 is one core kept busy."""
        wall = sum(b.wall_s for b in self.blocks)
        return sum(b.cpu_s for b in self.blocks) / wall if wall else 0.0

    @property
    def noisy_blocks(self) -> int:
        return sum(not b.quiet for b in self.blocks)


@dataclass(frozen=True)
class Accuracy:
    """How right one engine is on the test samples, and how it differs from the source model."""

    engine_key: str
    samples: int
    labelled: bool
    value: float | None  # top-1 accuracy; None without labels
    low: float | None  # 95 % Wilson interval
    high: float | None
    agreement: float  # share of samples with the same predicted class as the source model
    agreement_low: float
    agreement_high: float
    fixed: int  # source wrong, engine right
    broken: int  # source right, engine wrong
    p_value: float | None  # exact McNemar test on the flips
    max_abs_diff: float  # largest difference of any output value from the source's
    metric: str = "top-1"


@dataclass(frozen=True)
class Failure:
    """Why a row has no result: the step, one clear sentence, the log's end, and how to see it again."""

    step: str
    message: str
    log: str = ""
    repro: str = ""


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

    @property
    def row(self) -> str:
        """Identity of the row within one experiment."""
        return f"{self.spec.label} @{self.batch}"


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

    return make_converter()


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

    @property
    def measured(self) -> tuple[Result, ...]:
        return tuple(row for row in self.rows if row.timing is not None)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({row.batch for row in self.rows}))
