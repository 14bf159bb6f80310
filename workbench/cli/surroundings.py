"""What a command is started with: standard streams that may be closed or take ASCII only, and signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class EndedBySignal(KeyboardInterrupt):
    """A signal asked this process to end; libraries let it through as they do Ctrl-C."""

    seen: int | None = None
    """The signal of this process, for code that took the exception for Ctrl-C; ``None`` so far."""

    def __init__(self, number: int) -> None:
        super().__init__()
        EndedBySignal.seen = number
        self.number, self.name = number, signal.Signals(number).name


@contextmanager
def ends_by_signal() -> Iterator[None]:
    """Raise :class:`EndedBySignal` in the block when a signal arrives that would end the process without a word; a second one does."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        # one that is ignored, as after nohup, stays so
        before = {number: signal.SIG_DFL for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
    signal.signal(number, signal.SIG_DFL)
    raise EndedBySignal(number)


def open_streams() -> None:
    """Open standard streams that the caller closed, leading nowhere, and print what an encoding lacks as a question mark.

    Without that, the next file that is opened gets the number of a closed stream, and what is printed ends up in it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or _stream(1)
    sys.stderr = sys.stderr or _stream(2)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def _stream(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", errors="replace", closefd=False)
