import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workbench.errors import Cancelled, InputError, RunError, WorkbenchError, WorkerError
from workbench.workers.worker import Pool, Worker


@pytest.fixture
def worker(tmp_path):
    with Worker(tmp_path / "log") as made:
        yield made


def test_a_task_answers(worker):
    assert worker.call("hello", modules=["json"])["rss_bytes"] > 1_000_000


def test_phases_arrive_while_it_works(worker):
    phases = []
    worker.call("hello", modules=["json", "csv"], progress=phases.append)
    assert phases == ["import json", "import csv"]


def test_an_error_keeps_its_kind_and_sentence(worker, tmp_path):
    with pytest.raises(InputError) as caught:
        worker.call("inspect", path=str(tmp_path / "no.onnx"), signature="")
    assert "no.onnx" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_unexpected_error_is_one_sentence_and_the_log_has_the_rest(worker):
    with pytest.raises(
        RunError, match="The step 'hello' failed: ModuleNotFoundError: No module named 'nothing'"
    ) as caught:
        worker.call("hello", modules=["nothing"])
    assert "Traceback" in caught.value.log
    assert worker.call("hello", modules=[])  # and the worker goes on


def test_a_crash_is_named(worker):
    worker.send("hello", modules=["this"])
    worker.receive("hello")
    os.kill(worker.process.pid, signal.SIGSEGV)
    with pytest.raises(WorkerError, match="ended with SIGSEGV during the step 'hello'"):
        worker.call("hello", modules=[])


def test_a_hang_is_ended(worker):
    with pytest.raises(WorkerError, match="took longer than its time limit"):
        worker.call("hello", modules=["tensorflow"], limit_s=0.2)
    assert worker.process.poll() is not None


def test_cancel_ends_the_child_at_once(tmp_path):
    cancel = threading.Event()
    with Worker(tmp_path / "log", cancel=cancel) as worker:
        threading.Timer(0.3, cancel.set).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            worker.call("hello", modules=["tensorflow"])
        assert time.monotonic() - began < 2.0
        assert worker.process.returncode == -signal.SIGKILL


ENDS_WITHIN_S = 30
"""A child that imports TensorFlow holds the interpreter's lock for seconds on a busy machine."""

PARENT = """
import sys, threading
from pathlib import Path
from workbench.workers.worker import Worker
worker = Worker(Path(sys.argv[1]))
worker.call("hello", modules=[])
worker.send("hello", modules=["tensorflow"])
print(worker.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_leaves_no_orphan(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs([child], timeout=ENDS_WITHIN_S)
    assert not alive


def test_the_log_may_hold_anything(worker):
    worker.log.write_bytes(b"\xff\xfe broken \x80")
    assert "broken" in worker.log_tail()


def test_a_worker_of_a_pool_can_be_ended(store):
    with Pool(store.log_path) as pool:
        pool.end("a")  # there is none
        pool.call("a", "hello", modules=[])
        first = pool._workers["a"].process
        pool.end("a")
        assert first.poll() is not None
        pool.call("a", "hello", modules=[])
        assert pool._workers["a"].process.pid != first.pid


def test_a_pool_replaces_a_dead_worker(store):
    with Pool(store.log_path) as pool:
        pool.call("a", "hello", modules=[])
        os.kill(pool._workers["a"].process.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"SIGKILL \(usually out of memory\)"):
            pool.call("a", "hello", modules=[])
        assert pool.call("a", "hello", modules=[])


def test_answers_are_json_lines_of_any_length(worker, tmp_path):
    path = tmp_path / ("x" * 200 + ".onnx")
    with pytest.raises(InputError) as caught:
        worker.call("inspect", path=str(path), signature="y" * 100_000)
    json.dumps(str(caught.value))


def test_a_task_that_grows_is_ended(tmp_path):
    """Both ways: the parent that looks, and the limit on allocations inside the child."""

    with Worker(tmp_path / "grow.log") as worker:
        worker.call("hello", modules=["numpy"], memory_bytes=2**30)
        worker.call("hello", modules=["onnx"], memory_bytes=2**30)  # the limit of one task is not that of the next
    with Worker(tmp_path / "grow.log") as worker, pytest.raises(WorkbenchError) as error:
        worker.call("hello", modules=["tensorflow"], memory_bytes=150 * 2**20)
    assert "\n" not in str(error.value)


def test_a_workers_temporary_files_go_with_it(tmp_path, monkeypatch):
    """However it ends: closed, killed, or left alone by a parent that is gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = tmp_path / "log"
    for end in (Worker.close, Worker.kill):
        worker = Worker(log)
        worker.call("hello", modules=["json"])
        folder = next(tmp_path.glob("workbench-*"))
        (folder / "half").write_text("x")
        end(worker)
        assert list(tmp_path.iterdir()) == [log]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=ENDS_WITHIN_S)
    assert list(tmp_path.iterdir()) == [log]


def test_a_worker_that_cannot_answer_removes_its_files_too(tmp_path):
    """It notices that its parent is gone by the answer that nobody reads, before the watchdog does."""
    with Worker(tmp_path / "log") as worker:
        worker.call("hello", modules=["json"])
        scratch = Path(worker._scratch)
        assert scratch.is_dir()
        os.close(worker._read)
        worker._read = -1
        worker.send("hello", modules=["json"])
        worker.process.wait(timeout=ENDS_WITHIN_S)
        assert not scratch.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_a_crash_leaves_no_core_file(worker):
    worker.call("hello", modules=[])
    assert psutil.Process(worker.process.pid).rlimit(psutil.RLIMIT_CORE)[0] == 0


def test_reading_a_model_that_needs_too_much_is_an_input_error(store, tmp_path, monkeypatch):
    import model_zoo

    from workbench.runs import sources

    path = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    monkeypatch.setattr(sources, "READING_MEMORY_BYTES", 40 * 2**20)
    with Pool(store.log_path) as pool, pytest.raises(InputError, match=r"m.onnx' .*Export it again") as error:
        sources.read_model(store, pool, str(path))
    assert "\n" not in error.value.message
    assert len(error.value.message) < 700


def test_what_a_library_raises_while_reading_is_an_input_error(store, tmp_path, monkeypatch):
    """A library fails as nobody foresaw: here the child really raises, though in another task."""
    import model_zoo

    from workbench.runs import sources

    path = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    with Pool(store.log_path) as pool:
        call = pool.call
        monkeypatch.setattr(pool, "call", lambda name, *_, **__: call(name, "hello", modules=["no_such_library"]))
        with pytest.raises(InputError, match=r"m.onnx' could not be read; .*no_such_library") as error:
            sources.read_model(store, pool, str(path))
    assert "no_such_library" in error.value.log


def test_no_library_reports_its_use_from_a_worker(tmp_path):
    """OpenVINO's import forks a process for that, from a thread of its own."""
    code = (
        "import sys, threading; from workbench.workers import child; child.no_telemetry(); forked = [];"
        "sys.addaudithook(lambda event, _: forked.append(event) if event == 'os.fork' else None); import openvino;"
        "print(forked, [each.name for each in threading.enumerate()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[] ['MainThread']"
    with Worker(tmp_path / "log") as worker:
        worker.call("hello", modules=["openvino"])
        assert psutil.Process(worker.process.pid).children() == []
