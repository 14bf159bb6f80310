"""A grid of reports: its file, and making, continuing and linking the reports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import onnx
import pytest
from small_model import small_onnx

from workbench.cli import main
from workbench.cli.answer import schema
from workbench.errors import InputError
from workbench.report.grid_file import read_grid
from workbench.store import Store

COMMON = "{data: random, backends: onnxruntime, batches: 1, measure_s: 0.06, max_measure_s: 0.06, rounds: 6}"
ENDED_S = 240


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a model and a grid of two reports on it."""
    small_onnx(tmp_path / "small.onnx")
    text = f"models: [small.onnx]\ncommon: {COMMON}\nsettings: {{one: {{seed: 1}}, 'two <b>': {{seed: 2}}}}\n"
    (tmp_path / "grid.yaml").write_text(text)
    return tmp_path


def command(folder: Path, store: Store, *more: str) -> list[str]:
    words = ["grid", str(folder / "grid.yaml"), "--output", str(folder / "out"), "--store", str(store.root)]
    return [*words, "--json", *more]


def test_models_and_settings_are_multiplied_and_paths_begin_at_the_file(folder: Path) -> None:
    text = "models: {a: small.onnx, b: {model: demo, data: digits}}\ncommon: {data: x.npz, precisions: [fp32, int8]}\n"
    (folder / "grid.yaml").write_text(text + "settings: {fast: {batches: 1}, slow: {batches: '1,8', measure-s: 2}}\n")
    cells = read_grid(folder / "grid.yaml")
    assert [cell.name for cell in cells] == ["a--fast", "a--slow", "b--fast", "b--slow"]
    first, last = cells[0].experiment, cells[-1].experiment
    assert (first.model, first.data) == (str(folder / "small.onnx"), str(folder / "x.npz"))
    assert (last.model, last.data, last.batches, last.measure_s) == ("demo", "digits", (1, 8), 2.0)
    assert first.precisions == ("fp32", "int8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [", "cannot be read as YAML: .*line 1"),
        ("- a", "has no 'models'"),
        ("models: []", "'models' is a list of paths.*Found \\[\\]"),
        ("models: 3", "Found 3"),
        ("models: [{}]", "Found \\{\\}"),
        ("models: {a: }", "'a' has none"),
        ("models: [m]\nsetings: {}", "no part 'setings'"),
        ("models: [m]\nsettings: [fast]", "must be names"),
        ("models: [m]\nsettings: {fast: 3}", "'settings: fast' must be settings.*Found 3"),
        ("models: [m]\ncommon: {precision: fp32}", "'precision', which does not exist. Did you mean 'precisions'"),
        ("models: [m]\ncommon: {precisions: {}}", "'precisions' has no value"),
        ("models: [m]\ncommon: {precisions: fp33}", "'m, all': .*fp33"),
        ("models: [m]\nsettings: {a b: {}, a-b: {}}", "same file, m--a-b.html"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(InputError, match=re.compile(said, re.DOTALL)) as raised:
        read_grid(tmp_path / "grid.yaml")
    assert "grid.yaml" in raised.value.message
    assert "\n" not in raised.value.message


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_grid(tmp_path / "no.yaml")


def test_a_model_that_is_missing_ends_the_command_before_anything_is_measured(
    folder: Path, store: Store, capsys
) -> None:
    (folder / "grid.yaml").write_text("models: [small.onnx, missing.onnx]\ncommon: {data: random}\n")
    assert main(command(folder, store)) == 2
    assert "missing.onnx" in capsys.readouterr().err
    assert not (folder / "out" / "small--all.html").exists()


def document(capsys: pytest.CaptureFixture[str]) -> dict:
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("grid"), cls=jsonschema.Draft202012Validator)
    return found


@pytest.mark.long
def test_a_grid_that_is_killed_continues_and_repeats_nothing_that_was_finished(
    folder: Path, store: Store, capsys
) -> None:
    process = subprocess.Popen([sys.executable, "-m", "workbench", *command(folder, store)], start_new_session=True)
    first, second = (folder / "out" / f"small--{name}" for name in ("one", "two-b"))
    limit = time.monotonic() + ENDED_S
    while not first.with_suffix(".json").exists():
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    made = first.with_suffix(".html").stat().st_mtime_ns
    assert not second.with_suffix(".json").exists()
    capsys.readouterr()
    assert main(command(folder, store)) == 0
    found = document(capsys)
    assert [(each["group"], each["state"], each["reused"]) for each in found["reports"]] == [
        ("one", "done", True),
        ("two <b>", "done", False),
    ]
    assert first.with_suffix(".html").stat().st_mtime_ns == made
    assert all(each["headline"] and each["run"] for each in found["reports"])
    index = Path(found["index"]).read_text()
    assert index.count('data-state="done"') == 2
    for text in ('href="small--one.html"', 'href="small--two-b.html"', "two &lt;b&gt;", "2 of 2 reports", "--seed 2"):
        assert text in index
    model = onnx.load(folder / "small.onnx")  # another model under the same name
    model.producer_name = "another"
    onnx.save(model, folder / "small.onnx")
    (folder / "grid.yaml").write_text(f"models: [small.onnx]\ncommon: {COMMON}\nsettings: {{one: {{seed: 1}}}}\n")
    assert main(command(folder, store)) == 0
    assert not document(capsys)["reports"][0]["reused"]


@pytest.mark.long
def test_a_report_that_fails_does_not_end_the_others(folder: Path, store: Store, capsys) -> None:
    text = (
        f"models: [small.onnx]\ncommon: {COMMON}\nsettings: {{bad: {{precisions: int8}}, good: {{precisions: fp32}}}}\n"
    )
    (folder / "grid.yaml").write_text(text)
    assert main(command(folder, store)) == 1
    found = document(capsys)
    assert [each["state"] for each in found["reports"]] == ["failed", "done"]
    assert "no row was measured" in found["reports"][0]["error"]
