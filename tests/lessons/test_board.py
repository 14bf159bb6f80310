"""The class board: what each participant predicted and measured, from files that each kernel writes for itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from workbench.cli.answer import schema
from workbench.cli.entry import main
from workbench.errors import InputError
from workbench.lessons import board, board_page, check
from workbench.lessons.board import CheckedPrediction, PredictionOutcome
from workbench.locks import holders

ME = os.getuid()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "board"
    board.prepare(place)
    monkeypatch.setenv(board.FOLDER, str(place))
    monkeypatch.delenv(holders.NAME, raising=False)
    return place


def write(place: Path, *checks: list, user: int = ME, more: str = "") -> Path:
    path = place / f"{user}-{len(list(place.iterdir())):012x}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in checks) + more)
    return path


def test_a_check_of_a_lesson_is_on_the_board_with_its_outcome(folder):
    for predicted in (None, 4, 5):
        check("How many?", predicted, 4)
    check("Faster?", "faster", "cannot tell", settled=False)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644
    found = board.lines(board.read(folder))
    assert list(found) == ["Faster?", "How many?"]  # the last one first
    (line,) = found["How many?"]
    assert (line.name, line.checked[:4]) == (holders.shown_name(), ("How many?", "4", "4", PredictionOutcome.HELD))
    assert line.changed  # the answer was shown before
    assert found["Faster?"][0].checked.outcome == PredictionOutcome.OPEN


def test_participants_can_have_another_name_and_several_can_use_one_account(folder):
    code = "from workbench.lessons.board import *; publish(CheckedPrediction('Q', '1', '1', PredictionOutcome.HELD))"
    for name in ("blue fox", "anonymous", ""):
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {holders.NAME: name})
    shown = board.lines(board.read(folder))["Q"]
    assert [line.name for line in shown] == sorted(["anonymous", "blue fox", holders.shown_name()])
    assert len(list(folder.iterdir())) == 3  # a file for each process


def test_the_same_name_of_two_users_gets_a_number():
    checks = [(user, CheckedPrediction("Q", "1", "1", PredictionOutcome.HELD, 0.0, "anonymous")) for user in (1, 2)]
    assert [line.name for line in board.lines(checks)["Q"]] == ["anonymous", "anonymous (2)"]


def test_a_prediction_that_was_changed_after_the_answer_stays_the_first():
    checks = [
        (1, CheckedPrediction("Q", text, "2", PredictionOutcome.FAILED, at)) for at, text in enumerate(["1", "1", "2"])
    ]
    ((line,),) = [board.lines(checks[:2])["Q"]]
    assert not line.changed
    ((line,),) = [board.lines(checks)["Q"]]
    assert (line.checked.predicted, line.changed) == ("1", True)


def test_files_in_the_name_of_others_and_damaged_ones_are_left_out(folder, tmp_path):
    good = ["Q", "1", "1", "held", 5.0, ""]
    write(folder, good, user=ME + 1)  # of this user, in the name of another one
    write(folder, ["Q", "1"], ["Q", "1", "1", "won", 5.0, ""], ["Q", "1", "1", "held", "NaN", ""], more='["half')
    (folder / f"{ME}-{'a' * 12}.jsonl").symlink_to(write(tmp_path, good))
    os.mkfifo(folder / f"{ME}-{'b' * 12}.jsonl")
    (folder / f"{ME}-{'c' * 12}.jsonl").mkdir()
    assert board.read(folder) == []
    write(folder, good, more='["half')
    assert [each.at for _, each in board.read(folder)] == [5.0]


def test_a_folder_in_which_users_could_replace_files_of_others_is_refused(tmp_path):
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(InputError, match=f"install -d -m 1777 {place}"):
        board.prepare(place)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        board.prepare(tmp_path / "link")


def test_where_nothing_can_be_written_the_check_says_so_and_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv(board.FOLDER, str(tmp_path / "missing"))
    text = check("How many?", 4, 4)
    assert "Your prediction held." in text
    assert "not on the class board" in text.replace("\n", " ")
    monkeypatch.delenv(board.FOLDER)
    assert "class board" not in check("How many?", 4, 4)


@pytest.mark.parametrize(("language", "held", "title"), [("en", "held", "Class board"), ("zh", "成立", "课堂公告板")])
def test_the_page_is_in_both_languages_and_escapes_names(folder, language, held, title):
    write(folder, ["<b>Q</b>?", "1", "<i>", "held", 5.0, "<script>"])
    page = board_page.as_page(board_page.board_of(folder), language, every_s=2)
    assert f'<html lang="{language}">' in page
    assert f"<title>{title}</title>" in page
    assert '<meta http-equiv="refresh" content="2">' in page
    assert f"&lt;b&gt;Q&lt;/b&gt;? (1 {held})" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_command_prints_the_board_and_writes_a_page(folder, tmp_path, capsys):
    check("How many?", 3, 4)
    assert main(["board"]) == 0
    text = capsys.readouterr().out
    assert "How many? (1 failed)" in text
    assert "No process measures or waits." in text
    page = tmp_path / "board.html"
    assert main(["board", "--json", "--html", str(page), "--hide-answers", "--language", "zh"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("board"))
    (line,) = found["checks"]
    assert (line["predicted"], line["measured"], line["outcome"]) == (None, None, "failed")
    assert "•" in page.read_text(encoding="utf-8")
    page.write_text("mine")
    assert main(["board", "--html", str(page)]) == 2
    assert page.read_text() == "mine"


def test_without_a_folder_the_command_says_how_to_name_one(monkeypatch, capsys):
    monkeypatch.delenv(board.FOLDER, raising=False)
    assert main(["board"]) == 2
    assert "Use --folder, or set the variable WORKBENCH_BOARD" in capsys.readouterr().err
