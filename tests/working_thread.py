"""Work in a thread while a block of a test runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call ``work`` in a thread with an event that is set at the end of the block; the block ends with the thread."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
