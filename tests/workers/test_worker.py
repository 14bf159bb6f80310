import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import model_zoo
import numpy as np
import psutil
import pytest

from workbench.errors import (
    Cancelled,
    InputError,
    MemoryLimitError,
    RunError,
    TimeLimitError,
    WorkbenchError,
    WorkerError,
    during,
)
from workbench.system.limits import StepLimits
from workbench.system.memory import free_bytes
from workbench.workers.fork_server import ForkServer
from workbench.workers.pool import Pool
from workbench.workers.worker import QUIET_ENV, Worker


@pytest.fixture
def worker(tmp_path):
    with Worker(tmp_path / "log") as made:
        yield made


def test_a_task_answers(worker):
    assert worker.call("hello", modules=["json"])["rss_bytes"] > 1_000_000


@pytest.mark.parametrize("forked", [False, True])
def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch, forked):
    """A download may bring a folder with a model, and beside it modules with the names of libraries."""
    monkeypatch.chdir(tmp_path)
    for name in ("onnx", "json", "planted"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with ExitStack() as stack:
        server = stack.enter_context(ForkServer(tmp_path / "server.log", ["json"], QUIET_ENV)) if forked else None
        assert server is None or server.wait()
        worker = stack.enter_context(Worker(tmp_path / "log", fork_server=server))
        assert worker.forked is forked
        worker.call("hello", modules=["onnx"])
        with pytest.raises(RunError, match="No module named 'planted'"):
            worker.call("hello", modules=["planted"])
    assert not (tmp_path / "ran").exists()


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
    with pytest.raises(WorkerError, match=r"took longer than its limit of 0\.2 s"):
        worker.call("hello", modules=["tensorflow"], limit_s=0.2)
    assert worker.process.poll() is not None


def test_cancel_ends_the_child_at_once(tmp_path):
    cancel = threading.Event()
    with Worker(tmp_path / "log", cancel=cancel) as worker:
        threading.Timer(0.3, cancel.set).start()
        with pytest.raises(Cancelled):
            worker.call("hello", modules=["tensorflow"])
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
    """It notices that its parent is gone by the answer that is not read, before the watchdog does."""
    with Worker(tmp_path / "log") as worker:
        worker.call("hello", modules=["json"])
        scratch = worker._scratch.path
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


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            StepLimits(memory_bytes=40 * 2**20),
            r"m.onnx' was not read. .*[Mm]emory .* The step's memory limit is 40 MiB. Raise it with the option --step-memory-mib",
        ),
        (
            StepLimits(seconds=0.05),
            r"m.onnx' was not read. .* took longer than its limit of 0.05 s .* Raise it with the option --step-s",
        ),
    ],
)
def test_reading_a_model_that_meets_a_limit_names_the_limit_and_its_option_and_no_damage(store, tmp_path, limits, said):
    from workbench.runs import sources

    path = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    with Pool(store.log_path, limits=limits) as pool, pytest.raises(InputError, match=said) as error:
        sources.read_model(store, pool, str(path))
    assert "damaged" not in error.value.message
    assert "\n" not in error.value.message
    assert len(error.value.message) < 700


@pytest.mark.long
@pytest.mark.skipif(free_bytes() < 10 * 2**30, reason="3 GiB and as much room again must be free")
def test_a_small_file_with_large_values_inside_is_read(store, tmp_path):
    """Twelve times the file and two GiB, which was the limit before, do not hold 768 Mi values of 4 bytes."""
    from onnx import helper

    from workbench.runs import sources

    weights = {
        "shape": np.array([2**28], np.int64),
        "axis": np.array([0], np.int64),
        "one": np.array([[1.0, 1, 1]], np.float32),
    }
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"], value=helper.make_tensor("v", 1, [1], [1.0])),
        helper.make_node("Add", ["big", "big"], ["bigger"]),
        helper.make_node("Mul", ["bigger", "big"], ["biggest"]),
        helper.make_node("ReduceMax", ["biggest"], ["most"], axes=[0], keepdims=1),
        helper.make_node("ReduceSum", ["x", "axis1"], ["sum"], keepdims=1),
        helper.make_node("MatMul", ["sum", "one"], ["product"]),
        helper.make_node("Mul", ["product", "most"], ["y"]),
    ]
    weights["axis1"] = np.array([1], np.int64)
    del weights["axis"]
    path = model_zoo.save(model_zoo.onnx_model(nodes, weights), tmp_path / "m.onnx")
    with Pool(store.log_path) as pool:
        assert sources.read_model(store, pool, str(path)).probe.worked


