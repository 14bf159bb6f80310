"""Records of measuring under load: several callers at once, arrivals at a rate, and results of LoadGen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from workbench.records.terms import Region
from workbench.stats import estimates, queues
from workbench.stats.queues import Tail

if TYPE_CHECKING:
    import numpy as np


class LoadAnswer(StrEnum):
    """Whether an engine answers a share of its queries within a limit at some rate of arrivals."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class LoadPlan:
    """The plan of measuring under load, after the latency rounds."""

    concurrency: tuple[int, ...] = ()  # callers at once, ascending; empty: no closed loop
    callers: int = 1  # callers that serve the arrivals of an open loop and the queries of LoadGen
    region: Region = Region.HOST_TO_HOST
    rounds: int = 12
    block_s: float = 0.08
    warm_up_s: float = 0.2
    seed: int = 0
    rates: tuple[float, ...] = ()  # queries per second of open loops
    search: bool = False  # whether to search for the highest rate that holds the limit
    limit_s: float = 0.1
    percent: float = 99.0
    scenario: str = ""  # of LoadGen: "SingleStream", "Offline" or "Server"; "": LoadGen does not run
    loadgen_s: float = 3.0  # LoadGen's min_duration
    loadgen_queries: int = 100  # LoadGen's min_query_count

    @property
    def empty(self) -> bool:
        return not (self.concurrency or self.rates or self.search or self.scenario)

    @property
    def known_s(self) -> float:
        """Least seconds of load on one row: closed loops, given rates and LoadGen; the duration of a search is not known before."""
        closed = self.rounds * self.block_s
        opened = sum(queries_for(rate, closed, self.percent, self.limit_s) / rate for rate in self.rates)
        return len(self.concurrency) * closed + opened + (self.loadgen_s if self.scenario else 0.0)


@dataclass(frozen=True)
class LoadBlock:
    """One stretch of one round of a closed loop, in which every caller made call after call."""

    round: int
    position: int  # position in the round's random order
    latencies_ns: tuple[int, ...]  # of every call that began within the stretch, of all callers
    calls: float  # calls within the stretch; a call that crosses an end counts by the part inside
    wall_s: float
    cpu_s: float  # of the worker's process, all threads
    quiet: bool  # the worker's own threads were asleep again before the next variant began
    refused: int = 0  # calls that were refused, which are not among the others

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.wall_s


@dataclass(frozen=True)
class ClosedLoop:
    """One engine under a set number of callers, each of which calls again as soon as its last call is answered."""

    concurrency: int
    blocks: tuple[LoadBlock, ...] = ()
    note: str = ""  # how the callers share the engine
    failure: str = ""  # sentence that says why there are no blocks

    @property
    def queries_per_s(self) -> float:
        """Calls per second of all callers together, over all rounds."""
        return sum(block.calls for block in self.blocks) / sum(block.wall_s for block in self.blocks)

    @property
    def latencies_s(self) -> np.ndarray:
        """Seconds of every call, shape (n,), float64, by round."""
        import numpy as np

        return np.concatenate([np.asarray(block.latencies_ns, dtype=np.float64) for block in self.blocks]) * 1e-9

    def percentile_s(self, percent: float) -> float | None:
        """Latency percentile under this load, or ``None`` where the sample is too small to support it."""
        return estimates.percentile(self.latencies_s, percent)

    @property
    def median_s(self) -> float:
        import numpy as np

        return float(np.median(self.latencies_s))

    @property
    def mean_s(self) -> float:
        """Mean latency in seconds. With more callers than cores most calls are quick and some wait long, which a median does not show."""
        return float(self.latencies_s.mean())

    @property
    def cores_used(self) -> float:
        """CPU seconds per second: 2.0 means two busy cores."""
        return sum(block.cpu_s for block in self.blocks) / sum(block.wall_s for block in self.blocks)

    @property
    def noisy_blocks(self) -> int:
        return sum(not block.quiet for block in self.blocks)


