"""The one interleaver: order, numbering over launches, who takes part, and which blocks are marked as disturbed."""

from __future__ import annotations

import doctest

from workbench.measure import interleave as module
from workbench.measure.interleave import Rounds, interleave


def test_every_variant_takes_part_in_every_round_in_changing_order():
    rounds = list(Rounds(10, seed=3).orders(4))
    assert [number for number, _ in rounds] == list(range(10))
    assert all(sorted(places) == [0, 1, 2, 3] for _, places in rounds)
    assert len({tuple(places) for _, places in rounds}) > 3
    assert rounds == list(Rounds(10, seed=3).orders(4))
    assert [places for _, places in rounds] != [places for _, places in Rounds(10, seed=3, launch=1).orders(4)]


def test_rounds_are_numbered_on_over_launches():
    taken = list(interleave(2, Rounds(3, seed=0, launch=2, first=20), lambda variant: (variant, True)))
    assert [each.round for each in taken] == [20, 20, 21, 21, 22, 22]
    assert {each.launch for each in taken} == {2}
    assert [each.position for each in taken] == [0, 1] * 3
    assert all(each.value == each.variant for each in taken)


def test_a_block_is_disturbed_by_its_own_threads_and_by_those_of_the_one_before():
    restless = {4, 5}  # blocks after which threads were still at work
    made = []

    def measure(variant):
        made.append(variant)
        return len(made) - 1, len(made) - 1 not in restless

    taken = list(interleave(2, Rounds(5, seed=1), measure))
    assert [each.value for each in taken if not each.quiet] == [4, 5, 6]
    assert taken[6].where == {"quiet": False, "round": 3, "position": 0}


def test_what_failed_takes_no_further_part_and_disturbs_the_next():
    failed = set()

    def measure(variant):
        if variant == 1:
            failed.add(variant)
            return None
        return variant, True

    taken = list(interleave(3, Rounds(4, seed=0), measure, takes_part=lambda variant: variant not in failed))
    assert {each.variant for each in taken} == {0, 2}
    assert len(taken) == 8
    order = next(places for _, places in Rounds(4, seed=0).orders(3))
    after = order[order.index(1) + 1] if order.index(1) < 2 else None
    disturbed = [each for each in taken if not each.quiet]
    assert [each.variant for each in disturbed if each.round == 0] == ([] if after is None else [after])
    assert len(disturbed) == 1


def test_the_clock_is_read_before_a_block_and_every_round_is_announced():
    seconds = iter(range(100))
    reported = []
    taken = list(
        interleave(
            2,
            Rounds(2, seed=0, launch=1, first=7),
            lambda variant: (variant, True),
            each_round=reported.append,
            clock=lambda: float(next(seconds)),
        )
    )
    assert [each.began_s for each in taken] == [0, 1, 2, 3]
    assert reported == [0, 1]


def test_the_example_runs():
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0
