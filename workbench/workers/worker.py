"""The parent's end of a worker: a child process that does heavy or unsafe work and can be killed at any time.

Both ends exchange JSON lines over two dedicated pipes, because libraries print to stdout; their output goes to a log file.
Arrays are passed as files. A crash, a hang or a kill of the child costs one row and does not affect the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.environments import registry
from workbench.environments.start import variables
from workbench.errors import (
    KINDS,
    Cancelled,
    MemoryLimitError,
    RunError,
    TimeLimitError,
    WorkbenchError,
    WorkerError,
    out_of_memory,
)
from workbench.locks.scratch import Scratch
from workbench.protocols import Closing
from workbench.system.limits import too_large, too_slow
from workbench.system.running_time import RunningTime
from workbench.workers.fork_server import PYTHON, Forked, ForkServer

POLL_S = 0.05
LOG_TAIL = 4000  # characters kept of a failed worker's log
DEFAULT_LIMIT_S = 1800.0
SCRATCH = "WORKBENCH_SCRATCH"
"""Environment variable: the folder that a worker removes if its parent ends first."""
CHILD = "workbench.workers.child"
WRITABLE = "WORKBENCH_WRITABLE"
"""Environment variable: a JSON list of the only folders that a worker may write to; unset or empty: no restriction."""


class Worker(Closing):
    """One child process. Use as a context manager, or call :meth:`close`.

    Its temporary files are in a separate folder, which is removed with it, because a killed child cannot clean up. With
    ``writable`` it can write only there and in the given folders, if the kernel supports Landlock. With a ``fork_server`` that is
    ready it is forked from that, with the libraries that were imported there. With an ``environment`` it runs in the
    Python of that name.
    """

    def __init__(
        self,
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
        writable: Sequence[Path] | None = None,
        fork_server: ForkServer | None = None,
        environment: str = "",
    ) -> None:
        self.log = log
        self._cancel = cancel or threading.Event()
        self._buffer = b""
        self._ended = False
        self._scratch = Scratch()
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        own = {
            **QUIET_ENV,
            "TMPDIR": str(self._scratch.path),
            SCRATCH: str(self._scratch.path),
            WRITABLE: "" if writable is None else json.dumps([str(folder) for folder in writable]),
            **(env or {}),
        }
        forked = fork_server.fork(log, own, (to_child, from_child)) if fork_server and fork_server.ready else None
        self.forked = forked is not None
        self.process: subprocess.Popen[bytes] | Forked = forked or _started(log, own, to_child, from_child, environment)
        os.close(to_child)
        os.close(from_child)

    def send(self, task: str, memory_bytes: int | None = None, /, **arguments: Any) -> None:
        """Start a task without waiting for its answer, which :meth:`receive` returns."""
        line = json.dumps({"task": task, "memory_bytes": memory_bytes, "arguments": arguments}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._write, line) :]
        except OSError as cause:
            raise self._died(task) from cause

    def receive(
        self,
        task: str,
        *,
        limit_s: float = DEFAULT_LIMIT_S,
        memory_bytes: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Any:
        """Wait for the answer of the task and return it. ``memory_bytes``: limit of the child's resident memory.

        Raises:
            WorkbenchError: the task raised an error of this kind.
            Cancelled: the cancel event was set; the child is killed.
            TimeLimitError: the task took longer than ``limit_s`` seconds, in which this process ran; the child is killed.
            MemoryLimitError: the task exceeded its memory limit; the child is killed.
            WorkerError: the child died.
        """
        running, computed = RunningTime(), self._computed()
        while True:
            answer = self._answer(task, running, limit_s, memory_bytes, computed)
            if "phase" in answer:
                if progress:
                    progress(answer["phase"])
            elif answer["ok"]:
                return answer["result"]
            else:
                kind, message = KINDS.get(answer["kind"], RunError), answer["message"]
                if issubclass(kind, MemoryLimitError):
                    message = too_large(message, memory_bytes)
                raise kind(message, log=self.log_tail())

    def call(
        self,
        task: str,
        *,
        limit_s: float = DEFAULT_LIMIT_S,
        memory_bytes: int | None = None,
        progress: Callable[[str], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """Run a task in the child and return its result (:func:`workbench.workers.child.task_of`)."""
        self.send(task, memory_bytes, **arguments)
        return self.receive(task.rpartition(":")[2], limit_s=limit_s, memory_bytes=memory_bytes, progress=progress)

    def _answer(
        self, task: str, running: RunningTime, limit_s: float, memory_bytes: int | None, computed: float
    ) -> dict[str, Any]:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                answer: dict[str, Any] = json.loads(line)
                return answer
            if self._cancel.is_set():
                self.kill()
                raise Cancelled("Stopped on request.")
            if running.seconds > limit_s:
                busy = self._computed() - computed
                self.kill()
                raise TimeLimitError(too_slow(task, limit_s, busy), log=self.log_tail())
            if memory_bytes is not None and self.resident() > memory_bytes:
                self.kill()
                said = too_large(f"The step '{task}' needed more memory than its limit and was ended.", memory_bytes)
                raise MemoryLimitError(said, log=self.log_tail())
            if select.select([self._read], [], [], POLL_S)[0]:
                chunk = os.read(self._read, 1 << 16)
                if not chunk:
                    raise self._died(task, memory_bytes)
                self._buffer += chunk

    def resident(self) -> int:
        """Resident memory of the child in bytes; 0 if it has ended."""
        import psutil

        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def _computed(self) -> float:
        """CPU time of the child in seconds; 0 if it has ended."""
        import psutil

        try:
            times = psutil.Process(self.process.pid).cpu_times()
            return float(times.user + times.system)
        except psutil.Error:
            return 0.0

    def log_tail(self) -> str:
        """The last lines that the child printed; invalid UTF-8 is replaced."""
        try:
            return self.log.read_bytes()[-LOG_TAIL:].decode("utf-8", errors="replace")
        except OSError:
            return ""

    def _died(self, task: str, memory_bytes: int | None = None) -> WorkbenchError:
        code = self.process.wait()
        how = f"exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        if memory_bytes is not None and out_of_memory(self.log_tail()):
            said = too_large(f"Memory ran out in the step '{task}', which ended.", memory_bytes)
            return MemoryLimitError(said, log=self.log_tail())
        hint = " (usually out of memory)" if code == -signal.SIGKILL else ""
        return WorkerError(
            f"The worker process ended with {how}{hint} during the step '{task}'. "
            "The library crashed on this input; the other rows are not affected.",
            log=self.log_tail(),
        )

    def kill(self) -> None:
        """Kill the child."""
        self.process.kill()
        self._release()

    def close(self) -> None:
        """Close the pipe, which ends the child; kill it if it has not ended after 5 seconds."""
        if self._ended:
            return
        os.close(self._write)
        self._write = -1
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._release()

    def _release(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.process.wait()
        for end in (self._write, self._read):
            if end >= 0:
                os.close(end)
        self._scratch.remove()


def _started(
    log: Path, own: Mapping[str, str], to_child: int, from_child: int, environment: str
) -> subprocess.Popen[bytes]:
    """A child of this Python, or of the Python of an environment."""
    python = (registry.named(environment).python,) if environment else PYTHON
    with log.open("wb") as output:
        return subprocess.Popen(
            [*python, "-m", CHILD, str(to_child), str(from_child)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(to_child, from_child),
            env=variables(own) if environment else {**os.environ, **own},
        )


NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
"""Environment that hides the GPU from work that is meant for the CPU."""

QUIET_ENV = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    ),
}
"""Environment of every worker: fewer messages in the logs, and this package on the path even if it is not installed."""


def held_to(cores: Sequence[int]) -> dict[str, str]:
    """Environment that restricts a worker and all its threads to these cores; empty for no cores."""
    return {"WORKBENCH_CORES": json.dumps(list(cores))} if cores else {}


def thread_env(threads: int) -> dict[str, str]:
    """Environment that limits the thread pools of libraries to ``threads``; libraries read it at import."""
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {**dict.fromkeys(pools, str(threads)), "TF_NUM_INTEROP_THREADS": "1"}
