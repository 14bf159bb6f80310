"""Values that cannot be used, each reported at its field when it is typed; presets and the way back; samples when they are chosen."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import small_onnx

from workbench.conformance.examination import Examination
from workbench.graph.facts import GraphFacts
from workbench.panel.checks import doubtful, labelled, wrong_alone
from workbench.panel.panel import Panel
from workbench.panel.preview import Preview
from workbench.records import Model, TensorSpec
from workbench.runs.sources import open_model
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS
from workbench.store import Store


@pytest.fixture
def panel(tmp_path: Path, store: Store) -> Panel:
    model = small_onnx(tmp_path / "small.onnx")
    return Panel(Experiment(model=model, data="random", backends="onnxruntime", precisions="fp32"), store=store)


@pytest.fixture
def model(tmp_path: Path, store: Store) -> Model:
    return open_model(small_onnx(tmp_path / "model.onnx"), store=store)


def at(panel: Panel, name: str) -> str:
    return unescape(panel._controls._hints[name].value)


def test_a_budget_without_its_unit_is_reported_at_its_field(panel: Panel) -> None:
    panel._controls.control["budget"].value = "1"
    assert "is a loss of 100 points. Give '1 point'" in at(panel, "budget")
    assert panel._out.run.disabled
    panel._controls.control["budget"].value = "1 point"
    assert not panel._out.run.disabled


def test_the_budget_of_a_function_is_in_its_own_unit(panel: Panel, store: Store) -> None:
    scored = Panel(panel.experiment, store=store, metric=lambda outputs, labels: labels)
    scored._controls.control["budget"].value = "1"
    assert not scored._out.run.disabled


def test_every_wrong_value_is_reported_at_its_field_at_once(panel: Panel) -> None:
    control = panel._controls.control
    control["rounds"].value = 0
    control["threads"].value = 5000
    control["batches"].other.value = "0, 99999999"
    for name in ("rounds", "threads", "batches"):
        assert f"'{SETTINGS[name].label}' must be" in at(panel, name)
        assert "wb-wrong" in control[name]._dom_classes
        assert panel._out.run.disabled
    assert "3 settings cannot be used: Batch sizes, Threads, Rounds." in unescape(panel._out.problem.value)
    assert {0, 99999999}.isdisjoint(control["batches"].chips)
    for name, good in (("rounds", 12), ("threads", 1)):
        control[name].value = good
        assert "wb-wrong" not in control[name]._dom_classes
        assert "must be" not in at(panel, name)
    control["batches"].other.value = "4"
    assert 4 in control["batches"].chips
    assert panel._out.problem.value == ""


def test_the_bounds_of_this_machine_are_known_before_a_run(panel: Panel) -> None:
    cores = len(os.sched_getaffinity(0))
    panel._controls.control["threads"].value = cores + 1
    assert f"Choose at most {cores}." in at(panel, "threads")
    panel._controls.control["threads"].value = 1
    panel._controls.control["cores"].value = "0-999"
    assert "'Cores' names" in at(panel, "cores")


def test_names_that_the_model_lacks_are_doubts(model: Model) -> None:
    looked = Examination(GraphFacts(opset=17, nodes=2, ops={"Gemm": 2}, names=("first", "second")))
    asked = Experiment(keep="Gemm,second,nonsense", score_output="nope", rounds=3)
    found = doubtful(asked, model, looked)
    assert "nonsense" in found["keep"]
    assert "second" not in found["keep"].partition(".")[0]
    assert "no output of this name" in found["score_output"]
    assert "no interval" in found["rounds"]
    assert doubtful(replace(asked, rounds=12, score_output="", keep="first"), model, looked) == {}
    assert labelled("'measure_s' and 'x'") == f"'{SETTINGS['measure_s'].label}' and 'x'"
    assert labelled("2.5 times measure_s of my_measure_s.npz") == "2.5 times 'Seconds per row' of my_measure_s.npz"


def test_what_stands_at_any_field_has_the_labels_of_the_page(panel: Panel) -> None:
    for name, control in panel._controls.control.items():
        said = [at(panel, name), getattr(control, "tooltip", "") or control.explanation]
        for value in ("no such", -1, 10**30, [], None):
            said += wrong_alone({name: value}).values()
        for other in SETTINGS:
            assert f"'{other}'" not in " ".join(said), name
            assert "_" not in other or not re.search(rf"\b{other}\b", " ".join(said)), name
    assert "below 2.5 times 'Seconds per row'" in at(panel, "max_measure_s")


def test_presets_change_what_they_say_and_can_be_taken_back(panel: Panel) -> None:
    presets, before = panel._controls.presets, panel.experiment
    presets.buttons["Quick look"].click()
    assert (panel.experiment.batches, panel.experiment.rounds) == ((1,), 8)
    assert panel.experiment.backends == before.backends
    assert "1 row, 0.3 s of timed calls" in presets.costs["Quick look"].value
    panel._controls.control["threads"].value = 2
    presets.undo.click()
    presets.undo.click()
    assert panel.experiment == before
    assert presets.undo.disabled
    presets.reset.click()
    assert panel.experiment.model == before.model
    assert panel.experiment.measure_s == Experiment().measure_s


def test_what_is_typed_can_be_taken_back_at_once_and_is_kept_by_a_preset(panel: Panel) -> None:
    """In a kernel, whose event loop waits for a pause before it follows what is typed."""
    presets, before, budget = panel._controls.presets, panel.experiment, panel._controls.control["budget"]

    async def typing() -> None:
        for text in ("1", "1 p"):
            budget.value = text
        assert not presets.undo.disabled
        assert panel._out.problem.value == ""  # it is not complete yet
        presets.undo.click()
        assert panel.experiment == before
        assert presets.undo.disabled
        budget.value = "1 %"
        presets.buttons["Quick look"].click()
        assert (panel.experiment.budget, panel.experiment.batches) == ("1 %", (1,))
        presets.undo.click()
        assert panel.experiment == replace(before, budget="1 %")
        presets.undo.click()
        assert panel.experiment == before

    asyncio.run(typing())


def test_a_value_that_cannot_be_used_can_be_taken_back(panel: Panel) -> None:
    presets, before = panel._controls.presets, panel.experiment
    panel._controls.control["threads"].value = 0
    assert panel._out.problem.value
    presets.undo.click()
    assert (panel.experiment, panel._out.problem.value) == (before, "")
    assert presets.undo.disabled


def test_samples_are_shown_with_counts_classes_and_warnings(tmp_path: Path, model: Model) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, *model.inputs[0].shape[1:])).astype(np.float32)
    np.savez(tmp_path / "labelled.npz", x=inputs, y=np.array([0] * 57 + [1] * 3))
    np.savez(tmp_path / "plain.npz", x=inputs)
    asked = Experiment(model=model.path, data=str(tmp_path / "labelled.npz"), backends="onnxruntime", precisions="fp32")
    preview = Preview()

    def shown(experiment: Experiment) -> str:
        preview.look(experiment, model)
        preview.work.wait(30)
        return unescape(preview.said.value)

    page = shown(asked)
    assert "60 samples" in page
    assert "2 (0: 57, 1: 3)" in page
    assert "Few samples of class 1" in page
    assert page.count("<figure") == 8
    assert f": {inputs[0].flat[0]:.4g}, " in page
    assert "There are no labels" in shown(replace(asked, data=str(tmp_path / "plain.npz")))
    assert "was not found" in shown(replace(asked, data=str(tmp_path / "absent.npz")))
    preview.look(asked, None)
    assert "Load the model" in preview.said.value


@pytest.mark.parametrize(("folders", "first"), [(("cat", "dog"), "cat"), (("0", "1"), "0")])
def test_classes_have_the_names_of_their_folders(tmp_path: Path, folders: tuple[str, ...], first: str) -> None:
    spec, output = TensorSpec("x", "float32", (None, 4, 4, 3)), TensorSpec("o", "float32", (None, 2))
    for name in folders:
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (4, 4), (9 * number, 0, 0)).save(tmp_path / name / f"{number}.png")
    preview = Preview()
    preview.look(
        Experiment(model="m", data=str(tmp_path), backends="onnxruntime", precisions="fp32"),
        Model("m", "m", "onnx", (spec,), (output,), 1, 1, "d"),
    )
    preview.work.wait(60)
    page = unescape(str(preview.said.value))
    assert f"2 ({folders[0]}: 2, {folders[1]}: 2)" in page
    assert page.count(f", label {first}<") == 2


@pytest.mark.parametrize("name", ["model", "data"])
def test_a_path_at_which_there_is_nothing_is_reported_at_its_field_until_there_is(
    panel: Panel, tmp_path: Path, name: str
) -> None:
    source = getattr(panel._controls, name)
    at_field = panel._controls._wrong[name]
    source.kind.value, source.path.value = "path", str(tmp_path / "gone.onnx")
    assert "There is nothing at" in at_field.value
    assert "gone.onnx" in panel._out.problem.value
    control = panel._controls.control["rounds"]
    control.value = 9  # the next edit
    assert "There is nothing at" in at_field.value
    assert panel._out.plan.value
    source.path.value = small_onnx(tmp_path / "there.onnx")
    assert at_field.value == panel._out.problem.value == ""


def test_one_change_is_one_step_back(panel: Panel) -> None:
    """A change that takes the baseline away with its variant is taken back at once with it."""
    controls = panel._controls
    controls.precisions["int8-dynamic"].value = True
    controls.control["baseline"].value = "onnxruntime int8-dynamic"
    controls.precisions["int8-dynamic"].value = False
    assert controls.control["baseline"].value == ""
    controls.control["rounds"].value = 9
    controls.presets.undo_now()
    assert panel.experiment.rounds == 12
    assert panel.experiment.baseline == ""
    controls.presets.undo_now()
    assert panel.experiment.precisions == ("fp32", "int8-dynamic")
    assert panel.experiment.baseline == "onnxruntime int8-dynamic"


def test_the_cost_of_a_preset_counts_what_is_possible_once_the_model_is_known(store: Store, tmp_path: Path) -> None:
    asked = Experiment(model=small_onnx(tmp_path / "m.onnx"), data="random", backends="onnxruntime,tensorflow")
    panel = Panel(replace(asked, precisions=("fp32",)), store=store)
    costs = panel._controls.presets.costs["Quick look"]
    assert "up to 2 rows" in costs.value
    panel.load()
    panel.wait(60)
    assert "up to 1 row," in costs.value  # TensorFlow runs no ONNX model
