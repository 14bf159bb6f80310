"""The fork server's process: ``python -m workbench.workers.fork_server_process SOCKET_FD`` imports libraries and forks workers.

It has a single thread and therefore no watchdog: it ends when its socket is closed. Each of its children has a watchdog.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from workbench.system import memory
from workbench.workers import child
from workbench.workers.fork_server import MESSAGE_BYTES


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child.no_core_dump()
    pipe = socket.socket(fileno=int(sys.argv[1]))
    while True:
        text, descriptors, _, _ = socket.recv_fds(pipe, MESSAGE_BYTES, 2)
        if not text:
            return
        message = json.loads(text)
        if "import" in message:
            answer = _imported(message["import"])
        elif "status" in message:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(message["status"], 0)[1])}
        else:
            answer = {"pid": _forked(pipe, message["fork"], descriptors)}
        pipe.send(json.dumps(answer).encode())


def _imported(modules: list[str]) -> dict[str, Any]:
    began = time.perf_counter()
    for name in modules:
        importlib.import_module(name)
    import_s = time.perf_counter() - began
    gc.collect()
    gc.freeze()  # a collection in a child would write to every object and so copy the shared pages
    return {"threads": _threads(), "rss_bytes": memory.memory()[0], "import_s": import_s}


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _forked(pipe: socket.socket, asked: dict[str, Any], descriptors: list[int]) -> int:
    mapped = memory.file_bytes()
    # a library may have started a thread since its import; 0 means that no process was forked
    pid = os.fork() if _threads() == 1 else -1
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        return max(pid, 0)
    pipe.close()
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.update(asked["env"])
    tempfile.tempdir = None  # a library may have cached the folder during its import
    memory.Shared.file_bytes = mapped
    child.serve(descriptors[0], descriptors[1])
    os._exit(0)


if __name__ == "__main__":
    main()
