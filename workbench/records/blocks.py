"""Records of one block of timed calls, and the choice of the blocks of a launch that count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from workbench.records.cost import Energy

BUSY_CORES, BUSY_SHARE = 0.5, 0.25
LOST_SHARE = 0.05
TICK_S = 0.01
"""Limits beyond which a block is spoiled: other programs used more than half a core and a quarter of all cores, plus a tick of
every core, because the kernel counts whole ticks; or the calls waited for a core, or the hypervisor withheld one, for more than a
twentieth of the block. A pause and a sleep of the machine spoil a block of any length."""
LONGER = 2.0
"""A block that took more than this many times the planned time is checked for a pause."""
SLEPT_S = 0.01
SPOILED_SHARE = 0.5
"""Largest share of spoiled blocks in a launch for which they are left out."""


def without_spoiled(rounds: Sequence[int], spoiled: Collection[int]) -> list[int]:
    """The rounds of one launch that count: all except the spoiled ones, or all of them where most are spoiled.

    Disturbances from outside affect all variants equally, so a launch with few undisturbed rounds is still used.

    Example:
        >>> without_spoiled([0, 1, 2, 3], {1})
        [0, 2, 3]
        >>> without_spoiled([0, 1, 2, 3], {0, 1, 2})
        [0, 1, 2, 3]

    """
    bad = set(spoiled) & set(rounds)
    return list(rounds) if len(bad) > SPOILED_SHARE * len(rounds) else [each for each in rounds if each not in bad]


@dataclass(frozen=True)
class GpuState:
    """Values that NVML gave right after the last timed call of a block."""

    sm_mhz: int
    memory_mhz: int
    power_w: float
    temperature_c: int
    throttled: tuple[str, ...] = ()  # reasons for reduced clocks, such as "power cap"; an idle GPU is not throttled


@dataclass(frozen=True)
class Surroundings:
    """Counters of the system between the first and the last timed call of a block. ``None``: not available.

    CPU seconds come in the kernel's ticks, usually of 10 ms.
    """

    cores: int  # number of cores of the machine
    others_cpu_s: float | None = None  # CPU seconds of all other processes
    stolen_s: float | None = None  # CPU seconds that a hypervisor gave to other machines
    waited_s: float | None = None  # seconds in which the calling thread was ready and had no core
    minor_faults: int | None = None  # pages that were mapped without reading a disk
    major_faults: int | None = None  # pages that were read from a disk
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    mhz: float | None = None  # of the core that the last call ran on
    throttles: int | None = None  # times that heat slowed a core or the package down
    worked_s: float | None = None  # CPU seconds of the calling thread
    slept_s: float | None = None  # seconds in which the machine was suspended


@dataclass(frozen=True)
class Block:
    """One uninterrupted run of timed calls of one variant inside one round."""

    round: int
    position: int  # position in the round's random order
    samples_ns: Sequence[int]  # of every call; with several streams, means between as many answers
    cpu_s: float  # CPU time of the worker's process over the block, all threads
    wall_s: float
    quiet: bool  # the worker's own threads were asleep again before the next variant began
    gpu: GpuState | None = None
    energy: tuple[Energy, ...] = ()  # by counter; empty where no counter can be read
    launch: int = 0  # number of the process start; the numbers of rounds continue over launches
    began_s: float = 0.0  # seconds since the measuring of this batch size began
    around: Surroundings | None = None
    asked_s: float = 0.0  # planned seconds, without calls that were due to be finished; 0: not known
    # of a GPU session: runs of the engine in a sample, which each process chooses itself; 0: not known, or one
    runs: int = 0

    @cached_property
    def _held_up(self) -> bool:
        """Whether one call, or the time between calls, took longer than a usual call and the planned time together.

        This detects a stopped process, whose clock continues. A slow model also makes longer blocks, but with similar calls. In a
        block with a single call, a pause within the call cannot be recognized.
        """
        if not self.asked_s or self.wall_s <= LONGER * self.asked_s or not len(self.samples_ns):
            return False
        durations = sorted(self.samples_ns)
        usual_s = durations[(len(durations) - 1) // 2] * 1e-9
        between_s = self.wall_s - sum(durations) * 1e-9
        return max(durations[-1] * 1e-9, between_s) > usual_s + max(self.asked_s, usual_s)

    @property
    def interrupted(self) -> str:
        """The interruption in this block: "sleep of the machine" or "a pause"; "" where there is none. Its duration is not used."""
        if self.around and (self.around.slept_s or 0) > SLEPT_S:
            return "sleep of the machine"
        return "a pause" if self._held_up else ""

    @property
    def spoiled(self) -> str:
        """The cause outside the worker that spoiled this block, as a short phrase; "" where there is none."""
        around = self.around
        if interrupted := self.interrupted:
            return interrupted
        if around is None:
            return ""
        if around.throttles:
            return "heat"
        if around.major_faults:
            return "reading from a disk"
        if (around.stolen_s or 0) > LOST_SHARE * self.wall_s:
            return "the host of this virtual machine"
        if (around.waited_s or 0) > LOST_SHARE * self.wall_s:
            return "waiting for a free CPU core"
        usual_s = self.wall_s * max(BUSY_CORES, BUSY_SHARE * around.cores) + TICK_S * around.cores
        if (around.others_cpu_s or 0) > usual_s:
            return "other programs"
        return ""

    def typical_ns(self, *, alone: bool = True) -> float:
        """Nanoseconds of one call: the median; or the mean without the time waited for a core, where that is less.

        On a machine with more work than cores a call of some milliseconds is interrupted nearly every time, and the median then
        includes the time of other programs. The kernel counts how long the calling thread was ready and had no core; without this
        time the mean is the duration of the call itself. Undisturbed calls are skewed to the right, so that their median is less
        than their mean and is used. The result is never less than the thread's own CPU time.

        Args:
            alone: whether calls do not overlap and are timed by the host's clock. Otherwise the median is used.
        """
        return self._alone_ns if alone else self._median_ns

    # every comparison asks for these; the durations may have to be read from a file
    @cached_property
    def _median_ns(self) -> float:
        import numpy as np

        return float(np.median(self.samples_ns))

    @cached_property
    def _alone_ns(self) -> float:
        import numpy as np

        around = self.around
        if around is None or not around.waited_s or around.worked_s is None:
            return self._median_ns
        total = float(np.sum(self.samples_ns))
        # the read of the counters may have waited as well: the rest is then too small, and the CPU time is used
        working = max(total - around.waited_s * 1e9, min(total, around.worked_s * 1e9))
        return min(self._median_ns, working / len(self.samples_ns))
