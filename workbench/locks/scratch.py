"""Temporary folders that are removed with their process; those of killed processes are removed when the next process starts.

A folder is locked (``flock`` on the folder itself) by the process that made it for as long as it is used. A folder of this user that
no process holds was left behind. This also works for containers that share a temporary folder and have separate process numbers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.errors import writing
from workbench.locks import holders

PREFIX = "workbench-tmp-"
REMOVALS = 5


class Held:
    """A folder that this process locks, so that others see that it is in use; :meth:`remove` removes it, :meth:`release` keeps it."""

    def __init__(self, make: Callable[[], Path]) -> None:
        """``make`` creates a new folder and returns its path; it may be called several times. Raises OSError where it cannot."""
        while True:
            path = make()
            try:
                self._number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # another process removed it before it was locked
            with contextlib.suppress(OSError):  # a file system without locks
                holders.lock(self._number, wait=True)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._number), path.stat()):
                    break
            os.close(self._number)
        self.path = path

    def remove(self) -> None:
        """Remove the folder with all that is in it; a second call does nothing."""
        if self._number >= 0:
            _remove_tree(self.path)
            self.release()

    def release(self) -> None:
        """Unlock the folder and keep it; a second call does nothing."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1


class Scratch(Held):
    """A temporary folder, removed by :meth:`remove`, at the end of a ``with`` block, or by a later process."""

    def __init__(self) -> None:
        """Raises StoreError where the folder cannot be created."""
        with writing("the folder for temporary files", "the variable TMPDIR"):
            super().__init__(lambda: Path(tempfile.mkdtemp(prefix=PREFIX)))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exc: object) -> None:
        self.remove()


def remove_left_behind() -> int:
    """Remove the temporary folders that killed processes of this user left behind, and return their number."""
    return remove_unheld(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def remove_unheld(folders: Iterable[Path]) -> int:
    """Remove the folders that belong to this user and that no process holds, and return their number."""
    removed = 0
    for path in folders:
        try:
            number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # the folder of another user, a link, or already removed
            continue
        try:
            found = os.fstat(number)
            if found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode) and holders.lock(number):
                _remove_tree(path)
                removed += 1
        except OSError:  # a file system without locks
            continue
        finally:
            os.close(number)
    return removed


def _remove_tree(path: Path) -> None:
    """Remove a folder, also where a process that is about to end still writes to it."""
    for _ in range(REMOVALS):
        if not os.path.lexists(path):
            break
        shutil.rmtree(path, ignore_errors=True)
