"""What a dry run announces, compared with what the run then makes; and runs that go on after a part was lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import running
from small_model import small_onnx

import workbench
from workbench.backends.tensorrt.flavours import RTX
from workbench.cli import main
from workbench.errors import InputError
from workbench.plan.planning import plan, subject_of
from workbench.plan.step import Kind, Plan
from workbench.records import Results, from_json, to_json
from workbench.runs import pipeline
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.runs.outlook import Outlook, StepState
from workbench.runs.sources import data_of, open_model
from workbench.settings.experiment import Experiment
from workbench.store import MANIFEST, Store
from workbench.system.machine import this_machine
from workbench.workers.pool import Pool


class Kit:
    """An experiment, what was announced for it before its run, and that run."""

    def __init__(self, folder: Path) -> None:
        x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        np.savez(folder / "data.npz", x=x)
        self.folder, self.store = folder, Store(folder / "store")
        self.experiment = Experiment(
            model=small_onnx(folder / "small.onnx"), data=str(folder / "data.npz"), backends="onnxruntime",
            precisions="fp32,int8-minmax", batches="1,2", calibration_samples=8, measure_s=0.02, max_measure_s=0.02, rounds=4,
        )  # fmt: skip
        self.unread = self.ahead()
        assert not self.store.root.exists()
        self.model = open_model(self.experiment.model, store=self.store)
        before = self.files()
        self.announced = self.ahead()
        assert self.files() == before
        self.results = self.run()

    def ahead(self, **more: Any) -> Outlook:
        return pipeline.run(self.experiment, store=self.store, dry_run=True, **more)

    def run(self, **more: Any) -> Results:
        return pipeline.run(self.experiment, store=self.store, **more)

    def files(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.store.root.rglob("*")}

    def there(self) -> set[tuple[str, str]]:
        """Every artefact in the store, as its kind and its key."""
        kinds = {kind.artefact for kind in Kind}
        found = (path.parent for path in self.store.root.glob(f"*/*/{MANIFEST}"))
        return {(folder.parent.name, folder.name) for folder in found if folder.parent.name in kinds}

    def engine(self, name: str) -> Any:
        return next(row.engine for row in self.results.rows if row.spec.asked == name)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("outlook"))


def test_before_the_model_is_read_the_plan_ends_there_and_says_so(kit: Kit) -> None:
    assert [(step.kind, bool(step.key)) for step in kit.unread.plan.steps] == [(Kind.COPY, True), (Kind.READ, True)]
    assert set(kit.unread.states) == {StepState.OPEN}
    assert "The other steps are known when the model has been read" in str(kit.unread)


def test_a_run_makes_the_steps_that_were_announced_and_no_others(kit: Kit) -> None:
    steps = kit.announced.plan.steps
    assert {step.kind for step in steps if kit.announced.state[step.id] == StepState.THERE} == {Kind.COPY, Kind.READ}
    assert StepState.NOT_NEEDED not in kit.announced.states
    assert {(step.artefact, step.key) for step in steps} == kit.there()
    assert [kit.announced.count(kind) for kind in (Kind.BUILD, Kind.MEASURE, Kind.SCORE)] == [(2, 2), (4, 4), (2, 2)]
    tally = kit.results.tally
    assert (tally.built, tally.measured, tally.scored) == (2, 4, 2)
    assert {row.engine.key for row in kit.results.rows} == {step.key for step in kit.announced.plan.of(Kind.BUILD)}


def test_what_is_there_is_not_announced_and_looking_changes_nothing(kit: Kit) -> None:
    before = kit.files()
    found = kit.ahead()
    assert kit.files() == before
    assert found.open() == ()
    assert set(found.states) == {StepState.THERE}
    assert "0 of 2 engines to build; 0 of 4 rows to measure; 0 of 2 engines to score; nothing to make" in str(found)
    again = kit.ahead(remeasure=True)
    assert {step.kind for step in again.open()} == {Kind.MEASURE}
    assert again.count(Kind.MEASURE) == (4, 4)
    assert running("workbench.workers.child") == []


def test_a_file_that_nothing_needs_any_more_is_not_made_again(kit: Kit) -> None:
    (rewrite,) = kit.announced.plan.of(Kind.REWRITE)
    folder = kit.store.path(rewrite.artefact, rewrite.key)
    shutil.rmtree(folder)
    found = kit.ahead()
    assert found.open() == ()
    assert found.state[rewrite.id] == StepState.NOT_NEEDED
    assert rewrite.what not in str(found)
    again = kit.run()
    assert (again.tally.built, again.tally.reused_builds, again.tally.reused_timings) == (0, 2, 4)
    assert not folder.exists()


def test_after_the_loss_of_an_engine_the_run_makes_it_and_what_that_needs(kit: Kit) -> None:
    (rewrite,) = kit.announced.plan.of(Kind.REWRITE)
    lost = kit.engine("int8-minmax")
    for folder in (kit.store.path("engine", lost.key), kit.store.path(rewrite.artefact, rewrite.key)):
        shutil.rmtree(folder, ignore_errors=True)
    found = kit.ahead()
    assert [step.kind for step in found.open()] == [Kind.REWRITE, Kind.BUILD]
    assert found.count(Kind.BUILD) == (1, 2)
    again = kit.run()
    assert (again.tally.built, again.tally.reused_builds, again.tally.reused_timings) == (1, 1, 4)
    assert kit.there() == {(step.artefact, step.key) for step in kit.announced.plan.steps}


def test_a_plan_that_went_through_json_is_carried_out(kit: Kit) -> None:
    experiment = kit.experiment
    data = data_of(experiment, kit.model)
    found = from_json(Plan, json.loads(json.dumps(to_json(plan(experiment, kit.model, data)))))
    lost = kit.engine("fp32")
    shutil.rmtree(kit.store.path("engine", lost.key))
    with Pool(kit.store.log_path) as pool:
        means = Means(kit.store, pool, lambda _: None)
        executor = Executor(means, subject_of(experiment, kit.model, data), data, found)
        built = [executor.engine(step) for step in found.of(Kind.BUILD)]
    assert [(record.key, reused) for record, reused in built] == [
        (lost.key, False),
        (kit.engine("int8-minmax").key, True),
    ]


def test_how_long_steps_took_before_is_reported_of_those_that_were_made_here(kit: Kit) -> None:
    found = pipeline.run(replace(kit.experiment, calibration_samples=9), store=kit.store, dry_run=True)
    seconds = {step.kind: took for step, took in zip(found.plan.steps, found.seconds, strict=True)}
    assert seconds[Kind.BUILD] == pytest.approx(kit.store.facts("engine", kit.engine("int8-minmax").key)["build_s"])
    assert seconds[Kind.REWRITE] > 0
    assert seconds[Kind.MEASURE] is None  # settings decide that
    known, unknown = found.expected_s(Kind.BUILD, Kind.REWRITE)
    assert known == pytest.approx(seconds[Kind.BUILD] + seconds[Kind.REWRITE])
    assert unknown == 0
    assert found.count(Kind.BUILD) == (1, 2)


def test_how_long_measuring_takes_at_most_follows_from_its_plan(kit: Kit) -> None:
    asked = replace(kit.experiment, measure_s=1.0, max_measure_s=4.0, rounds=10)
    found = pipeline.run(asked, store=kit.store, dry_run=True, minutes=3)
    rows, timing = 4, asked.plan
    assert len(found.open(Kind.MEASURE)) == rows
    assert (timing.rounds, timing.relaunch_rounds, timing.launches) == (10, 5, 7)
    assert found.measure_s == pytest.approx(rows * (7 * timing.warm_up_s + 4.0))
    assert found.limit_s == 180
    assert "measuring takes at most about 22 s by its plan" in str(found)
    assert "it ends before the time limit of 3 min" in str(found)
    short = pipeline.run(asked, store=kit.store, dry_run=True, minutes=0.2)
    assert "it ends at about the time limit of 12 s" in str(short)
    done = kit.ahead(minutes=3)
    assert done.measure_s == 0
    assert "limit" not in str(done)


def test_the_command_prints_the_plan_and_writes_nothing(
    kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        word for name, value in kit.experiment.changes().items() for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    before = kit.files()
    assert main(["report", "--dry-run", "--store", str(kit.store.root), *words]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split() == ["step", "what", "key", "state", "took", "before"]
    assert kit.engine("fp32").key[:12] in shown
    assert kit.files() == before
    assert main(["report", "--dry-run", "--store", str(tmp_path / "none"), *words]) == 0
    assert "to make" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(["report", "--dry-run", "--model", "gone.onnx"]) == 2


def test_what_cannot_be_had_is_listed_once_for_each_reason(kit: Kit) -> None:
    asked = replace(
        kit.experiment, backends="tensorflow,tensorflow:xla,onnxruntime,tensorrt:rtx", precisions="fp32,bf16"
    )
    lines = [line for line in str(pipeline.run(asked, store=kit.store, dry_run=True)).splitlines() if ": " in line]
    (keras,) = (line for line in lines if "tensorflow" in line)
    assert keras.startswith(
        "not possible: tensorflow fp32, tensorflow bf16, tensorflow:xla fp32, tensorflow:xla bf16: "
    )
    assert any(
        line.startswith("not possible: onnxruntime bf16: its CPU provider has no BF16 kernels") for line in lines
    )
    if RTX.installed and not this_machine().gpu:
        assert (
            "built, not measured: tensorrt:rtx fp32, tensorrt:rtx bf16: built for NVIDIA GPUs; this machine has none"
            in lines
        )


def test_what_is_in_the_notebook_only_has_to_be_saved_first(kit: Kit) -> None:
    with pytest.raises(InputError, match="A dry run writes nothing, and a live model or live data"):
        pipeline.run(kit.experiment, store=kit.store, dry_run=True, data=np.zeros(3))  # type: ignore[call-overload]
    assert workbench.run is pipeline.run
