"""Interleaved rounds: the variants of one batch size take turns in random order, one at a time, until enough is known."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.errors import Cancelled, RunError, WorkbenchError
from workbench.measure import verdict
from workbench.measure.interleave import Rounds, interleave
from workbench.plan.measuring import timing_key
from workbench.records import (
    Block,
    Clock,
    DeviceFacts,
    Ended,
    EngineRecord,
    InEffect,
    Launch,
    Region,
    Result,
    Status,
    Timing,
    Until,
    Verdict,
    from_json,
)
from workbench.runs.cohorts import anchors, keep_members, timeable
from workbench.runs.open_engines import OpenEngines
from workbench.runs.pace import MeasuringProgress
from workbench.runs.timings import keep_timing
from workbench.system.measuring_lock import hold_lock
from workbench.workers.worker import Worker

CLOCK_S = 0.03
"""Seconds of timed calls of one clock in one round, at most: three clocks then add about as much as a row takes."""


@dataclass
class Member:
    """One variant's part in the interleaved measuring of one batch size."""

    row: Result
    engine: EngineRecord
    base_rss_bytes: int = 0
    launches: tuple[Launch, ...] = ()
    blocks: tuple[Block, ...] = ()
    ended: Ended | None = None  # None: it is still measured
    kept: str = ""  # the key that its timing has in the store

    @property
    def again(self) -> bool:
        """The baseline, in a further cohort."""
        return self.row.timing is not None

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

    @property
    def open(self) -> list[Member]:
        return [member for member in self.members if member.ended is None]


def measure_groups(opened: OpenEngines, groups: Mapping[int, str], samples: str, region: Region) -> None:
    """Measure every built variant whose engine is open, at each of these batch sizes; ``groups`` has the key of each group.

    All batch sizes are measured in a launch. Then the workers of those variants are started again whose difference from
    the baseline is not known yet, and only those are measured on, together with the baseline. While a batch size is measured
    no other process on this machine measures or builds.
    """
    run_rows, plan = opened.run_rows, opened.experiment.plan
    began = time.monotonic()
    cohorts = [cohort for batch, group in groups.items() if (cohort := _cohort(opened, batch, group)).members]
    progress = MeasuringProgress(run_rows, plan, opened.store, sum(len(cohort.members) for cohort in cohorts))
    for launch in range(plan.launches):
        cohorts = [cohort for cohort in cohorts if cohort.open]
        if cohorts:
            progress.launch(launch, len(cohorts))
        if launch:
            engines = {member.engine.key: member.engine for cohort in cohorts for member in cohort.open}
            if not engines:
                break
            with hold_lock("opening engines", alone=False, cancel=opened.cancel, waiting=run_rows.report_wait):
                opened.relaunch([engine for key, engine in engines.items() if opened.get(key)])
        for cohort in cohorts:
            with _alone(opened, cohort, launch) as ours:
                if ours:
                    _take_turns(opened, cohort, launch, samples, region, progress)
                    _without_the_lost(opened, cohort)
                    _decide(opened, cohort, launch + 1, progress)
                    for member in [member for member in cohort.members if member.ended and not member.kept]:
                        member.kept = _keep(opened, cohort, member, region, samples)
            _without_the_lost(opened, cohort)
            if not cohort.open and not any(member.ended == Ended.TIME for member in cohort.members):
                keep_members(
                    opened.store,
                    cohort.session,
                    {member.engine.key: member.kept for member in cohort.members if member.kept},
                )
    run_rows.count(measure_s=time.monotonic() - began)


@contextmanager
def _alone(opened: OpenEngines, cohort: Cohort, launch: int) -> Iterator[bool]:
    """Wait until no other process measures or builds; gives ``False`` if all rows were cancelled during the wait."""
    run_rows, rows = opened.run_rows, tuple(member.row for member in cohort.open)
    run_rows.drop_cancelled()
    what = f"measuring {Path(opened.experiment.model).name} at batch {cohort.batch}"
    expected_s = opened.experiment.plan.launch_s(launch) * len(rows)
    with ExitStack() as held:
        try:
            with run_rows.working_on(rows):
                held.enter_context(opened.measuring(what, expected_s))
        except Cancelled:
            if run_rows.stop.everything:
                raise
            yield False
        else:
            with run_rows.working_on(rows, together=False):
                yield True
    run_rows.drop_cancelled()


def _without_the_lost(opened: OpenEngines, cohort: Cohort) -> None:
    """Go on without those that failed or were asked to stop."""
    stop = opened.run_rows.stop
    cohort.members = [
        member
        for member in cohort.members
        if member.ended or (opened.get(member.engine.key) and not stop.has(member.row.row))
    ]
    if cohort.anchor not in cohort.members:
        cohort.anchor = None


