"""The process that holds a SQLite database, for messages while another one waits for it.

SQLite locks bytes of its files (``fcntl``), and such a lock does not end while its process is stopped. Opening and closing one of these
files would end the locks of the caller's own connections to it (https://sqlite.org/howtocorrupt.html, 2.2), so that the table of the
kernel is read instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TABLE = Path("/proc/locks")


def holder_of(files: Sequence[Path]) -> str:
    """A phrase for the process that has locked one of these files for writing, with its number, name and user.

    >>> holder_of([Path("of_no_database.sqlite")])
    'another process'
    """
    number = _locked_by(files)
    if number is None:
        return "another process"
    text = f"process {number}"
    with suppress(Exception):  # it may have ended, and may belong to another user
        import psutil

        process = psutil.Process(number)
        text += f" ({process.name()} of {process.username()})"
        if process.status() == psutil.STATUS_STOPPED:
            text += ", which is stopped"
    return text


def _locked_by(files: Sequence[Path]) -> int | None:
    """The number of a process, other than this one, with an exclusive lock on one of the files; ``None`` where the kernel shows none."""
    wanted = set()
    for path in files:
        with suppress(OSError):
            state = path.stat()
            wanted.add(f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}")
    try:
        lines = TABLE.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()  # 1: POSIX  ADVISORY  WRITE 4711 08:02:131 120 120
        if len(words) == 8 and words[1] == "POSIX" and words[3] == "WRITE" and words[5] in wanted:
            number = int(words[4])
            if number > 0 and number != os.getpid():  # 0: a process outside of this container
                return number
    return None
