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
from workbench.workers.nursery import Nursery
from workbench.workers.worker import QUIET_ENV, Worker


@pytest.fixture
def nursery(tmp_path):
    with Nursery(tmp_path / "nursery.log", ["decimal", "numpy"], QUIET_ENV | {"OPENBLAS_NUM_THREADS": "1"}) as made:
        assert made.wait()
        yield made


def test_a_forked_worker_works_like_any_other(tmp_path, nursery):
    with Worker(tmp_path / "log", nursery=nursery, env={"WORKBENCH_SCRATCH": "elsewhere"}) as worker:
        phases = []
        assert worker.call("hello", modules=["decimal"], progress=phases.append)["rss_bytes"] > nursery.rss_bytes / 2
        assert phases == ["import decimal"]
        with pytest.raises(RunError, match="No module named 'nothing'") as caught:
            worker.call("hello", modules=["nothing"])
        assert "Traceback" in caught.value.log
        process = psutil.Process(worker.process.pid)
        assert process.ppid() != os.getpid()
        assert worker.process.poll() is None
    assert worker.process.returncode == 0
    assert not process.is_running()


def test_a_crash_costs_one_worker(tmp_path, nursery):
    with Worker(tmp_path / "a", nursery=nursery) as one, Worker(tmp_path / "b", nursery=nursery) as other:
        os.kill(one.process.pid, signal.SIGSEGV)
        with pytest.raises(WorkerError, match="ended with SIGSEGV during the step 'hello'"):
            one.call("hello", modules=[])
        assert other.call("hello", modules=[])
        other.kill()
        assert other.process.returncode == -signal.SIGKILL


def test_workers_outlive_their_nursery(tmp_path, nursery):
    with Worker(tmp_path / "log", nursery=nursery) as worker:
        nursery.close()
        assert worker.call("hello", modules=[])
        with Worker(tmp_path / "log2", nursery=nursery) as other:  # and a later one is started, not forked
            assert psutil.Process(other.process.pid).ppid() == os.getpid()


def test_a_library_that_starts_threads_is_not_forked(tmp_path, monkeypatch):
    (tmp_path / "busy_library.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    env = QUIET_ENV | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{QUIET_ENV['PYTHONPATH']}"}
    with Nursery(tmp_path / "nursery.log", ["busy_library"], env) as made:
        assert not made.wait()
        with Worker(tmp_path / "log", nursery=made) as worker:
            assert worker.call("hello", modules=[])


def test_a_library_that_does_not_import_leaves_that_to_the_worker_to_say(tmp_path):
    with Nursery(tmp_path / "nursery.log", ["no_such_library"], QUIET_ENV) as made:
        assert not made.wait()


PARENT = """
import sys
from pathlib import Path
from workbench.workers.nursery import Nursery
from workbench.workers.worker import QUIET_ENV, Worker
nursery = Nursery(Path(sys.argv[1] + "/n"), ["decimal"], QUIET_ENV)
assert nursery.wait()
worker = Worker(Path(sys.argv[1] + "/w"), nursery=nursery)
worker.call("hello", modules=[])
print(nursery._process.pid, worker.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_leaves_neither_nursery_nor_worker(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    left = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(left, timeout=ENDS_WITHIN_S)
    assert not alive
