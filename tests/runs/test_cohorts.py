"""Engines that are not all open at once: cohorts with the baseline in each, what may be compared, and what is found again."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import recorded
import small_runs
from processes import running
from small_runs import write_dense

from workbench import history
from workbench.compare.pairs import comparison
from workbench.records import Result, Status, Verdict
from workbench.runs import cohorts, open_engines
from workbench.runs.pipeline import run
from workbench.runs.run_rows import RunRows
from workbench.runs.timings import keep_timing
from workbench.store import Store
from workbench.system import memory

VARIANTS = ("onnxruntime fp32", "onnxruntime int8", "openvino fp32", "openvino int8")


ask = partial(small_runs.ask, measure_s=0.06)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("cohorts"))


@pytest.mark.long
def test_what_does_not_fit_at_once_is_measured_in_cohorts(folder, store, monkeypatch):
    """Without free memory: one variant and the baseline at a time."""
    monkeypatch.setattr(open_engines, "free_bytes", lambda: 1)
    monkeypatch.setattr(open_engines, "usable_cores", lambda: 2)
    asked, most = ask(folder, batches="1"), []
    results = run(
        asked,
        store=store,
        on_event=lambda event: most.append(len(running("workbench.workers.child")) if "median" in event.text else 0),
    )
    assert max(most) == 2  # the baseline and one
    assert {row.spec.label: row.status for row in results.rows} == dict.fromkeys(VARIANTS, Status.DONE)
    assert (results.tally.measured, results.tally.scored) == (4, 4)
    base, *others = results.rows
    assert len({timing.group for timing in (base.timing, *base.also)}) == 3
    assert {row.timing.group for row in others} == {timing.group for timing in (base.timing, *base.also)}
    assert all(row.also == () for row in others)
    compared = comparison(results)
    assert compared.refused == ()
    assert [row.result for row in compared.rows] == list(results.rows)
    assert all(row.speedup for row in compared.rows)
    assert any("measured in cohorts (3 at batch 1)" in note for note in results.notes)
    across = comparison(results, "openvino int8")
    assert [row.result.spec.label for row in across.rows] == ["onnxruntime fp32", "openvino int8"]
    assert [row for row, _ in across.refused] == ["onnxruntime int8 @1", "openvino fp32 @1"]
    assert all("(not measured in turn with each other)" in why for _, why in across.refused)
    assert sorted(history(store)["variant"]) == sorted(VARIANTS)
    again = run(asked, store=store)
    assert len(history(store)) == 4  # nothing new was found out
    assert (again.tally.measured, again.tally.reused_timings) == (0, 4)
    assert [row.timing for row in again.rows] == [row.timing for row in results.rows]
    assert {timing.group: timing for timing in again.rows[0].also} == {timing.group: timing for timing in base.also}


@pytest.mark.long
def test_what_was_measured_before_a_stop_is_kept(folder, store, monkeypatch):
    monkeypatch.setattr(open_engines, "COHORT", 2)
    asked, stop = ask(folder, batches="1", rounds=24, measure_s=0.24, max_measure_s=0.24), threading.Event()
    kept = []

    def stop_after_the_first_cohort(event):
        kept.append(event.text)
        if "starting" in event.text and sum("starting" in text for text in kept) == 2:
            stop.set()

    stopped = run(asked, store=store, cancel=stop, on_event=stop_after_the_first_cohort)
    assert [row.status for row in stopped.rows].count(Status.DONE) == 2
    resumed = run(asked, store=store)
    assert (resumed.tally.measured, resumed.tally.reused_timings) == (2, 2)
    assert all(row.speedup for row in comparison(resumed).rows)


@pytest.mark.long
def test_one_engine_per_batch_opens_only_what_takes_turns(folder, store, monkeypatch):
    """Shapes fixed to a batch: the baseline is another engine at each."""
    monkeypatch.setattr(open_engines, "COHORT", 2)
    results = run(ask(folder, shapes="fixed", precisions="fp32"), store=store)
    assert {row.status for row in results.rows} == {Status.DONE}
    assert comparison(results).refused == ()
    assert [row.verdict for row in comparison(results).rows].count(Verdict.BASELINE) == 2


def test_many_engines_of_one_library_are_forked_from_one_import(folder, store):
    """LiteRT's import starts no thread; libraries that are wanted once only, and processes with threads, are started one by one."""
    run_rows = RunRows((), store.new_run(), lambda _: None, lambda _: "")
    open_workers = open_engines.OpenEngines(run_rows, ask(folder), store)
    engines = {
        name: [replace(recorded.engine(recorded.spec(f"{name} fp32", batch=n)), key=f"{name} {n}") for n in range(4)]
        for name in ("litert", "onnxruntime")
    }
    try:
        open_workers._start_fork_server([*engines["litert"], *engines["onnxruntime"][:3]])
        assert [imports[0] for imports in open_workers._fork_servers] == ["ai_edge_litert.interpreter"]
        (forking,) = [fork_server for fork_server in open_workers._fork_servers.values() if fork_server.ready]
        started = open_workers._start([*engines["litert"], engines["onnxruntime"][0]], forked=True)
        parents = [psutil.Process(worker.process.pid).ppid() for _, worker in started]
        assert parents == [forking._process.pid] * 4 + [psutil.Process().pid]
        assert all(worker.receive("hello")["rss_bytes"] > 2**24 for _, worker in started)
    finally:
        open_workers.close()
    assert not running("workbench.workers.fork_server_process")


