"""The last launch that the time of a run allows: the real rounds and the real rule, over workers that take no time but by their clock."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import BASE, OTHER, PEER, OpenEngines, Synthetic, opened_for

from workbench.records import Ended
from workbench.runs import checkpoints, cohorts
from workbench.runs.rounds import measure_groups
from workbench.store import Store
from workbench.system.deadline import Deadline

TIMES = {BASE: (1.0, 0.0), PEER: (0.2, 0.0), OTHER: (1.05, 0.0)}
"""One launch shows that the second is faster, and four that the third is slower."""
START_S = 3.0
GROUP = "group"


class Clock:
    """A second passes in twelve blocks, and three while workers are started again."""

    def __init__(self) -> None:
        self.blocks, self.starts = 0, 0

    def __call__(self) -> float:
        return self.blocks / 12 + self.starts * START_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()

    def during(_: Synthetic) -> None:
        found.blocks += 1

    monkeypatch.setattr(Synthetic, "during", during)
    return found


def measure(opened: OpenEngines, clock: Clock, limit_s: float | None) -> OpenEngines:
    def relaunch(engines: list[Any]) -> None:
        clock.starts += 1
        opened.start(engines)

    opened.relaunch = relaunch
    deadline = opened.run_rows.stop.deadline = Deadline(clock)
    deadline.begin(limit_s)
    measure_groups(opened, {1: GROUP}, "samples", opened.experiment.plan.region, resumable=True)
    return opened


def ends(opened: OpenEngines) -> dict[str, tuple[Ended, int]]:
    return {row.spec.label: (row.timing.ended, len(row.timing.launches)) for row in opened.run_rows.rows}


# The first launch ends after 3 s and the second after 7, by when it is known how long the next one takes: 4 s. Before the second one it is
# the 1.4 s of the plan and the 3 s that opening took.
@pytest.mark.parametrize(
    ("limit_s", "ended", "launches"),
    [
        (0.5, Ended.TIME, 1),
        (7.3, Ended.TIME, 1),
        (7.5, Ended.TIME, 2),
        (10.9, Ended.TIME, 2),
        (11.1, Ended.TIME, 3),
        (15.1, Ended.KNOWN, 4),
        (None, Ended.KNOWN, 4),
    ],
)
def test_no_launch_begins_that_would_end_after_the_limit(store, clock, limit_s, ended, launches):
    opened = measure(opened_for(TIMES, store), clock, limit_s)
    assert ends(opened) == {BASE: (ended, launches), PEER: (Ended.KNOWN, 1), OTHER: (ended, launches)}


def test_the_time_adds_no_look_to_the_planned_ones(tmp_path, clock):
    """For some of these seeds six launches would be enough; a run that goes on looks again after eight."""
    found = []
    for seed in range(12):
        clock.blocks = clock.starts = 0
        opened = opened_for(
            {BASE: (1.0, 0.01), PEER: (1.03, 0.01)}, Store(tmp_path / str(seed)).prepare(),
            max_measure_s=20, within=0.0001, seed=seed,
        )  # fmt: skip
        found.append(ends(measure(opened, clock, 23.0))[PEER])
    assert set(found) <= {(Ended.KNOWN, 4), (Ended.TIME, 6)}
    assert (Ended.TIME, 6) in found


def test_whoever_asks_for_the_end_gets_it_after_the_launch_that_goes_on(store, clock, monkeypatch):
    opened = opened_for(TIMES, store)

    def during(_: Synthetic) -> None:
        clock.blocks += 1
        if clock.blocks == 36 + 3:  # in the second launch
            opened.run_rows.stop.deadline.finish()

    monkeypatch.setattr(Synthetic, "during", during)
    measure(opened, clock, None)
    assert clock.blocks == 36 + 12
    assert ends(opened)[OTHER] == (Ended.TIME, 2)


def test_one_alone_is_measured_as_long_as_there_is_time(store, clock):
    opened = measure(opened_for({BASE: (1.0, 0.1)}, store, until="narrow"), clock, 6.0)
    assert ends(opened) == {BASE: (Ended.TIME, 2)}
    again = measure(opened_for({BASE: (1.0, 0.1)}, store, until="narrow"), clock, None)
    assert ends(again) == {BASE: (Ended.BUDGET, 7)}


def test_what_had_no_time_is_not_taken_for_finished_and_goes_on_in_the_next_run(store: Store, clock: Clock) -> None:
    first = measure(opened_for(TIMES, store), clock, 8.0)
    rows = first.run_rows.rows
    assert cohorts.recall(store, GROUP, rows, rows[0]) == {}
    checkpoints.finish(store, GROUP)  # as the next run begins
    assert cohorts.recall(store, GROUP, rows, rows[0]) == {}
    blocks = clock.blocks
    second = measure(opened_for(TIMES, store), clock, None)
    assert clock.blocks - blocks == 2 * 12  # the third and the fourth launch
    assert ends(second) == {BASE: (Ended.KNOWN, 4), PEER: (Ended.KNOWN, 1), OTHER: (Ended.KNOWN, 4)}
    assert {row.spec.label for row in second.run_rows.rows if row.reused} == {PEER}
    assert len(cohorts.recall(store, GROUP, rows, rows[0])) == 3
