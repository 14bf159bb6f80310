"""The wait for a task on a real scheduler."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError

import distributed
import pytest
from distributed.comm import CommClosedError

from workbench.cluster.connection import Connection, SchedulerLost
from workbench.errors import RunError

pytestmark = pytest.mark.slow


def slowly(asked: str) -> str:
    time.sleep(1.5)
    return asked


async def _cancel_waits(_scheduler: object = None) -> int:
    waits = [task for task in asyncio.all_tasks() if "wait_for" in repr(task.get_coro())]
    for task in waits:
        task.cancel()
    return len(waits)


@pytest.mark.filterwarnings("ignore:coroutine 'Future._result' was never awaited:RuntimeWarning")
def test_an_answer_arrives_though_the_wait_for_it_was_cancelled() -> None:
    """``distributed`` then raises UnboundLocalError; the task goes on."""
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        (worker,) = client.scheduler_info()["workers"]
        answers: list[object] = []

        def ask() -> None:
            answers.append(Connection(client).submit((worker, "w"), slowly, {"task": "a"}))

        thread = threading.Thread(target=ask)
        thread.start()
        cancelled = 0
        until = time.monotonic() + 10
        while not cancelled and time.monotonic() < until:
            cancelled = client.sync(_cancel_waits)
        thread.join(timeout=20)
    assert cancelled
    assert answers == ['{"task": "a"}']


def at_once(asked: str) -> str:
    return asked


def wrongly(asked: str) -> str:
    raise UnboundLocalError(asked)


def test_an_answer_arrives_though_fetching_it_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        (worker,) = client.scheduler_info()["workers"]
        fetched, cancelled = client._gather, list[object]()

        async def cancelled_once(futures: object) -> object:
            if not cancelled:
                cancelled.append(futures)
                raise asyncio.CancelledError
            return await fetched(futures)

        monkeypatch.setattr(client, "_gather", cancelled_once)
        assert Connection(client).submit((worker, "w"), at_once, {"task": "a"}) == '{"task": "a"}'
        assert cancelled
        with pytest.raises(RunError, match="The worker w could not do this"):
            Connection(client).submit((worker, "w"), wrongly, {"task": "a"})


def test_an_answer_arrives_though_the_connection_broke_while_it_was_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        (worker,) = client.scheduler_info()["workers"]
        fetched, broken = client._gather, list[object]()

        async def broken_once(futures: object) -> object:
            if not broken:
                broken.append(futures)
                raise CommClosedError("in <TCP>: Stream is closed")
            return await fetched(futures)

        monkeypatch.setattr(client, "_gather", broken_once)
        assert Connection(client).submit((worker, "w"), at_once, {"task": "a"}) == '{"task": "a"}'
        assert broken


@pytest.mark.parametrize("failure", [CommClosedError("in <TCP>: Stream is closed"), CancelledError("by the scheduler")])
def test_a_scheduler_has_ended_before_the_client_noticed(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        (worker,) = client.scheduler_info()["workers"]

        async def broken(_futures: object) -> object:
            raise failure

        async def unanswered() -> object:
            raise CommClosedError("in <TCP>: Stream is closed")

        monkeypatch.setattr(client, "_gather", broken)
        monkeypatch.setattr(client.scheduler, "ncores", unanswered, raising=False)
        assert client.status == "running"
        with pytest.raises(SchedulerLost):
            Connection(client).submit((worker, "w"), at_once, {"task": "a"})
