"""Every notebook is executed, headlessly, with parameters that make it short."""

from __future__ import annotations

import ast
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from recorded import measured, results

from workbench.experiment import Experiment
from workbench.panel import parts as panel_parts

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SMALL: dict[str, dict[str, Any]] = {
    "workbench.ipynb": {
        "backends": "tensorflow,onnxruntime",
        "precisions": "fp32,int8",
        "batches": "1",
        "measure_s": 0.1,
        "max_measure_s": 0.1,
        "calibration_samples": 32,
    },
    "app.ipynb": {"backends": "onnxruntime", "precisions": "fp32", "batches": "1", "measure_s": 0.1},
    "lessons/01_train.ipynb": {"epochs": 1},
    "lessons/02_precision.ipynb": {
        "backends": "onnxruntime",
        "measure_s": 0.05,
        "max_measure_s": 0.05,
        "calibration_samples": 32,
    },
    "lessons/03_int8.ipynb": {
        "measure_s": 0.05,
        "max_measure_s": 0.05,
        "calibration_samples": 32,
        "methods": "minmax",
        "batches": "1",
        "samples": 32,
        "limit_s": 1.0,
        "question_1": 6.0,
        "question_5": "none",
        "question_6": "second",
        "question_7": 2,
    },
    "lessons/04_tensorrt.ipynb": {"batches": "1", "measure_s": 0.1},
}
"""Every notebook has to be here: one that is not fails."""

FOUND = sorted(str(path.relative_to(NOTEBOOKS)) for path in NOTEBOOKS.rglob("*.ipynb") if "checkpoint" not in path.name)


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


@pytest.fixture
def execute(store_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a notebook through papermill in a scratch folder, away from the settings of whoever runs the tests."""
    for name in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("WORKBENCH_STORE", str(store_root))
    monkeypatch.delenv("WORKBENCH_HEADLESS", raising=False)

    def run(name: str, **parameters: Any) -> Any:
        return papermill.execute_notebook(
            NOTEBOOKS / name,
            tmp_path / "out.ipynb",
            parameters=SMALL[name] | parameters,
            cwd=tmp_path,
            kernel_name="python3",
            progress_bar=False,
        )

    return run


def texts(notebook: Any) -> dict[str, str]:
    """What each code cell showed, by its last line, all kinds of text joined."""
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = [output.get("text", "") for output in cell.outputs]
            parts += [str(value) for output in cell.outputs for value in output.get("data", {}).values()]
            found[cell.source.splitlines()[-1]] = "\n".join(parts)
    return found


def test_every_notebook_is_tested() -> None:
    assert sorted(SMALL) == FOUND


@pytest.mark.parametrize("name", FOUND)
def test_is_stored_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("name", FOUND)
def test_parameters_can_be_listed(name: str) -> None:
    first = next(cell for cell in read(name).cells if cell.cell_type == "code")
    assert "parameters" in first.metadata.tags
    listed = papermill.inspect_notebook(NOTEBOOKS / name)
    assert len(listed) == len(first.source.splitlines())
    assert all(each["help"] and each["inferred_type_name"] != "None" for each in listed.values())
    assert set(SMALL[name]) <= set(listed)


def test_the_workbench_has_the_parameters_of_an_experiment() -> None:
    listed = papermill.inspect_notebook(NOTEBOOKS / "workbench.ipynb")
    defaults = {name: ast.literal_eval(each["default"]) for name, each in listed.items()}
    assert defaults == {**Experiment().parameters(), "store": "", "remeasure": False}
    kinds = {name: each["inferred_type_name"] for name, each in listed.items()}
    for field in fields(Experiment):
        assert kinds[field.name] == ("str" if "tuple" in str(field.type) else field.type)


def test_the_workbench_displays_every_part() -> None:
    cells = [cell.source for cell in read("workbench.ipynb").cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.startswith("view.display")] == [
        f'view.display("{part}")' for part in panel_parts.PARTS
    ]


@pytest.mark.slow
def test_the_workbench_runs_without_a_person(execute) -> None:
    notebook = execute("workbench.ipynb")
    shown = texts(notebook)
    lines = shown["view = workbench.show(experiment, store=store, remeasure=remeasure)"].splitlines()
    assert {line.split(" @")[0] for line in lines if "@" in line} == {
        "tensorflow fp32",
        "onnxruntime fp32",
        "onnxruntime int8",
    }
    assert "float32 [? × 28 × 28 × 1]" in shown['view.display("model")']
    assert "baseline" in shown['view.display("table")']
    assert "TensorFlow offers no rewrite" in shown['view.display("not possible")']
    assert "No row failed." in shown['view.display("failures")']
    assert "This run" in shown['view.display("work")']
    assert "papermill notebooks/workbench.ipynb" in shown['view.display("repeat")']
    pictures = [
        output.data["image/png"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 5
    assert panel_parts.NOTHING_YET not in json.dumps(notebook)
    assert "widgets" not in notebook.metadata


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FOUND if name != "workbench.ipynb"])
def test_a_lesson_runs(execute, name: str) -> None:
    notebook = execute(name)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    told = [line for text in printed for line in text.splitlines() if line.startswith("→ ")]
    asked = [name for name in papermill.inspect_notebook(NOTEBOOKS / name) if name.startswith("question_")]
    assert len(told) == len(asked)
    for question, said in zip(asked, told, strict=True):
        given = SMALL[name].get(question)
        begins = f"→ You predicted {given}" if given else "→ No prediction was made. The answer of this run: "
        assert said.startswith(begins)


def test_predictions_are_asked_for_where_they_are_checked() -> None:
    for name in FOUND:
        code = [cell for cell in read(name).cells if cell.cell_type == "code"]
        asked = [number for number, cell in enumerate(code) if "prediction" in cell.metadata.get("tags", [])]
        parameters = [name for name in papermill.inspect_notebook(NOTEBOOKS / name) if name.startswith("question_")]
        assert [code[number].source.split("  # ")[0] for number in asked] == [
            f"prediction = {name}" for name in parameters
        ]
        assert all("print(check(" in code[number + 1].source for number in asked)


def test_a_lesson_goes_on_where_no_engine_tells_its_layers(capsys) -> None:
    code = [cell.source for cell in read("lessons/02_precision.ipynb").cells if cell.cell_type == "code"]
    names = {"results": results([measured("litert fp32"), measured("litert int8")]), "measure_s": 0.1}
    at = next(number for number, source in enumerate(code) if "can_profile" in source)
    for source in code[at : at + 2]:
        exec(source, names)
    assert capsys.readouterr().out.startswith("None of these engines tells what its layers do.")


def test_a_bad_parameter_ends_in_one_sentence(execute) -> None:
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        execute("workbench.ipynb", batches="0")
    assert caught.value.ename == "InputError"
    assert caught.value.traceback == [f"InputError: {caught.value.evalue}"]
    assert "'batches' must be whole numbers from 1 to 65536, separated by commas; found 0." in caught.value.evalue
