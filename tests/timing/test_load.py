import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from workbench.protocols import Caller
from workbench.timing import load


def callers(count):
    return [Caller(dict, lambda feeds: lambda: feeds)] * count


def sleeping(seconds):
    return lambda: time.sleep(seconds)


def test_callers_call_at_the_same_time_and_all_of_them_count():
    inside, most, lock = 0, 0, threading.Lock()

    def call():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.004)
        with lock:
            inside -= 1

    block = load.closed_block(callers(3), [call] * 3, 0.1)
    assert most == 3
    assert block.wall_s == pytest.approx(0.1)
    assert 6 < block.calls <= 3 * 0.1 / 0.004
    assert len(block.latencies_ns) == pytest.approx(block.calls, abs=3.5)  # each caller's calls at the two ends
    assert min(block.latencies_ns) >= 4_000_000


def test_a_call_that_an_end_of_the_stretch_cuts_counts_by_the_part_inside():
    block = load.closed_block(callers(2), [sleeping(0.2)] * 2, 0.02)
    assert 0.1 < block.calls <= 2 * 0.02 / 0.2  # two callers, a tenth of a call each; none ended inside


def test_no_caller_stops_before_all_were_answered():
    ends = {"quick": 0, "slow": 0}

    def quick():
        time.sleep(0.002)
        ends["quick"] = time.perf_counter_ns()

    def slow():
        time.sleep(0.15)
        ends["slow"] = time.perf_counter_ns()

    load.closed_block(callers(2), [quick, slow], 0.02)
    assert ends["quick"] >= ends["slow"]


def test_every_caller_enters_and_leaves_in_its_own_thread():
    seen = []

    def note(what):
        return lambda: seen.append((what, threading.get_ident()))

    own = [Caller(dict, lambda feeds: lambda: feeds, note("enter"), note("leave"))] * 2
    load.closed_block(own, [sleeping(0.001)] * 2, 0.01)
    entered = {thread for what, thread in seen if what == "enter"}
    assert len(entered) == 2
    assert entered == {thread for what, thread in seen if what == "leave"}
    assert threading.get_ident() not in entered


def broken():
    raise ValueError("no more memory")


def test_what_a_call_raises_reaches_the_caller_and_no_thread_is_left():
    before = threading.active_count()
    with pytest.raises(ValueError, match="no more memory"):
        load.closed_block(callers(2), [sleeping(0.001), broken], 0.01)
    with pytest.raises(ValueError, match="no more memory"):
        load.open_stretch(callers(2), [sleeping(0.001), broken], [0] * 500, 10**12, 500)
    unable = [Caller(dict, lambda feeds: lambda: feeds, enter=broken), *callers(1)]
    with pytest.raises(ValueError, match="no more memory"):
        load.closed_block(unable, [sleeping(0.001)] * 2, 0.01)
    assert threading.active_count() == before


def test_what_waits_behind_a_slow_answer_is_slow_too():
    """No coordinated omission: one call of 100 ms holds up the queries of 100 ms, and each of them says so."""
    durations = iter([0.1, *[0] * 49])
    due = [number * 4_000_000 for number in range(50)]  # every 4 ms
    found = load.open_stretch(callers(1), [lambda: time.sleep(next(durations))], due, 10**9, 50, skipped=5)
    waiting = [latency for latency in found.latencies_ns if latency > 10_000_000]
    assert len(waiting) >= 15  # of the 24 that arrived during it the first five are not counted
    assert len(found.latencies_ns) == 45
    assert all(later < earlier for earlier, later in pairwise(found.latencies_ns[:15]))
    assert found.over == 0
    assert not found.ended_early


def test_every_query_is_answered_once_by_a_free_caller():
    places = []
    calls = [lambda place=place: (places.append(place), time.sleep(0.005)) for place in range(3)]
    found = load.open_stretch(callers(3), calls, [0] * 30, 10**10, 30, skipped=3)
    assert len(places) == 30
    assert set(places) == {0, 1, 2}
    assert len(found.latencies_ns) == 27
    assert 0.7 < found.busy <= 1


def test_callers_are_busy_for_as_long_as_their_calls_take():
    due = [number * 20_000_000 for number in range(20)]  # a call of 5 ms every 20 ms, two callers
    found = load.open_stretch(callers(2), [sleeping(0.005)] * 2, due, 10**9, 20)
    assert 5 / 40 - 0.05 < found.busy < 0.8  # a busy machine wakes sleepers late


def test_overload_ends_early_and_says_so():
    due = load.arrivals(1000, 1000, 0)
    found = load.open_stretch(callers(1), [sleeping(0.005)], due, limit_ns=20_000_000, may_be_over=2)
    assert found.ended_early
    assert len(found.latencies_ns) < 200
    assert found.over >= load.HOPELESS * 2 + load.AT_LEAST
    assert found.busy > 0.8


def test_arrivals_are_a_poisson_process_of_that_rate():
    due = load.arrivals(50, 20_000, seed=3)
    gaps = np.diff(due) * 1e-9
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.05)  # exponential: as wide as long
    assert (gaps >= 0).all()
    assert due == load.arrivals(50, 20_000, seed=3)
    assert due != load.arrivals(50, 20_000, seed=4)


def test_refused_calls_have_no_latency_and_are_counted():
    answers = iter(range(10**9))

    def call():
        time.sleep(0.002)
        return load.REFUSED if next(answers) % 2 else None

    found = load.closed_block(callers(1), [call], 0.2)
    assert found.refused > 5
    assert abs(found.refused - len(found.latencies_ns)) <= 1
    assert found.calls == pytest.approx(len(found.latencies_ns), abs=1.1)


def test_refused_queries_count_as_late_ones():
    numbers = iter(range(10**9))

    def call():
        return load.REFUSED if next(numbers) % 4 == 0 else None

    found = load.open_stretch(callers(1), [call], load.periodic(500, 40), 10**9, may_be_over=40)
    assert (found.refused, found.over, len(found.latencies_ns)) == (10, 10, 30)
    always = load.open_stretch(callers(1), [lambda: load.REFUSED], load.periodic(500, 100), 10**9, may_be_over=1)
    assert always.ended_early


def test_a_fixed_period_has_equal_gaps():
    assert {late - early for early, late in pairwise(load.periodic(100, 50))} == {10_000_000}
