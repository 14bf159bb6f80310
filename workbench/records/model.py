"""Records of a model: its signature, its behaviour when it was opened, and its conversion to ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class AxisRange:
    """The sizes that are used for a dynamic axis other than the batch: smallest, usual and largest."""

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
    batch_axis: int | None = 0  # the axis that counts samples; None: the tensor is the same for every batch
    rows: int = 1  # outputs: entries along the batch axis per sample
    ranges: tuple[AxisRange, ...] = ()  # sizes for the dynamic axes other than the batch
    low: float | None = None  # declared values: smallest, and largest (integers: inclusive); equal ends: one value only
    high: float | None = None
    scale: float = 0.0  # integers of a quantized file mean scale × (stored - zero_point); 0: the integers themselves
    zero_point: int = 0
    # outputs: number of samples that share one entry along the batch axis, where there are fewer entries than samples
    samples_per_row: int = 1
    # outputs: the axis whose size depends on the values of the inputs, as for NonMaxSuppression; known only after a run
    ragged_axis: int | None = None
    # outputs with such an axis: the output, and its column, that hold the batch index of each row's sample; "": not known
    index_output: str = ""
    index_column: int = 0
    unreached: str = ""  # outputs: why it does not depend on weights, such as "it is a copy of the input 'x'"; "": it depends on weights
    stored: str = ""  # the type inside the model where arrays have another type: "bfloat16", with float32 arrays

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, size in enumerate(self.shape) if size is None)

    @property
    def free_axes(self) -> tuple[int, ...]:
        """The dynamic axes other than the batch."""
        return tuple(axis for axis in self.dynamic_axes if axis != self.batch_axis)

    @property
    def inner(self) -> tuple[int | None, ...]:
        """The sizes of one sample: the shape without the batch axis."""
        return tuple(size for axis, size in enumerate(self.shape) if axis != self.batch_axis)

    def sized(self, batch: int, which: str = "opt") -> tuple[int, ...]:
        """The shape with all sizes: the batch as given, free axes at their ``min``, ``opt`` or ``max``."""
        known = {each.axis: int(getattr(each, which)) for each in self.ranges}
        return tuple(
            size if size is not None else batch if axis == self.batch_axis else known.get(axis, DEFAULT_AXIS)
            for axis, size in enumerate(self.shape)
        )

    def real(self, stored: np.ndarray) -> np.ndarray:
        """The real numbers that ``stored`` represents; the array itself where it is not quantized."""
        return real_numbers(stored, self.scale, self.zero_point)

    def __str__(self) -> str:
        sizes = " × ".join("?" if size is None else str(size) for size in self.shape)
        stands = f", standing for {self.scale:.4g} × (stored − {self.zero_point})" if self.scale else ""
        stands += f", {self.stored} inside" if self.stored else ""
        stands += f", sizes along axis {self.ragged_axis} follow the data" if self.ragged_axis is not None else ""
        return f"{self.name}: {self.dtype} [{sizes}]{stands}".replace("− -", "+ ")


def real_numbers(stored: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Integers of a quantized file as the real numbers that they represent.

    The formula is ``scale × (stored - zero_point)`` (TensorFlow Lite's 8-bit quantization specification; ONNX'
    DequantizeLinear), for the whole tensor at once.

    Args:
        stored: integers of any type and shape.
        scale: step between two neighbouring integers; 0 means that the integers are not scaled.
        zero_point: the integer that represents 0.

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
"""Size of a dynamic axis other than the batch where none was given."""


@dataclass(frozen=True)
class Probe:
    """Behaviour of the source model when it was opened and run on generated inputs."""

    worked: tuple[int, ...] = ()  # batch sizes at which it ran
    failed: tuple[tuple[int, str], ...] = ()  # the size, and the library's message
    # outputs that cannot be compared, because they are not repeatable, and how that was observed
    varying: dict[str, str] = field(default_factory=dict)
    not_finite: dict[str, str] = field(default_factory=dict)  # outputs with NaN or infinity: "NaN for 3 of 6 samples"
    mixed: tuple[str, ...] = ()  # outputs whose values for a sample depend on the other samples of the batch

    @property
    def free(self) -> bool:
        """Whether more than one size was tried, and all of them worked."""
        return len(self.worked) > 1 and not self.failed


@dataclass(frozen=True)
class Model:
    """A trained model: signature, size, digest. ``path`` is its current location."""

    path: str
    name: str
    format: str  # a module in workbench/models/formats: "keras", "saved_model", "frozen_graph", "tflite" or "onnx"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    size_bytes: int
    digest: str  # sha256 over the file, or over every file of the folder with its name
    signature: str = ""  # the SavedModel signature in use, or the tensors of a frozen graph
    signatures: tuple[str, ...] = ()
    quantized: str = ""  # the precision that it already has, such as "int8" or "fp16"; "": FP32 weights
    quantized_how: str = ""  # evidence for that, as text
    probe: Probe | None = None
    legacy: bool = False  # a SavedModel that only TensorFlow 1's loader opens: used through its frozen graph
    # a SavedModel without signatures: used through one of its functions, which ``signature`` names
    unsigned: bool = False
    exportable: str = ""  # why it cannot be converted to ONNX, with the layer or operation; "": no reason is known
    notes: tuple[str, ...] = ()

    @property
    def varying(self) -> dict[str, str]:
        """Outputs that differ between two runs on one input, with how that was observed."""
        return self.probe.varying if self.probe else {}

    @property
    def is_tensorflow(self) -> bool:
        return self.format in ("keras", "saved_model", "frozen_graph")

    @property
    def signed(self) -> bool:
        """Whether it is a SavedModel that is used without changes, by its own signature."""
        return self.format == "saved_model" and not (self.legacy or self.unsigned)

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that the model takes, or ``None`` where the batch is dynamic."""
        sizes = [spec.shape[spec.batch_axis] for spec in self.inputs if spec.batch_axis is not None]
        known = [size for size in sizes if size is not None]
        return known[0] if known else None if sizes else 1

    @property
    def runs_alone(self) -> bool:
        """Whether the model takes a batch of 1, by its file and the probe. An engine that takes it does not show that."""
        return self.fixed_batch in (None, 1) and 1 not in dict(self.probe.failed if self.probe else ())

    def batch_near(self, wanted: int) -> int:
        """The fixed batch; else ``wanted`` where every size ran, or the largest size up to it that ran, or the smallest."""
        if self.fixed_batch is not None or self.probe is None or not self.probe.failed or not self.probe.worked:
            return self.fixed_batch or wanted
        return max((size for size in self.probe.worked if size <= wanted), default=min(self.probe.worked))

    @property
    def dynamic_batch(self) -> bool:
        return self.fixed_batch is None


