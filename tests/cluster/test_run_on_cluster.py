"""Runs on workers that are processes of this machine, each with its own store, key and lock."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import clusters
import pytest
import sleeping_backend
from small_runs import ask, statuses, write_dense

from workbench import run, run_on_cluster
from workbench.errors import InputError
from workbench.records import Event, Results, Status
from workbench.runs.archive import history
from workbench.runs.open_run import open_run
from workbench.store import Store

pytestmark = pytest.mark.slow
FEW = {"measure_s": 0.06, "max_measure_s": 0.06, "rounds": 6}
SLEEPING = {
    "backends": "sleeping", "precisions": "fp32", "optimization_level": "0,1,2,3,4,5", "batches": "1", "data": "random", **FEW,
}  # fmt: skip
"""Six variants: a baseline and five others."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[clusters.Cluster]:
    path = sleeping_backend.install(place / "path")
    with clusters.Cluster(place / "machines", 2, labels=["cpu"], path=path) as started:
        yield started


def test_a_run_has_the_rows_of_one_here_and_is_not_repeated(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    asked = ask(place, backends="onnxruntime", **FEW)
    store = Store(tmp_path / "store")
    found = run_on_cluster(asked, cluster.address, store=store)
    assert set(statuses(found).values()) == {Status.DONE}
    assert [row.row for row in found.rows] == [f"onnxruntime {what} @{n}" for what in ("fp32", "int8") for n in (1, 2)]
    assert {row.worker.name for row in found.rows if row.worker} <= {"w0", "w1"}
    assert all(
        row.worker and row.worker.labels == ("cpu",) and row.worker.machine == found.machine for row in found.rows
    )
    assert all(row.accuracy for row in found.rows)
    assert not found.compare().refused
    assert found.model.path == asked.model
    assert "on machines of one kind" in found.notes[-1]
    for row in found.rows:  # engines and timings came as artefacts, and are signed here
        assert row.engine
        entry = store.entry("engine", row.engine.key)
        assert entry
        assert entry.own
    assert store.foreign() == 0
    assert len(history(store)) == len(found.rows)
    assert open_run(found.run, store).table().text() == found.table().text()

    again = run_on_cluster(asked, cluster.address, store=store)
    assert [row.timing for row in again.rows] == [row.timing for row in found.rows]
    assert (again.tally.built, again.tally.measured, again.tally.scored) == (0, 0, 0)
    assert again.tally.reused_timings == 4
    assert all(row.reused for row in again.rows)


def test_another_build_of_an_engine_in_this_store_is_named(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store").prepare()
    asked = ask(place, backends="onnxruntime", precisions="fp32", seed=11, **FEW)
    (key,) = {row.engine.key for row in run(asked, store=store, only="build").rows if row.engine}
    found, folder = store.entry("engine", key), store.path("engine", key)
    assert found
    files = {name: (folder / name).read_bytes() for name in found.files}
    shutil.rmtree(folder)
    with store.create("engine", key) as draft:
        for name, content in {**files, "another build": b"x"}.items():
            (draft.folder / name).write_bytes(content)
        draft.facts = found.facts
    results = run_on_cluster(asked, cluster.address, store=store)
    assert set(statuses(results).values()) == {Status.DONE}
    said = [text for text in results.warnings if "another one of the same settings" in text]
    assert said
    assert all(text.startswith("onnxruntime fp32: w") for text in said)


def test_a_label_that_no_worker_has_is_an_error_at_once(cluster: clusters.Cluster, place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has the label 'gpu:H200'\. The labels of the workers are: cpu\."):
        run_on_cluster(ask(place), cluster.address, label="gpu:H200", store=tmp_path / "store")


def test_bad_input_is_refused_by_the_worker_as_it_is_here(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="'threads' is 99"):
        run_on_cluster(ask(place, threads=99), cluster.address, store=tmp_path / "store")


@pytest.mark.long
def test_a_client_of_the_notebook_can_be_given(cluster: clusters.Cluster, place: Path, tmp_path: Path) -> None:
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        found = run_on_cluster(ask(place, **SLEEPING), client, only="build", store=tmp_path / "store")
        assert client.status == "running"
    assert set(statuses(found).values()) == {Status.BUILT}


@pytest.mark.long
def test_workers_do_once_what_is_the_same_for_all_parts(cluster: clusters.Cluster, place: Path, tmp_path: Path) -> None:
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        loaded = client.run(lambda: sorted({"scipy.stats", "workbench.cluster.remote"} & {*__import__("sys").modules}))
    assert {*map(tuple, loaded.values())} == {("scipy.stats", "workbench.cluster.remote")}
    store = Store(tmp_path / "store")
    asked = ask(place, **SLEEPING | {"seed": 7})
    run_on_cluster(asked, cluster.address, store=store, only="build")
    kept = [each.name for each in (store.root / "examination").iterdir()]
    assert len(kept) == 1  # by a worker that built, so that those that measure get it
    found = run_on_cluster(asked, cluster.address, store=store, cohort=2)
    assert [each.name for each in (store.root / "examination").iterdir()] == kept
    assert found.examination
    parts = [facts for each in (store.root / "part").iterdir() if (facts := store.facts("part", each.name))]
    measured = [facts for facts in parts if any(row["result"].get("timing") for row in facts.get("rows", ()))]
    assert len(measured) == 3
    assert all(facts["about"]["best"] == [] for facts in measured)


class Killer:
    """Kills a worker that has begun to measure; ``rows`` are those that it held."""

    def __init__(self, cluster: clusters.Cluster) -> None:
        self._cluster = cluster
        self._held: dict[str, set[str]] = {}
        self.name = ""
        self.rows: set[str] = set()

    def __call__(self, event: Event) -> None:
        worker, _, rest = event.text.partition(" on ")
        if event.result is None and ": all " in rest:
            self._held[worker] = set(rest.partition(": all ")[2].split(", "))
        if not self.name and worker in self._held and "to build" in rest:  # as its part says when it has begun
            self.name, self.rows = worker, self._held[worker]
            self._cluster.kill(worker)


@pytest.mark.long
def test_the_death_of_a_worker_costs_the_rows_that_it_held(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    store, killer = Store(tmp_path / "store"), Killer(cluster)
    asked = ask(place, **SLEEPING | {"measure_s": 0.5, "max_measure_s": 0.5})
    first = run_on_cluster(asked, cluster.address, cohort=2, store=store, on_event=killer)
    assert killer.name
    base = first.rows[0].row
    why = {row.row: row.failure.message for row in first.rows if row.failure}
    failed = {row.row for row in first.rows if row.status == Status.FAILED}
    assert failed == killer.rows - {base}, why  # the baseline was measured in the other cohorts too
    assert {row.row for row in first.rows if row.status == Status.DONE} == {row.row for row in first.rows} - failed
    assert all(f"The worker {killer.name} on" in row.failure.message for row in first.rows if row.failure)
    assert any("--retry-failed" in text for text in first.warnings)
    again = run_on_cluster(
        asked, cluster.address, cohort=2, store=store
    )  # the same rows are failed, and nothing is repeated
    assert statuses(again) == statuses(first)
    assert again.tally.measured == 0
    last = run_on_cluster(asked, cluster.address, cohort=2, store=store, retry_failed=True)
    assert set(statuses(last).values()) == {Status.DONE}
    assert last.tally.measured == len(failed) + 1  # in turn with the baseline
    assert not last.compare().refused
    before = {row.row: row.timing for row in first.rows if row.timing}
    kept = {row.row: row.timing for row in last.rows if row.row in before and row.row != base}
    assert kept == {row: timing for row, timing in before.items() if row != base}


@pytest.mark.long
def test_workers_that_are_unlike_are_not_used_together(cluster: clusters.Cluster, place: Path, tmp_path: Path) -> None:
    asked = ask(place, **SLEEPING)
    cluster.wait_for(2)
    cluster.add("half", ["half"], cores=[min(os.sched_getaffinity(0))])
    try:
        cluster.wait_for(3)
        with pytest.raises(InputError, match=r"The workers are of 2 kinds.*half: .* 1 cores"):
            run_on_cluster(asked, cluster.address, store=tmp_path / "store")
        found = run_on_cluster(asked, cluster.address, label="half", only="build", store=tmp_path / "store")
        assert {row.worker.name for row in found.rows if row.worker} == {"half"}
        assert found.machine.cores == 1
    finally:
        cluster.end("half")


@pytest.mark.long
def test_the_scheduler_may_end_and_the_run_goes_on_later(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    asked = ask(place, **SLEEPING)
    ended: list[Event] = []

    def end(event: Event) -> None:
        if event.result and event.result.status == Status.DONE and not ended:
            ended.append(event)
            cluster.end("scheduler")

    found: Results = run_on_cluster(asked, cluster.address, cohort=1, store=store, on_event=end)
    assert ended
    assert any("The scheduler of the cluster has ended" in text for text in found.warnings)
    done = {row.row: row.timing for row in found.rows if row.timing}
    assert done
    left = {(row.status, row.failure and row.failure.message) for row in found.rows if not row.timing}
    assert left == {(Status.CANCELLED, None)}
    cluster.start_scheduler()
    cluster.wait_for(2)
    again = run_on_cluster(asked, cluster.address, cohort=1, store=store)
    assert set(statuses(again).values()) == {Status.DONE}
    base = again.rows[0].row
    assert all(row.timing == done[row.row] for row in again.rows if row.row in done and row.row != base)


@pytest.mark.long
def test_an_artefact_that_was_changed_in_a_workers_store_is_made_again(
    cluster: clusters.Cluster, place: Path, tmp_path: Path
) -> None:
    asked = ask(place, **SLEEPING | {"optimization_level": "7"})
    first = run_on_cluster(asked, cluster.address, only="build", store=tmp_path / "store")
    key = first.rows[0].engine.key if first.rows[0].engine else ""
    for engine in place.glob(f"machines/*/store/engine/{key}/engine.onnx"):
        engine.write_bytes(b"changed")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "store")
    again = run_on_cluster(asked, cluster.address, only="build", store=tmp_path / "store")
    assert set(statuses(again).values()) == {Status.BUILT}
    entry = Store(tmp_path / "store").entry("engine", key)
    assert entry
    assert (entry.folder / "engine.onnx").read_bytes() != b"changed"
