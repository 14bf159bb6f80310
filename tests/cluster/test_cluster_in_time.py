"""A run on workers whose time is over: parts that are not begun, launches that are the last, and the run that goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import clusters
import pytest
from small_runs import ask, statuses, write_dense

from workbench import run_on_cluster
from workbench.records import Ended, Event, Status
from workbench.store import Store
from workbench.system.stop import Stop

pytestmark = pytest.mark.slow
LONG = {
    "backends": "onnxruntime",
    "batches": "1",
    "measure_s": 0.06,
    "max_measure_s": 3600,
    "rounds": 6,
    "until": "narrow",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("cluster_in_time"))


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[clusters.Cluster]:
    with clusters.Cluster(place / "machines", 1) as started:
        yield started


@pytest.mark.long
def test_a_request_to_finish_reaches_the_worker_and_the_rest_is_measured_later(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    stop, store = Stop(), Store(tmp_path / "store")
    asked = ask(place, precisions="fp32", within=1e-6, **LONG)

    def finish(event: Event) -> None:
        if event.result and event.result.status == Status.MEASURING:
            stop.deadline.finish()

    found = run_on_cluster(asked, cluster.address, store=store, cancel=stop, on_event=finish)
    (row,) = found.rows
    assert (row.status, row.timing.ended) == (Status.DONE, Ended.TIME)
    assert any(text.startswith("The request to finish ended the run: ") for text in found.warnings)
    again = Stop()
    again.deadline.finish()  # it has no time either, but is not taken for finished
    (later,) = run_on_cluster(asked, cluster.address, store=store, cancel=again).rows
    assert len(later.timing.launches) > len(row.timing.launches) or later.timing.group != row.timing.group


def test_what_was_not_built_in_time_is_built_by_the_next_run(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    stop, store = Stop(), Store(tmp_path / "store")
    asked = ask(place, precisions="fp32,int8,int8-dynamic", **{**LONG, "max_measure_s": 0.06})

    def finish(event: Event) -> None:
        if event.result and event.result.status == Status.BUILT:
            stop.deadline.finish()

    found = run_on_cluster(asked, cluster.address, store=store, cancel=stop, on_event=finish)
    assert list(statuses(found).values()) == [Status.DONE, Status.CANCELLED, Status.CANCELLED]
    assert [row.left_out for row in found.rows] == [False, True, True]
    (said,) = (text for text in found.warnings if "ended the run" in text)
    assert "2 rows were not built (onnxruntime int8 @1, onnxruntime int8-dynamic @1)" in said
    again = run_on_cluster(asked, cluster.address, store=store)
    assert set(statuses(again).values()) == {Status.DONE}
