"""Locks of a store for runs in progress and for removal of entries. Neither begins while the other is in progress."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import StoreError, writing
from workbench.locks import holders
from workbench.locks.holders import Patience
from workbench.locks.making import alone_at

USE, PRUNE = "use-", "prune.lock"


@contextmanager
def in_use(root: Path, what: str, waiting: Callable[[str], None], cancel: threading.Event | None) -> Iterator[None]:
    """Prevent removal of entries of the store at ``root`` inside the block; wait while entries are being removed.

    Raises:
        StoreError: the store cannot be written.
        Cancelled: ``cancel`` was set during the wait.
    """
    path = root / "locks" / f"{USE}{uuid.uuid4().hex}.lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o660)
    try:
        holders.lock(number, wait=True)
        holders.write(number, what)
        patience = Patience(waiting, cancel, "the store")
        # take this lock, then check the other one: a removing command does so in the opposite order
        while holder := holders.holder_of(root / "locks" / PRUNE):
            patience.wait(str(holder))
        patience.end()
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(number)


@contextmanager
def removing(root: Path) -> Iterator[None]:
    """Prevent runs from beginning inside the block.

    Raises:
        StoreError: a run uses the store, or another process removes from it.
    """
    with contextlib.ExitStack() as stack:
        with writing(root / "locks"):
            (root / "locks").mkdir(parents=True, exist_ok=True)
            place = root / "locks" / PRUNE
            stack.enter_context(alone_at(place, f"removing entries of the store {root}", waiting=_refuse))
        for path in sorted((root / "locks").glob(f"{USE}*.lock")):
            if holder := holders.holder_of(path):
                raise StoreError(
                    f"The store {root} is in use by {holder.who}: {holder.what}, since {holder.since}. Remove nothing now; try again "
                    "when that has ended."
                )
            path.unlink(missing_ok=True)  # a killed process left it behind
        yield


def _refuse(text: str) -> None:
    raise StoreError(f"Another process is removing entries of this store ({text}). Try again when it has ended.")
