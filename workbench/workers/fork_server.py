"""Fork the workers of one library from a process that has imported it, so that each starts in milliseconds.

Importing TensorFlow takes three seconds and half a gigabyte; without a fork server, a sweep of two hundred engines would spend more
time on imports than on measuring. A forked process shares the imported pages until it writes to them. Only a process with a
single thread can be forked safely (POSIX allows the child of a threaded process only async-signal-safe calls). If the import of
a library starts threads, its workers are therefore started one by one, as on a system without fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.protocols import Closing

PYTHON = (sys.executable, "-P")
"""This interpreter, which imports nothing from the current folder: a download may have brought an ``onnx.py`` beside the model."""
LIMIT_S = 600.0
MESSAGE_BYTES = 1 << 20


class ForkServer(Closing):
    """The parent's end of a ``workbench.workers.fork_server_process``. :attr:`ready`: whether it can fork workers."""

    def __init__(self, log: Path, modules: Sequence[str], env: Mapping[str, str]) -> None:
        self.ready = False
        self.rss_bytes = 0
        self.import_s = 0.0
        if not hasattr(os, "fork") or not hasattr(os, "pidfd_open"):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*PYTHON, "-m", "workbench.workers.fork_server_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **env},
            )
        theirs.close()
        ours.settimeout(LIMIT_S)
        self._socket = ours
        self._ended = False
        self._imported = False
        self._send({"import": list(modules)})

    def wait(self) -> bool:
        """Wait for the import to finish; return whether workers can be forked."""
        if hasattr(self, "_process") and not self._imported:
            self._imported = True
            found = self._receive()
            self.ready = found.get("threads") == 1
            self.rss_bytes = found.get("rss_bytes", 0)
            self.import_s = found.get("import_s", 0.0)
            if not self.ready:
                self.close()
        return self.ready

    def fork(self, log: Path, env: Mapping[str, str], pipes: tuple[int, int]) -> Forked | None:
        """Fork a worker that reads commands from the first of ``pipes`` and answers on the second; ``None``: it failed."""
        asked = json.dumps({"fork": {"log": str(log), "env": dict(env)}}).encode()
        try:
            socket.send_fds(self._socket, [asked], list(pipes))
            pid = self._receive().get("pid")
            return Forked(self, pid, os.pidfd_open(pid)) if pid else None
        except OSError:
            self.ready = False
            return None

    def status_of(self, pid: int) -> int:
        """The exit status of a child that has ended, as in ``subprocess``; -9 if it is unknown."""
        self._send({"status": pid})
        return int(self._receive().get("status", -signal.SIGKILL))

    def close(self) -> None:
        """End the fork server. Forked workers continue until their pipes are closed."""
        self.ready = False
        if hasattr(self, "_process") and not self._ended:
            self._ended = True
            self._socket.close()
            self._process.kill()
            self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode())

    def _receive(self) -> dict[str, Any]:
        try:
            found = self._socket.recv(MESSAGE_BYTES)
        except OSError:
            return {}
        answer: dict[str, Any] = json.loads(found) if found else {}
        return answer


class Forked:
    """The part of ``subprocess.Popen`` that a worker needs, for a child of the fork server. A pidfd identifies it."""

    def __init__(self, fork_server: ForkServer, pid: int, handle: int) -> None:
        self._fork_server, self.pid, self._handle = fork_server, pid, handle
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end; return its exit status as in ``subprocess``.

        Raises:
            subprocess.TimeoutExpired: it is still running after ``timeout`` seconds.
        """
        if self.returncode is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked worker", timeout or 0)
            self.returncode = self._fork_server.status_of(self.pid)
            os.close(self._handle)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
