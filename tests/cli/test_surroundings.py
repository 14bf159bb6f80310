"""Standard streams that are closed, full or take ASCII only, and signals, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import small_model

COMMAND = [sys.executable, "-m", "workbench"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A store whose listing has a path that no ASCII terminal can show."""
    store = tmp_path_factory.mktemp("größe")
    (store / "engine").mkdir()
    return store


def shell(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **env}
    )


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "| head -c 0; exit ${PIPESTATUS[0]}"])
def test_streams_that_are_closed_end_nothing(kept, closed) -> None:
    done = shell(f"{' '.join(COMMAND)} store --store {kept} {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_the_output_is_said_and_is_a_status(kept) -> None:
    done = shell(f"{' '.join(COMMAND)} store --store {kept} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "workbench: The output could not be written: No space left on device. The work continues.\n"


@pytest.mark.parametrize("words", ["store --store {kept}", "--help"])
def test_an_ascii_terminal_gets_question_marks(kept, words) -> None:
    done = shell(" ".join([*COMMAND, words.format(kept=kept)]), PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_a_report_on_a_name_that_is_not_text_is_refused_before_a_kernel_starts(tmp_path) -> None:
    words = [
        *COMMAND,
        "report",
        "--data",
        "random",
        "--output",
        tmp_path / "r.html",
        "--store",
        tmp_path / "s",
        "--model",
    ]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0"}
    for name, env, more in ((b"m\xff.onnx", {}, "."), ("größe.onnx".encode(), ascii_only, ", or set PYTHONUTF8=1")):
        model = small_model.small_onnx(tmp_path / "m.onnx")
        place = os.fsencode(tmp_path) + b"/" + name
        Path(model).rename(os.fsdecode(place))
        done = subprocess.run([*words, place], capture_output=True, timeout=120, check=False, env={**os.environ, **env})
        said = done.stderr.decode()
        assert done.returncode == 2
        assert said.startswith("workbench: 'model' is '")
        assert f"Rename the file or folder{more}" in said


@pytest.mark.parametrize("option", ["-v", "-d"])
def test_a_limit_of_memory_with_which_libraries_do_not_end_is_refused_at_once(kept, option) -> None:
    words = ["report", "--store", str(kept), "--output", str(kept / "r.html"), "--backends", "onnxruntime"]
    done = shell(f"ulimit {option} 1048576; exec {' '.join([*COMMAND, *words])}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"workbench: The limit 'ulimit {option}' allows a process 1.0 GiB of memory")
    assert done.stderr.endswith(f"with: ulimit {option} 2097152\n")


WAITS = """
import signal, sys, time
from workbench.cli import entry, store
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started by nohup
def items(place):
    print("running", flush=True, file=sys.__stdout__)
    time.sleep(60)
store.items = items
sys.exit(entry.main(["store", "--store", sys.argv[1]]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_with_a_message_of_what_is_kept(kept, number, status) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(kept)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == status
    assert error.endswith(f"What was finished is kept in the store {kept}; the same command continues from there.\n")


@pytest.mark.slow
def test_a_report_that_is_terminated_leaves_no_temporary_files(tmp_path) -> None:
    (tmp_path / "tmp").mkdir()
    model = small_model.small_onnx(tmp_path / "model.onnx")
    words = ["report", "--model", model, "--data", "random", "--backends", "onnxruntime", "--precisions", "fp32"]
    words += ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "out.html"), "--max-measure-s", "60"]
    process = subprocess.Popen(
        [*COMMAND, *words, "--measure-s", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )
    for line in process.stderr:  # progress goes there
        if "worker process" in line:
            break
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Ended by SIGTERM. What was finished is kept in the store" in error
    assert not list((tmp_path / "tmp").iterdir())
