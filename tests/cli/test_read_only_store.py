"""A store that the user may read and not write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_model

from workbench import Experiment, run
from workbench.store import Store

DROPPED = "-dac_override,-dac_read_search,-fowner"
"""The capabilities by which root writes to the files of other users."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Path, str]:
    """A store that another user owns, or that has no permission to write where the tests do not run as root; and the name of its run."""
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) is not installed")
    folder = tmp_path_factory.mktemp("other")
    quick = {"measure_s": 0.02, "max_measure_s": 0.02, "rounds": 2, "backends": "onnxruntime", "precisions": "fp32"}
    store = Store(folder / "store").prepare()
    run(Experiment(model=small_model.small_onnx(folder / "m.onnx"), data="random", batches=1, **quick), store=store)
    (results,) = (store.root / "results").iterdir()
    for path in (store.root, *store.root.rglob("*")):
        if os.getuid() == 0:
            os.chown(path, 65534, 65534)
            path.chmod(0o755 if path.is_dir() else 0o644)
        else:
            path.chmod(0o555 if path.is_dir() else 0o444)
    return store.root, results.name


def outcome(store: Path, *words: str) -> tuple[int, str]:
    """The exit status and the output of a command on this store."""
    less = ["setpriv", "--bounding-set", DROPPED, "--inh-caps", "-all"] if os.getuid() == 0 else []
    command = [*less, sys.executable, "-m", "workbench", *words, "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=store.parent)
    return done.returncode, done.stdout + done.stderr


def test_the_history_is_shown_without_its_index(kept):
    store, name = kept
    assert "onnxruntime fp32" in outcome(store, "history")[1]
    index = store / "results.sqlite"
    index.rename(store.parent / "index")
    try:
        status, text = outcome(store, "history", "--runs")
    finally:
        (store.parent / "index").rename(index)
    assert (status, name in text) == (0, True)


@pytest.mark.long
def test_a_report_of_a_run_is_made(kept):
    """It was refused, because the store could not be written."""
    store, name = kept
    page = store.parent / "page.html"
    status, text = outcome(store, "report", "--run", name, "--output", str(page))
    assert (status, page.exists()) == (0, True), text


@pytest.mark.parametrize("words", [("store", "--prune", "--damaged"), ("run", "--model", "m.onnx")])
def test_what_writes_is_refused_at_once(kept, words):
    """``store --prune`` waited without end."""
    status, text = outcome(kept[0], *words)
    assert status == 2
    assert "there is no permission to write there. Choose a folder that you own" in text


def test_an_entry_that_only_its_owner_reads_is_not_damaged(kept):
    store, name = kept
    folder, mode = store / "results" / name, (store / "results" / name).stat().st_mode
    folder.chmod(0)
    (store / "results.sqlite").rename(store.parent / "index")
    try:
        listed, shown = outcome(store, "store"), outcome(store, "history")
    finally:
        folder.chmod(mode)
        (store.parent / "index").rename(store / "results.sqlite")
    assert (listed[0], "Damaged" in listed[1]) == (0, False), listed[1]
    assert (shown[0], "There is no permission to read" in shown[1]) == (2, True), shown[1]
