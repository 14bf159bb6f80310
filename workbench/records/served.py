"""Records of load on a served deployment: what a call costs in process, what the server adds, and what waiting adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from workbench.errors.printable import one_line
from workbench.records.load import Load, OpenLoop
from workbench.stats import estimates


class LatencyPart(NamedTuple):
    """A part of a latency in seconds, with the ends of its 95 % interval over rounds; NaN ends for fewer than two rounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SplitRound:
    """One round: the same request in process, by one client of the server, and by several clients at once. Seconds."""

    round: int
    in_process_s: float  # median call of the engine in a process of its own, NumPy arrays in and out
    alone_s: float  # median request of a client that is alone
    loaded_s: float  # mean request of several clients at once
    queue_s: float  # mean time that such a request waited in the server's queue, as the server counted it
    inside_s: float  # mean time that such a request spent in the model, as the server counted it


@dataclass(frozen=True)
class Split:
    """The three parts of a served latency: the engine, the server around it, and the queue before it."""

    clients: int  # at once, in the loaded part of a round
    rounds: tuple[SplitRound, ...]

    @property
    def in_process(self) -> LatencyPart:
        """The engine without a server."""
        return over_rounds([one.in_process_s for one in self.rounds])

    @property
    def overhead(self) -> LatencyPart:
        """What one client waits longer for the server than for the engine in process: differences within rounds."""
        return over_rounds([one.alone_s - one.in_process_s for one in self.rounds])

    @property
    def queueing(self) -> LatencyPart:
        """The wait in the server's queue under load."""
        return over_rounds([one.queue_s for one in self.rounds])

    @property
    def loaded(self) -> LatencyPart:
        """The mean latency of the clients under load."""
        return over_rounds([one.loaded_s for one in self.rounds])


def over_rounds(values: list[float]) -> LatencyPart:
    """The trimmed mean over rounds with its t interval (:func:`workbench.stats.estimates.trimmed_center`).

    Example:
        >>> over_rounds([1.0, 1.0, 1.0]).value
        1.0

    """
    if len(values) < 2:
        return LatencyPart(values[0] if values else math.nan, math.nan, math.nan)
    found = estimates.trimmed_center(values)
    half = found.half_width(1 - estimates.CONFIDENCE)
    return LatencyPart(found.mean, found.mean - half, found.mean + half)


@dataclass(frozen=True)
class ServedLoad:
    """All measurements of one deployment on a server with or without batching."""

    deployment: str  # its name
    variant: str
    samples: int  # in each request
    transport: str  # "http" or "grpc"
    batching: bool  # whether the server joined requests
    split: Split
    load: Load  # closed loops, and Poisson arrivals
    periodic: OpenLoop | None = None  # arrivals at a fixed period, whose limit is the deadline
    server: str = ""  # name and version
    run: str = ""  # the run whose row was deployed
    batch: int = 0  # of that row
    machine: str = ""  # label of the machine that was under load

    def __post_init__(self) -> None:
        for name in ("deployment", "variant", "transport", "server", "run", "machine"):
            object.__setattr__(self, name, one_line(getattr(self, name)))

    @property
    def row(self) -> str:
        """Identity of the deployed row within its run, as :attr:`workbench.records.Result.row`."""
        return f"{self.variant} @{self.batch}"

    @property
    def refused(self) -> int:
        """Requests that the server refused, counted by the clients."""
        opened = sum(loop.refused for loop in (*self.load.open, self.periodic) if loop)
        return opened + sum(block.refused for loop in self.load.closed for block in loop.blocks)
