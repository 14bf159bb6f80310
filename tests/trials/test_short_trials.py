"""A few cases of every trial, through the functions that the long form calls; thousands: ``scripts/trials``."""

from __future__ import annotations

import os
import random
import re
import subprocess

import attacks
import classroom
import clock
import concurrency
import damage
import foreign_stores
import hostile_names
import kill
import long_run
import mutants
import overwritten
import psutil
import pytest
import recording
import sleep
import surroundings
import worker_deaths


def faults(session, numbers, tmp_path, name="short") -> list[str]:
    """What did not hold, of these cases."""
    found = []
    with session as one:
        for number in numbers:
            place = tmp_path / str(number)
            place.mkdir()
            outcome = one(number, random.Random(f"{name} {number}"), place)
            found += [] if outcome.held else [f"{number}: {outcome.case}: {outcome.found}"]
    return found


def test_damaged_data_files_end_in_data_or_a_sentence(tmp_path):
    assert faults(mutants.session(20, ("npz", "csv", "images")), range(6), tmp_path) == []


LARGE = ("npz_grows", "csv_many_columns", "image_text_grows", "image_profile_grows", "npz_many_parts")
DATA = [name for name in attacks.DATA if name not in LARGE]


def test_data_that_are_made_to_do_harm_are_refused(tmp_path):
    assert faults(attacks.session(tuple(DATA)), range(len(DATA)), tmp_path) == []


ONNX = tuple(name for name in attacks.MODELS if name.startswith("onnx") and name != "onnx_much_memory")


def test_onnx_models_that_are_made_to_do_harm_are_refused(tmp_path):
    assert faults(attacks.session(ONNX), range(len(ONNX)), tmp_path) == []


@pytest.mark.long
def test_models_of_tensorflow_that_are_made_to_do_harm_are_refused(tmp_path):
    others = tuple(name for name in attacks.MODELS if name not in ONNX)
    assert faults(attacks.session(others), range(len(others)), tmp_path) == []


@pytest.mark.long
def test_a_damaged_store_is_noticed_and_healed(tmp_path):
    assert faults(damage.session(), [0], tmp_path) == []


@pytest.mark.long
def test_damaged_stores_are_noticed_and_healed(tmp_path):
    assert faults(damage.session(), range(1, 4), tmp_path) == []


@pytest.mark.long
def test_a_trial_notices_damage_that_is_used(tmp_path, monkeypatch):
    """Where the store compares no digest, an accuracy that was changed is seen by the trial."""
    from workbench.store import manifest

    def believed(folder, *_):
        found = manifest.parsed(folder / manifest.MANIFEST)
        return manifest.Entry(folder, found["files"], found["facts"], own=True)

    def halve(store, _):
        for path in (store / "accuracy").glob("*/manifest.json"):
            path.write_text(path.read_text().replace('"value": 1.0', '"value": 0.5'))
        return "accuracies halved"

    monkeypatch.setattr("workbench.store.store.read", believed)
    monkeypatch.setattr(damage, "one_of", halve)
    assert "used: onnxruntime fp32 @1: accuracy differ" in faults(damage.session(), [0], tmp_path)[0]


@pytest.mark.long
def test_a_killed_run_leaves_nothing(tmp_path):
    assert faults(kill.session(kills=1, reports=0), [0], tmp_path) == []


@pytest.mark.long
def test_killed_reports_leave_nothing(tmp_path):
    assert faults(kill.session(kills=1, reports=1), [1], tmp_path) == []


def others(*names: str) -> list[int]:
    """The numbers of cases of :mod:`surroundings`."""
    return [surroundings.POINTS + [*surroundings.OTHERS].index(name) for name in names]


@pytest.mark.slow
def test_a_store_that_cannot_be_made_is_reported(tmp_path):
    assert faults(surroundings.session("run"), others("store is a file"), tmp_path) == []


@pytest.mark.long
def test_poor_surroundings_end_well_or_in_a_sentence(tmp_path):
    assert faults(surroundings.session("run"), others("all streams closed", "ulimit -n 64", "ASCII"), tmp_path) == []


def mounts(place) -> bool:
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False)
    return done.returncode == 0 and subprocess.run(["umount", place], check=False).returncode == 0


@pytest.mark.long
def test_after_a_full_disk_the_same_command_ends_well(tmp_path):
    if os.getuid() or not mounts(tmp_path):
        pytest.skip("no rights to mount a file system")
    assert faults(surroundings.session(), [14, 35], tmp_path) == []  # space and inodes, of runs without a kernel


