"""The history of all runs: what is kept, how it is asked, and that the index is only an index."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import date

import pandas as pd
import pytest
import recorded

import workbench
from workbench import cli
from workbench.errors import InputError, StoreError
from workbench.records import Failure, Result, Status
from workbench.runs import index
from workbench.runs.archive import history, not_own, remember, runs
from workbench.runs.index import FILE, NAMES, rebuild
from workbench.store import Store


def results(day: int = 1, **changes):
    """Two rows that were measured on that day, one that failed, and one that was not possible."""
    rows = []
    for label, median_ms in (("tensorflow fp32", 2.0), ("onnxruntime int8", 0.5)):
        timing = recorded.timing(median_ms, group=f"day {day}", measured_at=f"2026-11-{day:02}T10:00:00+00:00")
        of = recorded.spec(label)
        rows.append(Result(of, 1, Status.DONE, recorded.engine(of), timing, recorded.accuracy()))
    failed = Failure("build", "The library crashed on this input.")
    rows.append(Result(recorded.spec("openvino bf16"), 1, Status.FAILED, failure=failed))
    rows.append(Result(recorded.spec("litert bf16"), 1, Status.UNSUPPORTED, failure=Failure("plan", "no")))
    return replace(recorded.results([]), rows=tuple(rows), **changes)


def test_a_run_is_found_again_with_its_numbers(store):
    remember(store, "one", results())
    found = history(store)
    assert tuple(found.columns) == NAMES
    assert sorted(found["variant"]) == ["onnxruntime int8", "openvino bf16", "tensorflow fp32"]
    row = found.set_index("variant").loc["tensorflow fp32"]
    timing = results().rows[0].timing
    assert row["p50_ms"] == timing.percentile_s(50) * 1e3
    assert row["samples_per_s"] == timing.samples_per_s
    assert (row["accuracy"], row["built"], row["status"], row["run"]) == (0.96, "fp32", "done", "one")
    assert row["time"].isoformat() == "2026-11-01T10:00:00+00:00"
    failed = found.set_index("variant").loc["openvino bf16"]
    assert (failed["status"], failed["failure"]) == ("failed", "The library crashed on this input.")
    assert failed.isna()["p50_ms"]


def test_a_store_that_the_history_makes_is_closed_to_others(tmp_path):
    """The panel asks the history first, before any run."""
    before = os.umask(0o022)
    try:
        assert history(tmp_path / "store").empty
    finally:
        os.umask(before)
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


def test_what_is_asked_for_is_what_comes_newest_first(store):
    for day in (3, 1, 2):
        remember(store, f"run {day}", results(day))
    measured = history(store, status="done")
    assert list(measured["time"].dt.day) == [3, 3, 2, 2, 1, 1]
    assert set(history(store, backend="onnx*")["variant"]) == {"onnxruntime int8"}
    assert set(history(store, precision="int8", run="run 2")["time"].dt.day) == {2}
    assert list(history(store, variant="tensorflow*", since="2026-11-02")["time"].dt.day) == [3, 2]
    assert list(history(store, variant="tensorflow*", until=date(2026, 11, 2))["time"].dt.day) == [1]
    assert (
        list(history(store, status="done", since="2026-11-02T09:00:00+00:00", until="2026-11-02T11:30+02:00")["time"])
        == []
    )
    assert len(history(store, limit=4)) == 4
    assert history(store, batch=8).empty
    assert history(store, model="nothing").empty
    assert history(store, batch=8)["p50_ms"].dtype == float
    record = json.loads(history(store, status="done", limit=1, records=True)["record"][0])
    assert record["timing"]["group"] == "day 3"
    assert record["timing"]["blocks"] == []


def test_what_was_taken_from_the_store_is_not_a_new_result(store):
    remember(store, "one", results())
    remember(store, "two", results())
    found = history(store)
    assert list(found["variant"]).count("tensorflow fp32") == 1
    assert list(found["variant"]).count("openvino bf16") == 2  # it failed twice


def test_bad_times_are_refused(store):
    with pytest.raises(InputError, match=r"'since' must be a date or a time, such as 2026-11-26 .*; found 'yesterday'"):
        history(store, since="yesterday")
    with pytest.raises(InputError, match="'limit' must be at least 1; found 0"):
        history(store, limit=0)


@pytest.mark.parametrize("damage", ["removed", "not a database", "cut", "overwritten", "older tables", "no table"])
def test_a_damaged_index_is_made_again(store, damage):
    for day in (1, 2, 3):
        remember(store, f"run {day}", results(day))
    before = history(store)
    path = store.root / FILE
    if damage == "removed":
        path.unlink()
    elif damage == "not a database":
        path.write_bytes(b"nonsense" * 1000)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "overwritten":
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
    else:
        index = sqlite3.connect(path)
        index.execute("PRAGMA user_version = 99" if damage == "older tables" else "DROP TABLE records")
        index.execute("DELETE FROM results")
        index.commit()
        index.close()
    assert history(store, records=True).drop(columns="record").equals(before)
    assert rebuild(store) == 9


def test_a_run_that_died_before_it_was_added_is_added_when_asked(store, monkeypatch):
    remember(store, "one", results(1))
    with monkeypatch.context() as patch:
        patch.setattr("workbench.runs.archive.ask", lambda *_: None)
        remember(store, "two", results(2))
    assert set(history(store, status="done")["run"]) == {"one", "two"}


def test_a_damaged_artefact_costs_its_own_run_only(store):
    remember(store, "one", results(1))
    remember(store, "two", results(2))
    (store.root / "results" / "two" / "manifest.json").write_text("{")
    assert rebuild(store) == 3
    assert set(history(store)["run"]) == {"one"}


WRITER = """
import sys
from dataclasses import replace
import recorded
from workbench.runs import index
from workbench.runs.archive import history, remember
from workbench.records import Result, Status
from workbench.store import Store
store, who = Store(sys.argv[1]), sys.argv[2]
of = recorded.spec("tensorflow fp32")
for number in range(15):
    timing = recorded.timing(1.0, group=f"{who} {number}", calls=3)
    row = Result(of, 1, Status.DONE, recorded.engine(of), timing)
    remember(store, f"{who}-{number}", replace(recorded.results([]), rows=(row,)))
    assert f"{who}-{number}" in set(history(store)["run"])
