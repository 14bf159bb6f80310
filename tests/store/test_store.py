import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workbench.errors import InputError, StoreError
from workbench.store import MANIFEST, Store, key_of


def _put(store, key="k", content=b"data"):
    with store.create("thing", key) as draft:
        (draft.folder / "file.bin").write_bytes(content)
        draft.facts = {"answer": 42}


def test_what_was_written_is_found_whole(store):
    _put(store)
    folder = store.find("thing", "k")
    assert (folder / "file.bin").read_bytes() == b"data"
    assert store.facts("thing", "k") == {"answer": 42}


def test_a_failed_write_leaves_nothing(store):
    with pytest.raises(ValueError, match="broke"), store.create("thing", "k") as draft:  # noqa: PT012
        (draft.folder / "file.bin").write_bytes(b"half")
        raise ValueError("broke")
    assert store.find("thing", "k") is None
    assert list((store.root / "thing").iterdir()) == []


MAKER = """
import sys
from workbench.store import Store
with Store(sys.argv[1]).create("thing", sys.argv[2]) as draft:
    (draft.folder / "file.bin").write_bytes(b"half")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_had_begun_is_removed_and_what_a_living_one_writes_is_not(store):
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, store.root, key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for key in ("killed", "living")
    ]
    assert [maker.stdout.readline() for maker in makers] == ["begun\n", "begun\n"]
    (store.root / "thing" / ".hidden").mkdir()  # not written by a store
    for draft in (store.root / "thing").iterdir():
        os.utime(draft, (0, 0))  # age says nothing: a clock may be set
    makers[0].kill()
    makers[0].communicate()
    store.prepare()
    assert sorted(path.name.split(".")[1] for path in (store.root / "thing").iterdir()) == ["hidden", "living"]
    makers[1].communicate()
    assert (store.find("thing", "living") / "file.bin").read_bytes() == b"half"


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_artefact_is_set_aside_and_never_used(store, damage):
    _put(store)
    folder = store.path("thing", "k")
    if damage == "flip":
        (folder / "file.bin").write_bytes(b"dato")
    elif damage == "cut":
        (folder / "file.bin").write_bytes(b"")
    elif damage == "remove":
        (folder / "file.bin").unlink()
    else:
        (folder / MANIFEST).write_text("{")
    assert store.find("thing", "k") is None
    assert not folder.exists()
    assert [path.name.startswith("k.damaged-") for path in (store.root / "thing").iterdir()] == [True]
    _put(store)
    assert store.find("thing", "k") == folder


def test_make_fills_once(store):
    calls = []

    def fill(draft):
        calls.append(1)
        (draft.folder / "x").write_text("1")
        draft.facts = "made"

    first, second = (store.make("thing", "k", fill) for _ in range(2))
    assert (first.reused, second.reused, len(calls)) == (False, True, 1)
    assert first.facts == second.facts == "made"


def test_two_makers_do_not_work_twice(store):
    calls = []

    def fill(draft):
        calls.append(1)
        time.sleep(0.2)
        draft.facts = 1

    threads = [threading.Thread(target=Store(store.root).make, args=("thing", "k", fill)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_put_again_replaces(store):
    store.put("fact", "k", 1)
    store.put("fact", "k", 2)
    assert store.facts("fact", "k") == 2
    assert len(list((store.root / "fact").iterdir())) == 1


def test_keys_do_not_depend_on_order_and_do_on_values():
    assert key_of(a=1, b=[2]) == key_of(b=[2], a=1)
    assert key_of(a=1) != key_of(a=2)


def test_a_path_through_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "file" / "store").prepare()
    assert str(caught.value) == (
        f"Could not write to {tmp_path / 'file' / 'store'}: a part of the path is a file, not a folder. "
        "Choose another folder (option --store, or the variable WORKBENCH_STORE)."
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/sys is Linux's")
def test_no_write_permission_is_one_sentence():
    """No user, not even root, may make folders in /sys."""
    with pytest.raises(StoreError, match=r"Could not write to /sys/workbench: .*permission|read-only") as caught:
        Store("/sys/workbench").prepare()
    assert "\n" not in str(caught.value)


SMALL_DISK = """
import resource, sys
from workbench.errors import StoreError
from workbench.store import Store
store = Store(sys.argv[1]).prepare()
store.put("fact", "old", "kept")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from workbench.errors import writing
try:
    with store.create("thing", "big") as draft, writing(draft.folder):
        (draft.folder / "file.bin").write_bytes(b"x" * 1_000_000)
except StoreError as error:
    print(error)
print(store.facts("fact", "old"), store.find("thing", "big"), list((store.root / "thing").iterdir()))
"""


def test_a_write_that_does_not_fit_loses_nothing(tmp_path):
    """A limit on file size stands in for a full disk where no small disk can be mounted."""
    done = subprocess.run([sys.executable, "-c", SMALL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    sentence, rest = done.stdout.splitlines()
    assert sentence.startswith(f"Could not write to {tmp_path}")
    assert "the file would be larger than allowed" in sentence
    assert rest == "kept None []"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(store):
    from workbench.errors import writing

    reported = pytest.raises(StoreError, match=r"the disk is full\. Free some space")
    with reported, writing(store.root), Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")


def test_the_manifest_names_every_file(store):
    _put(store)
    manifest = json.loads((store.path("thing", "k") / MANIFEST).read_text())
    assert list(manifest["files"]) == ["file.bin"]


def test_names_of_logs_are_safe(store):
    path = store.log_path("../../etc/<img src=x>")
    assert path.parent == store.root / "logs"
    assert "<" not in path.name
    assert "/" not in path.name


def test_a_store_is_named_by_itself_by_a_path_or_by_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_STORE", "~/usual")
    kept = Store(tmp_path)
    assert Store.of(kept) is kept
    assert Store.of(tmp_path).root == Store.of(str(tmp_path)).root == tmp_path
    assert Store.of("~/mine").root == tmp_path / "mine"
    assert Store.of(None).root == Store.of("").root == tmp_path / "usual"
    with pytest.raises(InputError, match="'store' must be the path of a folder or a Store; found a int"):
        Store.of(5)


def test_names_of_runs_sort_as_the_runs_begin_within_one_second(tmp_path):
    store = Store(tmp_path)
    made = []
    for _ in range(40):
        made.append(store.new_run().stem)
        time.sleep(0.001)
    assert made == sorted(made)
    assert len({name[:15] for name in made}) <= 3  # most of them share a second
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", name) for name in made)
