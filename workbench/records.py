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

FORMAT = 3
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
    DEVICE = "device"  # the GPU's own time between two CUDA events around the engine's launches


class Wait(StrEnum):
    """How the host waits for a GPU."""

    SPIN = "spin"  # asks again and again: quick to notice, and keeps a core busy
    BLOCK = "block"  # sleeps until the driver wakes it


CPU = "cpu"
"""``device`` of what runs on the processor."""


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
class AxisRange:
    """The sizes that a dynamic axis other than the batch is used at: smallest, usual and largest."""

    axis: int
    min: int
    opt: int
    max: int


@dataclass(frozen=True)
class TensorSpec:
    """Name, NumPy dtype name and shape of one input or output; ``None`` is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    batch_axis: int | None = 0  # which axis counts samples; None: the tensor is the same for every batch
    rows: int = 1  # outputs: entries along the batch axis per sample
    ranges: tuple[AxisRange, ...] = ()  # sizes for the dynamic axes other than the batch
    low: float | None = None  # declared values: smallest, and largest (integers: inclusive); equal: one value only
    high: float | None = None
    scale: float = (
        0.0  # 8-bit tensors of a quantized file: they stand for scale × (stored - zero_point); 0: for themselves
    )
    zero_point: int = 0

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, size in enumerate(self.shape) if size is None)

    @property
    def free_axes(self) -> tuple[int, ...]:
        """The dynamic axes other than the batch."""
        return tuple(axis for axis in self.dynamic_axes if axis != self.batch_axis)

    def sized(self, batch: int, which: str = "opt") -> tuple[int, ...]:
        """The shape with every axis known: the batch as given, free axes at their ``min``, ``opt`` or ``max``."""
        known = {each.axis: int(getattr(each, which)) for each in self.ranges}
        return tuple(
            size if size is not None else batch if axis == self.batch_axis else known.get(axis, DEFAULT_AXIS)
            for axis, size in enumerate(self.shape)
        )

    def __str__(self) -> str:
        sizes = " × ".join("?" if size is None else str(size) for size in self.shape)
        stands = f", standing for {self.scale:.4g} × (stored − {self.zero_point})" if self.scale else ""
        return f"{self.name}: {self.dtype} [{sizes}]{stands}".replace("− -", "+ ")


TEXT = "str"
"""``dtype`` of inputs and outputs that hold text."""

DEFAULT_AXIS = 16
"""Size given to a dynamic axis other than the batch where nobody has said one."""


@dataclass(frozen=True)
class Probe:
    """At which batch sizes the source model really ran when it was opened, on generated inputs."""

    worked: tuple[int, ...] = ()
    failed: tuple[tuple[int, str], ...] = ()  # the size, and what the library said

    @property
    def free(self) -> bool:
        """Every size that was tried worked, more than one of them."""
        return len(self.worked) > 1 and not self.failed


@dataclass(frozen=True)
class Model:
    """A trained model as it was found: signature, size, digest. ``path`` is where it lies now."""

    path: str
    name: str
    format: str  # a file in workbench/formats: "keras", "saved_model", "frozen_graph", "tflite" or "onnx"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    size_bytes: int
    digest: str  # sha256 over the file, or over every file of the folder with its name
    signature: str = ""  # the SavedModel signature in use, or the tensors of a frozen graph
    signatures: tuple[str, ...] = ()
    quantized: str = ""  # the precision it holds already, such as "int8" or "fp16"; "": ordinary FP32 weights
    quantized_how: str = ""  # where that was seen, in words
    probe: Probe | None = None
    legacy: bool = False  # a SavedModel that only TensorFlow 1's loader opens: used through its frozen graph
    exportable: str = ""  # why it cannot become ONNX, naming the layer or operation; "": nothing known against it
    notes: tuple[str, ...] = ()

    @property
    def is_tensorflow(self) -> bool:
        return self.format in ("keras", "saved_model", "frozen_graph")

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that the model takes, or ``None`` where the batch is dynamic."""
        sizes = [spec.shape[spec.batch_axis] for spec in self.inputs if spec.batch_axis is not None]
        known = [size for size in sizes if size is not None]
        return known[0] if known else None if sizes else 1

    @property
    def dynamic_batch(self) -> bool:
        return self.fixed_batch is None


@dataclass(frozen=True)
class Hop:
    """One step of a conversion, and how far its result lies from what it was made from."""

    step: str  # such as "SavedModel → ONNX (tf2onnx)"
    inputs: tuple[str, ...]  # kinds of inputs compared: "real", "random", "ramp", "impulse" ...
    batches: tuple[int, ...]
    lengths: tuple[str, ...]  # "min", "opt", "max": sizes of the free axes that were compared; empty without such axes
    max_abs_diff: float
    max_rel_diff: float  # max_abs_diff divided by the largest absolute value of that output
    ill_conditioned: tuple[
        str, ...
    ] = ()  # kinds on which the source itself changes as much when inputs change in the last digit
    constant: tuple[str, ...] = ()  # outputs that did not depend on any input compared


@dataclass(frozen=True)
class Attempt:
    """A route to ONNX that was tried and given up, and why."""

    route: str
    reason: str