class Sized(open_engines.OpenEngines):
    """Opens nothing, and says that each engine takes a gibibyte."""

    def _start_fork_server(self, engines):
        pass

    def _start(self, engines, *, forked):
        return [(engine, None) for engine in engines]

    def _open(self, engine, worker, crowded):
        self._workers[engine.key] = (worker, {})
        return 2**30 if crowded else 0


@pytest.mark.parametrize(("free_gib", "expected"), [(40, 20), (16, 10), (3, 2), (0, 2)])
def test_a_cohort_takes_half_of_the_free_bytes(folder, store, monkeypatch, free_gib, expected):
    """Of twenty engines at a gibibyte each, two at a time; the last two may go beyond the half."""
    monkeypatch.setattr(open_engines, "free_bytes", lambda: free_gib * 2**30)
    monkeypatch.setattr(open_engines, "usable_cores", lambda: 2)
    run_rows = RunRows((), store.new_run(), lambda _: None, lambda _: "")
    sized = Sized(run_rows, ask(folder), store)
    engines = [replace(recorded.engine(recorded.spec("onnxruntime fp32")), key=str(number)) for number in range(20)]
    left = sized.open_cohort(engines, {engine.key: engines[:1] for engine in engines})
    opened = [engine for engine in engines if sized.get(engine.key)]
    assert len(opened) == expected
    assert opened + left == engines


def two(store: Store, *, session: str = "s1", of_other: str = "s1") -> tuple[Result, ...]:
    """A baseline and another variant, their timings in the store."""
    rows = []
    for label, group in (("tensorflow fp32", session), ("onnxruntime fp32", of_other)):
        engine = recorded.engine(recorded.spec(label))
        rows.append(Result(engine.spec, 1, Status.BUILT, engine))
        keep_timing(store, cohorts.timing_key("g", engine.key), recorded.timing(1.0, group=group))
    return tuple(rows)


def members(rows, session: str = "") -> dict[str, str]:
    return {row.engine.key: cohorts.timing_key("g", row.engine.key, session) for row in rows}


def test_a_whole_session_is_recalled(store):
    rows = two(store)
    assert cohorts.recall(store, "g", rows, rows[0]) == {}  # nothing says who took turns
    cohorts.keep_members(store, "s1", members(rows))
    found = cohorts.recall(store, "g", rows, rows[0])
    assert {row: (timing.group, also) for row, (timing, also) in found.items()} == {row.row: ("s1", ()) for row in rows}


def test_a_timing_that_is_not_in_the_list_of_its_session_is_not(store):
    """As of a variant that had ended, and failed where the session was measured on after an earlier launch."""
    rows = two(store)
    cohorts.keep_members(store, "s1", members(rows[:1]))
    assert set(cohorts.recall(store, "g", rows, rows[0])) == {rows[0].row}


def test_a_session_with_a_later_timing_in_it_is_not(store):
    rows = two(store, of_other="s2")
    cohorts.keep_members(store, "s1", members(rows))
    cohorts.keep_members(store, "s2", members(rows))
    assert cohorts.recall(store, "g", rows, rows[0]) == {}


def test_a_further_cohort_needs_the_baseline_in_it(store):
    rows = two(store, of_other="s2")
    cohorts.keep_members(store, "s1", members(rows[:1]))
    cohorts.keep_members(store, "s2", members(rows[1:]))
    assert set(cohorts.recall(store, "g", rows, rows[0])) == {rows[0].row}
    key = cohorts.timing_key("g", rows[0].engine.key, "s2")
    keep_timing(store, key, recorded.timing(1.0, group="s2"))
    cohorts.keep_members(store, "s2", members(rows[1:]) | {rows[0].engine.key: key})
    found = cohorts.recall(store, "g", rows, rows[0])
    assert [timing.group for timing in found[rows[0].row][1]] == ["s2"]
    assert found[rows[1].row][0].group == "s2"
    shutil.rmtree(store.path("timing", key))
    assert set(cohorts.recall(store, "g", rows, rows[0])) == {rows[0].row}


def test_nothing_is_recalled_without_the_baseline(store):
    rows = two(store)
    cohorts.keep_members(store, "s1", members(rows[1:]))
    shutil.rmtree(store.path("timing", cohorts.timing_key("g", rows[0].engine.key)))
    assert cohorts.recall(store, "g", rows, rows[0]) == {}
    assert set(cohorts.recall(store, "g", rows, None)) == {rows[1].row}


def test_the_baseline_of_each_batch():
    rows = [
        Result(recorded.spec(label, batch=batch), batch)
        for label in ("openvino int8", "onnxruntime fp32", "tensorflow:xla fp32")
        for batch in (1, 8)
    ]
    assert cohorts.default_baseline(rows) == "onnxruntime fp32"
    assert cohorts.default_baseline([*rows, Result(recorded.spec("tensorflow fp32"), 1)]) == "tensorflow fp32"
    assert cohorts.default_baseline([]) == ""
    assert {batch: row.spec.backend for batch, row in cohorts.anchors(rows, "").items()} == {
        1: "onnxruntime",
        8: "onnxruntime",
    }
    assert {row.spec.mode for row in cohorts.anchors(rows, "tensorflow:xla fp32 b8").values()} == {"xla"}
    assert cohorts.anchors(rows, "litert fp32") == {}


def test_only_what_was_split_is_reported():
    rows = [replace(row, timing=recorded.timing(1.0)) for row in (Result(recorded.spec("onnxruntime fp32"), 1),)]
    assert cohorts.cohorts_text(rows) == ""


def test_memory_that_is_free_and_that_is_taken(tmp_path):
    assert 0 < memory.free_bytes() <= psutil.virtual_memory().total
    assert cohorts.taken(psutil.Process().pid) > 2**20
    assert cohorts.taken(2**22 - 1) == 0
