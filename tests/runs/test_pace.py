"""The remaining time of measuring rests on earlier runs with the same plan on the same machine, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import recorded

from workbench.records import Event, Progress, Results, Tally, TimingPlan
from workbench.runs.archive import remember
from workbench.runs.pace import MeasuringProgress, seconds_per_row
from workbench.runs.run_rows import RunRows
from workbench.system.deadline import Deadline
from workbench.system.machine import this_machine

PLAN = TimingPlan(rounds=6, max_measure_s=0.4)


def keep(store, run: str, measured: int, measure_s: float, **changes) -> None:
    results: Results = recorded.results([recorded.measured("tensorflow fp32")])
    tally = Tally(measured=measured, measure_s=measure_s)
    remember(store, run, replace(results, **{"plan": PLAN, "machine": this_machine(), "tally": tally} | changes))


def test_the_pace_is_the_median_of_runs_that_are_alike(store) -> None:
    assert seconds_per_row(store, PLAN) is None
    for number, seconds in enumerate((10.0, 80.0, 20.0)):
        keep(store, f"2026110{number}T000000Z-a", 4, seconds)
    keep(store, "20261105T000000Z-a", 0, 0.0)  # it took all from the store
    keep(store, "20261106T000000Z-a", 1, 99.0, machine=recorded.MACHINE)
    keep(store, "20261107T000000Z-a", 1, 99.0, plan=replace(PLAN, rounds=12))
    assert seconds_per_row(store, PLAN) == 5.0


def test_a_run_under_load_tells_no_pace(store, monkeypatch) -> None:
    from workbench.records import Load, LoadPlan

    row = replace(recorded.measured("tensorflow fp32"), load=Load("key", 1, "group", LoadPlan(), "2026-11-01"))
    keep(store, "20261101T000000Z-a", 4, 10.0, rows=(row,))
    assert seconds_per_row(store, PLAN) is None


@pytest.fixture
def reported() -> list[Event]:
    return []


@pytest.fixture
def run_rows(tmp_path, reported) -> RunRows:
    return RunRows((), tmp_path / "run.jsonl", reported.append, str)


def test_rounds_of_every_batch_are_counted_within_a_launch(store, run_rows, reported) -> None:
    plan = replace(PLAN, max_measure_s=8.0)
    progress = MeasuringProgress(run_rows, plan, store, rows=4)
    progress.launch(0, 2)
    progress.rounds(4)
    progress.rounds(6, ended=True)
    progress.rounds(0)
    progress.rounds(6, ended=True)
    progress.launch(1, 1)
    several = f"launch {{}} of at most {plan.launches}"
    assert [(event.progress.phase, event.progress.count) for event in reported] == [
        *((f"measure, {several.format(1)}", f"{done} of 12 rounds") for done in (0, 4, 6, 6, 12)),
        (f"measure, {several.format(2)}", "0 of 4 rounds"),
    ]
    assert all(event.progress.at_most or not event.progress.left for event in reported)  # nothing was measured earlier


def test_the_remaining_time_shrinks_and_is_an_upper_bound_once_it_has_passed(
    store, run_rows, reported, monkeypatch
) -> None:
    keep(store, "20261101T000000Z-a", 1, 10.0)
    now = [100.0]
    monkeypatch.setattr("workbench.runs.pace.time.monotonic", lambda: now[0])
    progress = MeasuringProgress(run_rows, PLAN, store, rows=3)
    progress.launch(0, 1)
    for now[0] in (112.0, 131.0):
        progress.rounds(4)
    assert [event.progress.remaining_s for event in reported[:2]] == [30.0, 18.0]
    assert reported[2].progress.at_most  # the estimate has passed; what is left is the longest that the plan allows


def test_what_is_left_hardly_rises_where_a_launch_begins(store, run_rows, reported, monkeypatch) -> None:
    now = [0.0]
    plan = replace(PLAN, max_measure_s=8.0)  # 6 rounds, then 4 in each launch
    monkeypatch.setattr("workbench.runs.pace.time.monotonic", lambda: now[0])
    progress = MeasuringProgress(run_rows, plan, store, rows=4, opening_s=2.0)
    for number in range(2):
        progress.launch(number, 1)
        now[0] += 2.0 if number else 1.0  # the engines are opened
        for done in range(1, (plan.relaunch_rounds if number else plan.rounds) + 1):
            now[0] += 1.0
            progress.rounds(done)
        progress.rounds(done, ended=True)
    left = [event.progress.remaining_s for event in reported if event.progress.remaining_s is not None]
    assert left[0] == 2 * (plan.launches - 1) + (1 + 1) / 1 * (
        plan.rounds + plan.relaunch_rounds * (plan.launches - 1) - 1
    )
    assert all(later < 1.2 * earlier for earlier, later in pairwise(left))


def test_each_event_carries_the_phase_it_belongs_to(run_rows, reported, caplog) -> None:
    run_rows.say("before")
    run_rows.phase("build engines", 2, "engines")
    run_rows.say("built one")
    run_rows.advance(1)
    with caplog.at_level("INFO", logger="workbench"):
        run_rows.report_progress("a detail")
        run_rows.say("a message")
        run_rows.warn("mind this")
    assert [event.progress and event.progress.done for event in reported] == [None, 0, 0, 1, 1, 1, 1]
    assert reported[1].progress == Progress("build engines", 0, 2, "engines")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "a message"),
        ("WARNING", "mind this"),
    ]


def test_a_launch_is_the_last_where_the_next_would_end_after_the_time(store, run_rows) -> None:
    now = [0.0]
    plan = replace(PLAN, max_measure_s=8.0)  # 6 rounds, then 4 in each launch
    deadline = run_rows.stop.deadline = Deadline(lambda: now[0])
    progress = MeasuringProgress(run_rows, plan, store, rows=4)
    assert not progress.last(4, 4)  # without a limit
    deadline.begin(100)
    progress.launch(0, 2)
    now[0] = 18.0
    progress.rounds(6, ended=True)  # one batch of two: 3 s a round
    # 18 s for the other batch, and 24 s for the next launch of both
    assert [progress.last(2, 2, opening_s) for opening_s in (0.0, 40.0, 41.0)] == [False, False, True]
    assert not progress.last(1, 2, 41.0)  # half of the rows are known
    progress.rounds(6, ended=True)
    now[0] = 60.0
    progress.launch(1, 1)
    now[0] = 70.0
    progress.rounds(4, ended=True)
    assert not progress.last(2, 2, 50.0)  # the starts are in those 10 s
    now[0] = 82.0
    assert progress.last(2, 2)
    deadline.finish()
    assert progress.last(1, 2)


def test_no_more_time_is_announced_than_the_limit_leaves(store, run_rows, reported) -> None:
    now = [0.0]
    run_rows.stop.deadline = Deadline(lambda: now[0])
    run_rows.stop.deadline.begin(12)
    keep(store, "20261101T000000Z-a", 1, 1000.0)
    progress = MeasuringProgress(run_rows, PLAN, store, rows=3)
    progress.launch(0, 1)
    progress.rounds(4)
    assert reported[-1].progress.remaining_s == 12
