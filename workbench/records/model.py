"""Records of a model: its signature, what it did when it was opened, and how it became ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


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
    scale: float = 0.0  # integers of a quantized file stand for scale × (stored - zero_point); 0: for themselves
    zero_point: int = 0
    # outputs: how many samples share one entry along the batch axis, where there are fewer entries than samples
    samples_per_row: int = 1
    # outputs: the axis whose size follows the values of the inputs, as of NonMaxSuppression; known only after a run
    ragged_axis: int | None = None
    unreached: str = ""  # outputs: why no weight has a part in it, such as "it is a copy of the input 'x'"; "": one has
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

    def real(self, stored: np.ndarray) -> np.ndarray:
        """The real numbers that ``stored`` stands for; the array itself where its entries stand for themselves."""
        return real_numbers(stored, self.scale, self.zero_point)

    def __str__(self) -> str:
        sizes = " × ".join("?" if size is None else str(size) for size in self.shape)
        stands = f", standing for {self.scale:.4g} × (stored − {self.zero_point})" if self.scale else ""
        stands += f", {self.stored} inside" if self.stored else ""
        stands += f", sizes along axis {self.ragged_axis} follow the data" if self.ragged_axis is not None else ""
        return f"{self.name}: {self.dtype} [{sizes}]{stands}".replace("− -", "+ ")


def real_numbers(stored: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Integers of a quantized file as the numbers that they stand for.

    The formula is ``scale × (stored - zero_point)`` (TensorFlow Lite's 8-bit quantization specification; ONNX'
    DequantizeLinear), for the whole tensor at once.

    Args:
        stored: integers of any type and shape.
        scale: step between two neighbouring integers; 0 means that the integers stand for themselves.
        zero_point: the integer that stands for 0.

    Returns:
        float32, of the same shape; ``stored`` itself where ``scale`` is 0 or the array does not hold integers.

    Example:
        >>> import numpy as np
        >>> real_numbers(np.array([-128, 127], np.int8), 1 / 256, -128)
        array([0.        , 0.99609375], dtype=float32)
    """
    import numpy as np

    if not scale or stored.dtype.kind not in "iu":
        return stored
    # float64 holds every 32-bit integer, and the difference cannot wrap there
    return np.asarray((stored.astype(np.float64) - zero_point) * scale).astype(np.float32)


TEXT = "str"
"""``dtype`` of inputs and outputs that hold text."""

DEFAULT_AXIS = 16
"""Size given to a dynamic axis other than the batch where nobody has said one."""


@dataclass(frozen=True)
class Probe:
    """What the source model did when it was opened and run on generated inputs."""

    worked: tuple[int, ...] = ()  # batch sizes at which it ran
    failed: tuple[tuple[int, str], ...] = ()  # the size, and what the library said
    # outputs that cannot be compared with anything, because they do not repeat themselves: how that was seen
    varying: dict[str, str] = field(default_factory=dict)
    not_finite: dict[str, str] = field(default_factory=dict)  # outputs with NaN or infinity: "NaN for 3 of 6 samples"

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
    def varying(self) -> dict[str, str]:
        """Outputs that differ between two runs on one input, with how that was seen."""
        return self.probe.varying if self.probe else {}

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
    compared: tuple[str, ...] = ()  # outputs that were compared on finite values
    not_finite: tuple[
        str, ...
    ] = ()  # outputs in which the source gave NaN or infinity; only finite values were compared
    uncompared: tuple[str, ...] = ()  # outputs that were left out, because the model does not repeat them


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
    unreached: dict[str, str] = field(
        default_factory=dict
    )  # outputs that no weight of the ONNX graph has a part in: why

    @property
    def max_rel_diff(self) -> float:
        return max((hop.max_rel_diff for hop in self.hops), default=0.0)

    @property
    def max_abs_diff(self) -> float:
        return max((hop.max_abs_diff for hop in self.hops), default=0.0)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({batch for hop in self.hops for batch in hop.batches}))
