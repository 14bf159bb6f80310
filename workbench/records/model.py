"""Records of a model: its signature, what it did when it was opened, and how it became ONNX."""

from __future__ import annotations

from dataclasses import dataclass


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
    stored: str = ""  # the type inside the model where arrays have another: "bfloat16", given and taken as float32

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
        stands += f", {self.stored} inside" if self.stored else ""
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
    format: str  # a file in workbench/models/formats: "keras", "saved_model", "frozen_graph", "tflite" or "onnx"
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
    unsigned: bool = False  # a SavedModel without signatures: used through a function of it, which ``signature`` names
    exportable: str = ""  # why it cannot become ONNX, naming the layer or operation; "": nothing known against it
    notes: tuple[str, ...] = ()

    @property
    def is_tensorflow(self) -> bool:
        return self.format in ("keras", "saved_model", "frozen_graph")

    @property
    def signed(self) -> bool:
        """A SavedModel that is used as it lies, by a signature of its own."""
        return self.format == "saved_model" and not (self.legacy or self.unsigned)

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
    unsupported: bool = False  # the reason is an operation that ONNX has no form for


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
