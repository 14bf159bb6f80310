"""The processes that a test has started."""

from __future__ import annotations

import contextlib
import os

import psutil


def running(module: str, below: int = 0) -> list[psutil.Process]:
    """Children of this process that run ``module``; or any descendants of the process ``below``.

    One that has ended has no command line any more, collected or not: another test's job may lie there until someone asks after it.
    """
    found = []
    for child in psutil.Process(below or os.getpid()).children(recursive=bool(below)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one as well
            if module in child.cmdline():
                found.append(child)
    return found
