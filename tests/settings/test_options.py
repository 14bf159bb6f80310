"""The command line is made from the table, and every mistake in it is one sentence."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from workbench import cli
from workbench.cli import doctor, entry, inspect, repair, search
from workbench.settings.options import MAIN, MANY, given, joined
from workbench.settings.table import SETTINGS

COMMANDS = {
    "report": tuple(SETTINGS),
    "inspect": inspect.OF_INPUTS,
    "repair": repair.FIELDS,
    "search": search.FIELDS,
    "doctor": doctor.OF_PEAKS,
    "history": (),
}


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, command, "--help-all" if len(COMMANDS[command]) > MANY else "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: workbench {command} ")
    assert "%%" not in out
    reported = " ".join(out.split())
    for name in COMMANDS[command]:
        assert re.search(rf"^  {SETTINGS[name].option} ", out, re.MULTILINE), name
        assert SETTINGS[name].help.replace(" ", "")[:60] in reported.replace(" ", "")


@pytest.mark.parametrize("command", ["report", "run"])
def test_help_describes_the_main_settings_first(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, command, "--help")
    assert (status, err) == (0, "")
    assert re.findall(r"^  (--[a-z-]+) VALUE", out[out.index("\nmodel:") :], re.MULTILINE) == [
        SETTINGS[name].option for name in SETTINGS if name in MAIN
    ]
    assert len(out.splitlines()) < 110
    assert "--help-all" in out
    assert f"{len(SETTINGS) - len(MAIN)} more settings" in " ".join(out.split())


@pytest.mark.parametrize("words", [["-m", "workbench"], ["-m", "workbench", "repair"]])
def test_the_program_is_called_workbench_however_it_is_started(words: list[str]) -> None:
    done = subprocess.run([sys.executable, *words, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["usage: workbench", *words[2:]]))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("report", "--bathces", "1"),
            "There is no option '--bathces'; did you mean '--batches'? See: workbench report --help-all",
        ),
        (("report", "stray"), "There is no option 'stray'. See: workbench report --help-all"),
        (("report", "--model"), "Argument --model: expected one argument. See: workbench report --help-all"),
        (("history", "--batch", "x"), "Argument --batch: invalid int value: 'x'. See: workbench history --help"),
        (("measure",), "Argument command: invalid choice: 'measure' (choose from "),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"workbench: {says}")
    assert err.count("\n") == 1


def test_values_that_begin_with_a_minus_sign_are_values() -> None:
    words = ["report", "--pixels", "-1..1", "--optimization-level", "-1,3", "--seed=-1", "-5"]
    assert joined(words) == ["report", "--pixels=-1..1", "--optimization-level=-1,3", "--seed=-1", "-5"]
    options = entry._parser().read(["report", "--pixels", "-1..1", "--class-axis", "-1", "--remeasure"])
    assert given(options) == {"pixels": "-1..1", "class_axis": "-1"}


def test_a_home_folder_is_filled_in_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    parser = entry._parser()
    assert str(parser.read(["report", "--output", "~/a.html"]).output) == "/somewhere/a.html"
    assert str(parser.read(["history", "--csv", "~/a.csv"]).csv) == "/somewhere/a.csv"
    assert parser.read(["repair", "--output", "~/keep.json"]).output == "/somewhere/keep.json"
    assert parser.read(["inspect", "~/a.onnx"]).model == "/somewhere/a.onnx"
