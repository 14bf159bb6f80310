"""Exceptions whose messages say what was requested, what was found and what to do."""

from __future__ import annotations

import errno
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from workbench.errors.printable import lines, one_line


class WorkbenchError(Exception):
    """Base of every error that the workbench raises deliberately.

    The message is one or two sentences on one line. Names read from a damaged file may hold any character; those that cannot
    be printed become question marks. The class name is sent over the worker's pipe (see :data:`KINDS`), so that an error
    raised in a child process keeps its class in the parent.

    Attributes:
        message: the text, on one line.
        log: output of the step that failed, with line breaks; may be empty.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        self.message = one_line(message)
        super().__init__(self.message)
        self.log = lines(log)

    def _render_traceback_(self) -> list[str]:
        """Return the text that IPython prints instead of a traceback (IPython's documented hook for exceptions)."""
        return [f"{type(self).__name__}: {self.message}"]


class InputError(WorkbenchError):
    """The user's model, data or setting cannot be used."""


class ExportError(WorkbenchError):
    """A model could not be converted, or its conversion disagrees with the source."""


class BuildError(WorkbenchError):
    """A backend could not build an engine."""


class PrecisionError(BuildError):
    """An engine was built, but not in the precision that was requested."""


class RunError(WorkbenchError):
    """An engine failed at run time."""


class WorkerError(WorkbenchError):
    """A worker process ended, hung, or sent an invalid answer."""


class LimitError(WorkerError):
    """A step exceeded its memory or time limit. This does not mean that the model or the data is invalid."""


class MemoryLimitError(LimitError):
    """A step exceeded its memory limit, or the machine ran out of memory."""


class TimeLimitError(LimitError):
    """A step exceeded its time limit."""


class StoreError(WorkbenchError):
    """The store cannot be read or written."""


class MissingPackageError(WorkbenchError):
    """An optional package is not installed, or is installed and broken."""


class Cancelled(WorkbenchError):  # noqa: N818 - it reports a state, not an error
    """The user cancelled the work."""


KINDS: dict[str, type[WorkbenchError]] = {
    name: kind for name, kind in globals().items() if isinstance(kind, type) and issubclass(kind, WorkbenchError)
}
"""The classes above by name."""


@contextmanager
def during(step: str, subject: object, kind: type[WorkbenchError] = BuildError) -> Iterator[None]:
    """Convert any other exception raised inside the block to ``kind``, with the step in its message.

    The original exception is kept as the cause. If memory ran out, :class:`MemoryLimitError` is raised instead of ``kind``, and
    if no more files could be opened, :class:`StoreError`, because neither depends on what the step works on.

    >>> with during("read", "model.onnx", InputError):
    ...     raise ValueError("unexpected end of file")
    Traceback (most recent call last):
    workbench.errors.InputError: Could not read model.onnx: unexpected end of file
    """
    try:
        yield
    except (WorkbenchError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as cause:
        if out_of_memory(cause):
            raise MemoryLimitError(f"Memory ran out in the step '{step} {subject}' ({brief(cause, 200)}).") from cause
        if out_of_files(cause):
            raise StoreError(f"Could not {step} {subject}. {TOO_MANY_FILES}.") from cause
        raise kind(f"Could not {step} {subject}: {brief(cause)}") from cause


_PLACE = re.compile(r"(Exception from|Check '.*' failed at) \S+:\d+:?")
"""Lines of OpenVINO's messages that give a place in its source; the reason follows them."""


_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|MemoryError|out of memory|(cannot|can't|could not|unable to|failed to) allocate|allocation (of .* |still )?failed|memory exhausted"
    r"|failed to map segment"  # a library's file did not fit
    r"|resource_?exhausted|\boom\b",
    re.IGNORECASE,
)
"""How libraries report that memory ran out: C++, the C library, NumPy, TensorFlow, ONNX Runtime, OpenVINO."""


def out_of_memory(cause: BaseException | str) -> bool:
    """Whether an exception, one of its causes, or the text of a log reports that memory ran out."""
    if isinstance(cause, str):
        return _OUT_OF_MEMORY.search(cause) is not None
    if isinstance(cause, MemoryError) or _OUT_OF_MEMORY.search(str(cause)):
        return True
    return cause.__cause__ is not None and out_of_memory(cause.__cause__)


TOO_MANY_FILES = "Too many files were open at once. Raise the limit of open files (ulimit -n); 1024 is usual"


def out_of_files(cause: BaseException | str) -> bool:
    """Whether an exception, one of its causes, or the text of a log reports that too many files were open."""
    if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
        return True
    if isinstance(cause, str) or "Too many open files" in str(cause):
        return "Too many open files" in str(cause)
    return cause.__cause__ is not None and out_of_files(cause.__cause__)


def brief(cause: BaseException, limit: int = 500) -> str:
    r"""Return the first lines of an exception's text that hold a reason, as one line of at most ``limit`` characters.

    >>> brief(ValueError("  bad shape\n  (3, 4)\n"))
    'bad shape (3, 4)'
    >>> brief(KeyError())
    'KeyError'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(cause))  # terminal colours
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not _PLACE.fullmatch(line)] or lines
    text = " ".join(lines[:6]) or type(cause).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def optional(module: str, fix: str) -> ModuleType:
    """Import and return ``module``, an optional dependency.

    Raises:
        MissingPackageError: the package is absent, or its import fails; the text has the original cause and ``fix``.
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise MissingPackageError(
            f"This needs the package '{module.split('.', maxsplit=1)[0]}', which did not import ({brief(cause)}). "
            f"To install it: {fix}"
        ) from cause


_STORE_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space, or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or choose another folder"),
    errno.EFBIG: ("the file would be larger than allowed", "Raise the file size limit (ulimit -f)"),
    errno.EACCES: ("there is no permission to write there", "Choose a folder that you own"),
    errno.EPERM: ("there is no permission to write there", "Choose a folder that you own"),
    errno.EROFS: ("the file system is read-only", "Choose a folder on a writable disk"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another folder"),
    errno.EEXIST: ("a part of the path is a file, not a folder", "Choose another folder"),
    errno.ENOENT: ("a part of the path cannot be created", "Choose another folder"),
}


@contextmanager
def writing(path: object, option: str = "option --store, or the variable WORKBENCH_STORE") -> Iterator[None]:
    """Convert an ``OSError`` raised while writing below ``path`` to a :class:`StoreError` that says what to do."""
    try:
        yield
    except OSError as cause:
        if out_of_files(cause):
            raise StoreError(f"Could not write to {path}. {TOO_MANY_FILES}.") from cause
        found, fix = _STORE_CAUSES.get(cause.errno or 0, (brief(cause), "Choose another folder"))
        raise StoreError(f"Could not write to {path}: {found}. {fix} ({option}).") from cause
