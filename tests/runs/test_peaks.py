"""Peaks that are really measured, and a run that shows what its variants got of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import model_zoo
import psutil
import pytest

from workbench.errors import InputError
from workbench.records import from_json, to_json
from workbench.runs import peaks
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system import machine
from workbench.timing import peak_loops
from workbench.workers.fork_server import ForkServer
from workbench.workers.worker import QUIET_ENV, Worker, held_to


@pytest.fixture(scope="module")
def measured():
    before, peak_loops.LOOP_S = peak_loops.LOOP_S, 0.01
    yield peak_loops.measured(1, lambda _: None)
    peak_loops.LOOP_S = before


def test_every_format_has_a_peak_or_a_reason(measured):
    found = {peak.what for peak in measured.compute}
    assert "fp32" in found
    assert found | set(measured.absent) == {"fp32", "fp16", "bf16", "int8"}
    assert not found & set(measured.absent)
    assert all(peak.work > 0 and len(peak.samples_s) >= peak_loops.LEAST_REPETITIONS for peak in measured.compute)
    assert all(1e8 < peak.per_s < 1e15 for peak in (*measured.compute, *measured.transfer))


def test_bytes_come_from_the_caches_of_this_cpu_and_from_memory(measured):
    places = list(dict.fromkeys(peak.what for peak in measured.transfer))
    assert places == [*(f"L{cache.level}" for cache in machine.caches() if cache.level >= 2), "memory"]
    reaches = [measured.best(place).reach_bytes for place in places]
    assert reaches == [*sorted(reaches[:-1]), 0]


def test_copies_count_what_they_move():
    """A copy of n bytes reads n and writes n; STREAM's own count."""
    with peak_loops.ThreadPoolExecutor(1) as pool:
        found = {peak.basis.split()[0]: peak for peak in peak_loops._loops("memory", 2**25, 0, pool, 1)}
    elements = 2**25 // 3 // 8
    assert {name: peak.work / 8 / elements for name, peak in found.items()} == {"copy": 2, "add": 3, "read": 2}


def test_caches_are_read_as_the_kernel_tells_them(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    for core in cores:
        for index, (level, kind, size, shared) in enumerate(
            [(1, "Data", "32K", core), (1, "Instruction", "64K", core), (2, "Unified", "1024K", core), (3, "Unified", "32M", "all")]
        ):  # fmt: skip
            folder = tmp_path / f"cpu{core}" / "cache" / f"index{index}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(f"{text}\n")
    found = machine.caches(tmp_path)
    assert [(cache.level, cache.size_bytes) for cache in found] == [(1, 2**15), (2, 2**20), (3, 2**25)]
    assert [cache.instances for cache in found] == [len(cores), len(cores), 1]
    assert machine.caches(tmp_path / "gone") == []


def test_what_was_disturbed_is_measured_again_and_what_was_not_is_kept(store, measured, monkeypatch):
    calls = []

    class Loops:
        def __init__(self, log, **_) -> None:
            log.touch()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def call(self, task, **_):
            calls.append(task)
            scattered = (0.01, 0.02, 0.03) if len(calls) == 1 else (0.01,) * 3
            compute = tuple(replace(peak, samples_s=scattered) for peak in measured.compute)
            return to_json(replace(measured, compute=compute, transfer=()))

    monkeypatch.setattr(peaks, "Worker", Loops)
    assert peaks.machine_peaks(store, 1).disturbed
    assert not peaks.machine_peaks(store, 1).disturbed
    assert not peaks.machine_peaks(store, 1).disturbed
    assert calls == ["peaks", "peaks"]
    peaks.machine_peaks(store, 1, again=True)
    peaks.machine_peaks(store, 2)
    assert len(calls) == 4


@pytest.mark.long
def test_a_run_is_held_to_its_cores_and_tells_cost_clocks_and_roofline(store: Store, tmp_path: Path):
    model = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx")
    core = max(os.sched_getaffinity(0))
    asked = Experiment(
        model=str(model), data="random", backends="onnxruntime", precisions="fp32", batches="1", measure_s=0.06, rounds=6,
        cores=str(core), clocks=True, roofline=True,
    )  # fmt: skip
    results = run(asked, store=store)
    (row,) = results.measured
    reported = {each.name: each.value for each in row.timing.in_effect}
    assert reported["cores"] == str(core)
    assert reported["threads"] == "1"
    assert reported["denormals"] == "flushed to zero"
    assert [clock.name for clock in row.timing.clocks] == ["host-to-host", "library", "compute"]
    assert results.peaks.cores == (core,)
    table = results.costs().frame()
    assert 0 < table["% of limit"][0] < 100  # 24 operations in a call that takes microseconds
    assert table["CPU ms"][0] > 0
    assert from_json(type(results), to_json(results)) == results
    again = run(asked, store=store)
    assert again.tally.measured == 0
    assert again.peaks == results.peaks or results.peaks.disturbed
    assert again.rows[0].timing.clocks == row.timing.clocks


def test_cores_that_are_not_here_are_refused():
    here = max(os.sched_getaffinity(0))
    with pytest.raises(InputError, match=rf"'cores' names {here + 1}, and this process may use .* Choose from those\."):
        run(Experiment(cores=f"{here},{here + 1}"))


def test_a_worker_is_held_to_its_cores_whether_it_was_started_or_forked(tmp_path):
    core = max(os.sched_getaffinity(0))
    env = held_to([core])
    with ForkServer(tmp_path / "fork_server.log", ["json"], dict(os.environ) | QUIET_ENV) as fork_server:
        assert fork_server.wait()
        for number, origin in enumerate((None, fork_server)):
            with Worker(tmp_path / f"{number}.log", env=env, fork_server=origin) as worker:
                worker.call("hello", modules=[])
                assert worker.forked == (origin is not None)
                assert psutil.Process(worker.process.pid).cpu_affinity() == [core]
    assert held_to(()) == {}
