"""Records of steps of a running experiment, and of its progress."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from workbench.errors.printable import one_line
from workbench.records.results import Result


@dataclass(frozen=True)
class Progress:
    """Progress of one phase of a run.

    ``remaining_s`` is estimated from measured durations of earlier builds and rows, or else of the rounds of this launch; it is
    ``None`` without such durations.
    """

    phase: str  # "build engines", "measure"
    done: int = 0
    total: int = 0  # 0: not known
    unit: str = ""  # what is counted, in the plural: "engines", "rounds"
    remaining_s: float | None = None  # seconds
    at_most: bool = False  # ``remaining_s`` is for all rounds that the plan allows, and rows may end earlier

    @property
    def count(self) -> str:
        """``3 of 12 engines``; "" where the number is not known."""
        return f"{self.done} of {self.total} {self.unit}".rstrip() if self.total else ""

    @property
    def left(self) -> str:
        """``about 2 min left``; "" where that is not known."""
        if self.remaining_s is None:
            return ""
        minutes, word = self.remaining_s / 60, "up to about" if self.at_most else "about"
        return f"{word} {self.remaining_s:.0f} s left" if minutes < 2 else f"{word} {minutes:.0f} min left"

    def __str__(self) -> str:
        parts = ", ".join(part for part in (self.count, self.left) if part)
        return f"{self.phase}: {parts}" if parts else self.phase


@dataclass(frozen=True)
class WorkerState:
    """What a worker of a cluster does now; without a phase it is idle."""

    label: str  # its name and host
    phase: str = ""  # "build", "measure"
    rows: tuple[str, ...] = ()
    step: str = ""  # what it reported last
    since: float = 0.0  # seconds since 1970


@dataclass(frozen=True)
class ClusterState:
    """The workers of a run on a cluster, and the number of parts that no worker has begun."""

    workers: tuple[WorkerState, ...]
    waiting: int

    def __str__(self) -> str:
        busy = sum(bool(worker.phase) for worker in self.workers)
        count = len(self.workers)
        parts = f"{self.waiting} part{'s wait' if self.waiting != 1 else ' waits'}"
        return f"{busy} of {count} worker{'s' * (count != 1)} busy, {parts}"


@dataclass(frozen=True)
class Event:
    """One step of a running experiment: a line of text, and the row that changed, if one did.

    A ``detail`` is a step within a step: it is shown while it lasts, and not logged.
    """

    text: str
    result: Result | None = None
    detail: bool = False
    wait: bool = False  # a detail that is logged as well: the run waits for another process
    rows: tuple[str, ...] = ()  # of a detail: the rows it is about
    # of a detail: by row the median so far, while it is measured
    medians_s: dict[str, float] = field(default_factory=dict)
    log: str = ""  # path of the output of the worker that serves these rows now
    at: float = field(default_factory=time.time)  # seconds since 1970
    progress: Progress | None = None  # progress of the phase; None before the first phase
    cluster: ClusterState | None = None  # of a run on a cluster, where it has changed
    warning: bool = False  # something that a user should know while the run goes on

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", one_line(self.text))  # names of files and nodes may hold anything
