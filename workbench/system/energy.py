"""Energy counters: Intel's and AMD's RAPL through the kernel's powercap files, and counters of GPU sessions.

RAPL (Running Average Power Limit) counts the energy of a whole processor package and, where available, of the memory, including
every program on the machine and idle power. Only root can read the files since CVE-2020-8694.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workbench.records import Energy
from workbench.system.kernel_files import text_of

POWERCAP = Path("/sys/class/powercap")
RAPL_PERIOD_S = 0.001
"""RAPL's counters are updated about once a millisecond. Source: Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 3B, "RAPL Interfaces" (the energy status registers are updated every ~1 ms)."""
LEAST_PERIODS = 20
"""Smallest number of counter updates in a usable window. Each end of the window is off by less than one update, so at steady
power the energy is off by at most 5 %."""


class EnergyCounter(Protocol):
    """A cumulative counter of energy."""

    @property
    def source(self) -> str:
        """A description of what the counter covers."""
        ...

    @property
    def period_s(self) -> float:
        """Seconds between two updates of the counter."""
        ...

    def read(self) -> int | None:
        """The raw value; ``None``: it cannot be read."""
        ...

    def joules(self, before: int, after: int) -> float:
        """Joules between two readings."""
        ...


@dataclass(frozen=True)
class Rapl:
    """One zone of RAPL: a package or its memory."""

    path: Path  # the zone's folder
    source: str
    range_uj: int  # the counter starts again at 0 after this value
    period_s: float = RAPL_PERIOD_S

    def read(self) -> int | None:
        """Microjoules since the counter last wrapped around."""
        return _whole(self.path / "energy_uj")

    def joules(self, before: int, after: int) -> float:
        """Joules between two readings. One wrap-around is corrected; at 500 W the smallest ranges (65 kJ) last two minutes."""
        grown = after - before
        return (grown if grown >= 0 else grown + self.range_uj) * 1e-6


def rapl(root: Path = POWERCAP) -> tuple[list[Rapl], str]:
    """The zones of RAPL that can be read, and the reason if some cannot: ``(zones, reason)``.

    Includes packages and memory (``dram``), which is not part of a package. Excludes ``core`` and ``uncore``, which are parts of
    a package, ``psys``, which includes the packages, and ``intel-rapl-mmio``, which has the same counters. AMD's processors are
    under ``intel-rapl`` too.
    """
    folders = sorted(root.glob("intel-rapl:*"))
    if not folders:
        return [], "this machine has no RAPL counters (a virtual machine usually has none)"
    zones, locked = [], []
    for folder in folders:
        name = text_of(folder / "name")
        range_uj = _whole(folder / "max_energy_range_uj")
        if not (name.startswith("package") or name == "dram") or not range_uj:
            continue
        owner = text_of(root / folder.name.rpartition(":")[0] / "name") if name == "dram" else ""
        zone = Rapl(folder, f"RAPL {f'{name} of {owner}' if owner else name}", range_uj)
        if zone.read() is None:
            locked.append(str(folder / "energy_uj"))
        else:
            zones.append(zone)
    if locked:
        return zones, f"the energy counters may be read by root only: sudo chmod a+r {' '.join(locked)}"
    return zones, "" if zones else "RAPL has no package on this machine"


class Meter:
    """Reads several counters at the start and end of a window."""

    def __init__(self, counters: Sequence[EnergyCounter]) -> None:
        self._counters = counters
        self._before: list[int | None] = []
        self._began = 0.0

    def start(self) -> None:
        self._before = [counter.read() for counter in self._counters]
        self._began = time.perf_counter()

    def stop(self) -> tuple[Energy, ...]:
        """The energy by each counter since :meth:`start`; counters that could not be read at both ends are left out."""
        if not self._counters:
            return ()
        window_s = time.perf_counter() - self._began
        found = []
        for counter, before in zip(self._counters, self._before, strict=True):
            after = counter.read()
            if before is not None and after is not None:
                found.append(Energy(counter.source, counter.joules(before, after), window_s, counter.period_s))
        return tuple(found)


def _whole(path: Path) -> int | None:
    text = text_of(path)
    return int(text) if text.isdigit() else None
