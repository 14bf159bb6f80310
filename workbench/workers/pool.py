"""The workers that read, convert and build: one process for each name, kept between tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import Cancelled, LimitError, TimeLimitError, WorkbenchError, WorkerError
from workbench.protocols import Closing
from workbench.store import Store
from workbench.system.limits import FREE_MEMORY, RAISE_MEMORY, RAISE_TIME, StepLimits
from workbench.system.measuring_lock import hold_lock
from workbench.system.memory import free_bytes
from workbench.workers.worker import NO_GPU, Worker

MEMORY_SHARE, MEMORY_FLOOR = 0.5, 4 * 2**30
"""Default memory limit of a step: this share of the free memory, and at least this many bytes."""
GPU_BUILDER = "cuda"
"""Name of the only task worker that can use the GPU."""

T = TypeVar("T")

DOING = {
    "inspect": "reading a model",
    "train_demo": "training the demo",
    "export_saved_model": "exporting a model",
    "export_onnx": "converting a model to ONNX",
    "examine": "examining a model",
    "rewrite": "rewriting a model to another precision",
    "fix_batch": "fixing the batch of a model",
    "build": "building an engine",
    "conformance_cases": "loading ONNX's own cases",
    "conformance_case": "running one of ONNX's own cases",
}
"""Descriptions of tasks of ``workbench.workers.child``, shown to processes that wait for them."""


class Pool(Closing):
    """Task workers by name, started at first use and kept, because importing TensorFlow takes seconds. A dead worker is replaced.

    The workers read files that come from outside, so they can write only to the store: the parent of the folder of the logs that
    ``log_path`` names (:meth:`workbench.store.Store.log_path`). A task waits while another process on this machine measures.
    """

    waiting: Callable[[str], None] | None = None
    """Called with a sentence while a task waits for another process; default: the task's ``progress``."""
    using: Callable[[Path], None] | None = None
    """Called before every task with the log file of its worker."""
    expected_s: float | None = None
    """Seconds that the next task is expected to take; waiting processes see it."""

    def __init__(
        self,
        log_path: Callable[[str], Path],
        cancel: threading.Event | None = None,
        *,
        confined: bool = True,
        limits: StepLimits | None = None,
    ) -> None:
        self._log_path = log_path
        self._cancel = cancel
        self._confined = confined
        self._limits = limits or StepLimits()
        self._workers: dict[str, Worker] = {}
        self._shown: dict[str, str] = {}

    def show_as(self, path: Path, shown: str) -> None:
        """Replace ``path`` by ``shown`` in error messages, such as the copy of a model by the model."""
        self._shown |= {str(path.resolve()): shown, str(path): shown}

    def call(self, name: str, task: str, *, progress: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """Run a task in the worker called ``name``; errors as in :meth:`Worker.receive`."""
        try:
            return self._call(name, task, progress, arguments)
        except WorkbenchError as error:
            message = error.message
            if isinstance(error, LimitError):
                of_memory = FREE_MEMORY if self._unlimited(name) else RAISE_MEMORY
                message += f" {RAISE_TIME if isinstance(error, TimeLimitError) else of_memory}"
            for path, shown in self._shown.items():
                message = message.replace(path, shown)
            if message == error.message:
                raise
            raise type(error)(message, log=error.log) from error

    def _call(self, name: str, task: str, progress: Callable[[str], None] | None, arguments: dict[str, Any]) -> Any:
        if name not in self._workers:
            log = self._log_path(name)
            store = log.parent.parent
            # caches that builds share must be where a confined worker can write
            kept = Store(store).cache_env
            builder, _, environment = name.partition("@")
            env = kept if builder == GPU_BUILDER else kept | NO_GPU
            writable = [store] if self._confined else None
            self._workers[name] = Worker(log, env=env, cancel=self._cancel, writable=writable, environment=environment)
        if self.using:
            self.using(self._workers[name].log)
        try:
            with hold_lock(
                DOING.get(task, task.rpartition(":")[2]),
                alone=False,
                cancel=self._cancel,
                waiting=self.waiting or progress or (lambda _: None),
                expected_s=self.expected_s,
            ):
                return self._workers[name].call(task, progress=progress, **self._limited(name, arguments))
        except (WorkerError, Cancelled):
            self._workers.pop(name).kill()
            raise

    def _unlimited(self, name: str) -> bool:
        """Whether tasks of this worker have no memory limit: a GPU's libraries map far more memory than they use."""
        return not self._limits.memory_bytes and name.partition("@")[0] == GPU_BUILDER

    def end(self, name: str) -> None:
        """End the worker called ``name``, if it exists; its next task starts a new one."""
        if name in self._workers:
            self._workers.pop(name).close()

    def _limited(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments with limits of memory and time: those of the user, of the caller, or the default."""
        limits: dict[str, Any] = {"limit_s": self._limits.seconds} if self._limits.seconds else {}
        if self._limits.memory_bytes:
            limits["memory_bytes"] = self._limits.memory_bytes
        elif not self._unlimited(name) and "memory_bytes" not in arguments:
            held = self._workers[name].resident()
            limits["memory_bytes"] = max(MEMORY_FLOOR, held + int(MEMORY_SHARE * free_bytes()))
        return arguments | limits

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def once_more(work: Callable[[], T], again: Callable[[WorkerError], object] = lambda _: None) -> T:
    """Return what ``work`` returns; if its worker process was killed from outside, call ``again`` with the error and retry once.

    A step that exceeded its limits is not retried.

    Raises:
        WorkerError: the worker process ended again.
    """
    try:
        return work()
    except LimitError:
        raise
    except WorkerError as error:
        again(error)
    return work()


def in_environment(name: str, environment: str) -> str:
    """The name of a task worker (:class:`Pool`) that runs in an environment: ``onnx@old``."""
    return f"{name}@{environment}" if environment else name
