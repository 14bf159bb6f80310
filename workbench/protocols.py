"""What a backend is: the contract that every file in ``workbench/backends`` fulfils."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

from workbench.records import (
    DeviceFacts,
    EngineRecord,
    EngineSpec,
    GpuState,
    InEffect,
    Model,
    RealizedPrecision,
    Region,
    TensorSpec,
    Wait,
)
from workbench.records.layers import LayerTime

if TYPE_CHECKING:
    import numpy as np

    from workbench.system.energy import Counter

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
    layers: tuple[str, ...] = ()  # names of the model's own layers, where its file tells them


@dataclass(frozen=True)
class Built:
    """What :meth:`Backend.build` found after building; the store adds size, key and time."""

    library: str
    library_version: str
    realized: RealizedPrecision
    runnable: bool = True
    note: str = ""
    file_sha256: str = ""  # of what the library made of the model, where it does the rewriting itself


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


def _nothing() -> None:
    """For callers whose threads need no preparation."""


@dataclass(frozen=True)
class Caller:
    """A way into an open engine for one thread at a time; several callers' threads may be in it at once.

    ``run`` and ``stage`` are as those of a :class:`Session`. Staging, and the first run with inputs of another shape, are done
    while all callers are at rest.
    """

    run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    stage: Callable[[Mapping[str, np.ndarray]], Callable[[], object]]
    enter: Callable[[], object] = _nothing  # in the caller's own thread, before its first call
    leave: Callable[[], object] = _nothing  # in that thread, after its last call


@dataclass(frozen=True)
class Callers:
    """Several callers of one engine, and in a few words how they share it."""

    each: tuple[Caller, ...]
    note: str = ""


@runtime_checkable
class LoadSession(Session, Protocol):
    """An open engine that serves several callers at once. A session without this is for one caller."""

    def callers(self, count: int) -> Callers:
        """So many callers, at most ``streams`` of the spec that the engine was opened with. Earlier ones are not used again.

        Raises:
            RunError: the engine was opened for fewer.
        """
        ...


@runtime_checkable
class TellsSettings(Protocol):
    """A session whose library says under which settings it runs."""

    def in_effect(self) -> tuple[InEffect, ...]:
        """Settings read back from the library, or found by trying; asked after the engine has run. Names that mean the same in
        every library are the same: "threads", "denormals", "memory arena", "thread pinning", "oneDNN".
        """
        ...


@runtime_checkable
class HasLibraryCall(Protocol):
    """A session whose library has a call of its own kind between the bare engine and NumPy."""

    def library_call(self, feeds: Mapping[str, np.ndarray]) -> tuple[Callable[[], object], str]:
        """The library's own call with its own kind of inputs made before, results left as it gives them; and that in words."""
        ...


@runtime_checkable
class MetersEnergy(Protocol):
    """A session on a device that counts its energy."""

    def energy_counters(self) -> list[Counter]:
        """Empty where the device does not tell."""
        ...


@runtime_checkable
class Backend(Protocol):
    """One engine library. Describing is free: only ``build`` and ``open`` import it."""

    name: str  # equal to the file's name
    title: str  # for people
    modes: Mapping[str, str]  # ways of running ("" is the plain one), each with a line that explains it
    devices: Mapping[str, str]  # modes that run on a GPU, and on which: {"cuda": "cuda:0"}; the others run on the CPU
    distributions: tuple[str, ...]  # packages whose version decides what is built, the first that is installed
    imports: tuple[str, ...]  # libraries to have in memory before an engine's opening is timed, whatever the mode
    mode_imports: Mapping[str, tuple[str, ...]]  # more of them, by the mode that needs them
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
        calibration samples beside it), ``tflite`` (the user's file), or ``onnx:`` and one of ``workbench.precision.rewrite.FORMS``:
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


@runtime_checkable
class HasBuildOptions(Protocol):
    """A backend whose builds have options by name."""

    build_options: Mapping[str, str]  # what each does; a name that ends in "=" is followed by a value


@runtime_checkable
class Carrier(Protocol):
    """A backend some of whose engines are opened on other machines than those that built them; see ``workbench.runs.carried``."""

    def portable(self, spec: EngineSpec) -> EngineSpec | None:
        """The variant without what shapes no engine: two that are equal here have one engine, wherever it was built.
        ``None``: engines of this variant stay where they were built.
        """
        ...

    def builds(self, spec: EngineSpec) -> Availability:
        """Whether what builds it is here; else what is not, and what to run where it is."""
        ...

    def opens(self, spec: EngineSpec, built: EngineRecord) -> Availability:
        """Whether this machine's library opens what was built elsewhere."""
        ...


@dataclass(frozen=True)
class Refusal:
    """One node that a backend does not take, and why, in words."""

    node: str  # its name, or the name of its first result where it has none; "": the file as a whole
    op: str  # with its domain, unless that is ONNX's own
    reason: str


class Told(NamedTuple):
    """What a library told of its layers."""

    layers: tuple[LayerTime, ...]  # in the order in which they ran, each with a time for every call
    words: Mapping[str, tuple[str, ...]]  # by layer: names of nodes or tensors of the source that it says it came from
    basis: str  # who told, in words


class ProfiledSession(Protocol):
    """An open engine that is slower than usual, because its library notes what each layer takes."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """As :meth:`Session.stage`."""
        ...

    def begin(self) -> None:
        """Forget the calls made so far."""
        ...

    def collect(self) -> None:
        """After every call, outside what is timed."""
        ...

    def end(self) -> Told:
        """The layers in the calls since :meth:`begin`; the session is of no more use after it."""
        ...


@runtime_checkable
class Profiler(Protocol):
    """A backend that can tell what each layer takes."""

    def profiles(self, spec: EngineSpec) -> Availability:
        """Can the layers of this variant be timed?"""
        ...

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        """Open what ``build`` left in ``engine``, with the library's own profiling on."""
        ...