@dataclass(frozen=True)
class OpenStretch:
    """One stretch of an open loop; its first queries, which met an empty queue, are not among the latencies."""

    latencies_ns: tuple[int, ...]  # from the scheduled arrival, not from the start of the call, to the answer
    over: int  # number of these beyond the limit, and of the refused ones
    busy: float  # share of the callers' time in which they did not wait for a query to come, 0 to 1
    late_ns: int  # median delay of calls whose caller was free when they were due, which is the generator's own
    wall_s: float
    ended_early: bool = False  # ended because later queries could not compensate for those beyond the limit
    refused: int = 0  # queries that were refused, which have no latency

    @property
    def queries(self) -> int:
        return len(self.latencies_ns) + self.refused


@dataclass(frozen=True)
class OpenLoop:
    """One engine under arrivals at random times with a set mean rate: a Poisson process with a seed."""

    rate: float  # queries per second
    callers: int
    limit_s: float
    percent: float  # the percentile that must be within the limit
    seed: int
    planned: int  # planned number of counted queries
    stretches: tuple[OpenStretch, ...] = ()
    failure: str = ""

    @property
    def tail(self) -> Tail | None:
        """The percentile in seconds, with its 95 % interval over the stretches; ``None`` for too few queries."""
        found = [[ns * 1e-9 for ns in stretch.latencies_ns] for stretch in self.stretches]
        return queues.percentile_interval(found, self.percent)  # type: ignore[arg-type]

    @property
    def queries(self) -> int:
        return sum(stretch.queries for stretch in self.stretches)

    @property
    def refused(self) -> int:
        return sum(stretch.refused for stretch in self.stretches)

    @property
    def ended_early(self) -> bool:
        return any(stretch.ended_early for stretch in self.stretches)

    @property
    def busy(self) -> float:
        """Share of the callers' time in which they did not wait for a query to come: near 1 the queue only grows."""
        wall = sum(stretch.wall_s for stretch in self.stretches)
        return sum(stretch.busy * stretch.wall_s for stretch in self.stretches) / wall if wall else 0.0

    @property
    def saturated(self) -> bool:
        """Whether the callers were hardly ever free."""
        return self.busy >= SATURATED

    @property
    def overloaded(self) -> bool:
        """Whether queries arrived faster than they were answered: the callers were almost always busy, and the limit did not hold."""
        return self.saturated and self.answer == LoadAnswer.DOES_NOT_HOLD

    @property
    def answer(self) -> LoadAnswer:
        """The answer by the interval of the share within the limit: the limit holds where the lower end is at least the share that
        the percentile requires, and does not hold where the upper end is smaller, or where a stretch was ended early because of
        queries beyond the limit. Where callers were hardly ever free the rate is not sustainable: the queue may only have had too
        little time to grow.
        """
        if self.ended_early:
            return LoadAnswer.DOES_NOT_HOLD
        _, low, high = self.within or (0.0, 0.0, 1.0)
        if low >= self.percent / 100:
            return LoadAnswer.CANNOT_TELL if self.saturated else LoadAnswer.HOLDS
        return LoadAnswer.DOES_NOT_HOLD if high < self.percent / 100 else LoadAnswer.CANNOT_TELL

    @property
    def within(self) -> tuple[float, float, float] | None:
        """Share of the queries within the limit with its 95 % interval over the stretches; ``None`` without queries."""
        sizes = [stretch.queries for stretch in self.stretches]
        counts = [size - stretch.over for size, stretch in zip(sizes, self.stretches, strict=True)]
        return queues.within_interval(counts, sizes)

    @property
    def too_few(self) -> bool:
        """Whether so few queries could not have held the limit even if all had been within it."""
        sizes = [stretch.queries for stretch in self.stretches]
        found = queues.within_interval(sizes, sizes)
        return found is None or found[1] < self.percent / 100


QUERY_FACTOR = 3
"""Factor of the number of queries, because queries that wait for each other carry less information than independent ones."""
STRETCHES = 8
"""Number of stretches of an open loop at one rate, each with other arrivals."""
LIMITS = 5
MOST = 100_000
PATIENCE_S = 30.0
"""Longest duration in seconds to which an open loop is extended for its percentile; the setting of seconds may ask for more."""
SATURATED = 0.95
"""Share of busy time of the callers above which a queue cannot empty."""


