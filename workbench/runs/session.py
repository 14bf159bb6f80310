"""A session: the variants of one batch size that take turns with each other, and what is known of each so far."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from workbench.errors import Cancelled, WorkbenchError
from workbench.records import Block, Ended, EngineRecord, Launch, Result, Timing
from workbench.runs.cohorts import anchors, timeable
from workbench.runs.open_engines import OpenEngines

T = TypeVar("T")


@dataclass
class Member:
    """One variant's part in the interleaved measuring of one batch size."""

    row: Result
    engine: EngineRecord
    again: bool  # the baseline, in a further cohort
    base_rss_bytes: int = 0
    peak_rss_bytes: int = 0  # over all launches
    launches: tuple[Launch, ...] = ()
    blocks: tuple[Block, ...] = ()
    ended: Ended | None = None  # None: it is still measured
    timing: Timing | None = None  # once it has ended: all that is known of it
    kept: str = ""  # the key that its timing has in the store

    @property
    def cut_short(self) -> bool:
        """Whether it would be measured on if there were time."""
        return self.ended == Ended.TIME

    @property
    def timed_s(self) -> float:
        return sum(block.wall_s for block in self.blocks)


@dataclass
class Cohort:
    """The variants of one batch size that take turns with each other."""

    batch: int
    group: str
    members: list[Member]
    anchor: Member | None  # the baseline, which is measured as long as any other variant
    session: str  # only those that took turns in this very session may be compared
    began: float = field(default_factory=time.monotonic)
    rounds: int = 0
    launches: int = 0
    resumable: bool = False  # what is known after a launch is stored
    checkpoint: str = ""  # the mark of what was stored last
    over: bool = False

    @property
    def open(self) -> list[Member]:
        return [member for member in self.members if member.ended is None]


def cohort_of(opened: OpenEngines, batch: int, group: str) -> Cohort:
    """The rows at this batch size that are open and not timed, and the baseline's beside them."""
    able = timeable(opened.run_rows.rows)
    base = anchors(able, opened.experiment.baseline).get(batch)
    here = [row for row in able if row.batch == batch and row.engine and opened.get(row.engine.key)]
    due = any(row.timing is None for row in here)
    rows = [row for row in here if row.timing is None or (due and base and row.row == base.row)]
    members = [Member(row, row.engine, again=row.timing is not None) for row in rows if row.engine]
    anchor = next((member for member in members if base and member.row.row == base.row), None)
    return Cohort(batch, group, members, anchor, f"{group}-{uuid.uuid4().hex[:8]}")


def without_the_lost(opened: OpenEngines, cohort: Cohort) -> None:
    """Go on without those that failed or were asked to stop."""
    stop = opened.run_rows.stop
    cohort.members = [
        member
        for member in cohort.members
        if member.timing or (member.ended is None and opened.get(member.engine.key) and not stop.has(member.row.row))
    ]
    if cohort.anchor not in cohort.members:
        cohort.anchor = None


def attempt(opened: OpenEngines, member: Member, step: str, ask: Callable[[], T]) -> T | None:
    """What ``ask`` returns; ``None`` where it failed, which ends the worker of this variant and its rows."""
    try:
        return ask()
    except Cancelled:
        raise
    except WorkbenchError as error:
        opened.drop(member.engine.key, step, error)
        return None


def timing_so_far(opened: OpenEngines, cohort: Cohort, member: Member, **more: Any) -> Timing:
    """What is known of a variant so far."""
    plan = opened.experiment.plan
    known: dict[str, Any] = {
        "region": plan.region,
        "load_s": member.launches[0].load_s,
        "base_rss_bytes": member.base_rss_bytes,
        "peak_rss_bytes": member.peak_rss_bytes,
        "measured_at": "",
        "ended": member.ended or Ended.FIXED,
    }
    return Timing(
        engine_key=member.engine.key,
        batch=member.row.batch,
        group=cohort.session,
        blocks=member.blocks,
        warm_up_ns=member.launches[0].warm_up_ns,
        streams=member.engine.spec.streams,
        protocol=plan.protocol,
        launches=member.launches,
        looks=len(plan.looks) * opened.family,  # in equal parts, as the looks
        **known | more,
    )
