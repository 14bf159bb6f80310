"""Work in a thread whose news reach the panel in the panel's own thread."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from workbench.records import Progress

PERIOD_S = 0.125
T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread, such as a kernel's; ``None`` where none runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class AfterPause:
    """Calls a function when it has not been asked to for a while, with an event loop; at once where none runs."""

    def __init__(self, call: Callable[[], None], after_s: float) -> None:
        self._call, self._after_s = call, after_s
        self._due: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether it was asked to and has not been called yet."""
        return self._due is not None

    def ask(self) -> None:
        """Call it after a pause, which begins again."""
        self._forget()
        if loop := running_loop():
            self._due = loop.call_later(self._after_s, self.now)
        else:
            self._call()

    def now(self) -> None:
        """Call it now where it is due."""
        if self._forget():
            self._call()

    def _forget(self) -> bool:
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        return due is not None


def keep_showing(seen: Callable[[], T], show: Callable[[T], None], every_s: float, stopped: threading.Event) -> None:
    """Show again and again what ``seen`` returns, until ``stopped`` is set.

    ``seen`` is called in a thread; ``show``, which changes widgets, in the calling thread where that has an event loop.
    """
    loop = running_loop()

    def work() -> None:
        while not stopped.wait(every_s):
            found = seen()
            if loop is None:
                show(found)
            elif loop.is_closed():
                return
            else:
                loop.call_soon_threadsafe(show, found)

    threading.Thread(target=work, name="keep showing", daemon=True).start()


class BackgroundWork:
    """At most one piece of work at a time.

    The work runs in a thread and calls :meth:`post`; what it posts is applied by :meth:`drain`, always in the thread
    that started it. With a running event loop (a kernel) one task drains eight times a second, so the kernel stays
    free; without one :meth:`wait` drains.
    """

    def __init__(self, tick: Callable[[], None] = lambda: None) -> None:
        self.cancel, self.finish = threading.Event(), threading.Event()
        self.phase = ""
        self.progress: Progress | None = None
        self.since_s = 0.0  # seconds since the epoch
        self._tick = tick
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Until the work has ended and everything that it posted has been applied."""
        return self._thread is not None

    def start(
        self, work: Callable[[], None], phase: str = "", failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Start work whose first step is ``phase``; ``failed`` is called in the panel's thread with an error that ends it."""
        assert not self.busy
        self.cancel, self.finish = threading.Event(), threading.Event()
        self.phase, self.progress, self.since_s = phase, None, time.time()
        # a daemon: a kernel that is shut down does not wait, and the worker processes end with it
        self._thread = threading.Thread(target=self._guarded, args=(work, failed), daemon=True, name="workbench")
        self._thread.start()
        if loop := running_loop():
            self._reader = loop.create_task(self._read())

    def _guarded(self, work: Callable[[], None], failed: Callable[[Exception], None] | None) -> None:
        try:
            work()
        except Exception as error:
            if failed is None:
                raise
            self.post(partial(failed, error))

    def announce(self, phase: str) -> None:
        """In the thread: name the current step."""
        self.post(partial(setattr, self, "phase", phase))

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
