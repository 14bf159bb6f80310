"""Workers that are forked from one import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from test_worker import ENDS_WITHIN_S

from workbench.errors import RunError, WorkerError
from workbench.workers.fork_server import ForkServer
from workbench.workers.worker import QUIET_ENV, Worker


@pytest.fixture
def fork_server(tmp_path):
    with ForkServer(
        tmp_path / "fork_server.log", ["decimal", "numpy"], QUIET_ENV | {"OPENBLAS_NUM_THREADS": "1"}
    ) as made:
        assert made.wait()
        yield made


def test_a_forked_worker_works_like_any_other(tmp_path, fork_server):
    with Worker(tmp_path / "log", fork_server=fork_server, env={"WORKBENCH_SCRATCH": "elsewhere"}) as worker:
        phases = []
        assert (
            worker.call("hello", modules=["decimal"], progress=phases.append)["rss_bytes"] > fork_server.rss_bytes / 2
        )
        assert phases == ["import decimal"]
        with pytest.raises(RunError, match="No module named 'nothing'") as caught:
            worker.call("hello", modules=["nothing"])
        assert "Traceback" in caught.value.log
        process = psutil.Process(worker.process.pid)
        assert process.ppid() != os.getpid()
        assert worker.process.poll() is None
    assert worker.process.returncode == 0
    assert not process.is_running()


def test_a_crash_costs_one_worker(tmp_path, fork_server):
    with (
        Worker(tmp_path / "a", fork_server=fork_server) as one,
        Worker(tmp_path / "b", fork_server=fork_server) as other,
    ):
        os.kill(one.process.pid, signal.SIGSEGV)
        with pytest.raises(WorkerError, match="ended with SIGSEGV during the step 'hello'"):
            one.call("hello", modules=[])
        assert other.call("hello", modules=[])
        other.kill()
        assert other.process.returncode == -signal.SIGKILL


def test_workers_outlive_their_fork_server(tmp_path, fork_server):
    with Worker(tmp_path / "log", fork_server=fork_server) as worker:
        fork_server.close()
        assert worker.call("hello", modules=[])
        with Worker(tmp_path / "log2", fork_server=fork_server) as other:  # and a later one is started, not forked
            assert psutil.Process(other.process.pid).ppid() == os.getpid()


def test_a_library_that_starts_threads_is_not_forked(tmp_path, monkeypatch):
    (tmp_path / "busy_library.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    env = QUIET_ENV | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{QUIET_ENV['PYTHONPATH']}"}
    with ForkServer(tmp_path / "fork_server.log", ["busy_library"], env) as made:
        assert not made.wait()
        with Worker(tmp_path / "log", fork_server=made) as worker:
            assert worker.call("hello", modules=[])


def test_a_library_that_does_not_import_leaves_that_to_the_worker_to_say(tmp_path):
    with ForkServer(tmp_path / "fork_server.log", ["no_such_library"], QUIET_ENV) as made:
        assert not made.wait()


PARENT = """
import sys
from pathlib import Path
from workbench.workers.fork_server import ForkServer
from workbench.workers.worker import QUIET_ENV, Worker
fork_server = ForkServer(Path(sys.argv[1] + "/n"), ["decimal"], QUIET_ENV)
assert fork_server.wait()
worker = Worker(Path(sys.argv[1] + "/w"), fork_server=fork_server)
worker.call("hello", modules=[])
print(fork_server._process.pid, worker.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_leaves_neither_fork_server_nor_worker(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    left = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(left, timeout=ENDS_WITHIN_S)
    assert not alive
