"""Engine libraries: how an engine is built and opened, and what a backend may offer beyond that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from workbench.protocols.sessions import LayerTimings, ProfiledSession, Session
from workbench.records import EngineRecord, EngineSpec, Model, Precision, RealizedPrecision, Region, TensorSpec

Progress = Callable[[str], None]
"""Called with the name of each phase when it begins."""


ONNX_WORKER = "onnx"
TF_WORKER = "tf"
"""Names of the worker processes that read, convert and build on the CPU: one never imports TensorFlow, the other has it in memory."""

DEFAULT_RANK = 50
"""``Backend.rank`` of a backend that is not preferred to others."""

ON_CPU = dict.fromkeys(("tf32", "cuda_graph", "streams"), "it runs on the CPU")
"""The entries of ``Backend.without`` that every backend without a GPU has."""


@dataclass(frozen=True)
class Availability:
    """Whether something can be done on this machine; if not, the reason, and what to do about it."""

    ok: bool
    reason: str = ""
    fix: str = ""

    def __bool__(self) -> bool:
        return self.ok


AVAILABLE = Availability(ok=True)


def unavailable(reason: str, fix: str = "") -> Availability:
    return Availability(ok=False, reason=reason, fix=fix)


@dataclass(frozen=True)
class Source:
    """The prepared file or folder that an engine is built from, and the model's inputs and outputs.

    ``inputs`` and ``outputs`` have the model's names, its NumPy dtypes and its shapes, with ``None`` for a free axis.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: str = ""  # of a SavedModel
    samples: Path | None = None  # calibration samples, for a backend that quantizes by itself
    layers: tuple[str, ...] = ()  # names of the model's own layers, where its file holds them


@dataclass(frozen=True)
class Built:
    """Facts of a built engine, returned by :meth:`Backend.build`; the store adds size, key and time."""

    library: str  # its title, such as "ONNX Runtime"
    library_version: str  # as the library reports it; not empty
    realized: RealizedPrecision  # layers with weights by the format that they compute in, read from the built engine
    runnable: bool = True  # False: built for another machine
    note: str = ""  # a remark that is shown beside the row
    file_sha256: str = ""  # of the converted model, where the library rewrites the model itself


@dataclass(frozen=True)
class Refusal:
    """One node that a backend does not support, and the reason."""

    node: str  # its name, or the name of its first result where it has none; "": the file as a whole
    op: str  # with its domain, unless that is ONNX's own
    reason: str


