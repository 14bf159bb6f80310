"""Engines that sleep before they answer, with a counter of energy: each optimization level draws another power, and all take the same time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import onnxruntime
from sleeping_backend import FILE, SECONDS, Sleeping

from workbench.backends.base import BaseSession
from workbench.records import EngineRecord

POWERS_W = (20.0, 10.0, 40.0)
"""By optimization level, while a call is carried out; nothing is drawn between calls."""


class Metered(Sleeping):
    name = "metered"
    title = "engines that sleep and count energy"

    def open(self, engine: Path, record: EngineRecord) -> MeteredSession:
        return MeteredSession(engine / FILE, POWERS_W[record.spec.optimization_level or 0])


class Counter:
    """Microjoules that a session has used."""

    source, period_s = "a counter of this session", 0.001

    def __init__(self, session: MeteredSession) -> None:
        self._session = session

    def read(self) -> int:
        return round(self._session.used_j * 1e6)

    def joules(self, before: int, after: int) -> float:
        return (after - before) * 1e-6


class MeteredSession(BaseSession):
    def __init__(self, path: Path, power_w: float) -> None:
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_outputs()]
        self._power_w, self.used_j = power_w, 0.0

    def run(self, feeds: Any) -> dict[str, Any]:
        began = time.perf_counter()
        time.sleep(SECONDS)
        found = self._session.run(self._names, dict(feeds))
        self.used_j += self._power_w * (time.perf_counter() - began)
        return dict(zip(self._names, found, strict=True))

    def energy_counters(self) -> list[Counter]:
        return [Counter(self)]


BACKEND = Metered()
