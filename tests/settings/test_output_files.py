"""Nothing that the workbench did not write is ever written over."""

from __future__ import annotations

import os
from pathlib import Path

import model_zoo
import numpy as np
import pytest

from workbench.cli import main
from workbench.errors import InputError
from workbench.settings.output_files import check_output


@pytest.fixture
def given(tmp_path):
    model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 4), np.float32))
    (tmp_path / "note.html").write_text("<p>mine</p>")
    (tmp_path / "table.csv").write_text("mine,and,mine\n")
    (tmp_path / "keep.json").write_text('{"mine": 1}')
    (tmp_path / "link.html").symlink_to("m.onnx")
    return tmp_path


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("report --output m.onnx", "does not end in .html"),
        ("report --output data.npz", "does not end in .html"),
        ("report --output note.html", "the workbench did not write it"),
        ("report --output link.html", "is an input of this run"),
        ("report --output new.ipynb", "does not end in .html"),
        ("history --csv m.onnx", "does not end in .csv"),
        ("history --csv table.csv", "the workbench did not write it"),
        ("repair --output m.onnx", "does not end in .json"),
        ("repair --output keep.json", "the workbench did not write it"),
    ],
)
def test_a_file_of_the_user_is_never_written_over(given, monkeypatch, capsys, store, command, said):
    monkeypatch.chdir(given)
    before = _content(given)
    words = command.split()
    words += ["--model", "m.onnx", "--data", "data.npz"] if words[0] != "history" else []
    assert main([*words, "--store", str(store.root)]) == 2
    assert said in capsys.readouterr().err
    assert _content(given) == before


def test_what_the_workbench_wrote_is_written_again(given, store, monkeypatch):
    monkeypatch.chdir(given)
    for _ in range(2):
        assert main(["history", "--csv", "new.csv", "--store", str(store.root)]) == 0


def _check(path, *inputs, ours=lambda _: False):
    check_output(path, option="--output", endings=(".html",), written_here=ours, inputs=inputs)


def test_nothing_is_written_into_a_folder_that_is_read(tmp_path):
    (tmp_path / "images" / "0").mkdir(parents=True)
    with pytest.raises(InputError, match="is an input of this run, or lies in one"):
        _check(tmp_path / "images" / "reports" / "r.html", tmp_path / "images")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        _check(tmp_path / "folder.html")


def test_names_of_built_in_data_are_not_files(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    _check(Path("digits/r.html"), "digits", "", "auto")


def test_an_input_by_another_name_is_known(tmp_path):
    (tmp_path / "data").write_text("x")
    (tmp_path / "hard.html").hardlink_to(tmp_path / "data")
    with pytest.raises(InputError, match="is an input"):
        _check(tmp_path / "hard.html", tmp_path / "data", ours=lambda _: True)


def test_a_pipe_is_not_written_to(tmp_path):
    os.mkfifo(tmp_path / "r.html")
    with pytest.raises(InputError, match="is a pipe, a socket or a device"):
        check_output(tmp_path / "r.html", option="--output", endings=(".html",), written_here=lambda _: True)
