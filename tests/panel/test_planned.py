"""What is said of a run before it, compared with what the run then does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import recorded
from small_model import small_onnx

from workbench.panel.planned import Planned, Planner
from workbench.panel.view import plan
from workbench.records import EngineSpec, Result, Results, Status
from workbench.runs import pipeline
from workbench.runs.history import Estimate
from workbench.settings.experiment import Experiment
from workbench.store import Store


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    inputs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=inputs)
    os.utime(tmp_path / "data.npz", (1e9, 1e9))
    return Experiment(
        model=small_onnx(tmp_path / "small.onnx"),
        data=str(tmp_path / "data.npz"),
        backends="onnxruntime",
        precisions="fp32,int8-dynamic,int8-minmax",
        batches=(1, 2),
        calibration_samples=8,
    )


def build(experiment: Experiment, store: Store) -> Results:
    return pipeline.run(experiment, store=store, only="build")


def labels(specs: tuple[EngineSpec, ...]) -> list[str]:
    return [spec.label.removeprefix("onnxruntime ") for spec in specs]


def reported(planned: Planned) -> tuple[list[str], list[str], list[str]]:
    return labels(planned.new), labels(planned.perhaps), labels(planned.there)


def test_what_is_there_is_not_to_be_built(experiment: Experiment, store: Store) -> None:
    planner, three = Planner(store), ["fp32", "int8-dynamic", "int8-minmax"]
    ran = build(replace(experiment, precisions=("fp32", "int8-dynamic")), store)
    assert ran.tally.built == 2
    planned = planner.plan(experiment, ran.model)
    assert reported(planned) == (["int8-minmax"], [], ["fp32", "int8-dynamic"])
    assert (planned.measured, planned.surely, planned.before.variants) == (6, True, 1)

    ran = build(experiment, store)
    assert (ran.tally.built, ran.tally.reused_builds) == (1, 2)
    planned = planner.plan(experiment, ran.model)
    assert reported(planned) == (
        [],
        ["int8-minmax"],
        ["fp32", "int8-dynamic"],
    )  # the calibration samples are not known yet
    assert (planned.measured, planned.surely, planned.before.known) == (6, False, 1)
    planner.learn(experiment, ran)
    assert reported(planner.plan(experiment, ran.model)) == ([], [], three)
    assert planner.plan(experiment, ran.model, again=True).surely

    assert reported(planner.plan(replace(experiment, calibration_samples=9), ran.model))[1] == ["int8-minmax"]
    for change in ({"ignore_label": "1"}, {"labels": "classes"}, {"group_column": "site"}, {"class_axis": "1"}):
        assert reported(planner.plan(replace(experiment, **change), ran.model))[1] == ["int8-minmax"]  # perhaps others
    os.utime(experiment.data)  # other samples may lie there now
    assert reported(planner.plan(experiment, ran.model))[1] == ["int8-minmax"]


@pytest.mark.long
@pytest.mark.parametrize("change", [{"threads": 2, "shapes": "fixed"}, {"data": "random"}])
def test_what_would_be_built_is_built(experiment: Experiment, store: Store, change: dict[str, object]) -> None:
    experiment = replace(experiment, precisions=("fp32", "int8-minmax"), batches=(1,))
    before = build(experiment, store)
    planner, changed = Planner(store), replace(experiment, **change)
    planner.learn(experiment, before)
    planned = planner.plan(changed, before.model)
    found = build(changed, store)
    assert (found.tally.built, found.tally.reused_builds) == (len(planned.new), len(planned.there))
    assert planned.new
    assert planned.perhaps == ()


def test_the_plan_says_how_rows_follow_from_variants() -> None:
    def row(label: str, batch: int) -> Result:
        return Result(recorded.spec(label), batch, Status.PLANNED)

    timed = tuple(row(label, batch) for label in ("onnxruntime fp32", "openvino fp32") for batch in (1, 8))
    built = tuple(row("tensorrt:rtx fp16", batch) for batch in (1, 8))
    new = tuple({each.spec: None for each in timed + built})
    few = Planned(timed + built, new, (), (), 4, 0, surely=True, timed=timed, before=Estimate(0, 0, 0, 0))
    said = plan(few, Experiment())
    assert "<b>3 variants</b> to build, 4 rows to measure" in said
    assert "A row is a variant at one batch: 2 variants at batches 1, 8." in said
    assert "1 variant can be built and not measured here." in said
    assert "come on top and often take longer" in said
    assert ", about 28.0 s in all by earlier runs" in plan(few._replace(row_s=7.0), Experiment())
    assert "A row is" not in plan(few._replace(rows=timed[:1], timed=timed[:1]), Experiment())
