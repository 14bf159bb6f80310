"""Nothing that a supervised program started outlives it or the process that started it; all processes here are real."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from workbench.system.supervisor import supervised

LIMIT_S = 60
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
# starts a process that ignores SIGTERM and whose parent ends at once, in a session of its own
ORPHANING = f"""
import os, subprocess, sys
made = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE, start_new_session=True); "
made += "p.stdout.readline(); print(p.pid)"
print(os.getpid(), subprocess.check_output([sys.executable, "-c", made, {STUBBORN!r}], text=True).strip(), flush=True)
"""
PARENT = """
import subprocess, sys
from workbench.system.supervisor import supervised
process = subprocess.Popen(supervised(sys.argv[2:], stop_s=float(sys.argv[1])), stdout=subprocess.PIPE, text=True, start_new_session=True)
print(process.pid, process.stdout.readline().strip(), flush=True)
process.wait()
"""


def started(program: str, **more: str) -> subprocess.Popen[str]:
    words = supervised([sys.executable, "-c", program], stop_s=LIMIT_S, **more)
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)


def said(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes whose numbers the program prints in its first line."""
    assert process.stdout is not None
    return [psutil.Process(int(word)) for word in process.stdout.readline().split()]


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all have ended within a minute; one that was not collected yet has ended too."""
    _, alive = psutil.wait_procs(processes, timeout=LIMIT_S)
    return all(each.status() == psutil.STATUS_ZOMBIE for each in alive)


def test_a_killed_program_leaves_no_process_and_no_file(tmp_path) -> None:
    for name in ("mine_1", "mine_2", "other"):
        (tmp_path / name).touch()
    process = started(f"{ORPHANING}\nimport time; time.sleep(600)", files=str(tmp_path / "mine_"))
    program, orphan = said(process)
    program.kill()
    assert process.wait(LIMIT_S) == -signal.SIGKILL
    assert gone([orphan])
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    process.stdout.close()


@pytest.mark.parametrize("more", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_nothing_outlives_a_killed_parent(more) -> None:
    program = f"{more}\n{ORPHANING}\nimport time; time.sleep(600)"
    words = [sys.executable, "-c", PARENT, "0.5", sys.executable, "-c", program]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    processes = said(parent)
    assert len(processes) == 3  # the supervisor, the program, the orphan
    parent.kill()
    parent.communicate()
    assert gone(processes)


def test_a_program_that_ends_leaves_no_process_and_gives_its_status() -> None:
    process = started(f"{ORPHANING}\nsys.exit(7)")
    processes = said(process)
    assert process.wait(LIMIT_S) == 7
    assert gone(processes)
    process.stdout.close()


def test_signals_reach_the_program() -> None:
    text = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5)); print(flush=True); time.sleep(600)"
    process = started(text)
    assert said(process) == []
    process.send_signal(signal.SIGUSR1)
    assert process.wait(LIMIT_S) == 5
    process.stdout.close()


def test_a_program_ignores_and_blocks_no_more_signals_than_one_that_is_started_directly() -> None:
    words = ["grep", "Sig[IB]", "/proc/self/status"]
    own, direct = (
        [int(line.split()[1], 16) for line in subprocess.check_output(command).splitlines()]
        for command in (supervised(words, stop_s=1), words)
    )
    assert len(own) == 2
    assert [mask & ~plain for mask, plain in zip(own, direct, strict=True)] == [0, 0]


def test_a_program_whose_supervisor_is_killed_is_asked_to_end() -> None:
    process = started("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    program = said(process)
    process.kill()
    process.wait()
    assert gone(program)
    process.stdout.close()


def test_a_program_that_is_not_there_has_the_status_of_a_shell() -> None:
    process = subprocess.Popen(supervised(["/no/program"], stop_s=1), stderr=subprocess.PIPE, text=True)
    _, error = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, error) == (127, "'/no/program' cannot be run\n")
