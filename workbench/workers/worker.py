"""The parent's end of a worker: a child process that does heavy or dangerous work and can be ended at any time.

The two talk JSON lines over two pipes of their own, because libraries print on stdout; what they print goes to a log
file. Arrays pass as files. A crash, a hang or a kill of the child costs one row and never the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from workbench.choices.limits import Limits
from workbench.errors import (
    KINDS,
    Cancelled,
    LimitError,
    MemoryLimitError,
    RunError,
    TimeLimitError,
    WorkbenchError,
    WorkerError,
    out_of_memory,
)
from workbench.store import Store
from workbench.system.memory import free_bytes, in_gib
from workbench.system.turns import turn
from workbench.workers.nursery import Forked, Nursery

POLL_S = 0.05
LOG_TAIL = 4000  # characters kept of a failed worker's log
DEFAULT_LIMIT_S = 1800.0
MEMORY_SHARE, MEMORY_FLOOR = 0.5, 4 * 2**30
"""Of the free memory, and bytes at least, that a step may take by default."""
BUSY_SHARE = 0.5
RAISE_MEMORY = "Raise it with the option --step-memory-mib, free some memory, or choose a smaller model."
RAISE_TIME = "Raise it with the option --step-s, or choose a smaller model."
SCRATCH = "WORKBENCH_SCRATCH"
"""Tells a worker which folder to remove where its parent ends before it."""
WRITABLE = "WORKBENCH_WRITABLE"
"""Tells a worker the folders, as a list in JSON, outside which it gives up writing; unset, it may write as its user may."""


class Worker:
    """One child process. Use as a context manager, or call :meth:`close`.

    Its temporary files lie in a folder of their own that goes with it: a child that is killed cannot clean up. With
    ``writable`` it writes only there and in the folders named, where the kernel can hold it to that. With a ``nursery`` that is
    ready it is forked from there, with everything that was imported there.
    """

    def __init__(
        self,
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
        writable: Sequence[Path] | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.log = log
        self._cancel = cancel or threading.Event()
        self._buffer = b""
        self._ended = False
        self._scratch = tempfile.mkdtemp(prefix="workbench-")
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        own = {
            **QUIET_ENV,
            "TMPDIR": self._scratch,
            SCRATCH: self._scratch,
            WRITABLE: "" if writable is None else json.dumps([str(folder) for folder in writable]),
            **(env or {}),
        }
        forked = nursery.fork(log, own, (to_child, from_child)) if nursery and nursery.ready else None
        self.forked = forked is not None
        self.process: subprocess.Popen[bytes] | Forked = forked or _started(log, own, to_child, from_child)
        os.close(to_child)
        os.close(from_child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def send(self, task: str, memory_bytes: int | None = None, /, **arguments: Any) -> None:
        """Start a task without waiting for it; :meth:`receive` waits."""
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
        """Wait for the answer to what was sent; the child may hold ``memory_bytes`` of resident memory, where that is said.

        Raises:
            WorkbenchError: of the kind that the task raised.
            Cancelled: the cancel event was set; the child is ended.
            TimeLimitError: it took longer than ``limit_s`` seconds; the child is ended.
            MemoryLimitError: it needed more memory than it may take; the child is ended.
            WorkerError: the child died.
        """
        began, computed = time.monotonic(), self._computed()
        while True:
            answer = self._answer(task, began, limit_s, memory_bytes, computed)
            if "phase" in answer:
                if progress:
                    progress(answer["phase"])
            elif answer["ok"]:
                return answer["result"]
            else:
                kind = KINDS.get(answer["kind"], RunError)
                raise kind(answer["message"], log=self.log_tail())

    def call(
        self,
        task: str,
        *,
        limit_s: float = DEFAULT_LIMIT_S,
        memory_bytes: int | None = None,
        progress: Callable[[str], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """Run one of ``workbench.workers.child.TASKS`` in the child and wait for its result."""
        self.send(task, memory_bytes, **arguments)
        return self.receive(task, limit_s=limit_s, memory_bytes=memory_bytes, progress=progress)

    def _answer(
        self, task: str, began: float, limit_s: float, memory_bytes: int | None, computed: float
    ) -> dict[str, Any]:
        """The next message of the child."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                answer: dict[str, Any] = json.loads(line)
                return answer
            if self._cancel.is_set():
                self.kill()
                raise Cancelled("Stopped on request.")
            if time.monotonic() - began > limit_s:
                busy = self._computed() - computed
                self.kill()
                said = f"The step '{task}' took longer than its limit of {limit_s:g} s and was ended."
                if busy < BUSY_SHARE * limit_s:
                    said += f" It computed for {busy:.0f} s of them: other programs keep this machine busy, or the step waited."
                raise TimeLimitError(said, log=self.log_tail())
            if memory_bytes is not None and self.resident() > memory_bytes:
                self.kill()
                said = f"The step '{task}' needed more than {in_gib(memory_bytes)} of memory, its limit, and was ended."
                raise MemoryLimitError(said, log=self.log_tail())
            if select.select([self._read], [], [], POLL_S)[0]:
                chunk = os.read(self._read, 1 << 16)
                if not chunk:
                    raise self._died(task, memory_bytes)
                self._buffer += chunk

    def resident(self) -> int:
        """Bytes of memory that the child holds now; 0 where it has ended."""
        import psutil

        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def _computed(self) -> float:
        """Seconds that the child has used processors for; 0 where it has ended."""
        import psutil

        try:
            times = psutil.Process(self.process.pid).cpu_times()
            return float(times.user + times.system)
        except psutil.Error:
            return 0.0

    def log_tail(self) -> str:
        """The last lines that the child printed; bytes that are no UTF-8 are replaced."""
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
            limit = f"{in_gib(memory_bytes)} of memory, its limit"
            return MemoryLimitError(f"The step '{task}' needed more than {limit}, and ended.", log=self.log_tail())
        hint = " (usually out of memory)" if code == -signal.SIGKILL else ""
        return WorkerError(
            f"The worker process ended with {how}{hint} during the step '{task}'. "
            "The library crashed on this input; the other rows are not touched.",
            log=self.log_tail(),
        )

    def kill(self) -> None:
        """End the child now."""
        self.process.kill()
        self._release()

    def close(self) -> None:
        """Ask the child to end by closing its pipe, and end it if it does not."""
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
        shutil.rmtree(self._scratch, ignore_errors=True)


