"""Run a program so that nothing of it outlives the process that started it, however that process ends.

A process that is killed (by SIGKILL, or because memory ran out) cannot end its children, and those that the children started are not known to
it. So a small process stands between: ``python supervisor.py PARENT STOP_S FILES PROGRAM ARGUMENTS``.

* It passes signals on to the program.
* When its parent has ended it sends SIGTERM to the program, and SIGKILL after ``STOP_S`` seconds.
* When the program has ended it kills all that the program started, also what was started by other processes in between: orphans become its
  children (``PR_SET_CHILD_SUBREAPER``, Linux). Then it removes files whose path begins with ``FILES``, and ends as the program did.
* If it is itself killed, the program gets SIGTERM from the kernel.

This file is run by its path, without this package, and needs nothing but Python's standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python, and not by the program
LOOK_S, POLL_S, KILLED_S = 0.5, 0.02, 10.0
"""Seconds between two looks at the parent, between two looks at processes that were killed, and for which these are waited for."""


def supervised(program: Sequence[str], *, stop_s: float, files: str = "") -> list[str]:
    """The command that runs ``program`` under a supervisor, for ``subprocess.Popen`` with ``start_new_session=True``: the process that it
    gives is the supervisor, its status is that of the program, and its group is to be killed instead of the process.

    Args:
        program: the program, by its path or a name on the path, and its arguments.
        stop_s: how long it may take to end after SIGTERM once this process has ended.
        files: the beginning of the path of files that are removed when it has ended; "": none.

    """
    # -I -S: neither variables of Python nor installed packages concern it
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(stop_s), files, *program]


def end_with_parent() -> None:
    """For ``preexec_fn`` of ``subprocess.Popen``: SIGTERM for the new process when the thread that started it has ended. For a program that ends
    its children itself, keeps the terminal, and may start what goes on without it.
    """
    _prctl(ctypes.CDLL(None), SET_PDEATHSIG, signal.SIGTERM)


class Program:
    """A running program, which is a child of this process."""

    def __init__(self, words: Sequence[str], libc: ctypes.CDLL) -> None:
        self.status: int | None = None  # as ``os.waitpid`` has it
        before = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # one that comes now waits until the program can take it
        self.pid = os.fork()
        if self.pid == 0:
            _prctl(libc, SET_PDEATHSIG, signal.SIGTERM)
            for number in (*PASSED_ON, *IGNORED):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            if os.getppid() == before:
                with contextlib.suppress(OSError):
                    os.execvp(words[0], list(words))  # noqa: S606 - the program that was asked for
                print(f"'{words[0]}' cannot be run", file=sys.stderr, flush=True)
            os._exit(127)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)

    def collect(self) -> bool:
        """Take in which children have ended; whether there are others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    with contextlib.suppress(AttributeError):  # not Linux
        libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def children(pid: int) -> list[int]:
    """The children of a process that have not been collected; none where the system has no ``/proc``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # the name in brackets may hold anything
            if int(path.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def _kill_all(program: Program) -> None:
    """Kill all children of this process, and those that become its children thereby."""
    deadline = time.monotonic() + KILLED_S
    while program.collect() and time.monotonic() < deadline:
        for pid in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _remove(beginning: str) -> None:
    place = Path(beginning)
    for path in place.parent.glob(f"{place.name}*") if place.name else ():
        with contextlib.suppress(OSError):
            path.unlink()


def _end_as(status: int) -> None:
    """End this process as the program did, by its signal or its status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL and SIGSTOP have no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code if code >= 0 else 128 - code)


def main(parent: int, stop_s: float, files: str, words: Sequence[str]) -> None:
    """Supervise until the program has ended, and end as it did."""
    asked: list[int] = []
    for number in PASSED_ON:
        signal.signal(number, lambda got, _: asked.append(got))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes up
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    libc = ctypes.CDLL(None)
    _prctl(libc, SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        return
    program, deadline = Program(words, libc), float("inf")
    while program.status is None:
        select.select([woken], [], [], LOOK_S)
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        program.collect()
        while asked:
            program.send(asked.pop(0))
        if os.getppid() != parent and deadline == float("inf"):
            program.send(signal.SIGTERM)
            deadline = time.monotonic() + stop_s
        if time.monotonic() > deadline:
            program.send(signal.SIGKILL)
    _kill_all(program)
    _remove(files)
    _end_as(program.status)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:])
