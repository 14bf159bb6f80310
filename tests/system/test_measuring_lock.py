"""Turns on one machine, between threads and between processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import Cancelled
from workbench.locks import beats, holders
from workbench.system import measuring_lock
from workbench.system.measuring_lock import hold_lock

HOLD = """
import sys
from workbench.system.measuring_lock import hold_lock
with hold_lock(sys.argv[1], alone=sys.argv[2] == "alone"):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(measuring_lock.FOLDER, str(tmp_path / "turns"))
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
    """A thread that requests the lock: the messages that it got, and whether it holds the lock."""
    reported: list[str] = []
    got = threading.Event()

    def ask() -> None:
        with hold_lock("mine", alone=alone, waiting=reported.append):
            got.set()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, reported, got


def until(true, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


@pytest.mark.parametrize("mine", [True, False])
def test_who_measures_elsewhere_is_waited_for_and_named(mine: bool) -> None:
    other = holder("measuring <b>net</b> at batch 8", "alone")
    thread, reported, got = waiting_for(alone=mine)
    until(lambda: reported)
    assert not got.is_set()
    assert f"(process {other.pid}): measuring <b>net</b> at batch 8 since " in reported[0]
    assert reported[0].startswith("waiting for ")
    leave(other)
    thread.join(10)
    assert got.is_set()


def test_builders_do_not_wait_for_each_other_and_a_measurer_waits_for_both() -> None:
    others = [holder("building", "beside"), holder("building", "beside")]
    with hold_lock("reading", alone=False):
        pass
    thread, reported, got = waiting_for(alone=True)
    until(lambda: reported)
    name = holders.shown_name()
    assert reported[0].endswith(f"; 2 before you ({name}), expected wait not known")
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
    builder, reported, built = waiting_for(alone=False)
    until(lambda: reported)
    assert "mine" in reported[0]  # it waits for the measurer, not for the builder before that
    assert "; 2 before you (" in reported[0]  # the measurer waits for that builder
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
    reported: list[str] = []
    with hold_lock("mine", alone=True, waiting=reported.append):
        assert [path.name for path in place.glob("*-alone-*")] == [next(place.glob("*-alone-*")).name]
    assert reported == []
    assert list(place.glob("[0-9]*-*")) == []


def test_the_queue_says_how_long_the_wait_is_expected_to_be_and_hides_names(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "REPEAT_S", 0.1)
    monkeypatch.setenv(holders.NAME, "blue\x1b fox")
    with hold_lock("measuring", alone=True, expected_s=500) as lock:
        (mine,) = measuring_lock.queue()
        assert mine.holder.who == "blue? fox"  # without the number of the process
        assert 499 < mine.holder.left_s <= 500
        text = next(place.glob("*-alone-*")).read_text()
        assert str(os.getpid()) not in text
        thread, reported, got = waiting_for(alone=True)
        until(lambda: reported)
        assert re.fullmatch(
            r"waiting for blue\? fox: measuring since [\d:]{8}; 1 before you, expected wait about 8 min", reported[0]
        )
        lock.expect(50)
        until(lambda: re.search(r"expected wait about [2-5]\d s", reported[-1]))
        assert [one.alone for one in measuring_lock.queue()] == [True, True]
    thread.join(10)
    assert got.is_set()
    assert measuring_lock.queue() == []


@pytest.mark.parametrize("expected", ["1e999", '"soon"', "-3", "[1]", "1e9", "true", "NaN"])
def test_an_expected_time_that_is_none_is_not_believed(place: Path, expected: str) -> None:
    with hold_lock("measuring", alone=True):
        ticket = next(place.glob("*-alone-*"))
        ticket.write_text(f'{{"who": "a", "what": "b", "since": "c", "expected_s": {expected}, "clock_s": null}}')
        assert [one.holder.left_s for one in measuring_lock.queue()] in ([None], [1.0])  # JSON's true is Python's 1


def test_what_others_put_into_the_folder_stops_no_process(place: Path) -> None:
    with hold_lock("mine", alone=True):
        pass
    (place / "0x-alone-").write_text("")
    (place / "999999999999-alone-00000000").write_text("")
    os.mkfifo(place / "000000000000-alone-00000000")
    (place / "000000000001-alone-0000000a").mkdir()
    with hold_lock("mine", alone=True, cancel=threading.Event()):
        assert len(measuring_lock.queue()) == 1


def test_waiting_can_be_given_up() -> None:
    other, cancel = holder("measuring", "alone"), threading.Event()
    cancel.set()
    with pytest.raises(Cancelled, match="waiting for the measuring lock"), hold_lock("mine", alone=True, cancel=cancel):
        pytest.fail("it was not its turn")
    leave(other)
    with hold_lock("mine", alone=True):
        pass  # nothing was left in the queue


def test_a_folder_that_cannot_be_used_delays_no_process(place: Path) -> None:
    place.symlink_to("/")
    with hold_lock("mine", alone=True):
        assert not list(Path("/").glob("*-alone-*"))


def test_a_damaged_ticket_is_reported_without_its_words(place: Path) -> None:
    other = holder("measuring", "alone")
    next(place.glob("*-alone-*")).write_text(json.dumps({"who": "x"}))
    thread, reported, _ = waiting_for(alone=True)
    until(lambda: reported)
    words = "waiting for another process: something since a moment ago; 1 before you, expected wait not known"
    assert reported == [words]
    leave(other)
    thread.join(10)


STOPPABLE = """
import sys
from workbench.locks import beats
beats.BEAT_S, beats.LOST_S = 0.1, 0.8
from workbench.system.measuring_lock import hold_lock
with hold_lock("measuring", alone=True, waiting=lambda text: print(text, flush=True)) as turn:
    print("holding", flush=True)
    for line in sys.stdin:
        times = []
        turn.undisturbed(lambda: (times.append(1), print("working", flush=True), sys.stdin.readline()))
        print(f"{len(times)} times", flush=True)
"""


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a turn, works in it, and is stopped; silence of a second is long here."""
    monkeypatch.setattr(beats, "SILENT_S", 1.0)
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPABLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    process.stdin.write("work\n")
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGSTOP)
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate(timeout=10)


def test_a_stopped_holder_is_passed_over_and_repeats_its_work_in_a_new_turn(
    stopped: subprocess.Popen[str],
) -> None:
    assert stopped.stdin is not None
    assert stopped.stdout is not None
    with hold_lock("mine", alone=True):
        stopped.send_signal(signal.SIGCONT)
        stopped.stdin.write("end of the work that was held up\n")
        reported = stopped.stdout.readline()
        assert f"(process {os.getpid()}): mine since " in reported  # it queues again, behind this process
    assert stopped.stdout.readline() == "working\n"
    stopped.stdin.write("end of the repeated work\n")
    assert stopped.stdout.readline() == "2 times\n"


def test_a_stopped_holder_is_passed_over_at_once_the_second_time(stopped: subprocess.Popen[str]) -> None:
    reported: list[str] = []
    for _ in range(2):
        with hold_lock("mine", alone=True, waiting=reported.append):
            pass
    assert [text.startswith("waiting for ") for text in reported].count(True) == 1


def test_a_holder_that_only_sleeps_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "SILENT_S", 1.0)
    script = STOPPABLE.replace("for line in sys.stdin", "import time\n    time.sleep(2.5)\n    for line in ()")
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "holding\n"
    with hold_lock("mine", alone=True):
        assert other.wait(5) == 0
    other.stdout.close()


def test_a_process_stopped_while_it_draws_its_number_is_passed_over(place: Path, monkeypatch) -> None:
    monkeypatch.setattr(beats, "SILENT_S", 0.3)
    with hold_lock("mine", alone=True):
        pass
    with (place / "gate").open() as gate:
        assert holders.lock(gate.fileno())
        with hold_lock("mine", alone=True):
            pass


def test_a_wait_for_a_number_is_reported_and_can_be_given_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring_lock, "GATE_S", 0.2)
    cancel, said_texts = threading.Event(), list[str]()

    def hear(text: str) -> None:
        said_texts.append(text)
        cancel.set()

    with hold_lock("mine", alone=True):
        pass
    with (place / "gate").open() as gate:
        assert holders.lock(gate.fileno())
        turn = hold_lock("mine", alone=True, waiting=hear, cancel=cancel)
        with pytest.raises(Cancelled, match="waiting for the measuring lock"), turn:
            pytest.fail("it was not its turn")
    assert said_texts[0].startswith("waiting for another process: taking a place in the queue since ")
    assert list(place.glob("[0-9]*-*")) == []


def test_the_end_of_a_long_wait_is_reported_with_its_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "LONG_S", 0.5)
    other = holder("measuring", "alone")
    thread, said_texts, _ = waiting_for(alone=True)
    until(lambda: said_texts)
    time.sleep(1.2)
    leave(other)
    thread.join(10)
    assert re.fullmatch(r"the wait for the measuring lock ended after [1-9]\d* s", said_texts[-1])
    said_texts.clear()
    with hold_lock("mine", alone=True, waiting=said_texts.append):
        pass
    assert said_texts == []


def test_a_wait_is_reported_again_with_how_long_it_has_been(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "REPEAT_S", 0.5)
    other = holder("measuring", "alone")
    thread, reported, _ = waiting_for(alone=True)
    until(lambda: len(reported) >= 3)
    leave(other)
    thread.join(10)
    assert "so far" not in reported[0]
    assert reported[1].endswith(" s so far)")
    assert len(reported) < 8
