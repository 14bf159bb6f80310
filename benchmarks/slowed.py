"""Imported into a worker by ``verdicts.py``: an engine of the mode "slowed" then takes five percent longer.

The delay is a busy wait after every call, of five percent of what a call of this very engine takes in this very process. Both
are counted in the calling thread's CPU time, which for an engine of one thread is the time of a call on an idle machine: a
wait by the wall clock would be over too soon where another program had the core in between. No experiment can ask for
it: no backend has a mode of this name.
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
        clock = time.thread_time_ns
        if not self._delay_ns:
            self._delay_ns = round(SHARE * self._call_ns(feeds))
        found: dict[str, np.ndarray] = self._session.run(feeds)
        until = clock() + self._delay_ns
        while clock() < until:
            pass
        return found

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self.run(feeds)

    def _call_ns(self, feeds: Mapping[str, np.ndarray]) -> float:
        """Median CPU nanoseconds of a call."""
        durations = []
        until = time.perf_counter() + CALIBRATION_S
        while time.perf_counter() < until or len(durations) < 10:
            began = time.thread_time_ns()
            self._session.run(feeds)
            durations.append(time.thread_time_ns() - began)
        return statistics.median(durations[len(durations) // 3 :])  # the first ones warm up


def install() -> None:
    backend: Any = backends.get("onnxruntime")
    opened = backend.open

    def open_slowed(path: Any, record: EngineRecord) -> Any:
        session = opened(path, record)
        return Slowed(session) if record.spec.mode == MODE else session

    backend.open = open_slowed


install()