@dataclass(frozen=True)
class Hop:
    """One step of a conversion, and the difference of its result from its source."""

    step: str  # such as "SavedModel → ONNX (tf2onnx)"
    inputs: tuple[str, ...]  # kinds of inputs compared: "real", "random", "ramp", "impulse" ...
    batches: tuple[int, ...]
    lengths: tuple[str, ...]  # "min", "opt", "max": sizes of the free axes that were compared; empty without such axes
    max_abs_diff: float
    max_rel_diff: float  # max_abs_diff divided by the largest absolute value of that output
    # kinds on which the source itself changes as much when inputs change in the last digit
    ill_conditioned: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()  # outputs that did not depend on any compared input
    compared: tuple[str, ...] = ()  # outputs that were compared on finite values
    # outputs in which the source gave NaN or infinity; only finite values were compared
    not_finite: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()  # outputs that were left out, because the model does not repeat them


@dataclass(frozen=True)
class Attempt:
    """A route to ONNX that failed, and why."""

    route: str
    reason: str
    unsupported: bool = False  # the reason is an operation that does not exist in ONNX


@dataclass(frozen=True)
class ExportCheck:
    """The comparison of a conversion to ONNX with its source on samples."""

    route: str  # the steps, as text
    opset: int
    hops: tuple[Hop, ...]
    tolerance: float  # limit on every hop's max_rel_diff
    attempts: tuple[Attempt, ...] = ()  # routes tried before this one
    repairs: tuple[str, ...] = ()  # changes of the graph, as text
    real_samples: bool = False  # real data were among the inputs compared
    # outputs that do not depend on weights of the ONNX graph, and why
    unreached: dict[str, str] = field(default_factory=dict)

    @property
    def max_rel_diff(self) -> float:
        return max((hop.max_rel_diff for hop in self.hops), default=0.0)

    @property
    def max_abs_diff(self) -> float:
        return max((hop.max_abs_diff for hop in self.hops), default=0.0)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({batch for hop in self.hops for batch in hop.batches}))