def _cohort(opened: OpenEngines, batch: int, group: str) -> Cohort:
    """The rows at this batch size that are open and not timed, and the baseline's beside them."""
    able = timeable(opened.run_rows.rows)
    base = anchors(able, opened.experiment.baseline).get(batch)
    here = [row for row in able if row.batch == batch and row.engine and opened.get(row.engine.key)]
    due = any(row.timing is None for row in here)
    rows = [row for row in here if row.timing is None or (due and base and row.row == base.row)]
    members = [Member(row, row.engine) for row in rows if row.engine]
    anchor = next((member for member in members if base and member.row.row == base.row), None)
    return Cohort(batch, group, members, anchor, f"{group}-{uuid.uuid4().hex[:8]}")


def _take_turns(
    opened: OpenEngines, cohort: Cohort, launch: int, samples: str, region: Region, progress: MeasuringProgress
) -> None:
    plan = opened.experiment.plan
    members = [member for member in cohort.open if _warm_up(opened, member, samples, region)]
    rounds = Rounds(plan.relaunch_rounds if launch else plan.rounds, plan.seed + cohort.batch, launch, cohort.rounds)
    again = f"launch {launch + 1}, " if launch else ""
    began = time.monotonic()

    def takes_part(place: int) -> bool:
        goes_on = opened.get(members[place].engine.key) is not None and not opened.run_rows.stop.has(
            members[place].row.row
        )
        if not goes_on:  # it failed in an earlier round, or was cancelled
            opened.run_rows.drop_cancelled()
        return goes_on

    def each_round(number: int) -> None:
        if number % 4 == 0:
            about = f"{again}round {number + 1} of {rounds.count}, {len(members)} variants in turn"
            opened.run_rows.report_medians(f"batch {cohort.batch}: {about}", _medians_s(members))
            progress.rounds(number)
            if number:
                opened.expect((time.monotonic() - began) / number * (rounds.count - number))

    for taken in interleave(
        len(members),
        rounds,
        lambda place: _block(opened, members[place]),
        takes_part=takes_part,
        each_round=each_round,
        clock=lambda: time.monotonic() - cohort.began,
    ):
        more = {"launch": taken.launch, "began_s": taken.began_s, "asked_s": plan.block_s}
        members[taken.variant].blocks += (from_json(Block, taken.value | taken.where | more),)
    cohort.rounds += rounds.count
    progress.rounds(rounds.count, ended=True)


def _medians_s(members: list[Member]) -> dict[str, float]:
    """By row the median over its blocks so far; rows without a block are left out."""
    return {
        member.row.row: statistics.median(block.typical_ns() for block in member.blocks) * 1e-9
        for member in members
        if member.blocks
    }


def _block(opened: OpenEngines, member: Member) -> tuple[dict[str, Any], bool] | None:
    """One block of a variant as JSON, and whether its threads rested afterwards; ``None`` where it failed, which ends it."""
    plan, held = opened.experiment.plan, opened.get(member.engine.key)
    if held is None:
        return None
    try:
        answer = opened.undisturbed(lambda: held[0].call("block", seconds=plan.block_s, min_calls=plan.min_calls))
    except Cancelled:
        raise
    except WorkbenchError as error:
        opened.drop(member.engine.key, "measure", error)
        return None
    return answer, answer["quiet"]


def _warm_up(opened: OpenEngines, member: Member, samples: str, region: Region) -> bool:
    held = opened.get(member.engine.key)
    if held is None:
        return False
    worker, facts = held
    if not member.launches:
        member.base_rss_bytes = facts["rss_bytes"]
        if not member.again:
            member.row = opened.run_rows.update(member.row, status=Status.MEASURING)
    plan = opened.experiment.plan
    try:
        answer = worker.call(
            "prepare_timing",
            samples=samples,
            batch=member.row.batch,
            region=region,
            warm_up_s=plan.warm_up_s,
            wait=plan.wait,
            copies=plan.copies,
            together=not plan.protocol,
        )
    except Cancelled:
        raise
    except WorkbenchError as error:
        opened.drop(member.engine.key, "warm up", error)
        return False
    member.launches += (Launch(facts["import_s"], facts["load_s"], tuple(answer["warm_up_ns"])),)
    return True


def _decide(opened: OpenEngines, cohort: Cohort, launches: int, progress: MeasuringProgress) -> None:
    """End the variants of which enough is known after so many launches, or all if no launch may follow."""
    plan = opened.experiment.plan
    others = [member for member in cohort.members if member is not cohort.anchor]
    alone = cohort.anchor is None or not others
    if plan.launches == 1 or (alone and plan.until == Until.KNOWN):
        _end(cohort.open, Ended.FIXED)
        return
    spent, took_part = max(member.timed_s for member in cohort.open), len(cohort.open)
    full = launches == plan.launches or spent >= plan.max_measure_s
    look = full or launches == 1 or launches in plan.looks
    late = partial(_late, cohort, took_part, progress)
    if alone or cohort.anchor is None:  # there is no ratio that could be known: its own time is measured to the budget
        _end(cohort.open if full or late() else [], Ended.BUDGET if full else Ended.TIME)
        return
    over = not look and late()
    if not look and not over:
        return
    _judge(opened, cohort, others, cohort.anchor)
    if full:
        _end(cohort.open, Ended.BUDGET)
    elif all(member.ended for member in others):
        cohort.anchor.ended = Ended.KNOWN if any(member.ended == Ended.KNOWN for member in others) else Ended.NARROW
    elif over or late():
        _end(cohort.open, Ended.TIME)


