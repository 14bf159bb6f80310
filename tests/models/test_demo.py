"""The lesson is the demo: its cells train the model, in a fresh process, to the accuracy that the lesson promises."""

from __future__ import annotations

import ast
import json

import pytest

from workbench.data.dataset import digits
from workbench.errors import InputError
from workbench.models import demo
from workbench.system.resources import notebook


@pytest.fixture(scope="module")
def page() -> dict:
    return json.loads(notebook(demo.LESSON).read_text(encoding="utf-8"))


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_the_trained_demo_is_complete_and_accurate(demo_folder):
    metrics = json.loads((demo_folder / "metrics.json").read_text())
    assert metrics["test_accuracy"] >= 0.96
    assert metrics["parameters"] == 35994
    assert (metrics["train_samples"], metrics["test_samples"]) == (3200, 1500)
    assert (demo_folder / "demo.keras").is_file()
    assert (demo_folder / "saved_model" / "saved_model.pb").is_file()


def test_the_saved_models_have_the_accuracy_that_was_written_down(demo_folder):
    import keras

    metrics = json.loads((demo_folder / "metrics.json").read_text())
    test = digits()[2]
    found = keras.models.load_model(demo_folder / "demo.keras").predict(test.inputs["image"], verbose=0)
    assert (found.argmax(axis=1) == test.labels).mean() == pytest.approx(metrics["test_accuracy"], abs=1e-6)


def test_the_recipe_is_the_lessons_tagged_cells(page):
    wanted = [
        "".join(cell["source"])
        for cell in page["cells"]
        if cell["cell_type"] == "code" and demo.TRAIN_TAG in tags(cell)
    ]
    assert len(wanted) >= 5
    assert demo.recipe() == "\n\n".join(wanted)
    assert len(demo.recipe_digest()) == 64


def test_the_recipe_imports_only_what_training_needs():
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(ast.parse(demo.recipe()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"json", "keras", "os", "pathlib", "time", "workbench"}


@pytest.mark.long
def test_training_follows_the_recipe_and_its_parameters(tmp_path, monkeypatch):
    """One epoch by the same cells, changed only in the parameters' cell, ends below the full recipe's accuracy."""
    cells = demo._cells()
    short = [(source.replace("epochs: int = 10", "epochs: int = 1"), found) for source, found in cells]
    assert short != cells
    monkeypatch.setattr(demo, "_cells", lambda: short)
    monkeypatch.chdir(tmp_path)
    phases: list[str] = []
    metrics = demo.train(tmp_path / "out", phases.append)
    assert metrics["epochs"] == 1
    assert 0.1 <= metrics["test_accuracy"] < 0.96
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["demo.keras", "metrics.json", "saved_model"]
    assert not (tmp_path / "digits-model").exists()  # the lesson's own folder is not touched
    assert phases[-3:] == ["train the network", "evaluate on the test images", "save the model"]


def test_the_parameters_are_the_kind_that_papermill_reads(page):
    (cell,) = [cell for cell in page["cells"] if "parameters" in tags(cell)]
    assert cell is next(cell for cell in page["cells"] if cell["cell_type"] == "code")
    lines = "".join(cell["source"]).splitlines()
    assert all(" = " in line and ": " in line and "  # " in line for line in lines)
    from papermill import inspect_notebook

    found = inspect_notebook(str(notebook(demo.LESSON)))
    assert {name: (entry["inferred_type_name"], bool(entry["help"])) for name, entry in found.items()} == {
        "epochs": ("int", True),
        "folder": ("str", True),
    }


def test_the_lesson_is_clean(page):
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            compile("".join(cell["source"]), demo.LESSON, "exec")


def test_an_unknown_notebook_lists_those_there_are():
    with pytest.raises(InputError) as error:
        notebook("nosuch.ipynb")
    assert demo.LESSON in error.value.message
