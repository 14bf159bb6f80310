"""Lessons as assignments: nbgrader releases two of them, and grades an answer with the expected points."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from workbench.cli.entry import main
from workbench.errors import InputError
from workbench.lessons import assignment as module
from workbench.lessons import check, helpers
from workbench.lessons.assignment import GRADED, assignment, points
from workbench.system.resources import notebook

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "02_precision": {
        "backends": "onnxruntime",
        "measure_s": 0.05,
        "max_measure_s": 0.05,
        "calibration_samples": 32,
    },
    "03_int8": {
        "measure_s": 0.05,
        "max_measure_s": 0.05,
        "calibration_samples": 32,
        "methods": "minmax",
        "batches": "1",
        "samples": 32,
        "limit_s": 1.0,
        "epochs": 1,
    },
}
ANSWERS = {"02_precision": {1: '"fp16"', 2: "256", 3: "-1"}, "03_int8": {1: "6.02"}}
"""By lesson a student's predictions: one that fails, and some that are not made."""
EXPECTED = {"02_precision": 2.0, "03_int8": 1.0}


@pytest.mark.parametrize("name", GRADED)
def test_a_lesson_has_a_cell_for_each_prediction_and_points_for_the_fixed_ones(name):
    made = assignment(notebook(f"lessons/{name}.ipynb"), SMALL[name])
    marks = {cell.metadata.nbgrader.grade_id: cell for cell in made.cells if "nbgrader" in cell.metadata}
    assert len(marks) == sum(cell.cell_type == "code" for cell in made.cells)
    graded = {number for number in range(1, 9) if f"points-{number}" in marks}
    assert graded == set(GRADED[name])
    for number in graded:
        places = [made.cells.index(marks[f"{kind}-{number}"]) for kind in ("prediction", "points")]
        between = "".join(cell.source for cell in made.cells[slice(*places)])
        assert between.count("print(check(") == 1
    parameters = next(cell.source for cell in made.cells if "parameters" in cell.metadata.get("tags", []))
    assert "question_" not in "".join(cell.source for cell in made.cells if cell.cell_type == "code")
    scope: dict = {}
    exec(parameters, scope)
    assert {key: scope[key] for key in SMALL[name]} == SMALL[name]


def test_only_some_lessons_and_their_own_parameters_are_taken():
    with pytest.raises(InputError, match=r"no graded questions\. Choose from: 02_precision, 03_int8"):
        assignment(notebook("lessons/05_batch.ipynb"))
    with pytest.raises(InputError, match=r"no parameter .batch.\. Its parameters: model, data, "):
        assignment(notebook("lessons/02_precision.ipynb"), {"batch": 1})


def test_points_are_those_of_the_last_check(monkeypatch):
    monkeypatch.setattr(helpers, "LAST", [])
    monkeypatch.setattr(module, "LAST", helpers.LAST)
    with pytest.raises(InputError, match="Run the cells above"):
        points()
    check("How many?", 4, 4)
    assert points(2) == 2.0
    check("How many?", 5, 4)
    assert points(2) == 0.0


def test_the_command_writes_an_assignment_and_keeps_files(tmp_path, capsys):
    copy = tmp_path / "precision.ipynb"
    words = ["notebook", str(copy), "--page", "lessons/02_precision.zh.ipynb", "--assignment"]
    assert main(words) == 0
    assert "nbgrader" in nbformat.read(copy, as_version=4).cells[1].metadata
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


def nbgrader(course: Path, *words: str) -> None:
    """Run a command of nbgrader in an environment of its own, with the versions of Jupyter that are locked."""
    programs = course / "venv" / "bin"  # nbgrader calls alembic by its name
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "JUPYTER_PATH": str(course / "jupyter")}
    env |= {"WORKBENCH_STORE": (course / "store").read_text()}
    done = subprocess.run(
        [programs / "nbgrader", *words],
        check=False,
        env=env,
        cwd=course,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def course(store_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("course")
    (place / "store").write_text(str(store_root))
    uv = [Path(sys.executable).with_name("uv"), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, place / "venv"], check=True)
    python = place / "venv" / "bin" / "python"
    locked = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    (place / "locked.txt").write_text("\n".join(line for line in locked if not line.startswith("tensorflow")))
    subprocess.run(
        [*uv, "pip", "install", "--python", python, "-c", place / "locked.txt", "nbgrader>=0.9.5"], check=True
    )
    kernel = place / "jupyter" / "kernels" / "python3"  # the workbench's Python, not nbgrader's
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "workbench", "language": "python"}))
    (place / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'engines'\n"
        "c.ClearSolutions.code_stub = {'python': 'prediction = None  # your prediction'}\n"
        "c.ExecutePreprocessor.timeout = 900\nc.Autograde.exclude_overwriting = {}\n"
    )
    return place


@pytest.mark.long
@pytest.mark.parametrize("name", GRADED)
def test_nbgrader_releases_a_lesson_and_gives_the_expected_points(course, name):
    source = course / "source" / name / f"{name}.ipynb"
    source.parent.mkdir(parents=True)
    made = assignment(notebook(f"lessons/{name}.ipynb"), SMALL[name])
    last = max(place for place, cell in enumerate(made.cells) if cell.metadata.get("nbgrader", {}).get("grade"))
    made.cells = made.cells[: last + 1]  # the whole lesson is executed in tests/test_notebooks.py
    nbformat.write(made, source)
    nbgrader(course, "generate_assignment", name)
    released = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    assert "SOLUTION" not in "".join(cell.source for cell in released.cells)
    for cell in released.cells:
        if number := re.fullmatch(r"prediction-(\d)", cell.metadata.get("nbgrader", {}).get("grade_id", "")):
            assert cell.source == "prediction = None  # your prediction"
            cell.source = f"prediction = {ANSWERS[name].get(int(number[1]))}"
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "100.0"  # a student's own points, which nbgrader takes back
    answer = course / "submitted" / "ann" / name / f"{name}.ipynb"
    answer.parent.mkdir(parents=True)
    nbformat.write(released, answer)
    nbgrader(course, "autograde", name)
    graded = nbformat.read(course / "autograded" / "ann" / name / f"{name}.ipynb", as_version=4)
    assert [out for cell in graded.cells for out in cell.get("outputs", []) if out.output_type == "error"] == []
    nbgrader(course, "export", f"--to={course / 'grades.csv'}")
    header, *rows = [line.split(",") for line in (course / "grades.csv").read_text().splitlines()]
    found = [dict(zip(header, row, strict=True)) for row in rows]
    (mine,) = [row for row in found if (row["assignment"], row["student_id"]) == (name, "ann")]
    assert (float(mine["score"]), float(mine["max_score"])) == (EXPECTED[name], len(GRADED[name]))
