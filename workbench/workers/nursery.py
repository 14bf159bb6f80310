"""Workers of one library from one process that has imported it: each is forked from there, and starts in milliseconds.

TensorFlow takes three seconds to import and half a gigabyte to hold; a sweep of two hundred engines would spend more on that
than on measuring. A fork shares what the import made until it writes to it. Only a process with a single thread may be forked
safely (POSIX lets the child of another call next to nothing), so a library whose import starts threads is not: its workers are
started one by one, as where there is no fork.
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
from typing import Any, Self

LIMIT_S = 600.0
MESSAGE_BYTES = 1 << 20


class Nursery:
    """The parent's end of a process of ``workbench.workers.hatchery``. :attr:`ready` says whether workers can come from it."""

    def __init__(self, log: Path, modules: Sequence[str], env: Mapping[str, str]) -> None:
        self.ready = False
        self.rss_bytes = 0
        self.import_s = 0.0
        if not hasattr(os, "fork") or not hasattr(os, "pidfd_open"):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workbench.workers.hatchery", str(theirs.fileno())],
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def wait(self) -> bool:
        """Wait for the import; can workers come from it?"""
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
        """A worker that reads commands from the first of ``pipes`` and answers on the second; ``None`` where that failed."""
        asked = json.dumps({"fork": {"log": str(log), "env": dict(env)}}).encode()
        try:
            socket.send_fds(self._socket, [asked], list(pipes))
            pid = self._receive().get("pid")
            return Forked(self, pid, os.pidfd_open(pid)) if pid else None
        except OSError:
            self.ready = False
            return None

    def status_of(self, pid: int) -> int:
        """The exit status of a child that has ended, as ``subprocess`` writes it; -9 where nobody can tell any more."""
        self._send({"status": pid})
        return int(self._receive().get("status", -signal.SIGKILL))

    def close(self) -> None:
        """End it; workers that it has forked live on, each as long as its pipe."""
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
    """What a worker needs of ``subprocess.Popen``, for a process that is another's child. A pidfd names it for good."""

    def __init__(self, nursery: Nursery, pid: int, handle: int) -> None:
        self._nursery, self.pid, self._handle = nursery, pid, handle
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, as ``subprocess`` writes it.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        if self.returncode is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked worker", timeout or 0)
            self.returncode = self._nursery.status_of(self.pid)
            os.close(self._handle)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
