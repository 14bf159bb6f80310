"""A script beside this one as a child process that answers every line of JSON by a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from workbench.workers.worker import QUIET_ENV, thread_env


class ScriptProcess:
    """The parent's end of a script, with one thread for its libraries."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **QUIET_ENV, **thread_env(1)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()  # closes its input, which ends it

    @property
    def pid(self) -> int:
        return self._process.pid

    def request(self, **what: Any) -> str:
        """Send one request; return the line that answers it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._script} ended; its last output is above.")
        return answer
