"""How many are before a process in the queue, by name, and how long that is expected to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.locks.holders import Holder
from workbench.locks.places import QueuePlace, expected_wait, waiting_text


def place(name: str, left_s: float | None, *, alone: bool = True) -> QueuePlace:
    return QueuePlace(Path(name), alone, Holder(f"{name} (process 1)", "measuring", "12:00:00", left_s=left_s))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], (0.0, 0)),
        ([place("a", 3), place("b", 4)], (7.0, 0)),
        ([place("a", 3, alone=False), place("b", 4, alone=False)], (4.0, 0)),  # they build side by side
        ([place("a", 3, alone=False), place("b", 4), place("c", 5, alone=False)], (12.0, 0)),
        ([place("a", None), place("b", 4)], (4.0, 1)),
    ],
)
def test_builders_side_by_side_count_once(places, expected):
    assert expected_wait(places) == expected


def test_names_are_listed_once_and_many_are_counted():
    ahead = [place(name, 30) for name in "abacdefg"]
    text = waiting_text(ahead[0].holder, ahead)
    assert text.endswith("; 8 before you (a, b, c, d and 3 more), expected wait about 4 min")
    assert text.startswith("a (process 1): measuring since 12:00:00; ")
