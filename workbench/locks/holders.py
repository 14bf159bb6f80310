"""The text in a locked file that describes the process which holds it, and reports of a wait for it."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import Cancelled
from workbench.errors.printable import one_line
from workbench.locks import beats

POLL_S = 0.1
REPEAT_S = 10.0
"""A wait is reported when it begins, and then at this interval."""
LONG_S = 3.0
"""The end of a wait that was reported and took this long is reported too."""
MOST_TEXT = 200  # characters shown of a text that another process wrote
QUIET_S = 15.0
"""A holder that has not touched its file for this long is reported as not answering."""
NAME = "WORKBENCH_NAME"
"""Environment variable with the name that other users of the machine see instead of the user's name and process number."""
MOST_NAME = 40  # characters
MOST_S = 86_400.0
"""A longer expected time is not believed."""
WIDTH = 1024
"""Bytes of the text in a file, so that a reader never finds a part of a text that is written again."""


class Holder(NamedTuple):
    """The process that holds a file: its user and process number, what it does, and since when (local time, HH:MM:SS)."""

    who: str
    what: str
    since: str
    silent_s: float = 0.0
    left_s: float | None = None  # seconds that it expects to need still; None: not known, or longer than it expected

    @property
    def name(self) -> str:
        """The user's name, without the process number."""
        return self.who.partition(" (process ")[0]

    def __str__(self) -> str:
        text = f"{self.who}: {self.what} since {self.since}"
        if self.silent_s > QUIET_S:
            text += f"; it has not answered for {self.silent_s:.0f} s, and is passed over after {beats.SILENT_S:.0f} s"
        return text


class Patience:
    """Reports of one wait: the first at once, then one every ten seconds with the time waited so far, and one at the end of a long wait.

    ``cancel`` is checked in :meth:`wait`; ``goal`` names what is waited for in the message of :class:`Cancelled`.
    """

    def __init__(self, report: Callable[[str], None], cancel: threading.Event | None, goal: str) -> None:
        self._report, self._cancel, self._goal = report, cancel, goal
        self._began = time.monotonic()
        self._said: float | None = None

    def wait(self, text: str) -> None:
        """Report what is waited for if a report is due, and sleep for a moment.

        Raises:
            Cancelled: the event ``cancel`` is set.
        """
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled(f"Stopped on request, while waiting for {self._goal}.")
        now = time.monotonic()
        if self._said is None or now - self._said >= REPEAT_S:
            so_far = "" if self._said is None else f" ({now - self._began:.0f} s so far)"
            self._said = now
            self._report(f"waiting for {text}{so_far}")
        time.sleep(POLL_S)

    def end(self) -> None:
        """Report how long the wait took, if it was long."""
        took_s = time.monotonic() - self._began
        if self._said is not None and took_s >= LONG_S:
            self._report(f"the wait for {self._goal} ended after {took_s:.0f} s")


def shown_name() -> str:
    """The name that other users of this machine see: that of the variable ``WORKBENCH_NAME``, or else the user's name."""
    return one_line(os.environ.get(NAME, "")).strip()[:MOST_NAME] or _user()


def now() -> str:
    """The local time as holders are described with, HH:MM:SS."""
    return datetime.now().astimezone().strftime("%H:%M:%S")


def write(number: int, what: str, expected_s: float | None = None, *, since: str = "") -> None:
    """Write into an open file that this process holds it, for which purpose, and how many seconds that is expected to take.

    The work began at the local time ``since``, and its expected time counts from now; without ``since`` it has not begun.
    """
    who = shown_name() + ("" if os.environ.get(NAME) else f" (process {os.getpid()})")
    said: dict[str, Any] = {"who": who, "what": what, "since": since or now()}
    if expected_s is not None:
        said |= {"expected_s": expected_s} | ({"clock_s": time.monotonic()} if since else {})
    text = json.dumps(said).encode().ljust(WIDTH)
    os.pwrite(number, text, 0)
    os.ftruncate(number, len(text))


def read(number: int) -> Holder:
    """The holder that :func:`write` wrote into an open file, with the seconds for which it has been silent."""
    try:
        said = json.loads(os.pread(number, 1 << 14, 0))
        who, what, since = (str(said[name])[:MOST_TEXT] for name in ("who", "what", "since"))
        left_s = _left_s(said)
    except (ValueError, KeyError, TypeError, RecursionError):
        who, what, since, left_s = "another process", "something", "a moment ago", None
    return Holder(who, what, since, beats.silence_s(number), left_s)


def _left_s(said: dict[str, Any]) -> float | None:
    """What is left of the expected time. The clock is that of the machine's start, which all its processes share."""
    expected_s, clock_s = said.get("expected_s"), said.get("clock_s")
    if expected_s is None or not 0 <= expected_s <= MOST_S:
        return None
    left_s = float(expected_s) - (0.0 if clock_s is None else max(0.0, time.monotonic() - clock_s))
    return left_s if left_s > 0 else None


def holder_of(path: Path) -> Holder | None:
    """The process that holds a lock file; ``None`` where none does, or where the file is missing or not a file."""
    try:
        number = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )  # opening a pipe would wait for its other end
    except FileNotFoundError:
        return None
    try:
        return None if not stat.S_ISREG(os.fstat(number).st_mode) or lock(number, shared=True) else read(number)
    finally:
        os.close(number)


def lock(number: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file until it is closed, and return whether that was possible. Several processes can hold a ``shared`` lock.

    The package ``filelock`` has exclusive locks only. Two processes that check a lock at the same time would each report the other as
    its holder.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(number, how)
    except BlockingIOError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container a user number may have no name
        return f"user {os.getuid()}"