"""


@pytest.mark.long
def test_several_processes_write_and_ask_at_once(store):
    """Each finds what it has just written, while the others write."""
    command = [sys.executable, "-c", WRITER, str(store.root)]
    here = {"cwd": str(recorded.__file__).rpartition("/")[0]}
    writers = [subprocess.Popen([*command, who], stderr=subprocess.PIPE, text=True, **here) for who in ("a", "b", "c")]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    assert len(history(store)) == 45


def test_the_history_of_a_store_that_cannot_be_written_is_shown(store, monkeypatch):
    remember(store, "one", results(1))
    remember(store, "two", results(2))
    shown = history(store)
    rebuild(store)
    (store.root / "results" / "two" / "manifest.json").write_text("{")
    for path in store.root.glob(f"{FILE}*"):
        path.unlink()
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # as on a disk that can only be read
    found = history(Store(store.root))
    assert found.equals(shown[shown["run"] == "one"].reset_index(drop=True))
    assert not list(store.root.glob(f"{FILE}*"))
    assert [path.name for path in sorted((store.root / "results").iterdir())] == ["one", "two"]


def test_a_store_that_cannot_be_read_says_so(store):
    (store.root / FILE).mkdir()
    with pytest.raises(StoreError, match=r"Could not use .*results\.sqlite: .* it is made again from the results"):
        history(store)


def test_the_command_line_shows_and_writes_it(store, tmp_path, capsys):
    assert cli.main(["history", "--store", str(store.root)]) == 0
    assert capsys.readouterr().out == "No results.\n"
    remember(store, "one", results(1))
    remember(store, "two", results(2))
    assert cli.main(["history", "--store", str(store.root), "--backend", "tensor*", "--limit", "1"]) == 0
    out = capsys.readouterr().out
    assert "2026-11-02 10:00" in out
    assert "2026-11-01" not in out
    assert out.endswith("The newest 1; for more choose --limit.\n")
    assert cli.main(["history", "--store", str(store.root), "--csv", str(tmp_path / "all.csv")]) == 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 7
    assert cli.main(["history", "--store", str(store.root), "--since", "soon"]) == 2


def test_it_is_a_public_name():
    assert workbench.history is history


@pytest.mark.parametrize("table", ["results", "runs", "records"])
def test_a_changed_value_in_the_index_is_never_shown(store, table):
    remember(store, "run-1", results())
    whole = history(store, records=True)
    changes = {
        "results": "UPDATE results SET p50_ms = p50_ms * 2",
        "runs": "UPDATE runs SET model = 'another'",
        "records": "UPDATE records SET json = replace(json, '0', '1')",
    }
    with contextlib.closing(sqlite3.connect(store.root / FILE)) as index:
        assert index.execute(changes[table]).rowcount > 0
        index.commit()
    pd.testing.assert_frame_equal(history(store, records=True), whole)
    assert [run.model for run in runs(store)] == [results().model.name]


def test_flipped_bits_of_the_index_are_never_shown(store):
    for number in range(4):
        remember(store, f"run-{number}", results(number + 1))
    whole = history(store)
    with contextlib.closing(sqlite3.connect(store.root / FILE)) as index:
        index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path, rng = store.root / FILE, random.Random(0)
    content = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.write_bytes(damaged)
        try:
            found = history(store)
        except StoreError:
            continue  # said, and nothing shown
        pd.testing.assert_frame_equal(found, whole)


def test_runs_of_somebody_else_are_shown_and_counted(store, monkeypatch, tmp_path):
    remember(store, "run-1", results())
    assert not_own(store) == 0
    monkeypatch.setenv("WORKBENCH_KEY", str(tmp_path / "another" / "key"))
    theirs = Store(store.root)
    assert len(history(theirs)) == 3
    assert not_own(theirs) == 1


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
def test_a_link_to_a_database_of_another_program_is_removed_and_not_followed(store, tmp_path, ending):
    remember(store, "one", results())
    other = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE bookmarks (address TEXT)")
        database.commit()
    content = other.read_bytes()
    index = store.root / (FILE + ending)
    index.unlink(missing_ok=True)
    index.symlink_to(other)
    assert len(history(store)) == 3
    assert other.read_bytes() == content
    assert not index.is_symlink()


HOLDING = """
import sqlite3, sys
index = sqlite3.connect(sys.argv[1], isolation_level=None)
index.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def stopped_holder(path):
    """The number of a process that has locked a database and was stopped."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().strip() == "holds"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.long
def test_a_stopped_process_that_holds_the_index_is_named_while_others_wait_and_afterwards(store, monkeypatch):
    remember(store, "one", results())
    monkeypatch.setattr(index, "WAIT_S", 3.0)
    said = []
    with stopped_holder(store.root / FILE) as process:
        remember(store.for_run(said.append), "two", results(2))  # a run does not end for it
        holder = rf"process {process.pid} \(python\S* of \S+\), which is stopped"
        assert re.fullmatch(rf"waiting for the index of the history, which {holder} holds", said[0])
        with pytest.raises(StoreError, match=rf"has been held for 3 s by {holder}\. Let that process continue"):
            history(store)  # the second run is not in the index yet
    assert len(runs(store)) == 2


def test_a_wait_for_the_index_ends_with_its_holder(store):
    remember(store, "one", results())
    said = []
    with stopped_holder(store.root / FILE) as process:

        def listen(text: str) -> None:
            said.append(text)
            process.send_signal(signal.SIGKILL)

        remember(store.for_run(listen), "two", results(2))
    assert said[0].startswith("waiting for the index of the history, which process ")
    assert len(runs(store)) == 2
