"""Imported into a worker by ``verdicts.py``: an engine of the mode "slowed" then takes five percent longer.

The delay is a busy wait after every call, of five percent of what a call of this very engine takes in this very process: the
median, by the wall clock or in the calling thread's CPU time, whichever is less, because on a busy machine long calls are
interrupted. Short waits go by the wall clock, which is quick to read; long ones by CPU time, because by the wall clock they
would be over too soon where another program had the core in between. No experiment can ask for this: no backend has a mode of
this name.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from workbench import backends
from workbench.records import EngineRecord

MODE = "slowed"
SHARE = 0.05
CALIBRATION_S = 0.3
SHORT_NS = 100_000


class Slowed:
    """A session, with a wait after every call."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._delay_ns = 0

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.__exit__(*exc)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self._delay_ns:
            self._delay_ns = round(SHARE * self._call_ns(feeds))
        clock = time.perf_counter_ns if self._delay_ns < SHORT_NS else time.thread_time_ns
        found: dict[str, np.ndarray] = self._session.run(feeds)
        until = clock() + self._delay_ns
        while clock() < until:
            pass
        return found

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self.run(feeds)

    def _call_ns(self, feeds: Mapping[str, np.ndarray]) -> float:
        wall, cpu = [], []
        until = time.perf_counter() + CALIBRATION_S
        while time.perf_counter() < until or len(wall) < 10:
            worked, began = time.thread_time_ns(), time.perf_counter_ns()
            self._session.run(feeds)
            wall.append(time.perf_counter_ns() - began)
            cpu.append(time.thread_time_ns() - worked)
        first = len(wall) // 3  # those warm up
        return min(statistics.median(wall[first:]), statistics.median(cpu[first:]))


def install() -> None:
    backend: Any = backends.get("onnxruntime")
    opened = backend.open

    def open_slowed(path: Any, record: EngineRecord) -> Any:
        session = opened(path, record)
        return Slowed(session) if record.spec.mode == MODE else session

    backend.open = open_slowed


install()
