from dataclasses import replace

import pytest
import recorded_load
from recorded_load import load, opened, run

from workbench.records import (
    ClosedLoop,
    Load,
    LoadAnswer,
    LoadBlock,
    LoadPlan,
    OpenLoop,
    OpenStretch,
    from_json,
    to_json,
)
from workbench.records.load import queries_for


def test_throughput_is_calls_over_time_and_disturbed_rounds_are_counted():
    blocks = (
        LoadBlock(0, 0, (1_000_000, 3_000_000), 50.0, 0.5, 1.0, quiet=True),
        LoadBlock(1, 1, (2_000_000,), 25.0, 0.5, 0.5, quiet=False),
    )
    loop = ClosedLoop(2, blocks)
    assert loop.queries_per_s == 75
    assert loop.mean_s == pytest.approx(0.002)
    assert loop.median_s == pytest.approx(0.002)
    assert loop.percentile_s(99) is None  # three calls
    assert loop.cores_used == 1.5
    assert loop.noisy_blocks == 1


def test_best_and_knee_leave_out_what_failed():
    found = load(speeds=[(1, 100), (2, 195), (4, 205)])
    found = replace(found, closed=(*found.closed, ClosedLoop(8, failure="no")))
    assert found.best.concurrency == 4
    assert found.knee.concurrency == 2
    assert found.at(8) is None
    assert load().best is None
    assert load().knee is None


@pytest.mark.parametrize(
    ("ms", "answer"), [(10, LoadAnswer.HOLDS), (30, LoadAnswer.DOES_NOT_HOLD), (15.8, LoadAnswer.CANNOT_TELL)]
)
def test_the_whole_interval_must_be_within_the_limit(ms, answer):
    loop = opened(100, ms)
    assert loop.answer == answer
    tail, (share, low, high) = loop.tail, loop.within
    assert tail.low < tail.value < tail.high
    assert low <= share <= high
    assert (low >= 0.99) == (answer == LoadAnswer.HOLDS)
    assert (high < 0.99) == (answer == LoadAnswer.DOES_NOT_HOLD)


def test_too_few_queries_never_hold():
    loop = opened(100, 1)
    short = replace(loop, stretches=tuple(replace(s, latencies_ns=s.latencies_ns[:20]) for s in loop.stretches))
    assert short.tail is None
    assert short.answer == LoadAnswer.CANNOT_TELL
    assert short.too_few
    assert not loop.too_few


def test_busy_callers_and_an_early_end_are_an_overload():
    loop = opened(100, 1)
    early = tuple(replace(stretch, busy=0.99, ended_early=True) for stretch in loop.stretches)
    assert replace(loop, stretches=early).answer == LoadAnswer.DOES_NOT_HOLD
    assert replace(loop, stretches=early).overloaded
    assert not loop.overloaded


def test_a_bracket_is_what_holds_and_the_first_above_it_that_does_not():
    loops = (opened(20, 30), opened(50, 10), opened(70, 15.8), opened(80, 30), opened(90, 40))
    assert load(open=loops).bracket == (50, 80)
    assert load(open=loops[-1:]).bracket == (None, 90)


def test_how_many_queries_an_open_loop_counts():
    assert queries_for(1000, 2, 99, 0.01) == 2000
    assert queries_for(100, 1, 99, 0.01) == 1104  # three times what p99 needs, in 11 s
    assert queries_for(1000, 1, 99, 0.1) == 4000  # eight stretches, each of five limits
    assert queries_for(2, 1, 99, 0.01) == 60  # it would take 9 minutes
    assert queries_for(2, 400, 99, 0.01) == 800  # unless it is asked for
    assert queries_for(100_000, 1, 99, 1.0) == 100_000
    assert queries_for(100_000, 2, 99, 1.0) == 200_000


def test_callers_who_are_never_free_show_no_rate_that_could_go_on():
    loop = opened(100, 10)
    full = replace(loop, stretches=tuple(replace(stretch, busy=0.98) for stretch in loop.stretches))
    assert (loop.answer, full.answer) == (LoadAnswer.HOLDS, LoadAnswer.CANNOT_TELL)
    assert not full.overloaded


def test_loadgens_numbers_come_from_its_summary():
    assert run().samples_per_s == 812.5
    assert run().percentile_s(90) is None  # one query of all samples
    assert run(scenario="SingleStream").percentile_s(90) == pytest.approx(0.001)
    assert run(figures={}).samples_per_s is None


def test_a_load_survives_json():
    (row, *_) = recorded_load.sweep().rows
    assert from_json(Load, to_json(row.load)) == row.load


def test_how_long_a_row_is_loaded_for_is_known_but_for_a_search():
    plan = LoadPlan(concurrency=(1, 2), rates=(10.0,), rounds=10, block_s=0.1, limit_s=0.01, percent=50.0)
    counted = queries_for(10.0, 1.0, 50.0, 0.01)
    assert plan.known_s == pytest.approx(2 * 1.0 + counted / 10)
    assert replace(plan, scenario="Offline", loadgen_s=3.0).known_s == pytest.approx(plan.known_s + 3.0)
    assert LoadPlan(search=True).known_s == 0


def test_refused_queries_are_not_within_the_limit():
    stretch = OpenStretch((1_000_000,) * 90, 10, busy=0.5, late_ns=0, wall_s=1.0, refused=10)
    loop = OpenLoop(100.0, 1, 0.1, 99.0, 0, 800, (stretch,) * 8)
    assert (loop.queries, loop.refused) == (800, 80)
    assert loop.within[0] == pytest.approx(0.9)
    assert loop.answer == LoadAnswer.DOES_NOT_HOLD
