"""No name in a model, a file or a store reaches the terminal or the page as anything but text."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import model_zoo
import numpy as np
import pytest
from onnx import helper

from workbench.cli import main
from workbench.errors import InputError
from workbench.printable import lines, one_line, tell
from workbench.records import Event, Failure

EVIL = "x\x1b]0;owned\x07\x1b[2J\nforged  line\u202e\x9b31m"
ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def test_what_acts_becomes_a_question_mark_and_the_rest_stays():
    assert one_line("a\nb\tc\x1b[2J\x7f é 漢 \u202e\ud800") == "a b c?[2J? é 漢 ??"
    assert lines("a\r\nb\tc\x1b[2J\x85\u2028 é 漢") == "a\nb\tc?[2J?? é 漢"


def test_tell_prints_on_a_terminal_of_any_encoding():
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    tell("10⁹\x1b[2J", 3, sep="|", file=terminal)
    terminal.flush()
    assert raw.getvalue() == b"10??[2J|3\n"


def test_errors_events_and_failures_are_one_line():
    assert "\n" not in InputError(EVIL).message
    assert not ACTING.search(InputError("x", log=EVIL).log)
    for text in (Event(EVIL).text, Failure("build", EVIL).message):
        assert not ACTING.search(text)
        assert "\n" not in text


@pytest.fixture
def evil_model(tmp_path) -> Path:
    model = model_zoo.onnx_model(
        [helper.make_node("MatMul", [EVIL, "w"], ["y" + EVIL], name=EVIL)],
        {"w": np.eye(4, 3, dtype=np.float32)},
        inputs={EVIL: ("n", 4)},
        outputs={"y" + EVIL: ("n", 3)},
    )
    return model_zoo.save(model, tmp_path / "evil\x1b[2J\nname.onnx")


def test_inspect_prints_no_escape_sequence_and_no_forged_line(evil_model, store, capsys):
    assert main(["inspect", str(evil_model), "--store", str(store.root)]) == 0
    said = capsys.readouterr()
    assert not ACTING.search(said.out + said.err)
    assert not any(line.startswith("forged") for line in (said.out + said.err).splitlines())
    assert "forged" in said.out


@pytest.mark.slow
def test_report_and_history_print_no_escape_sequence_and_the_page_has_none(evil_model, tmp_path):
    where = tmp_path / "out\x1b[31m"
    command = [
        *(sys.executable, "-m", "workbench", "report", "--model", str(evil_model), "--backends", "onnxruntime"),
        *("--precisions", "fp32", "--batches", "1", "--measure-s", "0.05", "--max-measure-s", "0.05", "--rounds", "1"),
        *("--output", str(where / "r.html"), "--store", str(tmp_path / "store")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, shown
    told = subprocess.run(
        [sys.executable, "-m", "workbench", "history", "--store", str(tmp_path / "store")],
        capture_output=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    shown += told.stdout.decode()
    assert not ACTING.search(shown)
    assert not any(line.startswith("forged") for line in shown.splitlines())
    assert not ACTING.search((where / "r.html").read_text(encoding="utf-8"))
