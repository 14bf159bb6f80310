"""Measuring and scoring of a whole run in several launches: what is known after the first, and what a cancelled run leaves to the next."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
import small_runs
from small_runs import counts, write_dense

from workbench.records import FINAL, Event, Status
from workbench.runs.pipeline import run
from workbench.store import Store

AGAIN = "worker processes again"
ask = partial(small_runs.ask, precisions="fp32", batches="1", measure_s=0.05, rounds=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("measure"))


@pytest.fixture(autouse=True)
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single launch tells nothing."""
    monkeypatch.setattr("workbench.measure.verdict.ALLOWANCE", 1e9)


@pytest.mark.long
def test_engines_are_scored_after_the_first_launch_and_cancelled_rows_keep_that(folder: Path, store: Store) -> None:
    asked, stop, events = ask(folder, max_measure_s=0.3), threading.Event(), list[Event]()

    def cancel_in_the_third_launch(event: Event) -> None:
        events.append(event)
        if sum(AGAIN in each.text for each in events) == 2:
            stop.set()

    cancelled = run(asked, store=store, on_event=cancel_in_the_third_launch, cancel=stop)
    assert [(row.status, row.timing) for row in cancelled.rows] == [(Status.CANCELLED, None)] * 2
    assert [row.accuracy.value for row in cancelled.rows] == [1.0, 1.0]
    places = [place for place, event in enumerate(events) if event.result and event.result.status == Status.SCORING]
    medians = [place for place, event in enumerate(events) if event.medians_s]
    started = next(place for place, event in enumerate(events) if AGAIN in event.text)
    assert medians[0] < min(places) < max(places) < started < medians[-1]
    # rows that were scored are measured on: they were not done
    ended = [event.result.status for event in events if event.result and event.result.status in FINAL - {Status.BUILT}]
    assert set(ended) == {Status.CANCELLED}
    assert any((event.progress and event.progress.phase) == "measure, scoring between launches" for event in events)

    said: list[str] = []
    again = run(asked, store=store, on_event=lambda event: said.append(event.text))
    assert "batch 1: going on after launch 2 of at most 8, which an earlier run had finished" in said
    assert counts(again) == (0, 2, 0, 2, 0, 2)
    assert len({row.timing.group for row in again.rows}) == 1
    for row in again.rows:
        assert (row.status, row.accuracy.value) == (Status.DONE, 1.0)
        assert [block.round for block in row.timing.blocks] == list(range(len(row.timing.blocks)))
        assert {block.launch for block in row.timing.blocks} == set(range(len(row.timing.launches)))
    assert sum(AGAIN in text for text in said) == len(again.rows[0].timing.launches) - 2
    assert [row.timing for row in run(asked, store=store).rows] == [row.timing for row in again.rows]


def test_with_one_launch_all_are_scored_at_the_end(folder: Path, store: Store) -> None:
    events: list[Event] = []
    results = run(ask(folder, max_measure_s=0.05), store=store, on_event=events.append)
    assert counts(results)[1:3] == (2, 2)
    statuses = [event.result.status for event in events if event.result]
    assert statuses.index(Status.SCORING) > statuses.index(Status.DONE)
    assert "score" in {event.progress.phase for event in events if event.progress}
    assert not list(store.root.glob("checkpoint/*"))


@pytest.mark.long
def test_measuring_again_does_not_go_on(folder: Path, store: Store) -> None:
    asked, stop = ask(folder, max_measure_s=0.3), threading.Event()
    run(asked, store=store, cancel=stop, on_event=lambda event: stop.set() if AGAIN in event.text else None)
    assert list(store.root.glob("checkpoint/*"))
    said: list[str] = []
    again = run(asked, store=store, remeasure=True, on_event=lambda event: said.append(event.text))
    assert not [text for text in said if "going on" in text]
    assert counts(again)[1] == 2
    assert not list(store.root.glob("checkpoint/*"))
