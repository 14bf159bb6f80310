"""Records of what measuring cost and under which settings: energy, settings as they were found, clocks, peaks of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

AGREEING = 3
STEADY_SHARE = 0.05
"""A peak stands where the three fastest repetitions agree within 5 %: beside another program they scatter, because each of them
is interrupted at another place."""
TOGETHER = 0.75
"""Several threads must have been at work together for so much of a loop: two that take turns on one core are steady, too."""


@dataclass(frozen=True)
class Energy:
    """What one counter of energy rose by over a block: from before its untimed first calls until after its last timed one."""

    source: str  # whose energy, in words: "RAPL package-0"
    joules: float
    window_s: float  # between the two readings
    period_s: float  # how often the counter itself is brought up to date


@dataclass(frozen=True)
class InEffect:
    """One setting of an engine as it was found in the worker that ran it, after it had run."""

    name: str
    value: str
    basis: str  # where it was read


@dataclass(frozen=True)
class Clock:
    """Calls of one engine over one region, in rounds that took turns with the other clocks of the same engine."""

    name: str  # "host-to-host", "library", "compute" or "device"
    encloses: str  # what one call does, in words
    rounds_ns: tuple[tuple[int, ...], ...]  # by round, the duration of every call


@dataclass(frozen=True)
class Peak:
    """The most that this machine was seen to do of one thing."""

    what: str  # a number format, such as "fp32", or where bytes come from: "L2", "L3", "memory"
    work: float  # operations in one repetition, a multiply-add counted as two; or bytes moved
    samples_s: tuple[float, ...]  # seconds of every repetition
    basis: str  # what was run
    reach_bytes: int = 0  # bytes only: what lies within this size comes from there; 0: no limit
    cores_busy: float = 1.0  # CPU time by wall time over all repetitions

    @property
    def per_s(self) -> float:
        """Operations or bytes per second of the fastest repetition: as STREAM, because others only ever slow it down."""
        return self.work / min(self.samples_s)

    @property
    def steady(self) -> bool:
        """Whether the three fastest repetitions agree."""
        fastest = sorted(self.samples_s)[:AGREEING]
        return fastest[-1] <= (1 + STEADY_SHARE) * fastest[0]


@dataclass(frozen=True)
class Peaks:
    """What the CPU can do at most with a number of threads, as measured by short loops."""

    threads: int
    compute: tuple[Peak, ...]
    transfer: tuple[Peak, ...]  # from the nearest cache to the memory
    absent: dict[str, str] = field(default_factory=dict)  # by number format: why no peak of it was measured
    cores: tuple[int, ...] = ()  # that the loops were held to; empty: any
    measured_at: str = ""  # UTC, ISO 8601

    @property
    def disturbed(self) -> bool:
        """Whether the best of some format or place was reached but once, or not by all threads at a time: another program was busy
        meanwhile.
        """
        places = {peak.what for peak in (*self.compute, *self.transfer)}
        found = [best for name in places if (best := self.best(name))]
        apart = self.threads > 1 and any(best.cores_busy < TOGETHER * self.threads for best in found)
        return apart or not all(best.steady for best in found)

    def best(self, what: str) -> Peak | None:
        """The highest of the peaks of this format or place, or ``None``."""
        found = [peak for peak in (*self.compute, *self.transfer) if peak.what == what]
        return max(found, key=lambda peak: peak.per_s, default=None)

    def nearest(self, size_bytes: float) -> Peak | None:
        """The fastest transfer out of the nearest place that holds so many bytes; ``None`` where none was measured."""
        ends = sorted({peak.reach_bytes or float("inf") for peak in self.transfer})
        reach = next((end for end in ends if size_bytes <= end), None)
        fitting = [peak for peak in self.transfer if (peak.reach_bytes or float("inf")) == reach]
        return max(fitting, key=lambda peak: peak.per_s, default=None)
