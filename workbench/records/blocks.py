"""Records of one block of timed calls, and which blocks of a launch count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from workbench.records.cost import Energy

BUSY_CORES, BUSY_SHARE = 0.5, 0.25
LOST_SHARE = 0.05
TICK_S = 0.01
"""When a block is spoiled: other programs used more than half a core and a quarter of all, and a tick of every core on top,
because the kernel counts whole ticks; or the calls had to wait for a core, or the hypervisor withheld one, for more
than a twentieth of the block."""
SPOILED_SHARE = 0.5
"""Spoiled blocks are left out of a launch unless they are more than this share of it."""


def without_spoiled(rounds: Sequence[int], spoiled: Collection[int]) -> list[int]:
    """The rounds of one launch that count: all but the spoiled ones, or all of them where most are spoiled.

    What comes from outside hits all variants alike, so a launch that had hardly any undisturbed round is still used.
    """
    bad = set(spoiled) & set(rounds)
    return list(rounds) if len(bad) > SPOILED_SHARE * len(rounds) else [each for each in rounds if each not in bad]


@dataclass(frozen=True)
class GpuState:
    """What NVML read right after the last timed call of a block."""

    sm_mhz: int
    memory_mhz: int
    power_w: float
    temperature_c: int
    throttled: tuple[str, ...] = ()  # what held the clocks down, such as "power cap"; an idle GPU is not throttled


@dataclass(frozen=True)
class Surroundings:
    """What the system counted between the first and the last timed call of a block. ``None``: it does not tell.

    CPU seconds come in the kernel's ticks, usually of 10 ms.
    """

    cores: int  # that the machine has
    others_cpu_s: float | None = None  # CPU seconds of everybody but this process
    stolen_s: float | None = None  # CPU seconds that a hypervisor gave to others
    waited_s: float | None = None  # the calling thread could have run, and another one had its core
    minor_faults: int | None = None  # pages that were mapped without reading a disk
    major_faults: int | None = None  # pages that were read from a disk
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    mhz: float | None = None  # of the core that the last call ran on
    throttles: int | None = None  # times that heat slowed a core or the package down
    worked_s: float | None = None  # CPU seconds of the calling thread


@dataclass(frozen=True)
class Block:
    """One uninterrupted run of timed calls of one variant inside one round."""

    round: int
    position: int  # place in the round's random order
    samples_ns: Sequence[int]  # duration of every call; with several streams, between two that came to their end
    cpu_s: float  # CPU time of the worker's process over the block, all threads
    wall_s: float
    quiet: bool  # the worker's own threads were asleep again before the next variant began
    gpu: GpuState | None = None
    energy: tuple[Energy, ...] = ()  # by counter; none where there is no counter to read
    launch: int = 0  # which start of the process; rounds are numbered on
    began_s: float = 0.0  # since the measuring of this batch size began
    around: Surroundings | None = None

    @property
    def spoiled(self) -> str:
        """What outside the worker spoiled this block, in a word or two; "" where nothing did."""
        around = self.around
        if around is None:
            return ""
        if around.throttles:
            return "heat"
        if around.major_faults:
            return "reading from a disk"
        if (around.stolen_s or 0) > LOST_SHARE * self.wall_s:
            return "the hypervisor"
        if (around.waited_s or 0) > LOST_SHARE * self.wall_s:
            return "waiting for a core"
        usual_s = self.wall_s * max(BUSY_CORES, BUSY_SHARE * around.cores) + TICK_S * around.cores
        if (around.others_cpu_s or 0) > usual_s:
            return "other programs"
        return ""

    def typical_ns(self, *, alone: bool = True) -> float:
        """Nanoseconds of one call: the median; or the mean without the time waited for a core, where that is less.

        On a machine with more work than cores a call of some milliseconds is interrupted nearly every time, and the median then
        says how long other programs ran. The kernel counts how long the calling thread was ready and had no core; without it
        the mean is what the call itself took. Undisturbed calls are skewed to the right, so that their median is less than
        their mean and stands. It is never taken to be less than the thread's own CPU time.

        Args:
            alone: the calls do not overlap and are timed by the host's clock. Otherwise the median always stands.
        """
        import numpy as np

        median = float(np.median(self.samples_ns))
        around = self.around
        if not alone or around is None or not around.waited_s or around.worked_s is None:
            return median
        total = float(np.sum(self.samples_ns))
        # reading the counters may have waited too: what is left of the calls is then too little, and the CPU time is right
        working = max(total - around.waited_s * 1e9, min(total, around.worked_s * 1e9))
        return min(median, working / len(self.samples_ns))