def _started(log: Path, own: Mapping[str, str], to_child: int, from_child: int) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "workbench.workers.child", str(to_child), str(from_child)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(to_child, from_child),
            env={**os.environ, **own},
        )


class Pool:
    """Task workers by name, started at first use and kept: importing TensorFlow takes seconds. A dead one is replaced.

    They read what others have made, so they are confined to writing in the store: the folder around that of the logs which
    ``log_path`` names (:meth:`workbench.store.Store.log_path`). A task waits while anybody on this machine measures.
    """

    waiting: Callable[[str], None] | None = None
    """Told of whom a task waits for, where nobody asked for the task's progress."""
    using: Callable[[Path], None] | None = None
    """Told at every task which file its worker prints to."""

    def __init__(
        self,
        log_path: Callable[[str], Path],
        cancel: threading.Event | None = None,
        *,
        confined: bool = True,
        limits: Limits | None = None,
    ) -> None:
        self._log_path = log_path
        self._cancel = cancel
        self._confined = confined
        self._limits = limits or Limits()
        self._workers: dict[str, Worker] = {}
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def show_as(self, path: Path, shown: str) -> None:
        """Name ``shown`` in error messages where a worker names ``path``, such as a model where it names its copy."""
        self._shown |= {str(path.resolve()): shown, str(path): shown}

    def call(self, name: str, task: str, *, progress: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """Run a task in the worker called ``name``; errors as in :meth:`Worker.receive`."""
        try:
            return self._call(name, task, progress, arguments)
        except WorkbenchError as error:
            message = error.message
            if isinstance(error, LimitError):
                message += f" {RAISE_TIME if isinstance(error, TimeLimitError) else RAISE_MEMORY}"
            for path, shown in self._shown.items():
                message = message.replace(path, shown)
            if message == error.message:
                raise
            raise type(error)(message, log=error.log) from error

    def _call(self, name: str, task: str, progress: Callable[[str], None] | None, arguments: dict[str, Any]) -> Any:
        if name not in self._workers:
            log = self._log_path(name)
            store = log.parent.parent
            # what is kept from build to build belongs where a confined worker may write
            kept = Store(store).cache_env
            env = kept if name == GPU_BUILDER else kept | NO_GPU
            writable = [store] if self._confined else None
            self._workers[name] = Worker(log, env=env, cancel=self._cancel, writable=writable)
        if self.using:
            self.using(self._workers[name].log)
        try:
            with turn(
                DOING.get(task, task), alone=False, cancel=self._cancel, waiting=progress or self.waiting or _nobody
            ):
                return self._workers[name].call(task, progress=progress, **self._limited(name, arguments))
        except (WorkerError, Cancelled):
            self._workers.pop(name).kill()
            raise

    def end(self, name: str) -> None:
        """End the worker called ``name``, if there is one; its next task gets a new one."""
        if name in self._workers:
            self._workers.pop(name).close()

    def _limited(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments with limits of memory and time: those of the user, of the caller, or the default."""
        limits: dict[str, Any] = {"limit_s": self._limits.seconds} if self._limits.seconds else {}
        if self._limits.memory_bytes:
            limits["memory_bytes"] = self._limits.memory_bytes
        elif name != GPU_BUILDER and "memory_bytes" not in arguments:
            held = self._workers[name].resident()
            limits["memory_bytes"] = max(MEMORY_FLOOR, held + int(MEMORY_SHARE * free_bytes()))
        return arguments | limits

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def _nobody(text: str) -> None:
    """Where nobody wants to know."""


DOING = {
    "inspect": "reading a model",
    "train_demo": "training the demo",
    "export_saved_model": "exporting a model",
    "export_onnx": "converting a model to ONNX",
    "examine": "looking at a model",
    "rewrite": "rewriting a model to another precision",
    "fix_batch": "fixing the batch of a model",
    "build": "building an engine",
    "conformance_cases": "loading ONNX's own cases",
    "conformance_case": "running one of ONNX's own cases",
}
"""What the tasks of ``workbench.workers.child`` do, for others who wait for them."""

NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
"""A GPU must never be touched by work that is meant for the CPU."""

GPU_BUILDER = "cuda"
"""The one task worker that sees the GPU."""

QUIET_ENV = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    ),
}
"""Set in every worker: less noise in the logs, and this very package even where it is not installed."""


def held_to(cores: Sequence[int]) -> dict[str, str]:
    """Environment that holds a worker and every thread it makes to these cores; nothing for none."""
    return {"WORKBENCH_CORES": json.dumps(list(cores))} if cores else {}


def thread_env(threads: int) -> dict[str, str]:
    """Environment that holds every thread pool a library might make to ``threads``; read at its import."""
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {**dict.fromkeys(pools, str(threads)), "TF_NUM_INTEROP_THREADS": "1"}
