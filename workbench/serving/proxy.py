"""HAProxy on loopback before two servers: a share of the requests to each, which is changed while it runs, and a line for every request.

What it counts is every request that a client sent: it was answered by one of the servers, or refused.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from workbench.errors import MissingPackageError, RunError
from workbench.serving.protocol import HOST
from workbench.system.supervisor import supervised

PROGRAM, FIX = "haproxy", "apt-get install haproxy"
START_S, STOP_S, POLL_S = 20.0, 40.0, 0.05
PIPE_BYTES = 1 << 20
BACKEND, LINE = "both", "workbench"
PLACES = ("/usr/sbin", "/usr/local/sbin")
# with several threads HAProxy drops a line of its log where two of them write at once
CONFIG = """global
  log stdout format raw local0 info
  stats socket {folder}/socket mode 600 level admin
  hard-stop-after {stop_s}s
  maxconn 4096
  nbthread 1
defaults
  mode http
  log global
  timeout connect 10s
  timeout client 120s
  timeout server 120s
  timeout queue 120s
  retries 0
frontend clients
  bind {host}:{port}
  http-request set-var(txn.began) date(0,us)
  http-response set-var(txn.ended) date(0,us)
  log-format "{line} %s %ST %[var(txn.began)] %[var(txn.ended)] %tsc %HM %HP"
  default_backend {backend}
backend {backend}
  balance random(1)
{servers}
"""


class Request(NamedTuple):
    """One request that ended: which server it went to ("" : none), its status, and when it began and took, in seconds."""

    server: str
    status: int
    began_s: float
    seconds: float  # until the head of the answer; NaN where there is none
    path: str


@dataclass
class ProxyCounts:
    """What the proxy saw so far, by server."""

    answered: dict[str, int] = field(default_factory=dict)  # with a status below 500
    refused: dict[str, int] = field(default_factory=dict)  # all others, "" where no server took it

    @property
    def total(self) -> int:
        """All requests that ended."""
        return sum(self.answered.values()) + sum(self.refused.values())


class Proxy:
    """A running HAProxy."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, port: int) -> None:
        self.port, self._process, self._folder = port, process, folder
        self.counts, self._lock, self._new, self._said = ProxyCounts(), threading.Lock(), list[Request](), list[str]()
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def weights(self, shares: dict[str, int]) -> None:
        """Set the share of the requests of each server, from 0 to 100; one with 0 gets no more.

        Raises:
            RunError: HAProxy refused it, or has ended.
        """
        for name, share in shares.items():
            answer = self.command(f"set weight {BACKEND}/{name} {share}")
            if answer.strip():
                raise RunError(f"HAProxy refused a weight of {share} for '{name}': {answer.strip()}")

    def in_flight(self, name: str) -> int:
        """Requests that a server has not answered yet.

        Raises:
            RunError: HAProxy has ended.
        """
        rows = [line.split(",") for line in self.command(f"show stat {BACKEND} 4 -1").splitlines() if line]
        place = rows[0].index("scur")
        return next(int(row[place]) for row in rows[1:] if row[1] == name)

    def taken(self) -> list[Request]:
        """The requests that ended since the last call, in the order of their end."""
        with self._lock:
            found, self._new = self._new, []
        return found

    def command(self, text: str) -> str:
        """The answer of HAProxy's socket to a command.

        Raises:
            RunError: it has ended.
        """
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(10)
                one.connect(str(self._folder / "socket"))
                one.sendall(text.encode() + b"\n")
                parts = []
                while part := one.recv(65536):
                    parts.append(part)
        except OSError as cause:
            raise RunError(f"HAProxy does not answer ({cause}): {' '.join(self._said[-3:])}") from cause
        return b"".join(parts).decode(errors="replace")

    def stop(self) -> None:
        """Take no new connections, end those that are open after their answer, and return when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)  # a soft stop
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def until_ready(self) -> None:
        """Return when it listens.

        Raises:
            RunError: it ended; the text has what it said.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._reader.join(5)
                break
            with socket.socket() as one:
                if one.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(POLL_S)
        raise RunError(f"HAProxy did not start: {' '.join(self._said[-5:])[:400]}")

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            request = parsed(line)
            if request is None:
                self._said = [*self._said[-20:], line.strip()]
                continue
            with self._lock:
                self._new.append(request)
                found = self.counts.answered if 100 <= request.status < 500 else self.counts.refused
                found[request.server] = found.get(request.server, 0) + 1


def parsed(line: str) -> Request | None:
    """A line of the log; ``None`` for other lines, and for connections that ended without a request.

    Example:
        >>> parsed("workbench new 200 1000000 1002500 ---- POST /v2/models/m/infer").seconds
        0.0025

    """
    words = line.split()
    if len(words) < 8 or words[0] != LINE or words[6] == "<BADREQ>":
        return None
    server, status, began, ended = words[1:5]
    if not began.isdigit():
        return None
    seconds = (int(ended) - int(began)) * 1e-6 if ended.isdigit() else float("nan")
    return Request("" if server == "<NOSRV>" else server, int(status), int(began) * 1e-6, seconds, words[7])


def installed() -> str:
    """The program, which Debian puts where the path of users does not lead.

    Raises:
        MissingPackageError: it is not installed.
    """
    found = shutil.which(PROGRAM) or next(
        (path for place in PLACES if (path := shutil.which(PROGRAM, path=place))), None
    )
    if found is None:
        raise MissingPackageError(f"HAProxy is not on the path (PATH). To install it: {FIX}")
    return found


@contextmanager
def proxied(folder: Path, port: int, servers: dict[str, tuple[int, int]]) -> Iterator[Proxy]:
    """Start HAProxy at a port of 127.0.0.1; ``servers`` has the port and the weight (0 to 100) of each by name.

    Raises:
        MissingPackageError: it is not installed.
        RunError: it did not start.
    """
    program = installed()
    lines = [f"  server {name} {HOST}:{place} weight {share}" for name, (place, share) in servers.items()]
    text = CONFIG.format(
        folder=folder,
        host=HOST,
        port=port,
        backend=BACKEND,
        line=LINE,
        stop_s=int(STOP_S) - 5,
        servers="\n".join(lines),
    )
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    command = [program, "-db", "-f", str(folder / "haproxy.cfg")]
    command = supervised(command, stop_s=STOP_S)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    _enlarge(process.stdout)
    found = Proxy(process, folder, port)
    try:
        found.until_ready()
        yield found
    finally:
        found.stop()


def _enlarge(pipe: IO[str] | None) -> None:
    """HAProxy drops lines of its log if the pipe is full, which happens after 600 lines while the reader waits for a core."""
    assert pipe is not None
    with suppress(OSError, AttributeError):  # the system's limit is lower, or it is not Linux
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
