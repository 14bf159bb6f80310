"""The measuring lock of this machine: a first-come, first-served queue of all processes of all users that run the workbench.

Other computation disturbs timings. A process that measures therefore holds the lock exclusively; processes that read, convert, build
or score share it. The lock is held for one measuring group or one task, not for a run, so that several runs make progress together.

Each place in the queue is a file in a folder that all users share, locked (``flock``) by its process: a waiting process sees the
places in front of it, and the lock of a process that has ended is released by the kernel. A process in front that has been stopped and
does not respond for a minute is skipped (:mod:`workbench.locks.beats`); when it continues, it queues again and repeats what it
measured in between (:meth:`MeasuringLock.undisturbed`). Containers that do not share the folder do not see each other.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from workbench.locks import beats, holders
from workbench.locks.beats import Beat
from workbench.locks.holders import Holder, Patience
from workbench.locks.places import QueuePlace, waiting_text

FOLDER = "WORKBENCH_LOCKS"
"""Environment variable that overrides the default of :func:`folder`; it must be the same in all processes that share the lock."""
EXCLUSIVE, SHARED = "alone", "beside"
TICKET = re.compile(r"0\d{11}-(alone|beside)-[0-9a-f]{8}")
LOOK_S = 0.8
"""All places are looked at this often, so that many waiting processes do not disturb what is measured; the first one more often."""

GATE_POLL_S, GATE_S = 0.005, 1.0
PASSED_OVER = f"it does not answer, and is passed over after {beats.SILENT_S:.0f} s"
_stuck: set[str] = set()
"""Gates that are held by a stopped process."""

T = TypeVar("T")


class MeasuringLock:
    """A place in the queue for the measuring lock; inside :func:`hold_lock` it holds the lock."""

    def __init__(
        self,
        what: str,
        *,
        alone: bool,
        cancel: threading.Event | None,
        waiting: Callable[[str], None],
        expected_s: float | None = None,
    ) -> None:
        self._what, self._alone, self._cancel, self._waiting = what, alone, cancel, waiting
        self._expected_s, self._since = expected_s, ""
        self._place = folder()
        self._held: tuple[Path, IO[bytes], Beat] | None = None

    @property
    def lost(self) -> bool:
        """Whether other processes may have skipped this one, because it was stopped for about a minute."""
        return self._held is not None and self._held[2].lost

    def undisturbed(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; run it again if the lock was lost while it ran.

        Raises:
            Cancelled: the cancel event was set while waiting for the lock.
        """
        while True:
            if self.lost:  # queue again at the back
                self.leave()
                self.take()
            found = work()
            if not self.lost:
                return found

    def take(self) -> None:
        """Queue at the back and wait. If the folder cannot be used, return at once."""
        patience = Patience(self._waiting, self._cancel, "the measuring lock")
        try:
            self._held = _ticket(self._place, self._what, patience, alone=self._alone, expected_s=self._expected_s)
        except OSError:
            return
        name = self._held[0].name
        while ahead := _places(self._place, name):
            first = next((place for place in ahead if self._alone or place.alone), None)
            if first is None:
                break
            last = len(ahead) if self._alone else max(n for n, place in enumerate(ahead, 1) if place.alone)
            text, looked = waiting_text(first.holder, ahead[:last]), time.monotonic()
            patience.wait(text)
            while time.monotonic() - looked < LOOK_S and _in_the_way(first.path):
                patience.wait(text)
        self._since = holders.now()
        self.expect(self._expected_s)
        patience.end()

    def expect(self, seconds: float | None) -> None:
        """Tell waiting processes how many seconds the work that holds the lock is expected to take from now on; None: not known."""
        if self._held is not None:
            with contextlib.suppress(OSError):  # a full disk
                holders.write(self._held[1].fileno(), self._what, seconds, since=self._since)

    def leave(self) -> None:
        """Release the lock, or leave the queue."""
        if self._held is None:
            return
        path, file, beat = self._held
        self._held = None
        beat.end()
        # unlink before unlocking: an unlocked file means that its process has ended
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def folder() -> Path:
    """The folder of the queue: the same for every user, regardless of the variable TMPDIR."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    shared = Path("/tmp")  # noqa: S108 - deliberately shared; see _prepared
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "inference-workbench-turns"


@contextmanager
def hold_lock(
    what: str,
    *,
    alone: bool,
    cancel: threading.Event | None = None,
    waiting: Callable[[str], None] = lambda _: None,
    expected_s: float | None = None,
) -> Iterator[MeasuringLock]:
    """Wait for the measuring lock, and hold it inside the block.

    Args:
        what: a description of the work that other users may read.
        alone: hold the lock exclusively; otherwise it is shared with other holders that are not exclusive.
        cancel: event that cancels waiting.
        waiting: called with one sentence when the wait begins and about every ten seconds: the process in front, with its user and
            number, its work and when that began, how many are before this process, and the expected wait; and with the duration
            when a long wait ends.
        expected_s: seconds that the work in the block is expected to take; waiting processes see it.

    Raises:
        Cancelled: the cancel event was set while waiting.

    If the folder cannot be used, the lock is not waited for: a full disk or a restricted machine must not prevent work.
    The lock is not reentrant: a process must not take it inside another block that holds it.
    """
    lock = MeasuringLock(what, alone=alone, cancel=cancel, waiting=waiting, expected_s=expected_s)
    try:
        lock.take()
        yield lock
    finally:
        lock.leave()


def queue() -> list[QueuePlace]:
    """All places of the queue of this machine, the first of which hold the lock."""
    return _places(folder())


def _ticket(
    place: Path, what: str, patience: Patience, *, alone: bool, expected_s: float | None
) -> tuple[Path, IO[bytes], Beat]:
    """Create a file at the end of the queue, locked before another process can see it."""
    _prepared(place)
    while True:
        with _gate(place, patience):
            began = time.monotonic()
            numbers = [int(path.name.partition("-")[0]) for path in _tickets(place)]
            name = f"{max(numbers, default=0) + 1:012d}-{EXCLUSIVE if alone else SHARED}-{uuid.uuid4().hex[:8]}"
            path = place / name
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), "r+b", buffering=0)
            os.fchmod(file.fileno(), 0o644)  # other users must be able to read it, regardless of the umask
            holders.lock(file.fileno(), wait=True)
            holders.write(file.fileno(), what, expected_s)
        if time.monotonic() - began < beats.LOST_S:
            return path, file, Beat(file.fileno())
        # this process was stopped; others may have taken higher numbers without the gate
        path.unlink(missing_ok=True)
        file.close()


def _prepared(place: Path) -> None:
    """Create the folder, writable for all users; a link or a file in its place is not followed."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o1777)
        place.chmod(0o1777)  # regardless of the umask; the sticky bit protects the files of other users
    if not stat.S_ISDIR(place.lstat().st_mode):
        raise NotADirectoryError(place)


