"""No process of a run reports to anybody, seen by strace and in the home folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import model_zoo
import pytest

from workbench.system import telemetry

CALLS = "connect,sendto,sendmsg,sendmmsg,bind,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.)')
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^\w*(creat|mkdir|rename|link)", re.ASCII)
ALLOWED = ("/dev/", "/proc/self/", "/sys/fs/")


def _strace_works() -> bool:
    tool = shutil.which("strace")
    return bool(tool) and subprocess.run([tool, "-f", "true"], capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(not _strace_works(), reason="strace is not installed, or may not trace here")


def test_reports_are_off_as_soon_as_the_workbench_is_imported():
    code = "import os, workbench; print(*[os.environ[name] for name in workbench.system.telemetry.OFF])"
    bare = {name: value for name, value in os.environ.items() if name not in telemetry.OFF}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(telemetry.OFF.values())


def test_what_the_user_has_set_is_kept():
    code = "import os, workbench; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = os.environ | {"ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_onnx_runtime_after_the_workbench_starts_no_thread_and_leaves_no_file(tmp_path):
    model = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    code = (
        "import workbench, onnxruntime, pathlib\n"
        "options = onnxruntime.SessionOptions()\noptions.intra_op_num_threads = 1\n"
        f"onnxruntime.InferenceSession({str(model)!r}, options, providers=['CPUExecutionProvider'])\n"
        "print(len(list(pathlib.Path('/proc/self/task').iterdir())))"
    )
    bare = {name: value for name, value in os.environ.items() if name not in telemetry.OFF}
    (tmp_path / "home").mkdir()
    env = bare | {"HOME": str(tmp_path / "home"), "OPENBLAS_NUM_THREADS": "1"}
    env.pop("XDG_CACHE_HOME", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert list((tmp_path / "home").rglob("*")) == []
    assert int(done.stdout) == 1


@needs_strace
@pytest.mark.long
def test_a_whole_report_contacts_no_server_and_writes_in_the_store_and_its_temporary_folder_only(tmp_path):
    places = {name: tmp_path / name for name in ("home", "temporary", "turns", "store", "out")}
    for name in ("home", "temporary", "turns"):
        places[name].mkdir()
    model = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    command = [
        *("strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "300", "-e", f"trace={CALLS}", "-o", str(tmp_path / "trace")),
        *(sys.executable, "-m", "workbench", "report", "--model", str(model), "--backends", "onnxruntime,openvino"),
        *("--precisions", "fp32", "--batches", "1", "--measure-s", "0.1", "--max-measure-s", "0.1", "--rounds", "2"),
        *("--store", str(places["store"]), "--output", str(places["out"] / "r.html")),
    ]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name not in telemetry.OFF and "XDG" not in name} | {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "WORKBENCH_LOCKS": str(places["turns"]),
        "PYTHONDONTWRITEBYTECODE": "1",  # byte code of the installed packages is not a file of the run
    }
    subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    # nothing but the key that signs the store, which must not lie in the store
    key = places["home"] / ".config" / "inference-workbench" / "store.key"
    assert [path for path in places["home"].rglob("*") if path.is_file()] == [key]
    trace = (tmp_path / "trace").read_text(errors="replace").splitlines()
    calls = [line.partition(" ")[2].strip() for line in trace]
    assert len(calls) > 1000  # it was traced
    assert [call for call in calls if "AF_INET" in call and not LOOPBACK.search(call)] == []
    mine = (
        *(str(place) for place in places.values() if place != places["home"]),
        str(places["home"] / ".config"),
        *ALLOWED,
    )
    written = [call for call in calls if WRITES.search(call) and " = -1 " not in call and "resumed>" not in call]
    assert any(str(places["store"]) in call for call in written)
    assert [call for call in written if not any(place in call for place in mine)] == []
