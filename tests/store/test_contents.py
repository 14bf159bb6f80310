"""What a store holds, and that nothing goes which a kept run used."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench.errors import Cancelled, StoreError
from workbench.store import Store
from workbench.store.contents import Criteria, by_kind, choose, items, remove
from workbench.store.use import removing

DAY = 24 * 3600.0


@pytest.fixture
def filled(store: Store) -> Store:
    """Two runs: one of today that used engines a and b, one of a month ago that used b and c; nothing used d."""
    for name in "abcd":
        with store.create("engine", name) as draft:
            (draft.folder / "file").write_bytes(b"x" * 50_000)
            draft.facts = {}
    for run, used, days in (("new", "ab", 0), ("old", "bc", 30)):
        store.put("results", run, {"rows": [], "about": {"used": [f"engine/{name}" for name in used]}})
        aged(store.path("results", run), days)
    aged(store.path("engine", "c"), 30)
    aged(store.path("engine", "d"), 20)
    return store


def aged(folder: Path, days: float) -> None:
    for path in (folder, *folder.iterdir()):
        moment = path.stat().st_mtime - days * DAY
        os.utime(path, (moment, moment))


def names(removal) -> set[str]:
    return {item.name for item in removal.items}


def pruned(store: Store, **asked) -> set[str]:
    with removing(store.root):
        removal = choose(store, Criteria(**asked))
        remove(removal)
    left = {item.name for item in items(store)}
    assert not left & names(removal)
    assert not any(".removed-" in name for name in left)
    return names(removal)


def test_sizes_are_those_of_the_disk_by_kind(filled: Store) -> None:
    (largest, *_) = by_kind(items(filled))
    assert largest[:3] == ("engine", "engines", 4)
    assert 200_000 <= largest[3] < 300_000
    disk = subprocess.run(["du", "-s", "--block-size=1", filled.root], capture_output=True, text=True, check=True)
    folders = [filled.root, *(path for path in filled.root.iterdir() if path.is_dir())]
    own = sum(path.stat().st_blocks * 512 for path in folders)
    assert sum(item.size_bytes for item in items(filled)) == int(disk.stdout.split()[0]) - own


def test_what_no_run_used_goes_and_no_more(filled: Store) -> None:
    assert pruned(filled, unreferenced=True) == {"engine/d"}


def test_old_runs_go_and_what_only_they_used(filled: Store) -> None:
    assert pruned(filled, older_than_s=25 * DAY) == {"results/old", "engine/c"}
    assert pruned(filled, older_than_s=10 * DAY) == {"engine/d"}


def test_a_size_takes_the_least_recently_used_first_and_leaves_what_runs_used(filled: Store) -> None:
    extra = filled.path("engine", "e")
    filled.put("engine", "e", {})
    total = sum(item.size_bytes for item in items(filled))
    assert pruned(filled, max_bytes=total - 1) == {"engine/d"}  # e is of today
    assert pruned(filled, max_bytes=1) == {"engine/e"}
    assert not extra.exists()


def test_a_use_counts_for_the_time(filled: Store) -> None:
    filled.put("engine", "e", {})
    aged(filled.path("engine", "e"), 40)
    assert filled.facts("engine", "e") == {}
    assert names(choose(filled, Criteria(older_than_s=10 * DAY))) >= {"engine/d"}
    assert "engine/e" not in names(choose(filled, Criteria(older_than_s=10 * DAY)))


def test_damaged_entries_go_and_sound_ones_stay(filled: Store) -> None:
    (filled.path("engine", "a") / "file").write_bytes(b"y" * 50_000)
    filled.path("engine", "d").rename(filled.root / "engine" / "d.damaged-1")
    (filled.root / "engine" / ".half").mkdir()
    assert pruned(filled, damaged=True) == {"engine/a", "engine/d.damaged-1", "engine/.half"}
    assert filled.facts("engine", "b") == {}


def test_a_run_of_an_earlier_version_keeps_all_that_was_there_before(filled: Store) -> None:
    filled.put("results", "unlisted", {"rows": []})
    removal = choose(filled, Criteria(unreferenced=True))
    assert (names(removal), removal.unlisted) == (set(), 1)


def test_nothing_goes_while_a_run_uses_the_store(filled: Store) -> None:
    with (
        filled.in_use("running an experiment"),
        pytest.raises(StoreError, match=rf"\(process {os.getpid()}\): running an experiment, since .* try again"),
        removing(filled.root),
    ):
        pytest.fail("a run uses the store")
    with removing(filled.root):
        pass


def test_a_run_waits_while_something_is_removed(filled: Store) -> None:
    reported: list[str] = []
    cancel = threading.Event()

    def hear(text: str) -> None:
        reported.append(text)
        cancel.set()

    with (
        removing(filled.root),
        pytest.raises(Cancelled, match="waiting for the store"),
        filled.for_run(hear, cancel).in_use("running"),
    ):
        pytest.fail("it is being pruned")
    assert f"removing entries of the store {filled.root} since " in reported[0]


def test_the_mark_of_a_killed_run_holds_up_nothing(filled: Store) -> None:
    script = "import os, sys\nfrom workbench.store import Store\nwith Store(sys.argv[1]).in_use('x'): os._exit(1)"
    subprocess.run([sys.executable, "-c", script, str(filled.root)], check=False)
    assert list((filled.root / "locks").iterdir())
    with removing(filled.root):
        pass
    assert not list((filled.root / "locks").iterdir())
