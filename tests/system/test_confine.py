"""Writing is given up for good, by real processes and the kernel they run on."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench.errors import StoreError
from workbench.system import confine
from workbench.workers.pool import Pool

needs_landlock = pytest.mark.skipif(confine.version() == 0, reason="the kernel has no Landlock")

TRIES = """
import os, sys, tempfile, threading
from pathlib import Path
from workbench.system import confine
inside, scratch, outside = map(Path, sys.argv[1:])
print(confine.writes_only_below([str(inside)], str(scratch)))
def tried(work):
    try:
        work()
    except PermissionError:
        return "refused"
    return "done"
tries = {
    "new file inside": lambda: (inside / "a").write_text("x"),
    "new file in scratch": lambda: (scratch / "a").write_text("x"),
    "moved between both": lambda: (scratch / "a").rename(inside / "b"),
    "removed inside": lambda: (inside / "b").unlink(),
    "device": lambda: Path("/dev/null").write_text("x"),
    "name of a thread": lambda: Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("named"),
    "read outside": lambda: (outside / "old").read_text(),
    "scratch itself removed": lambda: scratch.rmdir(),
    "of another process": lambda: Path(f"/proc/{os.getppid()}/comm").write_text("x"),
    "setting of the system": lambda: Path("/proc/sys/kernel/hostname").write_text("x"),
    "new file": lambda: (outside / "new").write_text("x"),
    "changed": lambda: (outside / "old").write_text("x"),
    "cut": lambda: os.truncate(outside / "old", 0),
    "removed": lambda: (outside / "old").unlink(),
    "folder": lambda: (outside / "folder").mkdir(),
    "link": lambda: (outside / "link").symlink_to("old"),
    "taken in": lambda: (outside / "old").rename(inside / "old"),
    "by a link inside": lambda: (inside / "way" / "new").write_text("x"),
}
for name, work in tries.items():
    print(f"{name}: {tried(work)}")
thread = threading.Thread(target=lambda: print("thread:", tried(tries["new file"])))
thread.start()
thread.join()
print("child:", os.system(f"{sys.executable} -c \\"open('{outside}/new', 'w')\\" 2>/dev/null") and "refused")
"""


@needs_landlock
def test_a_confined_process_writes_where_it_may_and_nowhere_else(tmp_path):
    places = [tmp_path / name for name in ("inside", "scratch", "outside")]
    for place in places:
        place.mkdir()
    (places[2] / "old").write_text("kept")
    (places[0] / "way").symlink_to(places[2])
    done = subprocess.run([sys.executable, "-c", TRIES, *map(str, places)], capture_output=True, text=True, check=True)
    said = dict(line.split(": ") for line in done.stdout.splitlines()[1:])
    assert done.stdout.startswith("True\n")
    assert [name for name, what in said.items() if what == "done"] == [
        "new file inside", "new file in scratch", "moved between both", "removed inside", "device", "name of a thread",
        "read outside", "scratch itself removed",
    ]  # fmt: skip
    assert list(said.values()).count("refused") == 12
    assert [(path.name, path.read_text()) for path in places[2].iterdir()] == [("old", "kept")]


def test_nothing_changes_where_the_kernel_has_no_landlock(tmp_path):
    code = (
        "import sys; from pathlib import Path; from workbench.system import confine; confine.version = lambda: 0\n"
        f"print(confine.writes_only_below([], {str(tmp_path)!r}))\nPath({str(tmp_path / 'new')!r}).write_text('x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert (tmp_path / "new").exists()


@needs_landlock
@pytest.mark.parametrize("confined", [True, False])
def test_workers_of_a_pool_write_in_the_store_only(store, tmp_path, confined):
    import model_zoo

    model = model_zoo.save(model_zoo.onnx_dense(), tmp_path / "m.onnx")
    asked = {"source": str(model), "batch": 2, "sizes": {}}
    outside = tmp_path / "outside.onnx"
    with Pool(store.log_path, threading.Event(), confined=confined) as pool:
        pool.call("onnx", "fix_batch", **asked, into=str(store.root / "inside.onnx"))
        scratch = Path(pool._workers["onnx"]._scratch.path)
        if confined:
            with pytest.raises(StoreError, match=r"Could not write to .*outside.onnx: there is no permission"):
                pool.call("onnx", "fix_batch", **asked, into=str(outside))
        else:
            pool.call("onnx", "fix_batch", **asked, into=str(outside))
    assert (store.root / "inside.onnx").exists()
    assert outside.exists() is not confined
    assert not scratch.exists()


@pytest.mark.long
@needs_landlock
def test_libraries_load_where_their_settings_cannot_be_kept(store, tmp_path, monkeypatch):
    """Keras, matplotlib and the engines' libraries keep settings and caches in the home folder; none insists on it."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with Pool(store.log_path, threading.Event()) as pool:
        pool.call("a", "hello", modules=["keras", "onnxruntime", "matplotlib.pyplot"])
    assert list((tmp_path / "home").iterdir()) == []
