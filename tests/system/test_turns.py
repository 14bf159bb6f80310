"""Turns on one machine, between threads and between processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workbench.errors import Cancelled
from workbench.system import turns
from workbench.system.turns import turn

HOLD = """
import sys
from workbench.system.turns import turn
with turn(sys.argv[1], alone=sys.argv[2] == "alone"):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(turns.FOLDER, str(tmp_path / "turns"))
    return tmp_path / "turns"


def holder(what: str, how: str) -> subprocess.Popen[str]:
    """Another process that holds a turn until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, what, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    return process


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=10)


def waiting_for(*, alone: bool) -> tuple[threading.Thread, list[str], threading.Event]:
    """A thread that asks for a turn: what it was told, and whether it has got it."""
    told: list[str] = []
    got = threading.Event()

    def ask() -> None:
        with turn("mine", alone=alone, waiting=told.append):
            got.set()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, told, got


def until(true, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


@pytest.mark.parametrize("mine", [True, False])
def test_who_measures_elsewhere_is_waited_for_and_named(mine: bool) -> None:
    other = holder("measuring <b>net</b> at batch 8", "alone")
    thread, told, got = waiting_for(alone=mine)
    until(lambda: told)
    assert not got.is_set()
    assert f"(process {other.pid}): measuring <b>net</b> at batch 8 since " in told[0]
    assert told[0].startswith("waiting for ")
    leave(other)
    thread.join(10)
    assert got.is_set()


def test_builders_do_not_wait_for_each_other_and_a_measurer_waits_for_both() -> None:
    others = [holder("building", "beside"), holder("building", "beside")]
    with turn("reading", alone=False):
        pass
    thread, told, got = waiting_for(alone=True)
    until(lambda: told)
    assert told[0].endswith(", and 1 more in the queue")
    leave(others.pop())
    assert not got.wait(0.3)
    leave(others.pop())
    thread.join(10)
    assert got.is_set()


def test_first_come_first_served() -> None:
    """A builder that comes after a measurer who waits does not overtake it."""
    building = holder("building", "beside")
    measurer, said, measured = waiting_for(alone=True)
    until(lambda: said)
    builder, told, built = waiting_for(alone=False)
    until(lambda: told)
    assert "mine" in told[0]  # it waits for the measurer, not for the builder before that
    assert not built.is_set()
    leave(building)
    measurer.join(10)
    builder.join(10)
    assert measured.is_set()
    assert built.is_set()


def test_the_turn_of_a_process_that_was_killed_is_over(place: Path) -> None:
    other = holder("measuring", "alone")
    other.kill()
    other.communicate(timeout=10)
    assert len(list(place.glob("*-alone-*"))) == 1
    told: list[str] = []
    with turn("mine", alone=True, waiting=told.append):
        assert [path.name for path in place.glob("*-alone-*")] == [next(place.glob("*-alone-*")).name]
    assert told == []
    assert list(place.glob("[0-9]*-*")) == []


def test_waiting_can_be_given_up() -> None:
    other, cancel = holder("measuring", "alone"), threading.Event()
    cancel.set()
    with pytest.raises(Cancelled, match="waiting for a turn"), turn("mine", alone=True, cancel=cancel):
        pytest.fail("it was not its turn")
    leave(other)
    with turn("mine", alone=True):
        pass  # nothing was left in the queue


def test_a_folder_that_cannot_be_used_makes_nobody_wait(place: Path) -> None:
    place.symlink_to("/")
    with turn("mine", alone=True):
        assert not list(Path("/").glob("*-alone-*"))


def test_a_damaged_ticket_is_told_without_its_words(place: Path) -> None:
    other = holder("measuring", "alone")
    next(place.glob("*-alone-*")).write_text(json.dumps({"who": "x"}))
    thread, told, _ = waiting_for(alone=True)
    until(lambda: told)
    assert told == ["waiting for another process: something since a moment ago"]
    leave(other)
    thread.join(10)
