"""The end of a variant's part in a session: what is asked of its worker, and the timing that is stored and shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from workbench import backends
from workbench.errors import RunError
from workbench.plan.measuring import timing_key
from workbench.records import Clock, DeviceFacts, Ended, InEffect, Region, Result, Status, Timing, from_json
from workbench.runs import checkpoints
from workbench.runs.checkpoints import Checkpoint, KeptMember
from workbench.runs.cohorts import keep_members
from workbench.runs.open_engines import OpenEngines
from workbench.runs.session import Cohort, Member, attempt, timing_so_far, without_the_lost
from workbench.runs.timings import keep_timing
from workbench.workers.worker import Worker

CLOCK_S = 0.03
"""Seconds of timed calls of one clock in one round, at most: three clocks then add about as much as a row takes."""


def end_launch(opened: OpenEngines, cohort: Cohort, region: Region, samples: str) -> None:
    """Complete the timings of those that have ended, and store what is known after this launch, then those timings."""
    ended = [member for member in cohort.members if member.ended and member.timing is None]
    took_part = [*cohort.open, *ended]
    for member in ended:
        member.timing = attempt(opened, member, "measure", partial(_completed, opened, cohort, member, region, samples))
    without_the_lost(opened, cohort)
    took_part = [member for member in took_part if member in cohort.members]
    if cohort.resumable and took_part:
        anchor = cohort.anchor.engine.key if cohort.anchor else ""
        known = {
            member.engine.key: KeptMember(
                member.timing or timing_so_far(opened, cohort, member),
                member.timing is not None and not member.cut_short,
                member.again,
            )
            for member in took_part
        }
        now = Checkpoint(cohort.session, cohort.launches, cohort.rounds, anchor, known, cohort.checkpoint)
        checkpoints.keep(opened.store, cohort.group, now)
        cohort.checkpoint = now.mark
    for member in took_part:
        if member.timing:
            member.kept = timing_key(cohort.group, member.engine.key, cohort.session if member.again else "")
            member.timing = keep_timing(opened.store, member.kept, member.timing)
            show(opened, member, member.timing)


def end_session(opened: OpenEngines, cohort: Cohort) -> None:
    """Store who took turns, once all have ended; checkpoints are not needed then.

    Where the time of the run was up they are kept, and the session does not count: a later run goes on with it.
    """
    if cohort.open or cohort.over:
        return
    cohort.over = True
    if any(member.cut_short for member in cohort.members):
        return
    if kept := {member.engine.key: member.kept for member in cohort.members if member.kept}:
        keep_members(opened.store, cohort.session, kept)
        if cohort.resumable:
            checkpoints.remove(opened.store, cohort.group)


def show(opened: OpenEngines, member: Member, timing: Timing, *, reused: bool = False) -> None:
    """Give a timing to its row; ``reused``: it was measured by an earlier run."""
    text = timing_text(member.row, timing) + " (from the store)" * reused
    if member.again:
        text += " (again, in turn with further variants)"
        member.row = opened.run_rows.update(member.row, text, also=(*member.row.also, timing))
        return
    opened.run_rows.count(**{"reused_timings" if reused else "measured": 1})
    member.row = opened.run_rows.update(member.row, text, status=Status.DONE, timing=timing, reused=reused)


def _completed(opened: OpenEngines, cohort: Cohort, member: Member, region: Region, samples: str) -> Timing | None:
    """The timing of one that has ended, with what only its worker knows."""
    held = opened.get(member.engine.key)
    if held is None:
        return None
    facts = held[0].call("device")
    in_effect = _beside(opened, member, lambda: held[0].call("in_effect"))
    ask = partial(opened.undisturbed, lambda: _clocks(opened, member, held[0], samples))
    clocks = _beside(opened, member, ask) if opened.experiment.plan.clocks else []
    return timing_so_far(
        opened,
        cohort,
        member,
        region=region,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=from_json(DeviceFacts, facts) if facts else None,
        in_effect=tuple(from_json(InEffect, each) for each in in_effect),
        clocks=tuple(from_json(Clock, each) for each in clocks),
    )


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