@contextmanager
def _gate(place: Path, patience: Patience) -> Iterator[None]:
    """Let one process at a time take a number; a process that was stopped here is skipped after a minute, and at once from then on.

    This takes milliseconds, so that a wait is reported only after a second.
    """
    gate = place / "gate"
    try:
        number = os.open(gate, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        # not opened with O_CREAT first: Linux then refuses a file of another user in such a folder
        with contextlib.suppress(FileExistsError):
            os.close(os.open(gate, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
        number = os.open(gate, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        began, since = time.monotonic(), holders.now()
        limit_s = 0.0 if str(gate) in _stuck else beats.SILENT_S
        while not (free := holders.lock(number)) and (waited_s := time.monotonic() - began) < limit_s:
            if waited_s < GATE_S:
                time.sleep(GATE_POLL_S)
            else:
                patience.wait(f"another process: taking a place in the queue since {since} or earlier; {PASSED_OVER}")
        (_stuck.discard if free else _stuck.add)(str(gate))
        yield
    finally:
        os.close(number)


def _tickets(place: Path) -> list[Path]:
    """The files of all places in the order of the queue; files of other names are left alone."""
    return sorted(path for path in place.glob("[0-9]*-*") if TICKET.fullmatch(path.name))


def _places(place: Path, before: str = "") -> list[QueuePlace]:
    """The places of processes that run and respond, up to a ticket's name. Removes tickets of processes that have ended."""
    paths = [path for path in _tickets(place) if not before or path.name < before]
    found = (QueuePlace(path, f"-{EXCLUSIVE}-" in path.name, holder) for path in paths if (holder := _holder(path)))
    return [each for each in found if each.holder.silent_s < beats.SILENT_S]


def _in_the_way(path: Path) -> bool:
    """Whether the process with this ticket still holds or waits for the lock, and responds."""
    holder = _holder(path)
    return holder is not None and holder.silent_s < beats.SILENT_S


def _holder(path: Path) -> Holder | None:
    """The holder of a ticket; ``None``: its process has ended."""
    try:
        found = holders.holder_of(path)
    except OSError:
        return None
    if found is None:
        with contextlib.suppress(OSError):  # a ticket of another user is removed by that user's next process
            path.unlink()
    return found
