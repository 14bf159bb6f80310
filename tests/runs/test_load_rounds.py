"""Load from experiment to results: real engines of a small model, real workers, LoadGen itself."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import model_zoo
import pytest

from workbench.compare import load_table
from workbench.records import LoadAnswer, OpenLoop, Status
from workbench.runs import load_rounds
from workbench.runs.load_rounds import Bounds
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.workers.worker import Worker


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    model = model_zoo.save(model_zoo.onnx_dense(), folder / "dense.onnx")
    asked = Experiment(
        model=str(model), data="random", backends="onnxruntime,openvino", precisions="fp32", batches="2",
        measure_s=0.06, max_measure_s=0.06, rounds=6, concurrency="1,2", rate="100,400", latency_percentile=50, latency_limit_ms=10,
        protocol="mlperf-offline", loadgen_s=0.2, seed=7,
    )  # fmt: skip
    store, lines = Store(folder / "store"), []
    return asked, store, run(asked, store=store, on_event=lambda event: lines.append(event.text)), lines


def test_every_row_is_measured_under_every_load(kit):
    _, _, results, lines = kit
    assert [row.status for row in results.rows] == [Status.DONE] * 2
    assert len({row.load.group for row in results.rows}) == 1
    for row in results.rows:
        assert [loop.concurrency for loop in row.load.closed] == [1, 2]
        for loop in row.load.closed:
            assert not loop.failure
            assert [block.round for block in loop.blocks] == list(range(6))
            assert loop.queries_per_s > 0
            assert loop.median_s > 1e-6
        assert [(loop.rate, loop.callers) for loop in row.load.open] == [(100, 2), (400, 2)]
        assert all(
            loop.answer in (LoadAnswer.HOLDS, LoadAnswer.CANNOT_TELL) for loop in row.load.open
        )  # on a busy machine
        assert all(loop.queries == loop.planned for loop in row.load.open)
        assert row.load.loadgen.valid is not None
        assert "batch 2" in row.load.loadgen.how
        assert row.timing.protocol == ""  # the latency rounds are the workbench's own
        assert row.timing.streams == 1
    assert "an infer request for each" in results.rows[1].load.closed[1].note
    assert any("LoadGen Offline: " in line and line.endswith("unofficial") for line in lines)


def test_variants_take_turns_under_load(kit):
    _, _, results, _ = kit
    positions = [[block.position for block in row.load.closed[1].blocks] for row in results.rows]
    assert [sorted(pair) for pair in zip(*positions, strict=True)] == [[0, 1]] * 6
    assert len(load_table.load_comparison(results)) == 4


def test_the_same_again_comes_from_the_store_and_another_load_does_not(kit, monkeypatch):
    asked, store, results, _ = kit
    lines = []
    again = run(asked, store=store, on_event=lambda event: lines.append(event.text))
    assert [row.load for row in again.rows] == [row.load for row in results.rows]
    assert sum("samples/s with" in line and line.endswith("(from the store)") for line in lines) == 2
    other = replace(asked, concurrency=(2,), rate="", protocol="", backends=("onnxruntime", "openvino"))
    found = run(other, store=store)
    assert found.tally.measured == 0  # the latencies are known
    assert [loop.concurrency for loop in found.rows[0].load.closed] == [2]
    assert found.rows[0].load.open == ()
    assert found.rows[0].load.loadgen is None


@pytest.mark.long
def test_a_search_brackets_the_highest_rate_that_holds(kit):
    asked, store, _, _ = kit
    searching = replace(
        asked, backends=("onnxruntime",), concurrency=(1,), rate="auto", protocol="mlperf-server", latency_limit_ms=10,
        loadgen_queries=100,
    )  # fmt: skip
    (row,) = run(searching, store=store).rows
    holds, beyond = row.load.bracket
    reached = row.load.at(1).queries_per_s
    assert 0 < holds < reached
    assert beyond is None or beyond > holds
    assert 2 <= len(row.load.open) <= load_rounds.PROBES
    assert row.load.loadgen.figure("target_qps") == pytest.approx(2 * holds, rel=1e-3)  # samples: two to a query
    hopeless = replace(searching, protocol="", latency_limit_ms=1e-6)
    (row,) = run(hopeless, store=store).rows
    assert row.load.open == ()
    assert row.load.search_note == "Half of the calls took longer than the limit even alone."


@pytest.mark.long
def test_an_engine_that_dies_under_load_keeps_its_latency(kit, monkeypatch):
    asked, store, _, _ = kit
    ask = Worker.call

    def dying(worker, task, **arguments):
        if task == "load_block" and "openvino" in worker.log.name:
            os.kill(worker.process.pid, signal.SIGSEGV)
        return ask(worker, task, **arguments)

    monkeypatch.setattr(Worker, "call", dying)
    plain = replace(asked, concurrency=(2,), rate="", protocol="", measure_s=0.07)
    well, dead = run(plain, store=store).rows
    assert well.load.closed[0].blocks
    assert dead.status == Status.DONE
    assert dead.timing
    assert "SIGSEGV" in dead.load.closed[0].failure
    assert not dead.load.closed[0].blocks


def test_a_search_looks_below_what_is_not_shown_to_hold_and_gives_up_on_too_few():
    bounds = Bounds(0, 100)
    holding = OpenLoop(50, 1, 1.0, 90, 0, 108)
    assert (
        bounds.why_not(replace(holding, failure="The engine's process has ended.")) == "The engine's process has ended."
    )
    assert not bounds.open
    bounds = Bounds(0, 100)
    assert "too few for p90" in bounds.why_not(holding)  # no query at all
    assert not bounds.open
