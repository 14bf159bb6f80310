"""Runs as commands of their own, whose processes are all found again by a mark in their environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import trial_model

MARK = "WORKBENCH_TRIAL"
WORKER, KERNEL = "workbench.workers", "ipykernel_launcher"


PROGRAM = """
import json, sys, workbench
from workbench.errors import WorkbenchError

def say(event):
    print(event.text, flush=True)

try:
    results = workbench.run(workbench.Experiment(**json.loads(sys.argv[1])), store=sys.argv[2], on_event=say)
except WorkbenchError as error:
    sys.exit(f"workbench: {error.message}")
failed = [row.failure.message for row in results.rows if row.failure]
sys.exit(f"workbench: {failed[0]}" if failed else 0)
"""


def program(asked: Mapping[str, object], store: Path) -> list[str]:
    """A program that does one run without a kernel and prints what happens; its status is 1 where a row failed."""
    return [sys.executable, "-c", PROGRAM, json.dumps(asked), str(store)]


def arguments(**settings: object) -> list[str]:
    """Settings as words of the command line."""
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


class Report:
    """``workbench report`` (or another command) as a process in a group of its own; its output goes to a file."""

    def __init__(
        self,
        place: Path,
        model: Path,
        data: Path,
        store: Path,
        *,
        env: Mapping[str, str | None] | None = None,
        name: str = "r",
        command: Sequence[str] = (),
        log: Path | None = None,
        **settings: object,
    ) -> None:
        """``env``: variables that differ; ``None`` removes one. ``command``: words of another program than ``workbench report``.
        ``log``: the folder for its output.
        """
        self.mark = uuid.uuid4().hex
        self.output = (log or place) / f"{name}-{self.mark[:8]}.txt"
        words = list(command) or [
            sys.executable, "-m", "workbench", "report", *arguments(model=model, data=data, store=store, output=place / f"{name}.html"),
            *arguments(**trial_model.SETTINGS | settings),
        ]  # fmt: skip
        whole = {**os.environ, MARK: self.mark, **(env or {})}
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                words,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={key: value for key, value in whole.items() if value is not None},
                cwd=place,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - one thread
            )

    @property
    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def processes(self) -> list[psutil.Process]:
        """All processes with the mark of this run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def of_kind(self, module: str) -> list[psutil.Process]:
        found = []
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                if any(module in word for word in process.cmdline()):
                    found.append(process)
        return found

    def signal_all(self, number: int) -> None:
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def wait(self, limit_s: float) -> int | None:
        """The exit status; ``None`` where it did not end within the limit, and all of its processes were ended then."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGCONT)
            self.signal_all(signal.SIGKILL)
            self.process.wait()
            return None

    def orphans(self, limit_s: float) -> list[str]:
        """Processes of this run that are there ``limit_s`` after its end; they are ended."""
        end = time.monotonic() + limit_s
        while (left := self.processes) and time.monotonic() < end:
            time.sleep(0.2)
        reported = [" ".join(process.cmdline())[:100] for process in left if process.is_running()]
        self.signal_all(signal.SIGKILL)
        return reported


def files_below(place: Path, *, but: Callable[[Path], bool] = lambda _: False) -> list[str]:
    """Everything below a folder by relative name."""
    found = (path for path in place.rglob("*") if not but(path)) if place.exists() else ()
    return sorted(path.relative_to(place).as_posix() for path in found)
