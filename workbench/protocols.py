"""What a backend is: the contract that every file in ``workbench/backends`` fulfils."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from workbench.records import (
    DeviceFacts,
    EngineRecord,
    EngineSpec,
    GpuState,
    Model,
    RealizedPrecision,
    Region,
    TensorSpec,
    Wait,
)

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[str], None]
"""Called with the name of the phase that begins."""


@dataclass(frozen=True)
class Availability:
    """Whether something can be done here and now; if not, why, and the line that would change it."""

    ok: bool
    reason: str = ""
    fix: str = ""

    def __bool__(self) -> bool:
        return self.ok


YES = Availability(ok=True)


def no(reason: str, fix: str = "") -> Availability:
    return Availability(ok=False, reason=reason, fix=fix)


ON_CPU = dict.fromkeys(("tf32", "cuda_graph", "streams"), "it runs on the CPU")
"""The part of ``Backend.without`` that is the same for every backend without a GPU."""


def on_cpu(region: Region) -> Availability:
    """What a backend that runs on the processor answers when asked whether it can be timed over a region."""
    if region == Region.DEVICE:
        return no("the device region is a GPU's own clock, and this runs on the CPU", "use host-to-host or compute")
    return YES


@dataclass(frozen=True)
class Source:
    """What an engine is built from: a prepared file or folder, and the model's signature."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: str = ""  # of a SavedModel
    samples: Path | None = None  # calibration samples, for a backend that quantizes by itself


@dataclass(frozen=True)
class Built:
    """What :meth:`Backend.build` found after building; the store adds size, key and time."""

    library: str
    library_version: str
    realized: RealizedPrecision
    runnable: bool = True
    note: str = ""


class Session(Protocol):
    """An open engine, as a context manager. One per process."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Host in, host out, blocking. The arrays belong to the caller."""
        ...

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Put the inputs in place; every call of what is returned runs the engine once and waits for it."""
        ...


@runtime_checkable
class GpuSession(Session, Protocol):
    """An open engine on a GPU, where more can be timed and told."""

    def timed(
        self,
        feeds: Mapping[str, np.ndarray],
        region: Region,
        *,
        wait: Wait = Wait.SPIN,
        copies: bool = False,
        together: bool = True,
    ) -> Callable[[], int | None]:
        """A call over this region. It returns the nanoseconds that the GPU counted for the region ``DEVICE``, and
        ``None`` for the others, which are for the caller's clock; ``together`` allows it to be the mean over several short runs. With several streams it waits for the next answer of
        any of them, and all go on.
        """
        ...

    def drain(self) -> None:
        """Wait until nothing is in flight."""
        ...

    def state(self) -> GpuState | None:
        """The GPU at this moment, where its driver tells."""
        ...

    def facts(self) -> DeviceFacts:
        """Of the inputs that :meth:`timed` was last given; runs the engine a few more times."""
        ...


@runtime_checkable
class Backend(Protocol):
    """One engine library. Describing is free: only ``build`` and ``open`` import it."""

    name: str  # equal to the file's name
    title: str  # for people
    modes: Mapping[str, str]  # ways of running ("" is the plain one), each with a line that explains it
    devices: Mapping[str, str]  # modes that run on a GPU, and on which: {"cuda": "cuda:0"}; the others run on the CPU
    distributions: tuple[str, ...]  # packages whose version decides what is built, the first that is installed
    imports: tuple[str, ...]  # libraries to have in memory before an engine's opening is timed
    settings: Mapping[str, str]  # settings of EngineSpec that have an effect here, with what they do
    without: Mapping[str, str]  # settings that have none, with the reason

    def status(self, mode: str = "") -> Availability:
        """Is what this mode needs here? Never raises, imports nothing heavy, leaves any GPU alone."""
        ...

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        """Can this variant of this model be built here?"""
        ...

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        """Can this variant be run here and timed over this region?"""
        ...

    def source(self, spec: EngineSpec, model: Model) -> str:
        """Which prepared form it is built from: ``keras``, ``saved_model``, ``saved_model+calibration`` or ``onnx:fp32+calibration`` (with
        calibration samples beside it), ``tflite`` (the user's file), or ``onnx:`` and one of ``workbench.precision.FORMS``:
        ``onnx:fp32``, ``onnx:int8-u8`` (asymmetric, for CPU kernels), ``onnx:int8-s8`` (symmetric, for TensorRT),
        ``onnx:int4-weights`` (MatMulNBits), ``onnx:int4-weights-dq`` (ONNX' own operations, for TensorRT). For a model that holds a lower precision already,
        ``onnx:fp32`` is that model as it is.
        """
        ...

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        """Build into the empty folder ``into`` and read back what was built."""
        ...

    def open(self, engine: Path, record: EngineRecord) -> Session:
        """Open what ``build`` left in ``engine``."""
        ...

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        """The nodes of an ONNX file that this library will not take, found without building an engine; empty: none.

        Runs in a child process, because libraries have been seen to crash on files that they do not know. One refusal
        without a node stands for the whole file. A backend that is not built from ONNX refuses nothing.
        """
        ...


@dataclass(frozen=True)
class Refusal:
    """One node that a backend does not take, and why, in words."""

    node: str  # its name, or the name of its first result where it has none; "": the file as a whole
    op: str  # with its domain, unless that is ONNX's own
    reason: str
