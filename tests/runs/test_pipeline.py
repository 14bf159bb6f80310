"""From a model to results in one call: real files, real workers, and what a second, a stopped and a failed run do."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import threading
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import model_zoo
import numpy as np
import pytest
import recorded
import small_runs
from onnx import helper
from processes import running
from small_runs import counts, statuses, write_dense

from workbench.display.plots.figures import figures
from workbench.errors import InputError
from workbench.panel import parts, view
from workbench.plan.rows import rows_of
from workbench.records import Ended, EngineSpec, Event, Results, Status
from workbench.runs import pipeline
from workbench.runs.archive import runs
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store

ROUNDS = 6
ask = partial(small_runs.ask, measure_s=0.05, max_measure_s=0.05, rounds=ROUNDS)
VARIANTS = ("onnxruntime fp32", "onnxruntime int8", "openvino fp32", "openvino int8")


@dataclasses.dataclass
class Kit:
    """Small models, samples that belong to them, and the results of one whole run."""

    folder: Path
    store: Store
    results: Results
    events: list[Event]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("pipeline")
    write_dense(folder)
    relu = model_zoo.onnx_model([helper.make_node("Relu", ["x"], ["y"])], outputs={"y": ("n", 4)})
    model_zoo.save(relu, folder / "relu.onnx")
    fixed = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    shapes = {"inputs": {"x": (4, 4)}, "outputs": {"y": (4, 3)}}
    model_zoo.save(model_zoo.onnx_model(fixed, {"w": np.eye(4, 3, dtype="f4")}, **shapes), folder / "fixed.onnx")
    np.savez(folder / "wide.npz", x=np.ones((60, 5), np.float32))
    store, events = Store(folder / "store"), []
    return Kit(folder, store, run(ask(folder), store=store, on_event=events.append), events)


def test_a_run_ends_with_timing_accuracy_and_the_precision_that_was_built(kit: Kit) -> None:
    assert statuses(kit.results) == {f"{name} @{batch}": Status.DONE for name in VARIANTS for batch in (1, 2)}
    assert counts(kit.results) == (4, 8, 4, 0, 0, 0)
    assert kit.results.baseline == "onnxruntime fp32"
    for row in kit.results.rows:
        assert row.engine.realized.layers == {str(row.spec.precision): 1}
        assert row.timing.median_s > 0
        assert row.timing.peak_rss_bytes > row.timing.base_rss_bytes / 2
        assert not row.reused
        assert row.accuracy.samples == 40  # 20 of the 60 were set aside for calibration
        assert row.accuracy.low < row.accuracy.value <= row.accuracy.high
        assert row.accuracy.agreement >= 0.8
        if row.spec.precision == "fp32":  # the labels are this model's own answers
            assert row.accuracy.value == 1
            assert row.accuracy.max_abs_diff < 1e-5
    assert running("workbench.workers.child") == []


def test_results_show_the_values_that_were_fed(kit: Kit) -> None:
    (values,) = kit.results.values
    x = np.load(kit.folder / "data.npz")["x"]
    assert x.min() in (values.tested.low, values.calibrated.low)
    assert values.tested.low >= x.min()
    assert f"values of {values}" in [event.text for event in kit.events]
    assert str(values) in view.work(kit.results)
    assert f"values of {values}" in repr(parts.PARTS["work"](kit.results, ask(kit.folder))[0])
    assert not any("do not fit" in text for text in (*kit.results.notes, *kit.results.warnings))


def test_calibration_samples_of_another_range_are_reported(kit: Kit, store: Store) -> None:
    x = np.load(kit.folder / "data.npz")["x"]
    np.savez(kit.folder / "scaled.npz", x=x, x_calibration=x[:30] * 255)
    asked = ask(kit.folder, precisions="fp32,int8", backends="onnxruntime", batches="1")
    results = run(dataclasses.replace(asked, data=str(kit.folder / "scaled.npz")), store=store)
    (warning,) = results.warnings
    assert warning.startswith("The values of the input 'x' do not fit those of its calibration samples: -")
    assert results.values[0].calibrated.high > 200 > results.values[0].tested.high
    assert str(results.values[0]) in view.work(results)
    assert "do not fit" in parts.warnings_html(results)


def test_variants_of_one_batch_take_turns_in_every_round(kit: Kit) -> None:
    groups, rounds = defaultdict(set), defaultdict(list)
    for row in kit.results.rows:
        groups[row.batch].add(row.timing.group)
        for block in row.timing.blocks:
            rounds[row.batch, block.round].append((block.position, row.spec.label))
    assert [len(groups[batch]) for batch in (1, 2)] == [1, 1]
    assert groups[1] != groups[2]
    assert sorted(rounds) == [(batch, number) for batch in (1, 2) for number in range(ROUNDS)]
    for turns in rounds.values():
        assert [position for position, _ in sorted(turns)] == [0, 1, 2, 3]
        assert sorted(label for _, label in turns) == list(VARIANTS)
    assert len({tuple(label for _, label in sorted(turns)) for turns in rounds.values()}) > 3  # in random order


def test_the_journal_holds_every_event(tmp_path: Path, kit: Kit) -> None:
    store, events = Store(tmp_path), []
    run(ask(kit.folder, backends="onnxruntime", precisions="fp32"), store=store, on_event=events.append)
    (journal,) = (store.root / "runs").glob("*.jsonl")
    first, *lines, last = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert (first["text"], first["parameters"]["precisions"]) == ("settings", "fp32")
    assert (last["text"], last["ended"]) == ("end", "done")
    texts = [event.text for event in events]
    assert [line["text"] for line in lines] == texts[-len(lines) :]
    assert [line["at"] for line in lines] == [round(event.at, 3) for event in events[-len(lines) :]]
    assert len(texts) - len(lines) == 1  # reading the model comes before there are rows
    assert lines[-1]["text"].startswith("done: built 1 (reused 0), measured 2 (reused 0)")
    last = {line["row"]: line["status"] for line in lines if "row" in line}
    assert last == {"onnxruntime fp32 @1": "done", "onnxruntime fp32 @2": "done"}


def test_the_same_again_does_nothing_and_says_so(kit: Kit) -> None:
    again = run(ask(kit.folder), store=kit.store)
    assert counts(again) == (0, 0, 0, 4, 8, 4)
    assert all(row.reused for row in again.rows)
    assert [row.timing for row in again.rows] == [row.timing for row in kit.results.rows]
    assert [row.accuracy for row in again.rows] == [row.accuracy for row in kit.results.rows]


def test_measuring_again_builds_nothing(kit: Kit) -> None:
    asked = ask(kit.folder, precisions="fp32", seed=5)
    first = run(asked, store=kit.store)
    assert counts(first) == (0, 4, 2, 2, 0, 0)  # nothing is set aside for calibration: other samples, new scores
    again = run(asked, store=kit.store, remeasure=True)
    assert counts(again) == (0, 4, 0, 2, 0, 2)
    assert all(a.timing.blocks != b.timing.blocks for a, b in zip(first.rows, again.rows, strict=True))
    assert [row.timing for row in run(asked, store=kit.store).rows] == [row.timing for row in again.rows]


@pytest.mark.long
def test_timings_of_two_sessions_are_never_taken_for_one(kit: Kit, store: Store) -> None:
    """As after a stop while timings were being kept: one engine's is of another session than the other's."""
    asked = ask(kit.folder, precisions="fp32", batches="1")
    run(asked, store=store)
    (older, *_), newer = sorted((store.root / "timing").iterdir()), Store(store.root.parent / "newer")
    run(asked, store=newer)
    shutil.rmtree(store.root / "timing" / older.name)
    shutil.copytree(newer.root / "timing" / older.name, store.root / "timing" / older.name)
    mixed = run(asked, store=store)
    assert (mixed.tally.measured, mixed.tally.reused_timings) == (2, 0)
    assert len({row.timing.group for row in mixed.rows}) == 1


def test_a_damaged_engine_is_built_again(kit: Kit, store: Store) -> None:
    asked = ask(kit.folder, precisions="fp32", batches="1")
    first = run(asked, store=store)
    engine = store.path("engine", first.rows[0].engine.key) / "engine.onnx"
    engine.write_bytes(engine.read_bytes()[:50])
    again = run(asked, store=store)
    assert statuses(again) == dict.fromkeys(("onnxruntime fp32 @1", "openvino fp32 @1"), Status.DONE)
    assert (again.tally.built, again.tally.reused_builds) == (1, 1)


@pytest.mark.long
def test_building_only_leaves_rows_built_and_untimed(kit: Kit, store: Store) -> None:
    asked = ask(kit.folder, precisions="fp32")
    built = run(asked, store=store, only="build")
    assert set(statuses(built).values()) == {Status.BUILT}
    assert counts(built) == (2, 0, 0, 0, 0, 0)
    assert built.measured == ()
    assert not (store.root / "timing").exists()
    assert counts(run(asked, store=store)) == (0, 4, 2, 2, 0, 0)


@pytest.mark.long
def test_what_is_not_known_is_started_again_and_measured_on(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.measure.verdict.ALLOWANCE", 1e9)  # so that a single launch tells nothing
    events: list[Event] = []
    asked = ask(kit.folder, precisions="fp32", batches="1", max_measure_s=0.6)
    assert asked.plan.looks == (4, 8, 16, 17)
    results = run(asked, store=store, on_event=events.append)
    for row in results.rows:
        assert row.timing.ended != Ended.FIXED
        # calls that are held up on a busy machine spend the budget before the last launch
        assert len(row.timing.launches) in asked.plan.looks or row.timing.ended == Ended.BUDGET
        assert len(row.timing.launches) > 1
        assert {block.launch for block in row.timing.blocks} == set(range(len(row.timing.launches)))
        assert [block.round for block in row.timing.blocks] == list(range(len(row.timing.blocks)))
        assert all(start.load_s > 0 and start.import_s > 0 and start.first_s > 0 for start in row.timing.launches)
        assert row.accuracy.value == 1
    first, second = results.rows
    assert len(first.timing.launches) == len(second.timing.launches)
    assert sum("worker processes again" in event.text for event in events) == len(first.timing.launches) - 1
    assert running("workbench.workers.child") == []
    again = run(asked, store=store)
    assert [row.timing for row in again.rows] == [row.timing for row in results.rows]


@pytest.mark.long
def test_a_variant_that_cannot_be_built_costs_only_its_own_rows(kit: Kit, store: Store) -> None:
    results = run(ask(kit.folder, model="relu"), store=store)
    for row in results.rows:
        if row.spec.precision == "fp32":
            assert row.status == Status.DONE
            assert row.timing
            continue
        assert (row.status, row.timing, row.failure.step) == (Status.FAILED, None, "prepare")
        assert row.failure.message.startswith("The model has no layer to quantize")
        assert "Traceback" not in row.failure.message
        assert "Traceback" in row.failure.log
        assert f"-r backends {row.spec.backend} -r precisions int8 -r batches {row.batch}" in row.failure.repro


@pytest.mark.long
def test_a_worker_that_dies_while_measuring_costs_only_its_own_rows(kit: Kit, store: Store) -> None:
    def kill_openvino(event: Event) -> None:
        if event.text.startswith("batch 1: round 1 "):
            (victim,) = [
                child
                for child in running("workbench.workers.child")
                if any("openvino" in m.path for m in child.memory_maps())
            ]
            os.kill(victim.pid, signal.SIGKILL)

    results = run(ask(kit.folder, precisions="fp32"), store=store, on_event=kill_openvino)
    for row in results.rows:
        if row.spec.backend == "openvino":
            assert (row.status, row.failure.step, row.timing) == (Status.FAILED, "measure", None)
            assert "SIGKILL" in row.failure.message
        else:
            assert row.status == Status.DONE
            assert len(row.timing.blocks) == ROUNDS
            assert row.accuracy.value == 1
    assert running("workbench.workers.child") == []


def test_what_is_not_possible_says_why_and_the_rest_is_done(kit: Kit, store: Store) -> None:
    asked = ask(kit.folder, data="random", batches="2", optimization_level=9)
    found = {row.spec.label: row for row in run(asked, store=store).rows}
    assert found["openvino fp32"].status == Status.DONE
    assert found["openvino fp32"].accuracy.value is None  # random inputs have no labels
    level = found["onnxruntime fp32 level 9"]
    assert level.status == Status.UNSUPPORTED
    assert "optimization levels are 0 to 3; choose a level of at most 3" in level.failure.message
    assert found["openvino int8"].status == Status.UNSUPPORTED
    assert "INT8 needs calibration samples" in found["openvino int8"].failure.message


@pytest.mark.long
def test_levels_are_variants_of_one_run_in_a_store_that_a_path_names(kit: Kit, tmp_path: Path) -> None:
    asked = ask(kit.folder, precisions="fp32", batches="1", optimization_level="0,3", keep=str(tmp_path / "k.txt"))
    (tmp_path / "k.txt").write_text("Gemm")
    found = run(asked, store=str(tmp_path / "store"))
    assert statuses(found) == {
        "onnxruntime fp32 level 0 @1": Status.DONE,
        "onnxruntime fp32 level 3 @1": Status.DONE,
        "openvino fp32 @1": Status.DONE,
    }
    assert counts(found)[:2] == (3, 3)
    assert "optimization level" in figures(found)
    (past,) = runs(Store(tmp_path / "store"))
    assert past.parameters["keep"] == "Gemm"
    assert "-r optimization_level 3 " in pipeline.repeat_command(asked, found.rows[1], Store(tmp_path / "store"))


@pytest.mark.long
def test_several_builds_are_engines_of_their_own_and_the_verdict_is_over_them(kit: Kit, store: Store) -> None:
    asked = ask(kit.folder, precisions="fp32", batches="1", builds=3)
    found = run(asked, store=store)
    names = [f"{name} fp32 build {number} @1" for name in ("onnxruntime", "openvino") for number in (1, 2, 3)]
    assert statuses(found) == dict.fromkeys(names, Status.DONE)
    assert counts(found)[:2] == (6, 6)
    assert len({row.engine.key for row in found.rows}) == 6
    assert len({tuple(block.round for block in row.timing.blocks)[:3] for row in found.rows}) == 1  # in the same rounds
    assert {row["builds"] for row in found.builds().rows} == {3}
    assert set(found.fastest_builds) == {"onnxruntime fp32", "openvino fp32"}
    for engine in found.fastest_builds.values():
        assert store.find("engine", engine.key) is not None
    assert found.baseline == "onnxruntime fp32"
    (one,) = {(row.low, row.high, row.verdict) for row in found.compare().rows if row.result.spec.backend == "openvino"}
    assert one[0] is None or one[0] < one[1]
    assert counts(run(asked, store=store)) == (0, 0, 0, 6, 6, 6)
    assert "-p builds 3" in pipeline.repeat_command(asked, found.rows[1], store)


def test_more_threads_than_cores_and_a_store_of_another_kind_are_refused(kit: Kit) -> None:
    with pytest.raises(InputError, match=r"'threads' is 999, and this process may use \d+ core"):
        pipeline.check(ask(kit.folder, threads=999))
    with pytest.raises(InputError, match="'store' must be the path of a folder or a Store; found a int"):
        run(ask(kit.folder), store=5)


@pytest.mark.long
@pytest.mark.parametrize("how", ["cancel", "interrupt"])
def test_stopped_while_building_the_rest_is_cancelled_and_a_rerun_resumes(kit: Kit, store: Store, how: str) -> None:
    stop = threading.Event()

    def stop_at_the_first_engine(event: Event) -> None:
        if event.result and event.result.status == Status.BUILT and not stop.is_set():
            stop.set()
            if how == "interrupt":
                raise KeyboardInterrupt

    cancel = stop if how == "cancel" else None
    asked = ask(kit.folder, precisions="fp32")
    stopped = run(asked, store=store, on_event=stop_at_the_first_engine, cancel=cancel)
    assert set(statuses(stopped).values()) == {Status.CANCELLED}
    assert stopped.tally.built == 1
    assert running("workbench.workers.child") == []
    again = run(asked, store=store)
    assert set(statuses(again).values()) == {Status.DONE}
    assert counts(again) == (1, 4, 2, 1, 0, 0)


@pytest.mark.long
def test_stopped_while_measuring_whole_batches_are_kept(kit: Kit, store: Store) -> None:
    cancel = threading.Event()

    def stop_in_the_second_batch(event: Event) -> None:
        if event.text.startswith("batch 2: round 5 "):
            cancel.set()

    asked = ask(kit.folder, precisions="fp32")
    stopped = run(asked, store=store, on_event=stop_in_the_second_batch, cancel=cancel)
    assert {row.batch: row.status for row in stopped.rows} == {1: Status.DONE, 2: Status.CANCELLED}
    assert [row.timing is not None for row in stopped.rows] == [row.batch == 1 for row in stopped.rows]
    (warning,) = (text for text in stopped.warnings if text.startswith("No accuracy"))
    assert warning.startswith("No accuracy: the run was cancelled before an engine was scored. Run it again")
    assert running("workbench.workers.child") == []
    again = run(asked, store=store)
    assert set(statuses(again).values()) == {Status.DONE}
    assert counts(again) == (0, 2, 2, 2, 2, 0)


def test_a_fixed_batch_runs_at_its_size(kit: Kit, store: Store) -> None:
    results = run(ask(kit.folder, model="fixed", data="random", precisions="fp32", batches="4"), store=store)
    assert set(statuses(results).values()) == {Status.DONE}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "fixed"}, r"batch is fixed to 4, and the requested batches are \[1, 2\]\. Choose the batch 4"),
        ({"data": "wide.npz"}, r"'x' expects \[\? × 4\], but the array 'x' of 'wide.npz' has \[60 × 5\]"),
        (
            {"baseline": "tensorrt:rtx fp32"},
            "'tensorrt:rtx fp32' for 'baseline'. Choose from: onnxruntime fp32, onnxruntime",
        ),
        ({"backends": "onnx"}, "Unknown backend 'onnx': .*Choose from: tensorflow"),
        ({"calibration_samples": 60}, "'data.npz' has 60 rows, but 'calibration_samples' is 60"),
    ],
)
def test_bad_input_is_found_before_anything_is_built(kit: Kit, store: Store, changes, says) -> None:
    if "data" in changes:
        changes = {"data": str(kit.folder / changes["data"])}
    with pytest.raises(InputError, match=says):
        run(ask(kit.folder, **changes), store=store)
    assert not (store.root / "engine").exists()
    assert running("workbench.workers.child") == []


@pytest.mark.slow
def test_the_demo_is_compared_with_tensorflow(store_root: Path) -> None:
    asked = ask(store_root, backends="tensorflow,onnxruntime", batches="1,2", calibration_samples=64)
    results = run(dataclasses.replace(asked, model="demo", data="digits"), store=Store(store_root))
    done = {row.row: row for row in results.rows if row.status != Status.UNSUPPORTED}
    names = ("tensorflow fp32", "onnxruntime fp32", "onnxruntime int8")
    assert {name: row.status for name, row in done.items()} == {f"{n} @{b}": Status.DONE for n in names for b in (1, 2)}
    assert results.baseline == "tensorflow fp32"
    assert "compared on real, random, ramp, impulse inputs at batches 1, 7" in results.notes[0]
    assert results.export.hops[0].max_rel_diff < 1e-5
    assert results.examination["facts"]["flops"] > 1e6
    for row in done.values():
        assert row.accuracy.samples == 1500
        assert 0.93 < row.accuracy.low < row.accuracy.value < row.accuracy.high < 1
        assert row.engine.realized.layers[str(row.spec.precision)] >= 5
    assert done["onnxruntime fp32 @1"].accuracy.agreement == 1
    assert done["onnxruntime int8 @1"].accuracy.agreement > 0.95
    again = run(dataclasses.replace(asked, model="demo", data="digits"), store=Store(store_root))
    assert counts(again) == (0, 0, 0, 3, 6, 3)


def test_settings_of_gpus_change_nothing_for_engines_on_the_cpu() -> None:
    def planned(address: str, **more: Any) -> EngineSpec:
        return rows_of(Experiment(backends=address, precisions="fp32", **more), recorded.model())[0].spec

    changed: dict[str, Any] = {"tf32": False, "cuda_graph": True, "streams": 4, "build_options": ("refit",)}
    for address in ("onnxruntime", "openvino", "tensorflow:xla", "litert"):
        assert planned(address, **changed) == planned(address)
    spec = planned("onnxruntime:cuda", **changed)
    assert (spec.tf32, spec.cuda_graph, spec.streams, spec.build_options) == (False, True, 4, ())
