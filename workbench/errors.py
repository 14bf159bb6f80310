"""Errors for people: what was asked, what was found, what to do."""

from __future__ import annotations

import errno
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from workbench.printable import lines, one_line


class WorkbenchError(Exception):
    """Base of every error that the workbench raises on purpose.

    The message is one sentence or two for a person, on one line: names out of a damaged file may hold anything, and what
    cannot be printed is shown as a question mark. ``kind`` travels over the worker's pipe, so that an error raised in a
    child process keeps its class in the parent.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        self.message = one_line(message)
        super().__init__(self.message)
        self.log = lines(log)

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback (its documented hook for exceptions)."""
        return [f"{type(self).__name__}: {self.message}"]


class InputError(WorkbenchError):
    """The user's model, data or setting cannot be used."""


class ExportError(WorkbenchError):
    """A model could not be converted, or its conversion disagrees with the source."""


class BuildError(WorkbenchError):
    """A backend could not build an engine."""


class PrecisionError(BuildError):
    """An engine was built, but not in the precision that was asked for."""


class RunError(WorkbenchError):
    """An engine failed while it ran."""


class WorkerError(WorkbenchError):
    """A worker process ended, hung, or answered nonsense."""


class LimitError(WorkerError):
    """A step needed more memory or time than it may take. It says nothing about the model or the data."""


class MemoryLimitError(LimitError):
    """A step needed more memory than it may take, or than there is."""


class TimeLimitError(LimitError):
    """A step took longer than it may."""


class StoreError(WorkbenchError):
    """The store cannot be read or written."""


class MissingPackageError(WorkbenchError):
    """An optional package is not installed, or is installed and broken."""


class Cancelled(WorkbenchError):  # noqa: N818 - reads as a state, and is one
    """The user asked for the work to stop."""


KINDS: dict[str, type[WorkbenchError]] = {
    kind.__name__: kind
    for kind in (
        InputError,
        ExportError,
        BuildError,
        PrecisionError,
        RunError,
        WorkerError,
        LimitError,
        MemoryLimitError,
        TimeLimitError,
        StoreError,
        MissingPackageError,
        Cancelled,
    )
}


@contextmanager
def during(step: str, subject: object, kind: type[WorkbenchError] = BuildError) -> Iterator[None]:
    """Turn any foreign exception inside the block into ``kind``, naming the step and keeping the cause.

    Memory that ran out becomes a :class:`MemoryLimitError`, because it says nothing about what the step works on.
    """
    try:
        yield
    except (WorkbenchError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as cause:
        if out_of_memory(cause):
            raise MemoryLimitError(f"Memory ran out in the step '{step} {subject}' ({brief(cause, 200)}).") from cause
        raise kind(f"Could not {step} {subject}: {brief(cause)}") from cause


_PLACE = re.compile(r"(Exception from|Check '.*' failed at) \S+:\d+:?")
"""Lines of OpenVINO's messages that name a place in its source; the reason stands after them."""


_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|MemoryError|out of memory|(cannot|can't|could not|unable to|failed to) allocate|allocation (of .* |still )?failed|memory exhausted"
    r"|failed to map segment"  # a library's file did not fit
    r"|resource_?exhausted|\boom\b",
    re.IGNORECASE,
)
"""How libraries say that memory ran out: C++, the C library, NumPy, TensorFlow, ONNX Runtime, OpenVINO."""


def out_of_memory(cause: BaseException | str) -> bool:
    """Whether an exception, one that caused it, or the text of a log says that memory ran out."""
    if isinstance(cause, str):
        return _OUT_OF_MEMORY.search(cause) is not None
    if isinstance(cause, MemoryError) or _OUT_OF_MEMORY.search(str(cause)):
        return True
    return cause.__cause__ is not None and out_of_memory(cause.__cause__)


def brief(cause: BaseException, limit: int = 500) -> str:
    """The first lines of an exception's text that hold a reason, on one line, at most ``limit`` characters."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(cause))  # colours of a terminal
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not _PLACE.fullmatch(line)] or lines
    text = " ".join(lines[:6]) or type(cause).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def optional(module: str, fix: str) -> ModuleType:
    """Import ``module`` now, at the call that needs it.

    Raises:
        MissingPackageError: absent, or present and broken; the text keeps the real cause.
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise MissingPackageError(
            f"This needs the package '{module.split('.', maxsplit=1)[0]}', which did not import ({brief(cause)}). "
            f"To install it: {fix}"
        ) from cause


_STORE_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space, or choose another folder for the store"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or choose another folder for the store"),
    errno.EFBIG: ("the file would be larger than allowed", "Raise the file size limit (ulimit -f)"),
    errno.EACCES: ("there is no permission to write there", "Choose a folder that you own"),
    errno.EPERM: ("there is no permission to write there", "Choose a folder that you own"),
    errno.EROFS: ("the file system is read-only", "Choose a folder on a writable disk"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another folder"),
    errno.EEXIST: ("a part of the path is a file, not a folder", "Choose another folder"),
    errno.ENOENT: ("a part of the path cannot be made", "Choose another folder"),
}


@contextmanager
def writing(path: object, option: str = "option --store, or the variable WORKBENCH_STORE") -> Iterator[None]:
    """Turn an ``OSError`` met while writing below ``path`` into a :class:`StoreError` in plain words."""
    try:
        yield
    except OSError as cause:
        found, fix = _STORE_CAUSES.get(cause.errno or 0, (brief(cause), "Choose another folder"))
        raise StoreError(f"Could not write to {path}: {found}. {fix} ({option}).") from cause
