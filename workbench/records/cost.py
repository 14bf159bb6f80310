"""Records of the cost and the settings of measuring: energy, settings in effect, clocks, peaks of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

AGREEING = 3
STEADY_SHARE = 0.05
"""Largest difference (5 %) of the three fastest repetitions of a valid peak: if another program runs, they scatter, because each is
interrupted at a different place."""
TOGETHER = 0.75
"""Smallest share of a loop in which several threads run at once: two that take turns on one core give steady times as well."""


@dataclass(frozen=True)
class Energy:
    """The increase of one energy counter over a block: from before its untimed first calls until after its last timed call."""

    source: str  # name of the counter: "RAPL package-0"
    joules: float
    window_s: float  # seconds between the two readings
    period_s: float  # interval at which the counter itself is updated


@dataclass(frozen=True)
class InEffect:
    """One setting of an engine, read in its worker after it had run."""

    name: str
    value: str
    basis: str  # the source of the value


@dataclass(frozen=True)
class Clock:
    """Calls of one engine over one region, in rounds interleaved with the other clocks of the same engine."""

    name: str  # "host-to-host", "library", "compute" or "device"
    encloses: str  # description of one call
    rounds_ns: tuple[tuple[int, ...], ...]  # by round, the duration of every call


@dataclass(frozen=True)
class Peak:
    """The highest observed rate of this machine for one kind of work."""

    what: str  # a number format, such as "fp32", or the source of bytes: "L2", "L3", "memory"
    work: float  # operations in one repetition, a multiply-add counted as two; or bytes moved
    samples_s: tuple[float, ...]  # seconds of every repetition
    basis: str  # description of the loop
    reach_bytes: int = 0  # bytes only: data up to this size come from there; 0: no limit
    cores_busy: float = 1.0  # CPU time by wall time over all repetitions

    @property
    def per_s(self) -> float:
        """Operations or bytes per second of the fastest repetition, as in STREAM, because disturbances only slow it down."""
        return self.work / min(self.samples_s)

    @property
    def steady(self) -> bool:
        """Whether the three fastest repetitions agree."""
        fastest = sorted(self.samples_s)[:AGREEING]
        return fastest[-1] <= (1 + STEADY_SHARE) * fastest[0]


@dataclass(frozen=True)
class Peaks:
    """Peak rates of the CPU with a number of threads, measured by short loops."""

    threads: int
    compute: tuple[Peak, ...]
    transfer: tuple[Peak, ...]  # from the nearest cache to the memory
    absent: dict[str, str] = field(default_factory=dict)  # by number format: why no peak of it was measured
    cores: tuple[int, ...] = ()  # cores that the loops were limited to; empty: any
    measured_at: str = ""  # UTC, ISO 8601

    @property
    def disturbed(self) -> bool:
        """Whether the highest rate of some format or source was reached only once, or not by all threads at once, because another
        program was busy.
        """
        places = {peak.what for peak in (*self.compute, *self.transfer)}
        found = [best for name in places if (best := self.best(name))]
        in_turn = self.threads > 1 and any(best.cores_busy < TOGETHER * self.threads for best in found)
        return in_turn or not all(best.steady for best in found)

    def best(self, what: str) -> Peak | None:
        """The highest peak of this format or source, or ``None``."""
        found = [peak for peak in (*self.compute, *self.transfer) if peak.what == what]
        return max(found, key=lambda peak: peak.per_s, default=None)

    def nearest(self, size_bytes: float) -> Peak | None:
        """The fastest transfer from the nearest source that holds ``size_bytes``; ``None`` where none was measured."""
        ends = sorted({peak.reach_bytes or float("inf") for peak in self.transfer})
        reach = next((end for end in ends if size_bytes <= end), None)
        fitting = [peak for peak in self.transfer if (peak.reach_bytes or float("inf")) == reach]
        return max(fitting, key=lambda peak: peak.per_s, default=None)
