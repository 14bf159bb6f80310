"""Recorded outputs of the lessons: they belong to the present code, and the site and the teacher's page show them."""

import importlib
import json
import sys
from pathlib import Path

import nbformat
import pytest

from workbench.lessons.recorded import RUN

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks" / "lessons").glob("*.ipynb"))
ENGLISH = [path for path in LESSONS if not path.name.endswith(".zh.ipynb")]
MOST_BYTES = 60_000  # of a picture


def script(monkeypatch, name):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop("site_pages", None)


@pytest.fixture
def outputs(monkeypatch):
    return script(monkeypatch, "lesson_outputs")


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.stem)
def test_the_outputs_were_recorded_with_the_present_code(outputs, path):
    again = f"The code of {path.name} has changed since. Run: python scripts/record_lessons.py {path.stem}"
    assert outputs.read(path)["code"] == outputs.digest(path), again


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.stem)
def test_a_record_has_what_its_lesson_shows(outputs, path):
    record = outputs.read(path)
    code = {cell.id for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"}
    assert record["outputs"].keys() <= code
    assert record["outputs"]
    pictures = {each["picture"] for parts in record["outputs"].values() for each in parts if "picture" in each}
    assert pictures == {file.name for file in outputs.RECORDS.glob(f"{path.stem}-*.png")}
    assert all((outputs.RECORDS / name).stat().st_size <= MOST_BYTES for name in pictures)


def test_there_are_no_other_records(outputs):
    assert {file.stem for file in outputs.RECORDS.glob("*.json")} == {path.stem for path in ENGLISH}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_page_of_a_lesson_has_each_output_below_its_code_with_the_date(outputs, monkeypatch, path):
    page = script(monkeypatch, "site_pages").lesson(path)
    record = outputs.read(path)
    places = [page.index(outputs.shown(path, cell)) for cell in record["outputs"]]
    assert places == sorted(places)
    assert page.count('<p class="recorded-label">') == len(places)
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.id in record["outputs"]:
            assert page.index(cell.source.strip()) < page.index(outputs.shown(path, cell.id))
            assert record["date"] in outputs.shown(path, cell.id)
    assert record["machine"] in page[: places[0]]


def test_a_digest_is_that_of_code_and_not_of_text(outputs, tmp_path):
    path = tmp_path / "lesson.ipynb"
    found = []
    for code, text in (("1 + 1", "Two"), ("1 + 1", "Three"), ("1 + 2", "Three")):
        cells = [nbformat.v4.new_markdown_cell(text, id="a"), nbformat.v4.new_code_cell(code, id="b")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        found.append(outputs.digest(path))
    assert found[0] == found[1] != found[2]


def test_the_digest_of_a_lesson_that_opens_the_recorded_run_changes_with_it(outputs, monkeypatch, tmp_path):
    cells = [nbformat.v4.new_code_cell("gpu = recorded_run(recorded)", id="b")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "lesson.ipynb")
    monkeypatch.setattr(outputs, "LESSONS", tmp_path / "lessons")
    run = tmp_path / RUN
    run.parent.mkdir(parents=True)
    found = []
    for content in (b"one", b"another"):
        run.write_bytes(content)
        found.append(outputs.digest(tmp_path / "lesson.ipynb"))
    assert found[0] != found[1]


def test_the_teachers_page_has_the_times_of_the_records(outputs):
    page = outputs.TEACHING.read_text(encoding="utf-8")
    assert outputs.teaching(page) == page
    assert all(f"| {int(path.name[:2])} | {outputs.read(path)['date']} | " in outputs.times() for path in ENGLISH)


def test_outputs_are_recorded_as_a_terminal_shows_them_and_without_paths(monkeypatch, outputs, tmp_path):
    recording = script(monkeypatch, "record_lessons")
    assert (
        recording._text("\x1b[31mred\x1b[0m\n10 %\r20 %\nin " + f"{tmp_path}/store\n", tmp_path)
        == "red\n20 %\nin …/store"
    )
    assert recording._text("line\n" * 70, tmp_path).splitlines()[-1] == "… 10 more lines"
    assert recording._html(
        "<style>td {}</style><table id='x'><tr><td onclick='a()'>1</td></tr>\n\n</table>", tmp_path
    ) == ("<table><tbody><tr><td>1</td></tr>\n</tbody></table>")


@pytest.mark.long
def test_a_notebook_is_executed_and_its_outputs_kept(monkeypatch, outputs, tmp_path):
    recording = script(monkeypatch, "record_lessons")
    code = {
        "text": "import sys; print('out'); print('err', file=sys.stderr)",
        "table": "import pandas as pd; pd.DataFrame({'n': [1]})",
        "figure": "import matplotlib.pyplot as plt; plt.plot([1, 2]);",
        "nothing": "x = 1",
    }
    cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in code.items()]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "09_small.ipynb")
    monkeypatch.setattr(outputs, "RECORDS", tmp_path / "recorded")
    (tmp_path / "run").mkdir()
    recording.record(tmp_path / "09_small.ipynb", tmp_path / "run")
    record = json.loads((tmp_path / "recorded" / "09_small.json").read_text(encoding="utf-8"))
    assert record["outputs"].keys() == {"text", "table", "figure"}
    assert record["outputs"]["text"] == [{"text": "out"}]
    assert "<td>1</td>" in record["outputs"]["table"][0]["html"]
    assert (tmp_path / "recorded" / record["outputs"]["figure"][0]["picture"]).is_file()
    assert record["code"] == outputs.digest(tmp_path / "09_small.ipynb")
    assert record["seconds"] > 0