@pytest.mark.long
def test_a_conversion_that_meets_its_limit_is_tried_once(store, tmp_path, monkeypatch):
    """Neither another route nor another variant begins it again."""
    import workbench

    path = model_zoo.keras_mlp(tmp_path / "m.keras")
    asked = workbench.Experiment(
        model=str(path), data="random", backends="onnxruntime,openvino", precisions="fp32,fp16", batches="1", measure_s=0.05,
        max_measure_s=0.05, rounds=1,
    )  # fmt: skip
    call, exports = Pool._call, []

    def limited(self, name, task, progress, arguments):
        if task == "export_onnx":
            exports.append(task)
            arguments |= {"limit_s": 0.05}
        return call(self, name, task, progress, arguments)

    monkeypatch.setattr(Pool, "_call", limited)
    results = workbench.run(asked, store=store)
    assert exports == ["export_onnx"]
    messages = {row.failure.message for row in results.rows if row.status == "failed"}
    assert len(messages) == 1
    assert "took longer than its limit of 0.05 s" in messages.pop()


def test_a_step_that_waits_on_a_busy_machine_is_said_to_be_slow(tmp_path):
    with Worker(tmp_path / "log") as worker:
        worker.call("hello", modules=["json"])
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(TimeLimitError, match=r"It computed for 0 s of them: other programs keep this machine busy"):
            worker.call("hello", modules=["csv"], limit_s=1.0)


STOPPED = """
import os, pathlib, signal, sys
from workbench.workers.worker import Worker
with Worker(pathlib.Path(sys.argv[1])) as worker:
    worker.call("hello", modules=["json"])
    os.kill(worker.process.pid, signal.SIGSTOP)
    worker.send("hello", modules=["csv"])
    print(worker.process.pid, flush=True)
    worker.receive("hello", limit_s=5.0)
    print("answered", flush=True)
"""


@pytest.mark.long
def test_time_in_which_a_run_was_stopped_does_not_count_towards_the_limit_of_its_step(tmp_path):
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "log")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child = int(run.stdout.readline())
    run.send_signal(signal.SIGSTOP)
    time.sleep(6)
    run.send_signal(signal.SIGCONT)
    time.sleep(0.3)
    os.kill(child, signal.SIGCONT)
    answer, error = run.communicate(timeout=60)
    assert (answer, error) == ("answered\n", "")


@pytest.mark.parametrize(
    "text", ["std::bad_alloc", "OOM when allocating tensor", "Failed to allocate memory", "Unable to allocate 3 GiB"]
)
def test_memory_that_ran_out_in_a_library_is_not_damage(text):
    with (
        pytest.raises(MemoryLimitError, match="Memory ran out in the step 'convert the model'"),
        during("convert", "the model"),
    ):
        raise RuntimeError(text)


def test_what_a_library_raises_while_reading_is_an_input_error(store, tmp_path, monkeypatch):
    """A library raises an unexpected error: here the child really raises, though in another task."""
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
        "import sys, threading; from workbench.workers import child; forked = [];"
        "sys.addaudithook(lambda event, _: forked.append(event) if event == 'os.fork' else None); import openvino;"
        "print(forked, [each.name for each in threading.enumerate()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[] ['MainThread']"
    with Worker(tmp_path / "log") as worker:
        worker.call("hello", modules=["openvino"])
        assert psutil.Process(worker.process.pid).children() == []
