"""Defaults for every member of the backend contract that has a sensible one.

A new backend sets ``name``, ``title`` and the library's names, and writes ``build`` and ``open``; its session writes ``run``.
Other members are inherited, and overridden where the library differs. The contract is :mod:`workbench.protocols`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from workbench.protocols import (
    AVAILABLE,
    DEFAULT_RANK,
    ON_CPU,
    ONNX_WORKER,
    Availability,
    Built,
    Closing,
    Progress,
    Refusal,
    Session,
    Source,
    unavailable,
)
from workbench.records import EngineRecord, EngineSpec, Model, Precision, Region
from workbench.settings.table import BACKEND_SETTINGS
from workbench.system.machine import is_package

if TYPE_CHECKING:
    import numpy as np

ALWAYS = "batches"
"""The one backend setting without an entry in ``without``: an engine without a range of batches serves any batch."""


class Deployed(NamedTuple):
    """The parts of an engine that a deployment takes along, and how it is opened elsewhere."""

    files: Mapping[str, Path]  # files and folders, by their names in the deployment
    options: Mapping[str, Any]  # as JSON: what the runner's ``open_model`` takes
    # the lines of config.pbtxt by which the library's own backend in Triton opens the files; "": it has none
    container: str
    bound: str = ""  # the reason why the files run on machines like this one only; "": they are portable
    edge: str = ""  # how the files are checked on a device without the workbench, a section of Markdown


@runtime_checkable
class Deployable(Protocol):
    """A backend whose engines can be deployed (:mod:`workbench.deploy`)."""

    runner: Path  # a Python file with ``open_model(folder, options)``; it imports NumPy and the library only

    def deploys(self, spec: EngineSpec) -> Availability:
        """Whether engines of this variant can be deployed."""
        ...

    def deployed(self, engine: Path, record: EngineRecord, origin: Path, scratch: Path) -> Deployed:
        """The parts of the engine in the folder ``engine``.

        ``origin`` is the prepared model that it was built from, and ``scratch`` an empty folder for files that are made for the
        deployment; it is removed when they were copied.
        """
        ...


WITHOUT = {
    "optimization_level": "{} has no such levels",
    "workspace": "{} has no workspace limit",
    "build_options": "{} has no build options by name",
}
"""Reasons for which a setting has no effect, with a place for the title; "{} has no such setting" where there is none."""


class BaseBackend(ABC):
    """A library that runs ONNX models in FP32 on the CPU and has no settings; subclasses override what differs."""

    name: str
    title: str
    modes: Mapping[str, str] = {"": "on the CPU"}
    devices: Mapping[str, str] = {}
    distributions: tuple[str, ...]
    builders: tuple[str, ...] = ()
    recipe = ""
    imports: tuple[str, ...]
    mode_imports: Mapping[str, tuple[str, ...]] = {}
    settings: Mapping[str, str] = {}
    without: Mapping[str, str] = {}
    builds_in = ONNX_WORKER
    rank = DEFAULT_RANK
    searches_mixed_precision = False
    precisions: tuple[str, ...] = (Precision.FP32,)
    """The precisions that :meth:`supports` accepts, as in ``EngineSpec.asked``."""
    own_formats: tuple[str, ...] = ()
    """Formats of models that the library runs as they are, as in ``Model.format``: it is their reference."""

    def __init_subclass__(cls) -> None:
        """Complete ``without`` with default reasons, so that a subclass lists only its own."""
        title = getattr(cls, "title", cls.__name__)
        reasons = {name: WITHOUT.get(name, "{} has no such setting").format(title) for name in BACKEND_SETTINGS}
        reasons |= {} if cls.devices else ON_CPU
        reasons |= cls.without
        cls.without = {name: why for name, why in reasons.items() if name not in cls.settings and name != ALWAYS}

    def status(self, mode: str = "") -> Availability:
        """Whether the first library in ``imports`` is installed."""
        if not is_package(self.imports[0].partition(".")[0]):
            return unavailable(
                f"the package '{self.distributions[0]}' is not installed", f"pip install {self.distributions[0]}"
            )
        return AVAILABLE

    def problem(self) -> Availability:
        return AVAILABLE

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        if spec.asked not in self.precisions:
            return unavailable(f"{self.title} does not build {spec.asked}", f"choose from {', '.join(self.precisions)}")
        return AVAILABLE

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        if region == Region.DEVICE:
            return unavailable(
                "the region 'device' is timed by a GPU, and this runs on the CPU", "use host-to-host or compute"
            )
        return AVAILABLE

    def reference_for(self, model: Model) -> Precision | None:
        if model.format not in self.own_formats:
            return None
        return Precision.INT8 if model.quantized == Precision.INT8 else Precision.FP32

    def source(self, spec: EngineSpec, model: Model) -> str:
        return "onnx:int8-u8" if spec.asked == Precision.INT8 else f"onnx:{spec.asked}"

    def check_files(self, place: Path) -> None:
        """Do nothing: files of this library can only compute."""

    def preflight(self, onnx: Path) -> tuple[Refusal, ...]:
        return ()

    @abstractmethod
    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built: ...

    @abstractmethod
    def open(self, engine: Path, record: EngineRecord) -> Session: ...


class BaseSession(Closing, ABC):
    """A session for one caller, on the CPU, of a library without a way to put inputs in place."""

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Keep copies of the feeds and call :meth:`run` with them, so that the region compute includes what that does to its inputs."""
        kept = {name: array.copy() for name, array in feeds.items()}
        return lambda: self.run(kept)
