"""What the workers of a cluster do, for those who watch a run."""

from __future__ import annotations

from workbench.cluster.activity import Activity
from workbench.records import ClusterState, WorkerState


def test_a_worker_is_busy_from_its_part_s_beginning_to_its_end() -> None:
    activity = Activity()
    assert activity.news(["b", "a"], 2) == ClusterState((WorkerState("a"), WorkerState("b")), 2)
    activity.began("b", "measure", ["x @1"])
    activity.said("b: round 3")
    activity.said("a: it is idle and says nothing")
    state = activity.news(["a", "b"], 1)
    assert state is not None
    idle, busy = state.workers
    assert (idle.phase, idle.step) == ("", "")
    assert (busy.phase, busy.rows, busy.step) == ("measure", ("x @1",), "round 3")
    assert str(state) == "1 of 2 workers busy, 1 part waits"
    activity.ended("b")
    after = activity.news(["a"], 0)  # it has gone
    assert after == ClusterState((WorkerState("a"),), 0)


def test_nothing_is_reported_twice() -> None:
    activity = Activity()
    assert activity.news(["a"], 0)
    assert activity.news(["a"], 0) is None
    assert activity.news(["a"], 1)
