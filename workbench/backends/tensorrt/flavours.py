"""What TensorRT, TensorRT for RTX and the lean runtime have in common: one API under three module names.

Their calls do not raise: they return None, False or -1 and log the reason. :func:`checked` and :func:`made` turn
that into an error with the plain cause of :mod:`workbench.backends.tensorrt.causes`.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from workbench.backends.tensorrt.causes import explain
from workbench.errors import BuildError, MissingPackageError, WorkbenchError, brief
from workbench.protocols import AVAILABLE, Availability, unavailable
from workbench.system.machine import is_package, this_machine, version_of

T = TypeVar("T")
KEPT_LINES = 200


@dataclass(frozen=True)
class Flavour:
    """One of the libraries that share TensorRT's API."""

    mode: str  # of the backend
    module: str
    title: str
    distributions: tuple[str, ...]  # the first that is installed has the version
    install: str

    @property
    def installed(self) -> Availability:
        """Whether its module can be found; imports nothing."""
        if not is_package(self.module):
            return unavailable(f"the package '{self.distributions[0]}' is not installed", self.install)
        return AVAILABLE

    @property
    def version(self) -> tuple[int, ...]:
        """Version numbers of the installed distribution, or else of the module; empty where neither is known."""
        return numbers_of(version_of(*self.distributions) or _version_in(self.module))


def _version_in(module: str) -> str:
    """The version that a package states in its ``__init__.py``, or "": one that was put together from files has no distribution. Imports nothing."""
    spec = find_spec(module)
    if spec is None or not spec.origin:
        return ""
    found = re.search(r"""^__version__ = ["']([\d.]+)""", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def numbers_of(version: str) -> tuple[int, ...]:
    """``"11.4.0.106"``, or ``"8.6.0 (bindings 8.6.1)"``, as numbers, which can be compared."""
    return tuple(int(part) for part in version.partition(" ")[0].split(".") if part.isdigit())


FULL = Flavour("", "tensorrt", "TensorRT", ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"), "pip install tensorrt")
RTX = Flavour(
    "rtx",
    "tensorrt_rtx",
    "TensorRT for RTX",
    ("tensorrt-rtx-cu13", "tensorrt-rtx"),
    'pip install "inference-workbench[rtx]"',
)
LEAN = Flavour(
    "lean",
    "tensorrt_lean",
    "TensorRT lean runtime",
    ("tensorrt-lean", "tensorrt-lean-cu13", "tensorrt-lean-cu12"),
    "pip install tensorrt-lean",
)
FLAVOURS = {flavour.mode: flavour for flavour in (FULL, RTX, LEAN)}


_logs: dict[str, Any] = {}
"""The one logger of each module in this process."""


def library(flavour: Flavour) -> tuple[Any, Any]:
    """The module and the process's one logger for it, emptied of what it held.

    TensorRT keeps the first logger of a process and ignores later ones.

    Raises:
        MissingPackageError: the package is absent, or present and broken.
    """
    try:
        trt = importlib.import_module(flavour.module)
    except (ImportError, OSError) as cause:  # OSError: a shared library that it needs is missing
        raise MissingPackageError(
            f"This needs {flavour.title}, which did not import ({brief(cause)}). To install it: {flavour.install}"
        ) from cause
    if flavour.module not in _logs:
        _logs[flavour.module] = _logger(trt)
    log = _logs[flavour.module]
    log.lines.clear()
    return trt, log


def _logger(trt: Any) -> Any:
    """A logger: the class is made when the library is there, because it must derive from the library's."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[str, str]] = []  # severity by name, text; filled from TensorRT's threads too

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.VERBOSE:
                return  # thousands of lines for an ordinary model
            print(severity.name, message, flush=True)
            self.lines.append((severity.name, message))
            del self.lines[:-KEPT_LINES]

        def errors(self) -> list[str]:
            return [text for severity, text in self.lines if severity in ("ERROR", "INTERNAL_ERROR")]

        def warnings(self) -> list[str]:
            return [text for severity, text in self.lines if severity == "WARNING"]

        def text(self) -> str:
            return "\n".join(text for _, text in self.lines[-40:])

    return Log()


def why(log: Any, *more: str) -> str:
    """The cause of the failure in the log or in ``more``, in plain words."""
    return explain([*more, *log.errors()], driver=bool(this_machine().gpu))


def checked(value: T | None, what: str, log: Any, kind: type[WorkbenchError] = BuildError) -> T:
    """``value``, unless it is one of those by which TensorRT says that a call failed: None, False or -1.

    Raises:
        kind: "``what``: the plain cause", with the log's last lines.
    """
    if value is None or value is False or (type(value) is int and value == -1):
        raise kind(f"{what}: {why(log)}.", log=log.text())
    return value


def made(maker: Callable[[], T | None], what: str, log: Any, kind: type[WorkbenchError] = BuildError) -> T:
    """What ``maker`` makes, checked. A constructor that fails inside the library raises a TypeError about ``nullptr``."""
    try:
        value = maker()
    except TypeError as cause:
        if "nullptr" not in str(cause):
            raise
        value = None
    return checked(value, what, log, kind)


def network_flags(trt: Any) -> int:
    """The flags of a strongly typed network; of one with an explicit batch axis where the library has no strong typing (8.x).

    The flag's bit is another one in 10.x than in 11.x, where it is ignored. TensorRT for RTX needs neither.
    """
    kinds = trt.NetworkDefinitionCreationFlag
    flag = getattr(kinds, "STRONGLY_TYPED", None)
    if flag is None:
        flag = getattr(kinds, "EXPLICIT_BATCH", None)
    return 0 if flag is None else 1 << int(flag)


def version_in_words(trt: Any) -> str:
    """The version of the library, and that of its Python bindings if they differ: their wheels can be installed separately."""
    bindings = str(trt.__version__)
    if trt.__name__ != FULL.module:
        return bindings
    try:
        number = int(ctypes.CDLL(f"libnvinfer.so.{numbers_of(bindings)[0]}").getInferLibVersion())
    except (OSError, AttributeError, IndexError):
        return bindings
    return joined_versions(bindings, number)


def joined_versions(bindings: str, number: int) -> str:
    """``"8.6.0 (bindings 8.6.1)"`` for 8600 and 8.6.1; the bindings' version where they agree.

    ``number`` is 1000 × major + 100 × minor + patch up to 9.x, and 10000 × major + 100 × minor + patch from 10.0 on.
    """
    major = number // 1000 if number < 10000 else number // 10000
    rest = number % (1000 if number < 10000 else 10000)
    found = (major, rest // 100, rest % 100)
    if numbers_of(bindings)[:3] == found:
        return bindings
    return f"{'.'.join(map(str, found))} (bindings {bindings})"
