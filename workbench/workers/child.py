"""The child's end of a worker process: ``python -m workbench.workers.child READ_FD WRITE_FD``.

Commands arrive one at a time, each as a JSON line that names one of ``TASKS``; answers and phases are sent back in the same
form. When the parent's end of the pipe closes, for any reason, a watchdog thread ends this process at once, so that it does not
disturb measurements as an orphan.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from workbench.errors import (
    TOO_MANY_FILES,
    MemoryLimitError,
    RunError,
    StoreError,
    WorkbenchError,
    brief,
    out_of_files,
    out_of_memory,
)
from workbench.protocols import Progress
from workbench.records import to_json
from workbench.system import confine
from workbench.system.memory import at_most, memory
from workbench.workers import child_engine, child_layers, child_models

REMOVALS = 5


def hello(progress: Progress, modules: list[str]) -> dict[str, Any]:
    """Import the modules that the engine needs, so that the timed opening does not include them."""
    began = time.perf_counter()
    for name in modules:
        progress(f"import {name}")
        importlib.import_module(name)
    return {"rss_bytes": memory()[0], "import_s": time.perf_counter() - began}


def peaks(progress: Progress, threads: int) -> Any:
    """Measured peaks of the CPU; the environment of this process sets the threads of the libraries."""
    from workbench.timing.peak_loops import measured

    return to_json(measured(threads, progress))


TASKS: dict[str, Callable[..., Any]] = child_engine.TASKS | {
    task.__name__: task for task in (hello, peaks, *child_models.TASKS, *child_layers.TASKS)
}


def task_of(name: str) -> Callable[..., Any]:
    """The task of this name: one of ``TASKS``, or "package.module:function" of a package that imports this one."""
    module, _, function = name.rpartition(":")
    task: Callable[..., Any] = getattr(importlib.import_module(module), function) if module else TASKS[function]
    return task


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to the whole process group; the parent handles it
    no_core_dump()
    serve(int(sys.argv[1]), int(sys.argv[2]))


def no_core_dump() -> None:
    """Switch core dumps off: a crash on a damaged model must not write gigabytes to the user's folder."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def serve(read_fd: int, write_fd: int) -> None:
    """Execute commands from one pipe and answer on the other until the first is closed."""
    if writable := os.environ.get("WORKBENCH_WRITABLE"):
        confine.writes_only_below(json.loads(writable), os.environ["WORKBENCH_SCRATCH"])
    if cores := os.environ.get("WORKBENCH_CORES"):
        os.sched_setaffinity(0, json.loads(cores))  # before any library starts a thread, which inherits it
    commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(read_fd, commands), daemon=True).start()
    while True:
        _send(write_fd, _obey(json.loads(commands.get()), write_fd))


def _listen(read_fd: int, commands: queue.SimpleQueue[bytes]) -> None:
    """Queue commands; when the pipe closes, end the process, even if the main thread is busy."""
    with os.fdopen(read_fd, "rb") as pipe:
        for line in pipe:
            commands.put(line)
    _leave()


def _leave() -> NoReturn:
    """Remove this process's temporary files, to which another thread may still be writing, and end: the parent has ended."""
    scratch = os.environ.get("WORKBENCH_SCRATCH", "")
    for _ in range(REMOVALS):
        if scratch and os.path.lexists(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)


def _obey(command: dict[str, Any], write_fd: int) -> dict[str, Any]:
    def progress(phase: str) -> None:
        _send(write_fd, {"phase": phase})

    try:
        with at_most(command.get("memory_bytes")):
            return {"ok": True, "result": task_of(command["task"])(progress, **command["arguments"])}
    except (Exception, SystemExit) as error:
        with contextlib.suppress(OSError):  # a full disk must not end the process before it has sent its answer
            traceback.print_exc()
        failure = _failure(error, command["task"].rpartition(":")[2])
        return {"ok": False, "kind": type(failure).__name__, "message": failure.message}


def _failure(error: BaseException, step: str) -> WorkbenchError:
    """The error that the parent raises for one of a task."""
    if isinstance(error, WorkbenchError):
        return error
    if isinstance(error, MemoryError):
        return MemoryLimitError(f"Memory ran out in the step '{step}'.")
    if isinstance(error, OSError):
        text = TOO_MANY_FILES if out_of_files(error) else f"Could not read or write a file: {brief(error)}"
        return StoreError(f"{text}.")
    if out_of_memory(error):
        return MemoryLimitError(f"Memory ran out in the step '{step}' ({brief(error, 200)}).")
    return RunError(f"The step '{step}' failed: {type(error).__name__}: {brief(error)}")


def _send(write_fd: int, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    try:
        while line:
            line = line[os.write(write_fd, line) :]
    except BrokenPipeError:  # the watchdog has not run yet
        _leave()


if __name__ == "__main__":
    # errors must be classes of the imported module, not of __main__
    from workbench.workers import child  # noqa: PLW0406 - deliberate, see above

    child.main()