@pytest.mark.long
def test_reports_beside_a_stopped_and_a_killed_one_end(tmp_path):
    assert faults(concurrency.session(4, pages=False), [0], tmp_path) == []


def test_timings_that_overlap_and_participants_without_a_wait_are_faults():
    def record(began: float, ended: float, *waits: str) -> dict:
        return {"measured": [{"batch": 1, "began_s": began, "ended_s": ended, "timed_s": 0.5}], "waits": list(waits)}

    wait = "waiting for a: 1 before you, expected wait about 1 s"
    assert classroom.faults_of([record(0, 1), record(1, 2, wait)], 1) == []
    assert classroom.faults_of([record(1, 2, wait), record(0, 1.25)], 1) == ["two timings overlap by 0.250 s"]
    assert classroom.faults_of([record(0, 0.25)], 1) == ["timed for longer than it was measured"]
    assert classroom.faults_of([record(0, 1), record(1, 2)], 1) == ["participants [0, 1] saw no wait"]
    assert classroom.faults_of([record(0, 1)], 2) == ["participant 0 was not served"]


@pytest.mark.long
@pytest.mark.parametrize(("number", "count"), [(0, 4), (1, 3)])  # processes and Jupyter kernels
def test_of_a_small_class_no_timings_overlap_and_all_see_their_wait(tmp_path, number, count):
    assert faults(classroom.session(count, "1"), [number], tmp_path) == []


@pytest.mark.long
def test_a_trial_notices_kernels_that_do_not_wait(tmp_path, monkeypatch):
    """Where each kernel has a folder of the queue for itself, none sees a wait."""
    together = classroom._environment
    monkeypatch.setattr(classroom, "_environment", lambda own: together(own) | {"WORKBENCH_LOCKS": str(own / "locks")})
    assert "participants [0, 1] saw no wait" in faults(classroom.session(2, "1"), [1], tmp_path)[0]


@pytest.mark.long
def test_no_result_is_kept_under_another_content(tmp_path):
    assert faults(overwritten.session(), [0], tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "number", [78, 51]
)  # a folder and a table that others of their names replace at once, while a run reads them
def test_no_result_of_a_folder_or_a_table_is_kept_under_another_content(tmp_path, number):
    assert faults(overwritten.session(), [number], tmp_path) == []


@pytest.mark.long
def test_the_death_of_a_worker_costs_the_rows_that_it_held(tmp_path):
    assert faults(worker_deaths.session(), [0, 1], tmp_path) == []


@pytest.mark.long
def test_a_store_of_another_user_is_not_used(tmp_path):
    names = [change.__name__ for change in foreign_stores.CHANGES]
    assert faults(foreign_stores.session(), [names.index("index_is_a_link")], tmp_path) == []


@pytest.mark.long
def test_a_pause_is_in_no_block_that_counts(tmp_path):
    assert faults(sleep.session((3, 4)), [0], tmp_path) == []


@pytest.mark.skipif(not clock.can_shift(), reason="no C compiler, or not Linux")
@pytest.mark.long
def test_a_clock_that_is_set_back_does_no_harm(tmp_path):
    assert faults(clock.session([-3600]), [0], tmp_path) == []


@pytest.mark.skipif(not clock.can_shift(), reason="no C compiler, or not Linux")
@pytest.mark.long
def test_a_trial_notices_durations_of_the_wall_clock(tmp_path):
    found = faults(clock.session([-37], durations=True), [0], tmp_path)
    assert found
    assert re.search(r"whose shortest call took -\d+ ns|goes back in time|did not end", found[0])


@pytest.mark.long
def test_names_act_nowhere(tmp_path):
    assert faults(hostile_names.session(), [0], tmp_path) == []


@pytest.mark.long
def test_runs_in_one_process_come_to_what_is_expected(tmp_path):
    before = len(psutil.Process().children(recursive=True))  # of earlier tests
    with recording.own_places() as place:
        lines = long_run.go(60, 4, 0, tmp_path / "long_run.jsonl", place)
    assert [line["case"] for line in lines] == ["new", "same", "again", "damaged"]
    assert all(line["held"] for line in lines)
    assert all(line["figures"]["children"] <= before for line in lines)
    assert all(line["figures"]["temporary_files"] == 0 for line in lines)
