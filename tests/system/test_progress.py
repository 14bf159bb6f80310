"""Progress is one bar in a terminal, and plain lines after a silence elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import model_zoo
import pytest

from workbench.records import Event, Progress
from workbench.system import progress
from workbench.system.progress import ProgressBar, followed

SHOWN = """
import time
from workbench.records import Event, Progress
from workbench.system.progress import ProgressBar
with ProgressBar() as bar:
    bar(Event("batch {1}: round 5\\x1b[2J", progress=Progress("measure", 4, 12, "rounds", 30.0)))
    while bar._shown is None:
        time.sleep(0.05)
    bar.write("a message")
    bar(Event("scoring", progress=Progress("score", 12, 12, "engines")))
    bar._draw()
    bar(Event("", progress=Progress("write the report")))
    bar._draw()
print("the end")
"""


DEFAULT = """
import time
from workbench.records import Event, Progress
from workbench.system.progress import followed
with followed(None) as listener:
    listener(Event("round 5", progress=Progress("measure", 4, 12, "rounds")))
    ends = time.monotonic() + 20
    while getattr(listener, "_shown", None) is None and time.monotonic() < ends:
        time.sleep(0.05)
"""
COMMAND = """
import time
from workbench.cli import entry, run
from workbench.cli.answer import Answer
def waits(options, bar):
    ends = time.monotonic() + 20
    while bar._shown is None and time.monotonic() < ends:
        time.sleep(0.05)
    return Answer("the end", {})
run.run = waits
entry.main(["run"])
"""
MEASURED = """
import workbench
workbench.run(workbench.Experiment(model={model!r}, data="random", backends="onnxruntime", precisions="fp32", batches=1, rounds=2,
    measure_s=0.6, max_measure_s=0.6), store={store!r})
"""


def in_terminal(code: str, columns: int) -> str:
    """What a Python program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # Linux: the last process has closed the other end
                break
            if not part:
                break
            found += part
    os.close(ours)
    assert process.returncode == 0, found.decode()
    return found.decode()


def test_a_terminal_shows_one_bar_below_the_messages_and_nothing_of_it_at_the_end() -> None:
    written = in_terminal(SHOWN, 120)
    assert "\rmeasure |████████                | 4 of 12 rounds, " in written
    assert "about 30 s left, batch {1}: round 5?[2J" in written
    assert "\x1b" not in written
    assert "score |████████████████████████| 12 of 12 engines" in written
    assert "write the report: " in written
    lines = written.split("\n")  # a line ends where a newline is; the bar returns to its beginning instead
    assert [line.rstrip("\r").rpartition("\r")[2] for line in lines] == ["a message", "the end", ""]


def test_without_a_function_for_events_a_terminal_shows_a_bar_and_nothing_else_does(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert "measure |████████                | 4 of 12 rounds" in in_terminal(DEFAULT, 120)
    with followed(None) as listener:
        assert not isinstance(listener, ProgressBar)
        listener(Event("round 5", progress=Progress("measure", 4, 12, "rounds")))
    given: list[Event] = []
    with followed(given.append) as listener:
        listener(Event("round 5"))
    assert [event.text for event in given] == ["round 5"]
    assert capfd.readouterr() == ("", "")


def test_a_command_shows_what_goes_on_before_its_first_step() -> None:
    assert "load the libraries: " in in_terminal(COMMAND, 120)


@pytest.mark.long
def test_a_run_in_a_script_shows_its_progress_in_a_terminal(tmp_path: Path) -> None:
    model = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx")
    code = MEASURED.format(model=str(model), store=str(tmp_path / "store"))
    assert "\rmeasure |" in in_terminal(code, 120)
    quiet = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_a_narrow_terminal_cuts_the_bar_to_its_width() -> None:
    for part in in_terminal(SHOWN, 40).replace("\n", "\r").split("\r"):
        assert len(part) <= 40


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT_S", 0.2)
    monkeypatch.setattr(progress, "TICK_S", 0.02)


def lines_of(out: io.StringIO, count: int) -> list[str]:
    """The lines that were written, once there are so many."""
    ends = time.monotonic() + 20
    while len(found := out.getvalue().splitlines()) < count and time.monotonic() < ends:
        time.sleep(0.01)
    return found


def test_a_file_gets_a_plain_line_after_each_silence(quick) -> None:
    out = io.StringIO()
    with ProgressBar(out) as bar:
        bar(Event("batch 1: round 5 of 12", progress=Progress("measure", 4, 12, "rounds", 200.0)))
        first = lines_of(out, 1)[0]
        bar(Event("waiting for ann: building since 10:00:00", progress=None))
        again = lines_of(out, len(out.getvalue().splitlines()) + 2)[-1]
    assert first == "… measure: 4 of 12 rounds, about 3 min left (0 s so far, batch 1: round 5 of 12)"
    assert "waiting for ann" in again
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_line_is_written_even_before_the_first_event_and_none_after_the_end(quick) -> None:
    out = io.StringIO()
    with ProgressBar(out):
        assert lines_of(out, 1)[0].startswith("… working (")
    before = out.getvalue()
    time.sleep(0.5)
    assert out.getvalue() == before


def test_messages_put_the_next_line_off(monkeypatch) -> None:
    monkeypatch.setattr(progress, "TICK_S", 0.02)
    out = io.StringIO()
    with ProgressBar(out) as bar:
        bar.write("one\x1b[2J")
        time.sleep(0.2)
        bar.write("two")
    assert out.getvalue() == "one?[2J\ntwo\n"


def test_nothing_is_shown_where_no_progress_is_wanted(quick) -> None:
    out = io.StringIO()
    with ProgressBar(out, show=False) as bar:
        bar(Event("step", progress=Progress("measure", 1, 2)))
        time.sleep(0.5)
        bar.write("a message")
    assert out.getvalue() == "a message\n"


def test_a_new_phase_forgets_the_step_of_the_one_before() -> None:
    bar = ProgressBar(io.StringIO(), show=False)
    bar(Event("round 3", progress=Progress("measure", 2, 12)))
    bar(Event(str(Progress("score", 0, 4, "engines")), progress=Progress("score", 0, 4, "engines")))
    assert bar.line() == "… score: 0 of 4 engines (0 s so far)"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Progress("measure"), "measure"),
        (Progress("measure", 3, 12, "rounds"), "measure: 3 of 12 rounds"),
        (Progress("measure", 3, 12, "rounds", 40.4), "measure: 3 of 12 rounds, about 40 s left"),
        (Progress("measure", 0, 0, "", 600.0), "measure: about 10 min left"),
        (Progress("measure", 3, 12, "rounds", 40.4, at_most=True), "measure: 3 of 12 rounds, up to about 40 s left"),
    ],
)
def test_progress_in_words(found: Progress, text: str) -> None:
    assert str(found) == text


def test_an_open_notebook_shows_a_widget(monkeypatch, capsys) -> None:
    import ipykernel  # noqa: F401 - as in a kernel

    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    with ProgressBar() as bar:
        bar(Event("batch 1", progress=Progress("measure", 4, 12, "rounds", 30.0)))
        bar._draw()
        left, middle, right = bar._shown.container.children
        assert (left.value, middle.value, middle.max) == ("measure", 4, 12)
        text = right.value.replace("\u2007", " ")  # figure spaces
        assert text.startswith("4 of 12 rounds, ")
        assert text.endswith("about 30 s left, batch 1")
        bar(Event("", progress=Progress("write the report")))
        bar._draw()
    assert "\r" not in capsys.readouterr().err
