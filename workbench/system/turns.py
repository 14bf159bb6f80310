"""Taking turns on this machine: first come, first served, among all processes of all users that run the workbench here.

Whatever else computes disturbs a timing. So who measures does so alone, and who reads, converts, builds or scores does so
beside others that do the same, but never while somebody measures. A turn lasts for one measuring group or one task, not for
a run: several people at one machine advance side by side.

Each turn is a file in a folder that all users share, locked (``flock``) by the process that asked for it: whoever stands
behind sees who is in front, and the lock of a process that ended, however it ended, is gone. Containers that do not share
the folder do not see each other.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

from workbench.errors import Cancelled

FOLDER = "WORKBENCH_TURNS"
"""Names another folder than :func:`folder` would choose; all who should take turns must name the same one."""
POLL_S = 0.1
ALONE, BESIDE = "alone", "beside"
MOST_TEXT = 200  # characters of what somebody else wrote


class Ahead(NamedTuple):
    """Who stands in front: the first of them, and how many turns there are before one's own."""

    who: str
    what: str
    since: str  # local time, HH:MM:SS
    people: int

    def __str__(self) -> str:
        more = f", and {self.people - 1} more in the queue" if self.people > 1 else ""
        return f"waiting for {self.who}: {self.what} since {self.since}{more}"


def folder() -> Path:
    """Where the turns of this machine lie: the same for every user, whatever the variable TMPDIR says."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named)
    shared = Path("/tmp")  # noqa: S108 - shared on purpose; see _prepared
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "inference-workbench-turns"


@contextmanager
def turn(
    what: str,
    *,
    alone: bool,
    cancel: threading.Event | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Wait until it is this caller's turn, and hold it inside the block.

    Args:
        what: what will be done, in words that another user may read.
        alone: nobody else's turn may overlap; otherwise only those that are to be alone may not.
        cancel: set it to give up waiting.
        waiting: told whenever somebody else comes to stand in front, as one sentence.

    Raises:
        Cancelled: while waiting.

    Where the folder cannot be used, nobody waits: a full disk or a locked-down machine must not keep a person from work.
    A turn is not taken inside another one of the same process; they would wait for each other.
    """
    place = folder()
    try:
        path, file = _ticket(place, what, alone=alone)
    except OSError:
        yield
        return
    try:
        said = ""
        while ahead := _ahead(place, path.name, alone=alone):
            if cancel is not None and cancel.is_set():
                raise Cancelled("Stopped on request, while waiting for a turn on this machine.")
            if str(ahead) != said:
                said = str(ahead)
                waiting(said)
            time.sleep(POLL_S)
        yield
    finally:
        # first the name, then the lock: a file without a lock is taken for one whose owner has died
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def _ticket(place: Path, what: str, *, alone: bool) -> tuple[Path, IO[str]]:
    """A file behind all others, locked before anybody can see it."""
    _prepared(place)
    with _gate(place):
        numbers = [int(path.name.partition("-")[0]) for path in place.glob("[0-9]*-*")]
        name = f"{max(numbers, default=0) + 1:012d}-{ALONE if alone else BESIDE}-{uuid.uuid4().hex[:8]}"
        path = place / name
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8")
        os.fchmod(file.fileno(), 0o644)  # others must read it, whatever the umask
        _lock(file.fileno(), wait=True)
        since = datetime.now().astimezone().strftime("%H:%M:%S")
        json.dump({"who": f"{_user()} (process {os.getpid()})", "what": what, "since": since}, file)
        file.flush()
    return path, file


def _prepared(place: Path) -> None:
    """The folder, open to all users; one that somebody planted as a link or a file is not followed."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o1777)
        place.chmod(0o1777)  # whatever the umask; with the sticky bit nobody removes the files of others
    if not stat.S_ISDIR(place.lstat().st_mode):
        raise NotADirectoryError(place)


@contextmanager
def _gate(place: Path) -> Iterator[None]:
    """One process at a time draws a number."""
    gate = place / "gate"
    try:
        number = os.open(gate, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        # not at once with O_CREAT: Linux then refuses a file that another user made in such a folder
        with contextlib.suppress(FileExistsError):
            os.close(os.open(gate, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
        number = os.open(gate, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        _lock(number, wait=True)
        yield
    finally:
        os.close(number)


def _ahead(place: Path, mine: str, *, alone: bool) -> Ahead | None:
    """Whoever must end before the ticket ``mine`` may begin; tickets of the dead are cleared away."""
    others = sorted(
        path for path in place.glob("[0-9]*-*") if path.name < mine and (alone or f"-{ALONE}-" in path.name)
    )
    living = [told for told in map(_told, others) if told is not None]
    return None if not living else living[0]._replace(people=len(living))


def _told(path: Path) -> Ahead | None:
    """What a ticket says; ``None`` where its owner has ended."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(number, encoding="utf-8", errors="replace") as file:
        if _lock(file.fileno(), wait=False):
            with contextlib.suppress(OSError):  # another user's: that user's next turn clears it
                path.unlink()
            return None
        try:
            said = json.load(file)
            who, what, since = (str(said[name])[:MOST_TEXT] for name in ("who", "what", "since"))
        except (ValueError, KeyError, TypeError):
            who, what, since = "another process", "something", "a moment ago"
    return Ahead(who, what, since, 1)


def _lock(number: int, *, wait: bool) -> bool:
    """Lock an open file: for itself (``wait``), or as one of several who only look; whether that was possible."""
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number without a name
        return f"user {os.getuid()}"
