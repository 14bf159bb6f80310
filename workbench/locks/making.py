"""One process makes an artefact while others wait for it; a process that is stopped while it makes one is passed over."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.locks import beats, holders
from workbench.locks.beats import Beat
from workbench.locks.holders import Patience


@contextmanager
def alone_at(
    path: Path,
    what: str,
    *,
    waiting: Callable[[str], None] = lambda _: None,
    cancel: threading.Event | None = None,
    made: Callable[[], bool] = lambda: False,
) -> Iterator[bool]:
    """Hold the lock file ``path`` inside the block and give True; give False once ``made`` returns True.

    Args:
        path: the lock file; it is removed at the end.
        what: what this process does, as a phrase that is shown to other users.
        waiting: called with one sentence when a wait begins, then about every ten seconds, and when a long one ends.
        cancel: an event that ends the wait when it is set.
        made: called while waiting; it returns whether another process has made the artefact.

    A process that holds the lock and does not answer for a minute is passed over: the next process takes a second lock file, and so
    on. The artefact must therefore stay correct if two processes make it at once.

    Raises:
        Cancelled: ``cancel`` was set during the wait.
        OSError: the lock file cannot be created.
    """
    patience = Patience(waiting, cancel, "what another run makes")
    found = _first_free(path, patience, made)
    patience.end()
    if found is None:
        yield False
        return
    place, number = found
    try:
        holders.write(number, what)
        beat = Beat(number)
        try:
            yield True
        finally:
            beat.end()
            with contextlib.suppress(OSError):
                place.unlink()  # before the lock is released: a process that has opened it then sees that it is removed
    finally:
        os.close(number)


def _first_free(path: Path, patience: Patience, made: Callable[[], bool]) -> tuple[Path, int] | None:
    """The lock file, or a further one where its holder does not answer, with its descriptor, locked; ``None`` once ``made`` is true."""
    place, count = path, 0
    while (number := _taken(place)) is None:
        if made():
            return None
        holder = holders.holder_of(place)
        if holder is not None and holder.silent_s >= beats.SILENT_S:
            count += 1
            place = path.with_name(f"{path.name}.{count}")
        elif holder is not None:
            patience.wait(str(holder))
    return place, number


def _taken(place: Path) -> int | None:
    """The descriptor of the lock file, opened and locked; ``None`` where another process holds it."""
    while True:
        try:
            number = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o660)
        except PermissionError as refused:  # the file of another member of a shared store
            if holders.holder_of(place) is not None:
                return None
            try:
                place.unlink()
            except FileNotFoundError:
                if not os.access(place.parent, os.W_OK):  # there is none, and none can be made
                    raise refused from None
            continue
        if not holders.lock(number):
            os.close(number)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(number), place.stat()):
                return number
        os.close(number)  # the process that held it before has removed it
