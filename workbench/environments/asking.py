"""Questions to an environment: a process of its interpreter answers what is installed there and what it can build.

It is started at the first question and kept, because starting takes half a second and a plan asks once for each variant. It imports no
engine library.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import select
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

from workbench.environments.registry import Environment
from workbench.environments.start import NEEDS, OLDEST_NUMPY, OLDEST_PYTHON, variables
from workbench.errors import InputError, WorkbenchError

LIMIT_S = 60.0
MODULE = "workbench.workers.answers"
LOOK = """
import json, platform, sys
found = {"version": list(sys.version_info[:3]), "architecture": platform.machine(), "packages": {}}
try:
    from importlib import metadata
    for name in %r:
        try:
            found["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
except ImportError:
    pass
print(json.dumps(found))
"""
"""Runs under any Python from 3.6 on."""


class UnusableError(WorkbenchError):
    """An environment cannot be used now."""


def check_interpreter(python: str) -> None:
    """Check that workers can run under an interpreter: its version, architecture and packages.

    Raises:
        InputError: it is not an interpreter, has another architecture, is too old, or lacks a package; the text says what to do.
    """
    if not Path(python).is_file() or not os.access(python, os.X_OK):
        raise InputError(f"There is no program {python}. Give the path of an environment's python.")
    try:
        done = subprocess.run(
            [python, "-c", LOOK % (NEEDS,)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
            env=variables({}),
            stdin=subprocess.DEVNULL,
        )
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except OSError as cause:
        raise InputError(
            f"{python} could not be started here ({cause.strerror}): it is built for another machine or system. Make the "
            "environment on this machine."
        ) from cause
    except (subprocess.SubprocessError, ValueError, IndexError) as cause:
        raise InputError(
            f"{python} does not behave as Python does. Give the path of an environment's python."
        ) from cause
    _check(python, found)


def _check(python: str, answer: dict[str, Any]) -> None:
    version = tuple(answer["version"])
    printed = ".".join(map(str, version))
    if answer["architecture"] != platform.machine():
        raise InputError(
            f"{python} is built for {answer['architecture']}, and this machine is {platform.machine()}: timings of the two "
            "say nothing about each other. Make the environment for this architecture."
        )
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise InputError(
            f"{python} is Python {printed}, and a worker needs {oldest} or later. Make the environment with that."
        )
    if missing := [name for name in NEEDS if name not in answer["packages"]]:
        raise InputError(
            f"{python} lacks what a worker needs: {', '.join(missing)}. Install it: {python} -m pip install {' '.join(missing)}"
        )
    numpy = answer["packages"]["numpy"]
    if tuple(int(part) for part in numpy.split(".")[:2]) < OLDEST_NUMPY:
        oldest = ".".join(map(str, OLDEST_NUMPY))
        raise InputError(f"{python} has NumPy {numpy}, and a worker needs {oldest} or later. Update NumPy there.")


class Answerer:
    """The process of one interpreter that answers."""

    def __init__(self, python: str) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [python, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=variables({"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}),
        )

    def ask(self, what: str, **arguments: Any) -> Any:
        """The answer to one question of ``workbench.workers.answers``.

        Raises:
            UnusableError: it ended, or did not answer in time.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"ask": what, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
            ready = select.select([self._process.stdout], [], [], LIMIT_S)[0]
            line = self._process.stdout.readline() if ready else b""
            return json.loads(line)["answer"]
        except (OSError, ValueError, KeyError) as cause:
            said = self._last_words()
            self.close()
            raise UnusableError(f"it did not answer ({said})") from cause

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # where it is ending, it may have more to say
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "and gave no reason"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):  # what was not written yet has no reader any more
                if pipe:
                    pipe.close()


_answerers: dict[str, Answerer] = {}


def ask(environment: Environment, what: str, **arguments: Any) -> Any:
    """Ask an environment as it is now.

    Raises:
        UnusableError: its interpreter is gone or its answering process failed; the text says which.
    """
    python = environment.python
    if not os.access(python, os.X_OK):
        raise UnusableError(f"its interpreter {python} is not there any more")
    if python not in _answerers:
        try:
            _answerers[python] = Answerer(python)
        except OSError as cause:
            raise UnusableError(f"its interpreter {python} could not be started ({cause.strerror})") from cause
    try:
        return _answerers[python].ask(what, **arguments)
    except UnusableError:
        del _answerers[python]
        raise


@atexit.register
def close_all() -> None:
    """End the processes that answer; the next question starts one again."""
    for answerer in _answerers.values():
        answerer.close()
    _answerers.clear()
