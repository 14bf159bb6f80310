"""Work in a thread whose news reach the panel in the panel's own thread."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable

PERIOD_S = 0.125


class Work:
    """At most one piece of work at a time.

    The work runs in a thread and calls :meth:`post`; what it posts is applied by :meth:`drain`, always in the thread
    that started it. With a running event loop (a kernel) one task drains eight times a second, so the kernel stays
    free; without one :meth:`wait` drains.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self.cancel = threading.Event()
        self.began = 0.0
        self._tick = tick
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Until the work has ended and everything that it posted has been applied."""
        return self._thread is not None

    def start(self, work: Callable[[], None]) -> None:
        assert not self.busy
        self.cancel = threading.Event()
        self.began = time.monotonic()
        # a daemon: a kernel that is shut down does not wait, and the worker processes end with it
        self._thread = threading.Thread(target=work, daemon=True, name="workbench")
        self._thread.start()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._reader = loop.create_task(self._read())

    def post(self, change: Callable[[], None]) -> None:
        self._posted.put(change)

    def drain(self) -> None:
        """Apply what was posted."""
        ended = self._thread is not None and not self._thread.is_alive()  # asked first: nothing can come after
        while True:
            try:
                change = self._posted.get_nowait()
            except queue.Empty:
                break
            change()
        if ended:
            self._thread = None
        self._tick()

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the work has ended; returns early after ``timeout_s`` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.busy and (deadline is None or time.monotonic() < deadline):
            self.drain()
            if self.busy:
                time.sleep(PERIOD_S / 4)

    async def _read(self) -> None:
        while self.busy:
            self.drain()
            await asyncio.sleep(PERIOD_S)