def _judge(opened: OpenEngines, cohort: Cohort, others: list[Member], anchor: Member) -> None:
    """End those of the others whose difference from the baseline is known."""
    plan, base = opened.experiment.plan, _timing(opened, cohort, anchor)
    found = verdict.judged([verdict.evidence(_timing(opened, cohort, member), base) for member in others])
    for member, judged in zip(others, found, strict=True):
        if member.ended:
            continue
        if plan.until == Until.KNOWN and judged.verdict in (Verdict.FASTER, Verdict.SLOWER):
            member.ended = Ended.KNOWN
        elif judged.half_width <= plan.within:
            member.ended = Ended.NARROW


def _late(cohort: Cohort, took_part: int, progress: MeasuringProgress) -> bool:
    """Whether another launch of those that are open would end after the time of the run."""
    last = [member.launches[-1] for member in cohort.open if member.launches]
    opening_s = max((each.import_s for each in last), default=0.0) + sum(each.load_s for each in last)
    return progress.last(len(cohort.open), took_part, opening_s)


def _end(members: list[Member], why: Ended) -> None:
    for member in members:
        member.ended = why


def _timing(opened: OpenEngines, cohort: Cohort, member: Member, **more: Any) -> Timing:
    """What is known of a variant so far."""
    plan = opened.experiment.plan
    known: dict[str, Any] = {
        "region": plan.region,
        "load_s": member.launches[0].load_s,
        "base_rss_bytes": member.base_rss_bytes,
        "peak_rss_bytes": 0,
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


def _keep(opened: OpenEngines, cohort: Cohort, member: Member, region: Region, samples: str) -> str:
    """Store one variant's timing and show it; the key that it has in the store."""
    plan, held = opened.experiment.plan, opened.get(member.engine.key)
    if held is None or not member.launches:
        return ""
    try:
        facts = held[0].call("device")
        peak = held[0].call("peak")["peak_rss_bytes"]
        in_effect = _beside(opened, member, lambda: held[0].call("in_effect"))
        ask = partial(opened.undisturbed, lambda: _clocks(opened, member, held[0], samples))
        clocks = _beside(opened, member, ask) if plan.clocks else []
    except Cancelled:
        raise
    except WorkbenchError as error:
        opened.drop(member.engine.key, "measure", error)
        return ""
    timing = _timing(
        opened,
        cohort,
        member,
        region=region,
        peak_rss_bytes=peak,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=from_json(DeviceFacts, facts) if facts else None,
        in_effect=tuple(from_json(InEffect, each) for each in in_effect),
        clocks=tuple(from_json(Clock, each) for each in clocks),
    )
    key = timing_key(cohort.group, member.engine.key, cohort.session if member.again else "")
    timing = keep_timing(opened.store, key, timing)
    if member.again:
        text = f"{timing_text(member.row, timing)} (again, in turn with further variants)"
        member.row = opened.run_rows.update(member.row, text, also=(*member.row.also, timing))
    else:
        opened.run_rows.count(measured=1)
        member.row = opened.run_rows.update(
            member.row, timing_text(member.row, timing), status=Status.DONE, timing=timing
        )
    return key


def _beside(opened: OpenEngines, member: Member, ask: Callable[[], Any]) -> Any:
    """What is asked beside the timing, as JSON; where the library refuses it, the row keeps its timing and the log says why."""
    try:
        return ask()
    except RunError as error:
        opened.run_rows.say(f"{member.row.row}: {error.message}")
        return []


def _clocks(opened: OpenEngines, member: Member, worker: Worker, samples: str) -> Any:
    """The clocks of one engine in turn with each other, as JSON; none over several streams, where calls overlap."""
    spec, plan = member.row.spec, opened.experiment.plan
    if spec.streams > 1:
        return []
    opened.run_rows.report_progress(f"{member.row.row}: its clocks in turn")
    able = backends.of(spec).measures(spec, Region.COMPUTE)
    return worker.call(
        "clocks",
        samples=samples,
        batch=member.row.batch,
        compute=able.ok,
        rounds=plan.rounds,
        block_s=min(plan.block_s, CLOCK_S),
        seed=plan.seed + member.row.batch,
    )


def timing_text(row: Result, timing: Timing) -> str:
    text = f"{row.row}: median {timing.median_s * 1e3:.3f} ms, {timing.samples_per_s:,.0f} samples/s"
    if timing.ended == Ended.FIXED:
        return text
    launches = len(timing.launches)
    return f"{text}; {launches} launch{'es' * (launches != 1)}, {timing.ended.text}"