@runtime_checkable
class Backend(Protocol):
    """One engine library. Only ``build``, ``open`` and ``preflight`` import the library; all other members are cheap.

    ``build`` and ``preflight`` are called in a worker process for builds, ``open`` in a separate process for each engine. All
    other members are called in the user's process too, from any thread.
    """

    name: str  # lower-case letters, digits and underscores; equal to the folder's name, or to that of the entry point
    title: str  # the name that is shown
    modes: Mapping[str, str]  # ways of running ("" is the plain mode), each with a line that explains it
    devices: Mapping[str, str]  # modes that run on a GPU, and on which: {"cuda": "cuda:0"}; the others run on the CPU
    distributions: tuple[str, ...]  # packages whose version affects the engine; the first that is installed counts
    builders: tuple[str, ...]  # more packages whose versions affect the engine, such as a converter
    recipe: str  # how the library is called, part of an engine's key: engines are built again where it changes
    imports: tuple[str, ...]  # libraries to import before the opening of an engine is timed, in every mode
    mode_imports: Mapping[str, tuple[str, ...]]  # more such libraries, by the mode that needs them
    settings: Mapping[str, str]  # settings of EngineSpec that have an effect here, with what they do
    without: Mapping[str, str]  # settings that have none, with the reason
    builds_in: str  # the worker that builds on the CPU: ONNX_WORKER, or TF_WORKER for a library that needs TensorFlow
    rank: int  # lists are sorted by it; the plain mode of the lowest is the default baseline
    searches_mixed_precision: bool  # builds static INT8 from ONNX for the CPU, with the nodes in ``keep`` left in FP32

    def status(self, mode: str = "") -> Availability:
        """Whether this mode can be used on this machine. Never raises, imports nothing heavy, and does not use a GPU."""
        ...

    def problem(self) -> Availability:
        """A fault of the library's installation other than its absence, for ``workbench doctor``."""
        ...

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        """Whether this variant of this model can be built on this machine."""
        ...

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        """Whether this variant can be run on this machine and timed over this region."""
        ...

    def reference_for(self, model: Model) -> Precision | None:
        """The precision in which this backend's plain mode represents the source model when outputs are compared with it; ``None``:
        it does not run this model without conversion. Of several backends, one whose precision is that in which the model is stored
        is preferred, then the one of the lowest rank.
        """
        ...

    def source(self, spec: EngineSpec, model: Model) -> str:
        """The prepared model that the variant is built from: ``keras``, ``saved_model``, ``saved_model+calibration`` or
        ``onnx:fp32+calibration`` (with calibration samples beside it), ``tflite`` (the user's file), or ``onnx:`` and one of
        ``workbench.precision.rewrite.FORMS``: ``onnx:fp32``, ``onnx:int8-u8`` (asymmetric, for CPU kernels), ``onnx:int8-s8``
        (symmetric, for TensorRT), ``onnx:int4-weights`` (MatMulNBits), ``onnx:int4-weights-dq`` (ONNX operations, for TensorRT).
        For a model that already holds a lower precision, ``onnx:fp32`` is the model unchanged.
        """
        ...

    def check_files(self, place: Path) -> None:
        """Check a file or folder before this library loads it: an engine, or what an engine is built from. Only for libraries whose
        files can do more than compute.

        Raises:
            InputError: loading it could run code or write files; the text names the node or the layer.
        """
        ...

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        """Build the engine into the empty folder ``into``, and read back the precision of its layers.

        Everything that ``open`` needs goes into ``into``, which may be moved afterwards. ``source.path`` may not exist when ``open``
        is called, and must not be written to. ``progress`` is called with the name of each phase as it begins.

        Raises:
            BuildError: the engine cannot be built; any other exception is converted to it, with the library's own text.
        """
        ...

    def open(self, engine: Path, record: EngineRecord) -> Session:
        """Open the engine in the read-only folder ``engine``, with ``record.spec.threads`` threads in a call."""
        ...

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        """The nodes of an ONNX file that this library does not support, determined without building an engine; empty: none.

        Runs in a child process, because a library may crash on an unsupported file. One refusal without a node means the whole
        file. A backend that is not built from ONNX returns an empty tuple.
        """
        ...


@runtime_checkable
class HasBuildOptions(Protocol):
    """A backend whose builds have options by name."""

    build_options: Mapping[str, str]  # what each does; a name that ends in "=" is followed by a value


@runtime_checkable
class HasPortableEngines(Protocol):
    """A backend with engines that can be opened on a machine other than the one that built them; see ``workbench.runs.portable_engines``."""

    def portable(self, spec: EngineSpec) -> EngineSpec | None:
        """The variant without the settings that do not affect the engine: two that are equal here have one engine, wherever it was
        built. ``None``: engines of this variant can be opened only on the machine that built them.
        """
        ...

    def builds(self, spec: EngineSpec) -> Availability:
        """Whether this machine can build it; if not, what is missing, and the command to run on a machine that can."""
        ...

    def opens(self, spec: EngineSpec, built: EngineRecord) -> Availability:
        """Whether this machine's library can open an engine that was built elsewhere."""
        ...


@runtime_checkable
class InspectsLayers(Protocol):
    """A backend whose engines can be read layer by layer without being run."""

    def inspected(self, engine: Path) -> LayerTimings | None:
        """The layers of the engine in the folder ``engine``, without times; ``None``: they were not kept."""
        ...


@runtime_checkable
class Profiler(Protocol):
    """A backend that can time each layer."""

    def profiles(self, spec: EngineSpec) -> Availability:
        """Whether the layers of this variant can be timed."""
        ...

    def profiled(self, engine: Path, record: EngineRecord) -> ProfiledSession:
        """Open the engine in the folder ``engine`` with the library's own profiling on."""
        ...
