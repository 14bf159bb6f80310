"""Signs of life of locked files: the process that holds one sets its time of change every few seconds.

A lock (``flock``) ends with its process, however the process ends. It does not end while the process is stopped (SIGSTOP, Ctrl-Z, a
frozen container). A thread of the holder therefore touches every file that it holds, and a waiting process checks whether the time of
change moves. Both use their own monotonic clock: setting a clock or suspending the machine does not count as silence.
"""

from __future__ import annotations

import os
import threading
import time

BEAT_S = 5.0
SILENT_S = 60.0
"""A holder that has not touched its file for this long is passed over."""
LOST_S = 55.0
"""A holder that has not touched its file for this long assumes that it was passed over; less than ``SILENT_S``, so that it cannot miss this."""
STEP_S = 1.0
MOST_SEEN = 1000

_guard = threading.Lock()
_beating: set[Beat] = set()
_thread: threading.Thread | None = None
_more = threading.Event()  # set when a file was added
_seen: dict[tuple[int, int], tuple[int, float, float]] = {}


class Beat:
    """Touches an open file every few seconds until :meth:`end`, from one thread for the whole process."""

    def __init__(self, number: int) -> None:
        """``number`` is the file's descriptor, open for writing."""
        self._number = number
        self._last = time.monotonic()
        self._lost = False
        with _guard:
            _beating.add(self)
            _more.set()
            _start()

    @property
    def lost(self) -> bool:
        """Whether this process paused for so long, at any time so far, that other processes may have passed it over."""
        with _guard:
            self._touch()
            return self._lost

    def end(self) -> None:
        """Stop touching the file; call this before it is closed."""
        with _guard:
            _beating.discard(self)

    def _touch(self) -> None:
        now = time.monotonic()
        self._lost = self._lost or now - self._last > LOST_S
        self._last = now
        try:
            os.utime(self._number)
        except OSError:  # a file system without settable times: other processes then rely on the lock only for SILENT_S
            return


def silence_s(number: int) -> float:
    """Seconds for which the file with this descriptor has not been touched, as far as this process has watched it.

    Time in which the caller itself was stopped, and did not look, counts as one second at most.
    """
    found = os.fstat(number)
    file, now = (found.st_dev, found.st_ino), time.monotonic()
    with _guard:
        if len(_seen) > MOST_SEEN:
            _seen.clear()
        touched, silent, looked = _seen.get(file, (found.st_mtime_ns, 0.0, now))
        silent = silent + min(now - looked, STEP_S) if touched == found.st_mtime_ns else 0.0
        _seen[file] = (found.st_mtime_ns, silent, now)
    return silent


def _start() -> None:
    """Start the thread unless it runs; the caller holds :data:`_guard`."""
    global _thread  # noqa: PLW0603 - one for the process
    if _thread is None:
        _thread = threading.Thread(target=_run, name="workbench-beats", daemon=True)
        _thread.start()


def _run() -> None:
    global _thread  # noqa: PLW0603 - one for the process
    while True:
        _more.wait(BEAT_S)
        _more.clear()
        with _guard:
            if not _beating:
                _thread = None
                return
            for beat in _beating:
                beat._touch()  # noqa: SLF001 - its own module


def _forget() -> None:
    """Reset the state in a forked child, which has none of the parent's threads and does not own its locks."""
    global _thread, _guard
    _guard, _thread = threading.Lock(), None
    _beating.clear()


os.register_at_fork(after_in_child=_forget)
