"""Every notebook is executed, headlessly, with parameters that make it short."""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from recorded import measured, results

from workbench.errors import MissingPackageError
from workbench.panel import parts as panel_parts
from workbench.panel import sections
from workbench.serving.installed import installed as triton_installed
from workbench.serving.proxy import installed as haproxy_installed
from workbench.settings.cluster import ClusterSettings
from workbench.settings.experiment import Experiment

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
    "lessons/05_batch.ipynb": {
        "batches": "1,4",
        "measure_s": 0.05,
        "max_measure_s": 0.05,
        "load_s": 0.2,
        "question_1": 1.0,
    },
    "lessons/06_deploy.ipynb": {"quick": True, "question_2": "domain"},
}
"""Every notebook that is executed has to be here: one that is not fails."""

ALL = sorted(str(path.relative_to(NOTEBOOKS)) for path in NOTEBOOKS.rglob("*.ipynb") if "checkpoint" not in path.name)
FOUND = [name for name in ALL if not name.endswith(".zh.ipynb")]
"""Those that are executed: a Chinese lesson has the code of the English one."""
LESSONS = [name for name in FOUND if name.startswith("lessons/")]
QUESTION = re.compile(r"^### (?:Question|问题) (\d+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)")


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def chinese(name: str) -> str:
    """The name of the Chinese page of a lesson."""
    return name.removesuffix(".ipynb") + ".zh.ipynb"


@pytest.fixture
def execute(store_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a notebook through papermill in a scratch folder, away from the user's settings."""
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


def test_every_chinese_page_is_that_of_a_lesson() -> None:
    assert set(ALL) - set(FOUND) == {chinese(name) for name in LESSONS}


@pytest.mark.parametrize("name", LESSONS)
def test_a_chinese_lesson_has_the_cells_of_the_english_one(name: str) -> None:
    english, translated = read(name), read(chinese(name))
    assert translated.metadata == english.metadata
    for ours, theirs in zip(english.cells, translated.cells, strict=True):
        assert (theirs.cell_type, theirs.id, theirs.metadata) == (ours.cell_type, ours.id, ours.metadata)
        if ours.cell_type == "code":
            assert theirs.source == ours.source
        else:
            assert theirs.source != ours.source
            assert re.search(r"[\u4e00-\u9fff]", theirs.source)


@pytest.mark.parametrize("name", LESSONS)
def test_a_chinese_lesson_has_the_questions_and_links_of_the_english_one(name: str) -> None:
    english, translated = (
        "\n\n".join(cell.source for cell in read(page).cells if cell.cell_type == "markdown")
        for page in (name, chinese(name))
    )
    assert QUESTION.findall(translated) == QUESTION.findall(english)
    assert "### Question" not in translated
    folder = (NOTEBOOKS / name).parent
    links = LINK.findall(english)
    expected = [chinese(link) if re.match(r"\d\d_", link) else link for link in links]
    assert LINK.findall(translated) == expected
    assert [link for link in (*links, *expected) if "://" not in link and not (folder / link).is_file()] == []


@pytest.mark.parametrize("name", ALL)
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
    assert len(listed) == len([line for line in first.source.splitlines() if not line.startswith("#")])
    assert all(each["help"] and each["inferred_type_name"] != "None" for each in listed.values())
    assert set(SMALL[name]) <= set(listed)


def test_the_workbench_has_the_parameters_of_an_experiment() -> None:
    listed = papermill.inspect_notebook(NOTEBOOKS / "workbench.ipynb")
    defaults = {name: ast.literal_eval(each["default"]) for name, each in listed.items()}
    assert defaults == {
        **Experiment().parameters(),
        "backends": "default",  # an experiment has those of its machine instead
        "store": "",
        "remeasure": False,
        "minutes": "",
        "run": "",
        **asdict(ClusterSettings()),
    }
    kinds = {name: each["inferred_type_name"] for name, each in listed.items()}
    for field in fields(Experiment):
        assert kinds[field.name] == ("str" if "tuple" in str(field.type) else field.type)


def test_the_workbench_is_short_and_displays_every_section() -> None:
    notebook = read("workbench.ipynb")
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert len(notebook.cells) <= 10
    assert "import workbench; workbench.Panel()" in notebook.cells[0].source.split("\n\n")[1]
    assert notebook.cells[1].metadata.jupyter.source_hidden
    assert cells[2:] == [f'view.display("{name}")' for name in sections.names()]
    shown = {part for group in sections.GROUPS.values() for each in group for part in each.parts}
    assert shown == set(panel_parts.PARTS) - {"latency"}  # which is on the first screen


@pytest.mark.slow
def test_the_workbench_runs_without_a_person(execute) -> None:
    notebook = execute("workbench.ipynb")
    shown = texts(notebook)
    lines = shown[
        "view = workbench.show(experiment, store=store, remeasure=remeasure, minutes=minutes, run=run, **where)"
    ].splitlines()
    assert {line.split(" @")[0] for line in lines if "@" in line and not line.startswith("…")} == {
        "tensorflow fp32",
        "onnxruntime fp32",
        "onnxruntime int8",
    }
    first, details = shown['view.display("summary")'], shown['view.display("details")']
    assert "<h1>demo on " in first
    assert "Batch 1" in first
    assert 'alt="Plot of latency' in first
    for text in (
        "float32 [? × 28 × 28 × 1]", "baseline", "TensorFlow runs the model as it was saved", "This run",
        "notebooks/workbench.ipynb out.ipynb", "Not measured: load: set ",
    ):  # fmt: skip
        assert text in details
    assert "What failed" not in details
    pictures = [
        output.data["image/png"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 5  # and that of the first screen
    assert panel_parts.NOTHING_YET not in json.dumps(notebook)
    assert "widgets" not in notebook.metadata


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in LESSONS[1:] else ())
        for name in FOUND
        if name != "workbench.ipynb"
    ],
)
def test_a_lesson_runs(execute, name: str) -> None:
    if name == "lessons/06_deploy.ipynb" and os.environ.get("CI") != "true":
        try:
            triton_installed(), haproxy_installed()
        except MissingPackageError as error:
            pytest.skip(error.message)
    notebook = execute(name)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    reported = [line for text in printed for line in text.splitlines() if line.startswith("→ ")]
    asked = [name for name in papermill.inspect_notebook(NOTEBOOKS / name) if name.startswith("question_")]
    if any("There is no recorded run" in text for text in printed):
        assert not reported  # what only a GPU can answer
        return
    if any("has no row of TF-TRT in FP16: questions 1 to 3 are left out" in text for text in printed):
        asked = asked[3:]
    assert len(reported) == len(asked)
    for question, said in zip(asked, reported, strict=True):
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
