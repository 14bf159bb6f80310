"""The time that a run has left, by a clock that stands still until it is set."""

from __future__ import annotations

import math
import threading

import pytest

from workbench.system.deadline import Deadline
from workbench.system.stop import Stop


def at(now: list[float]) -> Deadline:
    return Deadline(lambda: now[0])


def test_without_a_limit_there_is_always_time() -> None:
    deadline = at([5.0])
    deadline.begin(None)
    assert (deadline.limit_s, deadline.left_s, deadline.over) == (None, math.inf, False)
    assert deadline.allows(1e9)


def test_what_would_end_after_the_limit_is_not_allowed() -> None:
    now = [100.0]
    deadline = at(now)
    deadline.begin(60)
    now[0] = 130.0
    assert deadline.left_s == 30
    assert deadline.allows(30)
    assert not deadline.allows(30.1)
    now[0] = 161.0
    assert (deadline.left_s, deadline.over, deadline.allows(0)) == (0, True, False)


def test_a_limit_that_began_elsewhere_keeps_its_name() -> None:
    now = [0.0]
    deadline = at(now)
    deadline.begin(150, left_s=20)
    now[0] = 19.0
    assert not deadline.over
    now[0] = 21.0
    assert deadline.over
    assert deadline.why == "the time limit of 2.5 minutes"


@pytest.mark.parametrize("limit_s", [None, 60])
def test_whoever_asks_for_the_end_ends_the_time_and_cancels_nothing(limit_s: float | None) -> None:
    stop = Stop(threading.Event())
    stop.deadline.begin(limit_s)
    stop.deadline.finish()
    assert stop.deadline.over
    assert not stop.deadline.allows(0)
    assert not stop.is_set()
    assert stop.deadline.why == "the request to finish"
