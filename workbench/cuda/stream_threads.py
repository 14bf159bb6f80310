"""Keep calls in flight on several streams, with a host thread for each: launching a small model takes as long as running it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue


class StreamThreads:
    """Threads that call repeatedly while results are requested, and sleep otherwise.

    Calling the object waits for as many results as there are threads, and returns the mean nanoseconds between them: one call's
    share of the calls in flight, whose inverse is the throughput. The time between two results alone would not be: calls that
    share a GPU end in bunches, so that most of these times are nearly 0. ``enter`` and ``leave`` run in every thread at its start and end.
    """

    def __init__(self, size: int, enter: Callable[[], object], leave: Callable[[], object]) -> None:
        self.calls: Sequence[Callable[[], object]] = ()  # one for each thread; change it only while the threads rest
        self._enter, self._leave = enter, leave
        self._change = threading.Condition()
        self._running = self._ended = False
        self._busy = 0
        self._last_ns = 0  # when the last results were complete
        self._answers: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(place,), daemon=True) for place in range(size)]
        for thread in self._threads:
            thread.start()

    def __call__(self) -> int:
        """Wait for a result of each stream, in any order; the mean nanoseconds between two results.

        Raises:
            BaseException: the exception of a call; its thread rests from then on.
        """
        if not self._running:
            self._last_ns = time.perf_counter_ns()
            with self._change:
                self._running = True
                self._change.notify_all()
        for _ in self._threads:
            answer = self._answers.get()
            if answer is not None:
                raise answer
        since, self._last_ns = self._last_ns, time.perf_counter_ns()
        return (self._last_ns - since) // len(self._threads)

    def rest(self) -> None:
        """Wait until every thread has finished its call, and discard unused results."""
        with self._change:
            self._running = False
            while self._busy:
                self._change.wait()
        try:
            while True:
                self._answers.get_nowait()
        except Empty:
            return

    def close(self) -> None:
        """End the threads."""
        self.rest()
        with self._change:
            self._ended = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, place: int) -> None:
        self._enter()
        try:
            while True:
                with self._change:
                    while not self._running and not self._ended:
                        self._change.wait()
                    if self._ended:
                        return
                    self._busy += 1
                self._answer_until_rest(place)
                with self._change:
                    self._busy -= 1
                    self._change.notify_all()
                    while self._running and not self._ended:  # only after an error: the other threads continue
                        self._change.wait()
        finally:
            self._leave()

    def _answer_until_rest(self, place: int) -> None:
        call, answer = self.calls[place], self._answers.put
        try:
            while self._running:
                call()
                answer(None)
        except BaseException as cause:
            answer(cause)
