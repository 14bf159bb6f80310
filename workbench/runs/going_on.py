"""The beginning of a session, or of what is left of one that an earlier run had begun."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from workbench.records import Status
from workbench.runs import checkpoints
from workbench.runs.checkpoints import Checkpoint
from workbench.runs.ending import end_session, show
from workbench.runs.open_engines import OpenEngines
from workbench.runs.session import Cohort, Member, cohort_of


@contextmanager
def cohorts_of(opened: OpenEngines, groups: Mapping[int, str], *, resumable: bool) -> Iterator[list[Cohort]]:
    """The cohorts of these batch sizes that have something to measure.

    With ``resumable`` each is stored after every launch, and goes on where a session of the same group and the same variants was ended
    before its end. Other variants are another session, which begins at the first launch. No two processes go on with one session: where another one
    measures the same group now, nothing is looked for and nothing is stored.
    """
    with ExitStack() as held:
        found = [cohort for batch, group in groups.items() if (cohort := cohort_of(opened, batch, group)).members]
        for cohort in found if resumable else ():
            cohort.resumable = held.enter_context(checkpoints.alone(opened.store, cohort.group))
            if cohort.resumable:
                _go_on(opened, cohort)
        yield found


def _go_on(opened: OpenEngines, cohort: Cohort) -> None:
    """Take over what an earlier run had found of these variants; else remove it."""
    found = checkpoints.load(opened.store, cohort.group)
    if found is None or not _is_same(cohort, found):
        checkpoints.remove(opened.store, cohort.group)
        return
    cohort.session, cohort.launches, cohort.rounds = found.session, found.launches, found.rounds
    cohort.checkpoint = found.mark
    most = opened.experiment.plan.launches
    said = f"going on after launch {found.launches} of at most {most}, which an earlier run had finished"
    opened.run_rows.say(f"batch {cohort.batch}: {said}")
    for member in cohort.members:
        _take_over(opened, cohort, member, found)
    ends = (block.began_s + block.wall_s for member in cohort.members for block in member.blocks)
    cohort.began = time.monotonic() - max(ends, default=0.0)
    end_session(opened, cohort)


def _is_same(cohort: Cohort, found: Checkpoint) -> bool:
    anchor = cohort.anchor.engine.key if cohort.anchor else ""
    here = {member.engine.key: member.again for member in cohort.members}
    return anchor == found.anchor and here == {engine: each.again for engine, each in found.members.items()}


def _take_over(opened: OpenEngines, cohort: Cohort, member: Member, found: Checkpoint) -> None:
    known = found.members[member.engine.key]
    timing = known.timing
    member.blocks, member.launches = timing.blocks, timing.launches
    member.base_rss_bytes, member.peak_rss_bytes = timing.base_rss_bytes, timing.peak_rss_bytes
    if known.ended:
        member.ended = timing.ended
        member.kept, member.timing = checkpoints.publish(opened.store, cohort.group, member.engine.key, known)
        show(opened, member, member.timing, reused=True)
    elif not member.again:
        member.row = opened.run_rows.update(member.row, status=Status.MEASURING)
