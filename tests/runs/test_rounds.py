"""When measuring ends: the real rounds, judged by the real rule, over workers whose times are drawn from a seed."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import BASE, OTHER, PEER, OpenEngines, Synthetic, measured

from workbench.locks import beats
from workbench.measure.verdict import evidence, judged
from workbench.records import Ended, Verdict


def timing(opened: OpenEngines, label: str) -> Any:
    return opened.rows[f"{label} @1"].timing


def word(opened: OpenEngines, label: str) -> Verdict:
    return judged([evidence(timing(opened, label), timing(opened, BASE))])[0].verdict


def test_a_large_difference_is_known_after_one_launch():
    opened = measured({BASE: (2.0, 0.01), PEER: (1.0, 0.01)})
    assert (timing(opened, PEER).ended, timing(opened, BASE).ended) == (Ended.KNOWN, Ended.KNOWN)
    assert len(opened.launched) == len(timing(opened, PEER).launches) == 1
    assert timing(opened, PEER).timed_s == pytest.approx(1.0)
    assert word(opened, PEER) is Verdict.FASTER


def test_only_what_is_not_known_is_started_again_and_the_baseline_with_it():
    opened = measured({BASE: (1.0, 0.004), PEER: (0.2, 0.004), OTHER: (1.05, 0.004)})
    assert opened.launched == [[BASE, PEER, OTHER], *[[BASE, OTHER]] * 3]
    assert [len(timing(opened, name).launches) for name in (BASE, PEER, OTHER)] == [4, 1, 4]
    assert timing(opened, OTHER).ended == Ended.KNOWN
    assert word(opened, OTHER) is Verdict.SLOWER
    blocks = timing(opened, OTHER).blocks
    assert [block.round for block in blocks] == list(range(12 + 3 * 6))
    assert [block.launch for block in blocks] == [0] * 12 + [1] * 6 + [2] * 6 + [3] * 6
    assert timing(opened, OTHER).launches[0].first_s == pytest.approx(
        3 * timing(opened, OTHER).blocks[0].samples_ns[0] * 1e-9
    )


def test_a_large_difference_is_measured_on_until_its_interval_is_narrow_where_that_is_asked_for():
    times = {BASE: (2.0, 0.004), PEER: (1.0, 0.004), OTHER: (1.9, 0.2)}
    opened = measured(times, until="narrow", within=0.02, max_measure_s=8, seed=3)
    assert {name: timing(opened, name).ended for name in times} == {
        BASE: Ended.BUDGET,
        PEER: Ended.NARROW,
        OTHER: Ended.BUDGET,
    }
    assert len(timing(opened, PEER).launches) in opened.experiment.plan.looks[:-1]
    (one,) = judged([evidence(timing(opened, PEER), timing(opened, BASE))])
    assert (one.verdict, one.half_width <= 0.02) == (Verdict.FASTER, True)


def test_a_single_launch_that_was_mostly_spoiled_is_followed_by_others(monkeypatch):
    monkeypatch.setattr(Synthetic, "busy", True)
    opened = measured({BASE: (2.0, 0.01), PEER: (1.0, 0.01)})
    assert (timing(opened, PEER).ended, len(timing(opened, PEER).launches)) == (Ended.KNOWN, 4)
    assert word(opened, PEER) is Verdict.FASTER


def test_two_copies_end_when_the_interval_is_narrow():
    opened = measured({BASE: (1.0, 0.002), PEER: (1.0, 0.002)}, seed=1)
    assert (timing(opened, PEER).ended, timing(opened, BASE).ended) == (Ended.NARROW, Ended.NARROW)
    assert len(timing(opened, PEER).launches) == 4
    assert word(opened, PEER) is Verdict.CANNOT_TELL
    finer = measured({BASE: (1.0, 0.002), PEER: (1.0, 0.002)}, seed=1, within=0.0001)
    assert timing(finer, PEER).ended == Ended.BUDGET


def test_two_copies_that_differ_from_launch_to_launch_end_with_the_budget():
    opened = measured({BASE: (1.0, 0.06), PEER: (1.0, 0.06)}, max_measure_s=4)
    assert (timing(opened, PEER).ended, timing(opened, BASE).ended) == (Ended.BUDGET, Ended.BUDGET)
    assert timing(opened, PEER).timed_s == pytest.approx(4.0)
    assert len(timing(opened, PEER).launches) == opened.experiment.plan.launches == 7
    assert word(opened, PEER) is Verdict.CANNOT_TELL


def test_no_verdict_is_made_between_looks():
    """For some of these seeds five or six launches would be enough."""
    for seed in range(12):
        opened = measured({BASE: (1.0, 0.01), PEER: (1.02, 0.01)}, max_measure_s=20, within=0.0001, seed=seed)
        assert len(timing(opened, PEER).launches) in opened.experiment.plan.looks
        assert timing(opened, PEER).looks == 5


def test_a_small_budget_is_one_launch():
    opened = measured({BASE: (1.0, 0.002), PEER: (1.05, 0.002)}, max_measure_s=1)
    assert opened.launched == [[BASE, PEER]]
    assert timing(opened, PEER).ended == Ended.FIXED
    assert word(opened, PEER) is Verdict.CANNOT_TELL


def test_calls_that_take_longer_than_their_block_spend_the_budget_all_the_same():
    opened = measured({BASE: (500.0, 0.0), PEER: (500.0, 0.1)})  # 12 rounds of 2.5 s
    assert opened.launched == [[BASE, PEER]]
    assert (timing(opened, PEER).ended, timing(opened, BASE).ended) == (Ended.BUDGET, Ended.BUDGET)


def test_a_variant_alone_has_nothing_to_be_compared_with():
    opened = measured({BASE: (1.0, 0.1)})
    assert timing(opened, BASE).ended == Ended.FIXED
    assert len(opened.launched) == 1


@pytest.mark.parametrize("task", ["prepare_timing", "block"])
def test_one_that_fails_after_a_fresh_start_costs_only_its_own_row(task):
    opened = measured({BASE: (1.0, 0.004), PEER: (1.01, 0.004), OTHER: (1.05, 0.004)}, {PEER: task})
    assert timing(opened, PEER) is None
    assert word(opened, OTHER) is Verdict.SLOWER


def test_without_its_baseline_a_measurement_ends():
    opened = measured({BASE: (1.0, 0.004), PEER: (1.01, 0.004)}, {BASE: "block"})
    assert timing(opened, BASE) is None
    assert timing(opened, PEER).ended == Ended.FIXED
    assert len(timing(opened, PEER).launches) == 2


@pytest.mark.long
@pytest.mark.parametrize("slower", [1.0, 1.05])
def test_by_the_whole_procedure_copies_are_equal_and_a_slower_one_is_slower(slower):
    words = []
    for seed in range(30):
        times = {BASE: (1.0, 0.02), PEER: (slower, 0.02)}
        words.append(word(measured(times, max_measure_s=20, measure_s=0.5, seed=seed), PEER))
    right = Verdict.CANNOT_TELL if slower == 1 else Verdict.SLOWER
    assert words.count(right) >= 28
    assert words.count(Verdict.FASTER) <= (1 if slower == 1 else 0)


def test_a_block_during_which_the_process_was_stopped_is_repeated_in_a_new_turn(monkeypatch):
    numbers = []

    def during(_):
        lock = opened_of[0].lock
        numbers.append(lock._held[0].name)
        if len(numbers) == 3:
            lock._held[2]._last -= 2 * beats.LOST_S  # as after a minute without a beat

    opened_of = []
    start = OpenEngines.start
    monkeypatch.setattr(OpenEngines, "start", lambda self, engines: (opened_of.append(self), start(self, engines))[1])
    monkeypatch.setattr(Synthetic, "during", during)
    opened = measured({BASE: (2.0, 0.01), PEER: (1.0, 0.01)})
    blocks = sum(len(timing(opened, label).blocks) for label in (BASE, PEER))
    assert len(numbers) == blocks + 1
    assert len(set(numbers[:3])) == len(set(numbers[3:])) == 1
    assert numbers[2] != numbers[3]  # it queued again
