"""The logger ``workbench``. Only entry points attach a handler: the command line, a headless notebook, the process of a job.

Code that imports the package sees messages after ``logging.basicConfig(level=logging.INFO)``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workbench.errors import InputError

LOGGER = logging.getLogger("workbench")
VARIABLE = "WORKBENCH_LOG"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def level(*, verbose: bool = False, quiet: bool = False) -> int:
    """The level to show: by ``--verbose`` or ``--quiet``, else by the variable WORKBENCH_LOG, else INFO.

    Raises:
        InputError: the value of the variable is not a level.
    """
    if verbose or quiet:
        return logging.DEBUG if verbose else logging.WARNING
    asked = os.environ.get(VARIABLE, "").strip().lower() or "info"
    if asked not in LEVELS:
        raise InputError(f"The variable {VARIABLE} is '{asked}'. Set it to one of: {', '.join(LEVELS)}.")
    return LEVELS[asked]


def environment() -> dict[str, str]:
    """Environment for a child process that shows the same messages; empty if no level was set."""
    names = {value: name for name, value in LEVELS.items()}
    return {VARIABLE: names[LOGGER.level]} if LOGGER.level in names else {}


class _Handler(logging.Handler):
    """Passes messages to a function, except a message that equals the previous one."""

    def __init__(self, write: Callable[[str], None], least: int) -> None:
        super().__init__(least)
        self._write = write
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text != self._last:  # an engine for several batches logs the same message for each of its rows
            self._last = text
            self._write(text)


@contextmanager
def shown(write: Callable[[str], None], least: int | None = None) -> Iterator[None]:
    """Pass every message of at least this level, by default :func:`level`, to ``write`` inside the block."""
    least = level() if least is None else least
    handler, before = _Handler(write, least), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(min(least, before or least))
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)