@dataclass(frozen=True)
class LoadGenRun:
    """One run of MLPerf LoadGen. It is unofficial: it is not submitted, and does not follow all of MLPerf's rules."""

    scenario: str
    version: str
    valid: bool | None = None  # LoadGen's verdict; None: it did not run
    figures: dict[str, str] = field(default_factory=dict)  # its summary, "key : value" by key
    reasons: tuple[str, ...] = ()  # LoadGen's own complaints and recommendations
    settings: str = ""  # the settings, and how they fall short of MLPerf's rules
    summary: str = ""  # its summary file as it was written
    how: str = ""  # description of how its queries reached the engine
    failure: str = ""

    def figure(self, name: str) -> float | None:
        """One number of the summary by name; ``None`` where the summary does not have it."""
        try:
            return float(self.figures[name])
        except (KeyError, ValueError):
            return None

    @property
    def samples_per_s(self) -> float | None:
        """The scenario's throughput in LoadGen's summary, in samples per second."""
        names = ("QPS w/o loadgen overhead", "Samples per second", "Completed samples per second")
        return next((found for name in names if (found := self.figure(name)) is not None), None)

    def percentile_s(self, percent: float) -> float | None:
        """A latency percentile of LoadGen, in seconds; ``None`` for Offline, which has one query with all samples."""
        found = self.figure(f"{percent:.2f} percentile latency (ns)")
        return None if found is None or self.scenario == "Offline" else found * 1e-9


@dataclass(frozen=True)
class Load:
    """All measurements of one engine at one batch size under load."""

    engine_key: str
    batch: int
    group: str  # variants of one group took turns; only those may be compared
    plan: LoadPlan
    measured_at: str  # UTC, ISO 8601
    closed: tuple[ClosedLoop, ...] = ()
    open: tuple[OpenLoop, ...] = ()  # ascending by rate
    loadgen: LoadGenRun | None = None
    failure: str = ""  # reason why there are no measurements
    search_note: str = ""  # why the search for a rate ended without one

    def at(self, concurrency: int) -> ClosedLoop | None:
        """The closed loop with this number of callers; ``None`` where it was not measured."""
        return next((loop for loop in self.closed if loop.concurrency == concurrency and loop.blocks), None)

    @property
    def measured(self) -> tuple[ClosedLoop, ...]:
        return tuple(loop for loop in self.closed if loop.blocks)

    @property
    def best(self) -> ClosedLoop | None:
        """The closed loop with the highest throughput."""
        return max(self.measured, key=lambda loop: loop.queries_per_s, default=None)

    @property
    def knee(self) -> ClosedLoop | None:
        """The closed loop at the knee of the throughput-latency curve; see :func:`workbench.stats.queues.knee`."""
        loops = self.measured
        found = queues.knee([loop.queries_per_s for loop in loops], [loop.mean_s for loop in loops])
        return loops[found.place] if found else None

    @property
    def bracket(self) -> tuple[float | None, float | None]:
        """Highest rate that holds and, above it, the lowest rate that does not; ``None`` where there is none."""
        holds = max((loop.rate for loop in self.open if loop.answer == LoadAnswer.HOLDS), default=None)
        beyond = [loop.rate for loop in self.open if loop.answer == LoadAnswer.DOES_NOT_HOLD]
        return holds, min((rate for rate in beyond if rate > (holds or 0)), default=None)


def queries_for(rate: float, seconds: float, percent: float, limit_s: float) -> int:
    """Number of queries that an open loop counts: those of ``seconds``, or more where the percentile or the limit need more.

    For the percentile there are :data:`QUERY_FACTOR` times the queries that it needs. A queue needs time to grow as long as the limit, so
    a stretch lasts :data:`LIMITS` limits. Neither extends it beyond :data:`PATIENCE_S` or :data:`MOST` queries.
    """
    needed_s = max(QUERY_FACTOR * estimates.samples_needed(percent) / rate, STRETCHES * LIMITS * limit_s)
    most = max(MOST, rate * seconds)
    return max(1, math.ceil(min(most, rate * max(seconds, min(needed_s, PATIENCE_S)))))