@dataclass(frozen=True)
class ExportCheck:
    """What a conversion to ONNX gave when it was compared with its source on samples."""

    route: str  # the steps taken, in words
    opset: int
    hops: tuple[Hop, ...]
    tolerance: float  # limit on every hop's max_rel_diff
    attempts: tuple[Attempt, ...] = ()  # routes tried before this one
    repairs: tuple[str, ...] = ()  # what was changed in the graph, in words
    real_samples: bool = False  # real data were among the inputs compared

    @property
    def max_rel_diff(self) -> float:
        return max((hop.max_rel_diff for hop in self.hops), default=0.0)

    @property
    def max_abs_diff(self) -> float:
        return max((hop.max_abs_diff for hop in self.hops), default=0.0)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({batch for hop in self.hops for batch in hop.batches}))


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
    tf32: bool = True  # NVIDIA GPUs: FP32 matrix products may round their inputs to TF32
    cuda_graph: bool = False  # NVIDIA GPUs: replay the launches of one captured run
    streams: int = 1  # NVIDIA GPUs: calls in flight at once, each on a stream of its own
    build_options: tuple[str, ...] = ()  # options of one backend by name, such as "refit"

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
    device: str = CPU  # where it runs: "cpu" or "cuda:0"


@dataclass(frozen=True)
class TimingPlan:
    """How long and in how many interleaved rounds every variant is measured."""

    region: Region = Region.HOST_TO_HOST
    rounds: int = 12
    block_s: float = 0.08
    warm_up_s: float = 0.2
    seed: int = 0
    protocol: str = ""  # whose settings these are, such as "trtexec-10"; "": the workbench's own
    copies: bool = False  # region DEVICE: a call copies its inputs in and its outputs out, and their times are added
    wait: Wait = Wait.SPIN
    min_calls: int = 1  # timed calls in a block, at least


@dataclass(frozen=True)
class GpuState:
    """What NVML read right after the last timed call of a block."""

    sm_mhz: int
    memory_mhz: int
    power_w: float
    temperature_c: int
    throttled: tuple[str, ...] = ()  # what held the clocks down, such as "power cap"; an idle GPU is not throttled


@dataclass(frozen=True)
class DeviceFacts:
    """What a GPU session told of one engine at one batch size, outside the timed calls.

    The three parts of a call come from CUDA events around a few calls that copy in, launch and copy out, made one after
    another once the timed calls were over; one entry per call in each.
    """

    device: str  # "cuda:0, NVIDIA H100 80GB HBM3"
    copy_in_ns: tuple[int, ...]  # pinned memory to device
    compute_ns: tuple[int, ...]
    copy_out_ns: tuple[int, ...]  # device to pinned memory
    memory_bytes: int  # of the device, taken by this process when it was largest
    memory_basis: str  # how that was found
    graph: bool = False  # the launches of a captured run were replayed
    graph_note: str = ""  # why not, where a graph was asked for
    runs: int = 1  # region DEVICE: a sample is the mean over so many captured runs, because one was too short

    @property
    def split_s(self) -> tuple[float, float, float]:
        """Median seconds of copying in, computing and copying out."""
        import numpy as np

        parts = (self.copy_in_ns, self.compute_ns, self.copy_out_ns)
        copy_in, compute, copy_out = (float(np.median(part)) * 1e-9 if part else 0.0 for part in parts)
        return copy_in, compute, copy_out


@dataclass(frozen=True)
class Block:
    """One uninterrupted run of timed calls of one variant inside one round."""

    round: int
    position: int  # place in the round's random order
    samples_ns: tuple[int, ...]  # duration of every call; with several streams, between two that came to their end
    cpu_s: float  # CPU time of the worker's process over the block, all threads
    wall_s: float
    quiet: bool  # the worker's own threads were asleep again before the next variant began
    gpu: GpuState | None = None


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
    device: DeviceFacts | None = None  # of engines that ran on a GPU
    streams: int = 1  # calls in flight at once
    protocol: str = ""  # that of the plan; it decides how percentiles are taken

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
        """Latency percentile in seconds, or ``None`` where the sample is too small to support it.

        Under a protocol of trtexec its own rule is used, which asks for no size of the sample.
        """
        if self.protocol.startswith("trtexec"):
            return stats.trtexec_percentile(self.samples_s, percent)
        return stats.percentile(self.samples_s, percent)

    @property
    def median_s(self) -> float:
        import numpy as np

        return float(np.median(self.samples_s))

    @property
    def queries_per_s(self) -> float:
        """Calls per second, one after another. Over the region device by the host's time, as ``trtexec`` counts them: the
        GPU's own time leaves out what the host does between two calls.
        """
        samples = self.samples_s
        if self.region == Region.DEVICE:
            runs = self.device.runs if self.device else 1
            return float(len(samples) * runs / sum(block.wall_s for block in self.blocks))
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

    @property
    def sm_mhz(self) -> tuple[int, int] | None:
        """Lowest and highest clock of the GPU's multiprocessors after a block; ``None`` where nobody told."""
        clocks = [block.gpu.sm_mhz for block in self.blocks if block.gpu]
        return (min(clocks), max(clocks)) if clocks else None

    @property
    def throttled_blocks(self) -> dict[str, int]:
        """What held the GPU's clocks down, and after how many blocks it did."""
        found: dict[str, int] = {}
        for reason in (reason for block in self.blocks if block.gpu for reason in block.gpu.throttled):
            found[reason] = found.get(reason, 0) + 1
        return found


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
    output: str = ""  # which output was scored
    apart: dict[str, float] = field(default_factory=dict)  # by output: largest difference / the source's largest value
    chance: float | None = None  # share of the most frequent label: what always answering that would get right


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
    export: ExportCheck | None = None  # how the model became ONNX, where it had to
    examination: Any = None  # what its graph holds: of workbench.examine, as JSON

    @property
    def measured(self) -> tuple[Result, ...]:
        return tuple(row for row in self.rows if row.timing is not None)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({row.batch for row in self.rows}))
