"""No name in a model, a file or a store reaches the terminal or the page as anything but text."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import model_zoo
import numpy as np
import pytest
import recorded
from onnx import helper

from workbench.cli import main
from workbench.cli.repair import _text as repair_text
from workbench.compare.why import Card
from workbench.compare.why_gpu import GpuEvidence
from workbench.display.table import Column, Table
from workbench.display.why import Explanations
from workbench.errors import InputError
from workbench.errors.printable import lines, one_line, tell
from workbench.panel.parts import PARTS
from workbench.records import Event, Failure
from workbench.records.values import InputValues, ValueRange
from workbench.search.mixed_precision.records import Repair
from workbench.search.mixed_precision.sensitivity import Sensitivity
from workbench.settings.experiment import Experiment

EVIL = "x\x1b]0;owned\x07\x1b[2J\nforged  line\u202e\x9b31m"
ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def test_what_acts_becomes_a_question_mark_and_the_rest_stays():
    assert one_line("a\nb\tc\x1b[2J\x7f é 漢 \u202e\ud800") == "a b c?[2J? é 漢 ??"
    assert lines("a\r\nb\tc\x1b[2J\x85\u2028 é 漢") == "a\nb\tc?[2J?? é 漢"


def test_every_mark_that_turns_the_direction_of_writing_becomes_a_question_mark():
    embeds = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    marks = [char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.bidirectional(char) in embeds]
    marks += ["\u061c", "\u200e", "\u200f"]  # the other ones with the property Bidi_Control
    assert len(marks) == 12
    assert lines("".join(marks)) == one_line("".join(marks)) == "?" * 12
    assert lines("\U0001f469\u200d\U0001f52c \ufffd") == "\U0001f469\u200d\U0001f52c \ufffd"


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


def texts_with_names() -> dict[str, str]:
    """Texts of several lines that hold names of inputs and nodes."""
    found = recorded.results([recorded.measured("onnxruntime fp32")], baseline="onnxruntime fp32")
    fed = InputValues(EVIL, "float32", ValueRange(0, 1, 0.5))
    (work,) = PARTS["work"](replace(found, values=(fed,)), Experiment())
    layers = Sensitivity(9, "top-1", 1.0, 0.5, None, (), (), diverges_at=EVIL, untried=(), seconds=1.0)
    repaired = Repair("onnxruntime", "top-1", "1 %", 9, 0, 1.0, 1.0, None, EVIL, (), 1.0, sensitivity=layers)
    cause = GpuEvidence(EVIL, None, EVIL, EVIL)
    cards = Explanations([Card(EVIL, EVIL, 1, "slower", None, None, None, (cause,), missing=EVIL)])
    table = Table((Column("name"),), ({"name": EVIL},), title=EVIL, notes=(EVIL,))
    return {
        "work": repr(work),
        "repair": repair_text(repaired, EVIL),
        "why": cards.text(),
        "table": table.text(),
        "markdown": table.markdown(),
    }


@pytest.mark.parametrize(("what", "text"), texts_with_names().items())
def test_a_name_with_a_line_break_forges_no_line_in_a_text_of_several(what, text):
    assert "forged" in text
    assert not ACTING.search(text), what
    assert not any(line.startswith("forged") for line in text.splitlines()), what


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


@pytest.mark.long
def test_report_and_history_print_no_escape_sequence_and_the_page_has_none(evil_model, tmp_path):
    where, data = tmp_path / "out\x1b[31m", tmp_path / "d.npz"
    np.savez(data, x=np.ones((8, 4), np.float32), y=np.zeros(8, int))
    command = [
        *(sys.executable, "-m", "workbench", "report", "--model", str(evil_model), "--backends", "onnxruntime"),
        *("--data", str(data)),
        *("--precisions", "fp32", "--batches", "1", "--measure-s", "0.05", "--max-measure-s", "0.05", "--rounds", "1"),
        *("--output", str(where / "r.html"), "--store", str(tmp_path / "store")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, shown
    reported = subprocess.run(
        [sys.executable, "-m", "workbench", "history", "--store", str(tmp_path / "store")],
        capture_output=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    shown += reported.stdout.decode()
    assert not ACTING.search(shown)
    assert not any(line.startswith("forged") for line in shown.splitlines())
    assert not ACTING.search((where / "r.html").read_text(encoding="utf-8"))
