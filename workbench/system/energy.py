"""Counters of energy: Intel's and AMD's RAPL through the kernel's powercap files, and those that a GPU's session hands over.

RAPL (Running Average Power Limit) counts what a whole processor package, and where it tells also the memory, took: every
program on the machine and its idle power included. The files are readable by root only since CVE-2020-8694.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workbench.records import Energy

POWERCAP = Path("/sys/class/powercap")
RAPL_PERIOD_S = 0.001
"""RAPL's counters move about once a millisecond. Source: Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 3B, "RAPL Interfaces" (the energy status registers are updated every ~1 ms)."""
LEAST_PERIODS = 20
"""A window counts only where it is so many updates of its counter long. Each of its two ends is off by less than one update,
so that at steady power the energy is off by at most 5 %."""


class Counter(Protocol):
    """A cumulative counter of energy."""

    @property
    def source(self) -> str:
        """Whose energy, in words."""
        ...

    @property
    def period_s(self) -> float:
        """Seconds between two updates of the counter."""
        ...

    def read(self) -> int | None:
        """Its raw value, or ``None`` where it does not tell any more."""
        ...

    def joules(self, before: int, after: int) -> float:
        """Joules between two readings."""
        ...


@dataclass(frozen=True)
class Rapl:
    """One zone of RAPL: a package, or the memory beside it."""

    path: Path  # the zone's folder
    source: str
    range_uj: int  # the counter starts again at 0 after this value
    period_s: float = RAPL_PERIOD_S

    def read(self) -> int | None:
        """Microjoules since the counter last started at 0."""
        return _whole(self.path / "energy_uj")

    def joules(self, before: int, after: int) -> float:
        """Joules between two readings. One start at 0 in between is seen; at 500 W the smallest ranges (65 kJ) last two minutes."""
        grown = after - before
        return (grown if grown >= 0 else grown + self.range_uj) * 1e-6


def rapl(root: Path = POWERCAP) -> tuple[list[Rapl], str]:
    """The zones of RAPL that can be read, and why there are none or fewer: ``(zones, reason)``.

    Packages, and the memory (``dram``), which lies beside a package and not in it. Left out: ``core`` and ``uncore``, which are
    parts of a package; ``psys``, which holds everything once more; and ``intel-rapl-mmio``, the same counters a second time.
    AMD's processors stand under ``intel-rapl`` too.
    """
    folders = sorted(root.glob("intel-rapl:*"))
    if not folders:
        return [], "this machine offers no RAPL counters (a virtual machine usually has none)"
    zones, locked = [], []
    for folder in folders:
        name = _text(folder / "name")
        range_uj = _whole(folder / "max_energy_range_uj")
        if not (name.startswith("package") or name == "dram") or not range_uj:
            continue
        owner = _text(root / folder.name.rpartition(":")[0] / "name") if name == "dram" else ""
        zone = Rapl(folder, f"RAPL {f'{name} of {owner}' if owner else name}", range_uj)
        if zone.read() is None:
            locked.append(str(folder / "energy_uj"))
        else:
            zones.append(zone)
    if locked:
        return zones, f"the energy counters may be read by root only: sudo chmod a+r {' '.join(locked)}"
    return zones, "" if zones else "RAPL tells of no package here"


class Meter:
    """Reads several counters at both ends of a window."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = counters
        self._before: list[int | None] = []
        self._began = 0.0

    def start(self) -> None:
        self._before = [counter.read() for counter in self._counters]
        self._began = time.perf_counter()

    def stop(self) -> tuple[Energy, ...]:
        """What every counter rose by since :meth:`start`; one that could not be read at either end is left out."""
        if not self._counters:
            return ()
        window_s = time.perf_counter() - self._began
        found = []
        for counter, before in zip(self._counters, self._before, strict=True):
            after = counter.read()
            if before is not None and after is not None:
                found.append(Energy(counter.source, counter.joules(before, after), window_s, counter.period_s))
        return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _whole(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
