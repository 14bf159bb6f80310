"""What is asked to stop, and what counts as that while certain rows are worked on."""

from __future__ import annotations

import threading

from workbench.system.stop import Stop


def test_a_row_stops_only_what_is_done_for_it_alone() -> None:
    stop = Stop()
    stop.stop_row("a")
    assert not stop.is_set()
    with stop.working_on(["a", "b"]):
        assert not stop.is_set()
        stop.stop_row("b")
        assert stop.is_set()
        assert not stop.everything
    assert not stop.is_set()
    assert stop.has("a")
    assert not stop.has("c")


def test_set_stops_everything_and_so_does_the_callers_event() -> None:
    outer = threading.Event()
    stop = Stop.of(outer)
    assert Stop.of(stop) is stop
    assert not stop.is_set()
    outer.set()
    assert stop.is_set()
    assert stop.everything
    inner = Stop()
    inner.set()
    assert inner.everything
    assert not inner.has("a")  # rows that were asked for one by one
