"""Interleaved rounds: the variants of one batch size take turns in random order, one at a time, until enough is known."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from workbench.errors import Cancelled
from workbench.measure import verdict
from workbench.measure.interleave import Rounds, interleave
from workbench.records import Block, Ended, Launch, Region, Status, Until, Verdict, from_json
from workbench.runs.ending import end_launch, end_session
from workbench.runs.going_on import cohorts_of
from workbench.runs.open_engines import OpenEngines
from workbench.runs.pace import MeasuringProgress
from workbench.runs.session import Cohort, Member, attempt, timing_so_far, without_the_lost
from workbench.system.measuring_lock import hold_lock


def measure_groups(
    opened: OpenEngines,
    groups: Mapping[int, str],
    samples: str,
    region: Region,
    *,
    between_launches: Callable[[], None] = lambda: None,
    resumable: bool = False,
) -> None:
    """Measure every built variant whose engine is open, at each of these batch sizes; ``groups`` has the key of each group.

    All batch sizes are measured in a launch. Then the workers of those variants are started again whose difference from
    the baseline is not known yet, and only those are measured on, together with the baseline. While a batch size is measured
    no other process on this machine measures or builds.

    Args:
        opened: the workers.
        groups: by batch size the key of the group.
        samples: the file of the samples.
        region: what the clock runs around.
        between_launches: called before workers are started again, so that what it does to them disturbs nothing.
        resumable: store what is known after each launch, and go on where an earlier run of the same groups was ended.
    """
    run_rows, plan, began, apart_s = opened.run_rows, opened.experiment.plan, time.monotonic(), 0.0
    with cohorts_of(opened, groups, resumable=resumable) as cohorts:
        keys = [member.engine.key for cohort in cohorts for member in cohort.open]
        progress = MeasuringProgress(run_rows, plan, opened.store, len(keys), _opening_s(opened, {*keys}))
        for launch in range(plan.launches):
            if launch and _due(cohorts, launch):
                apart = time.monotonic()
                between_launches()
                apart_s += time.monotonic() - apart
                _end_lost(opened, cohorts)
            if not (due := _due(cohorts, launch)):
                continue
            progress.launch(launch, len(due))
            if launch:
                _relaunch(opened, due)
            for cohort in due:
                with _alone(opened, cohort) as ours:
                    if ours:
                        _take_turns(opened, cohort, samples, region, progress)
                        without_the_lost(opened, cohort)
                        _note_peaks(opened, cohort)
                        cohort.launches += 1
                        if cohort.open:
                            _decide(opened, cohort, cohort.launches, progress)
                        end_launch(opened, cohort, region, samples)
                _end_lost(opened, [cohort])
    run_rows.count(measure_s=time.monotonic() - began - apart_s)


def _opening_s(opened: OpenEngines, keys: Collection[str]) -> float:
    """Seconds that starting the workers of these engines took: they import their libraries side by side, and are then opened one by one."""
    facts = [held[1] for key in keys if (held := opened.get(key))]
    imported: list[float] = [each["import_s"] for each in facts]
    return max(imported, default=0.0) + sum(float(each["load_s"]) for each in facts)


def _due(cohorts: list[Cohort], launch: int) -> list[Cohort]:
    """Those that go on with this launch; one that an earlier run had begun may be further than the others."""
    return [cohort for cohort in cohorts if cohort.open and cohort.launches == launch]


def _end_lost(opened: OpenEngines, cohorts: list[Cohort]) -> None:
    """Go on without the variants that failed or were cancelled, and end the sessions of which nothing is left to measure."""
    for cohort in cohorts:
        without_the_lost(opened, cohort)
        end_session(opened, cohort)


def _relaunch(opened: OpenEngines, due: list[Cohort]) -> None:
    engines = {member.engine.key: member.engine for cohort in due for member in cohort.open}
    with hold_lock("opening engines", alone=False, cancel=opened.cancel, waiting=opened.run_rows.report_wait):
        opened.relaunch([engine for key, engine in engines.items() if opened.get(key)])


@contextmanager
def _alone(opened: OpenEngines, cohort: Cohort) -> Iterator[bool]:
    """Wait until no other process measures or builds; gives ``False`` if all rows were cancelled during the wait."""
    run_rows, rows = opened.run_rows, tuple(member.row for member in cohort.open)
    run_rows.drop_cancelled()
    what = f"measuring {Path(opened.experiment.model).name} at batch {cohort.batch}"
    expected_s = opened.experiment.plan.launch_s(cohort.launches) * len(rows)
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


def _take_turns(opened: OpenEngines, cohort: Cohort, samples: str, region: Region, progress: MeasuringProgress) -> None:
    plan, launch = opened.experiment.plan, cohort.launches
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
    ask = partial(held[0].call, "block", seconds=plan.block_s, min_calls=plan.min_calls)
    answer = attempt(opened, member, "measure", partial(opened.undisturbed, ask))
    return None if answer is None else (answer, answer["quiet"])


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
    ask = partial(
        worker.call,
        "prepare_timing",
        samples=samples,
        batch=member.row.batch,
        region=region,
        warm_up_s=plan.warm_up_s,
        wait=plan.wait,
        copies=plan.copies,
        together=not plan.protocol,
    )
    answer = attempt(opened, member, "warm up", ask)
    if answer is None:
        return False
    member.launches += (Launch(facts["import_s"], facts["load_s"], tuple(answer["warm_up_ns"])),)
    return True


def _note_peaks(opened: OpenEngines, cohort: Cohort) -> None:
    """Ask for the peak memory of this launch, before the workers do anything else."""
    for member in cohort.open:
        if held := opened.get(member.engine.key):
            answer = attempt(opened, member, "measure", partial(held[0].call, "peak"))
            member.peak_rss_bytes = max(member.peak_rss_bytes, answer["peak_rss_bytes"] if answer else 0)
    without_the_lost(opened, cohort)


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

    def late() -> bool:  # whether another launch of those that are open by then would end after the time of the run
        opening_s = _opening_s(opened, {member.engine.key for member in cohort.open})
        return progress.last(len(cohort.open), took_part, opening_s)

    if alone or cohort.anchor is None:  # there is no ratio that could be known: its own time is measured to the budget
        _end(cohort.open if full or late() else [], Ended.BUDGET if full else Ended.TIME)
        return
    if not look:  # nor is one added where the time is up: a later run goes on to the next planned one
        _end(cohort.open if late() else [], Ended.TIME)
        return
    _judge(opened, cohort, others, cohort.anchor)
    if full:
        _end(cohort.open, Ended.BUDGET)
    elif all(member.ended for member in others):
        cohort.anchor.ended = Ended.KNOWN if any(member.ended == Ended.KNOWN for member in others) else Ended.NARROW
    elif late():
        _end(cohort.open, Ended.TIME)


def _judge(opened: OpenEngines, cohort: Cohort, others: list[Member], anchor: Member) -> None:
    """End those of the others whose difference from the baseline is known."""
    plan, base = opened.experiment.plan, timing_so_far(opened, cohort, anchor)
    found = verdict.judged([verdict.evidence(timing_so_far(opened, cohort, member), base) for member in others])
    for member, judged in zip(others, found, strict=True):
        if member.ended:
            continue
        if plan.until == Until.KNOWN and judged.verdict in (Verdict.FASTER, Verdict.SLOWER):
            member.ended = Ended.KNOWN
        elif judged.half_width <= plan.within:
            member.ended = Ended.NARROW


def _end(members: list[Member], why: Ended) -> None:
    for member in members:
        member.ended = why
