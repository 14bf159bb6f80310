"""The processes of ``workbench worker``, with a program in place of Dask's."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

TEXT = """
import sys
from pathlib import Path
from workbench.cluster.starting import serve
serve([sys.executable, "-c", sys.argv[1]], Path("store"), print)
"""
PROGRAM = """
import os, subprocess, sys, time
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), below.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_all_processes_of_a_worker_end_with_it(number) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", TEXT, PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    found = [psutil.Process(int(word)) for word in command.stdout.readline().split()]
    assert len(found) == 2
    command.send_signal(number)
    command.communicate(timeout=60)
    _, alive = psutil.wait_procs(found, timeout=60)
    assert all(each.status() == psutil.STATUS_ZOMBIE for each in alive)
