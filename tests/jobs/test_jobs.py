"""Jobs: real processes that run the pipeline, watched and ended through files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import recorded
from small_model import small_onnx

from workbench.errors import StoreError
from workbench.jobs import job as jobs
from workbench.jobs.job import Asked, End, Job
from workbench.records import Ended, Event, Result, Status, to_json
from workbench.store import Store
from workbench.system import measuring_lock


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_onnx(tmp_path_factory.mktemp("model") / "small.onnx")


def asked(model: str, **changes: object) -> Asked:
    parameters = {"model": model, "data": "random", "backends": "onnxruntime", "precisions": "fp32", "batches": "1,2"}
    return Asked({**parameters, "measure_s": 0.06, "rounds": 6, **changes})


class Watched:
    """A job as a reader that follows it sees it."""

    def __init__(self, job: Job) -> None:
        self.news = job.follow()
        self.rows: dict[str, Result] = {}
        self.events: list[Event] = []
        self.end: End | None = None

    def until(self, true: Callable[[], bool], limit_s: float = 90) -> None:
        deadline = time.monotonic() + limit_s
        while not true():
            assert time.monotonic() < deadline
            for item in self.news:
                if isinstance(item, Event):
                    self.events.append(item)
                    if item.result:
                        self.rows[item.result.row] = item.result
                elif isinstance(item, End):
                    self.end = item
                break

    def to_the_end(self) -> End:
        self.until(lambda: self.end is not None)
        assert self.end is not None
        return self.end


def family(job: Job) -> list[psutil.Process]:
    """The job's process and all below it."""
    here = [p for p in psutil.process_iter(["cmdline"]) if str(job.folder) in (p.info["cmdline"] or [])]
    return [each for process in here for each in (process, *process.children(recursive=True))]


def test_a_job_runs_to_its_end_and_two_can_watch_it(store: Store, model: str) -> None:
    job = jobs.start(store, asked(model))
    assert job.running
    assert job.asked.experiment.batches == (1, 2)
    first = Watched(job)
    assert first.to_the_end() == End("done")
    assert [row.status for row in first.rows.values()] == [Status.DONE] * 2
    results = job.results()
    assert results is not None
    assert first.rows == {row.row: row for row in results.rows}  # timings too, each written once
    assert (job.folder / jobs.JOURNAL).read_text().count('"samples_ns"') == 2 * 6
    late = Watched(jobs.all_jobs(store)[0])
    late.to_the_end()
    assert late.events == first.events
    log = next(event.log for event in first.events if event.result and event.result.status == Status.MEASURING)
    assert Path(log).parent == store.root / "logs"
    deadline = time.monotonic() + 10
    while job.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not job.running
    assert family(job) == []


def test_cancel_ends_it_and_leaves_nothing_behind(store: Store, model: str) -> None:
    job = jobs.start(store, asked(model, measure_s=60))
    seen = Watched(job)
    seen.until(lambda: any(row.status == Status.MEASURING for row in seen.rows.values()))
    members = family(job)
    assert len(members) >= 2
    job.cancel()
    assert seen.to_the_end() == End("cancelled")
    assert {row.status for row in seen.rows.values()} == {Status.CANCELLED}
    _, alive = psutil.wait_procs(members, timeout=10)
    assert alive == []
    assert not job.running


def test_finish_ends_it_after_the_launch_that_goes_on(store: Store, model: str) -> None:
    job = jobs.start(store, asked(model, batches="1", until="narrow", within=1e-6, max_measure_s=3600))
    seen = Watched(job)
    seen.until(lambda: any("launch 2" in event.text for event in seen.events))
    job.finish()
    assert seen.to_the_end() == End("done")
    results = job.results()
    assert results is not None
    (row,) = results.rows
    assert (row.status, row.timing.ended) == (Status.DONE, Ended.TIME)
    assert 2 <= len(row.timing.launches) < results.plan.launches
    (said,) = (text for text in results.warnings if "ended the run" in text)
    assert said.startswith("The request to finish ended the run: the baseline was measured for less time than planned.")


@pytest.mark.long
def test_one_row_is_cancelled_and_the_other_measured(store: Store, model: str) -> None:
    job = jobs.start(store, asked(model, measure_s=1.2))
    job.cancel("onnxruntime fp32 @2")
    seen = Watched(job)
    assert seen.to_the_end() == End("done")
    assert {name: row.status for name, row in seen.rows.items()} == {
        "onnxruntime fp32 @1": Status.DONE,
        "onnxruntime fp32 @2": Status.CANCELLED,
    }
    again = jobs.start(store, asked(model, measure_s=1.2))  # a retry takes what was finished from the store
    seen = Watched(again)
    seen.to_the_end()
    assert {name: (row.status, row.reused) for name, row in seen.rows.items()} == {
        "onnxruntime fp32 @1": (Status.DONE, True),
        "onnxruntime fp32 @2": (Status.DONE, False),
    }


def test_rows_to_skip_are_not_tried(store: Store, model: str) -> None:
    rows = ("onnxruntime fp32 @1", "onnxruntime fp32 @2")
    seen = Watched(jobs.start(store, Asked(asked(model).parameters, skip=rows)))
    seen.to_the_end()
    assert {row.status for row in seen.rows.values()} == {Status.CANCELLED}
    assert not list((store.root / "engine").glob("*"))


@pytest.mark.long
def test_a_row_waits_while_somebody_else_measures_on_this_machine(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(measuring_lock.FOLDER, str(tmp_path / "turns"))
    job = jobs.start(store, asked(model))
    with measuring_lock.hold_lock("measuring <b>net</b> at batch 8", alone=True):
        seen = Watched(job)
        seen.until(lambda: any("waiting for" in event.text for event in seen.events))
        reported = seen.events[-1]
        assert f"(process {os.getpid()}): measuring <b>net</b> at batch 8 since " in reported.text
        time.sleep(0.5)
        assert all(row.timing is None for row in seen.rows.values())
    assert seen.to_the_end() == End("done")
    assert {row.status for row in seen.rows.values()} == {Status.DONE}


@pytest.mark.long
def test_it_outlives_who_started_it_and_the_signals_to_its_group(store: Store, model: str, tmp_path: Path) -> None:
    code = (
        "import sys, time; from workbench.jobs import job as jobs; from workbench.store import Store\n"
        f"jobs.start(Store(sys.argv[1]), jobs.Asked({asked(model, measure_s=60).parameters!r})); time.sleep(60)"
    )
    kernel = subprocess.Popen([sys.executable, "-c", code, str(store.root)], start_new_session=True)
    deadline = time.monotonic() + 30
    while not jobs.all_jobs(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    (job,) = jobs.all_jobs(store)
    seen = Watched(job)
    seen.until(lambda: bool(seen.events))
    os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()
    seen.until(lambda: any(row.status == Status.MEASURING for row in seen.rows.values()))
    assert job.running
    job.cancel()
    seen.to_the_end()


@pytest.mark.long
def test_a_job_that_was_killed_is_lost_and_its_workers_end(store: Store, model: str) -> None:
    job = jobs.start(store, asked(model, measure_s=60))
    seen = Watched(job)
    seen.until(lambda: any(row.status == Status.MEASURING for row in seen.rows.values()))
    members = family(job)
    members[0].kill()
    end = seen.to_the_end()
    assert end.how == "lost"
    assert "ended from outside" in end.message
    assert job.results() is None
    assert psutil.wait_procs(members[1:], timeout=10)[1] == []


def test_bad_input_ends_in_its_sentence(store: Store, tmp_path: Path) -> None:
    seen = Watched(jobs.start(store, asked(str(tmp_path / "no.onnx"))))
    end = seen.to_the_end()
    assert end.how == "failed"
    assert "no.onnx" in end.message
    assert "Traceback" not in end.message


def test_a_damaged_job_is_said_to_be_one(store: Store) -> None:
    folder = store.root / "jobs" / "x"
    folder.mkdir(parents=True)
    (folder / jobs.ASKED).write_text("{")
    (job,) = jobs.all_jobs(store)
    assert not job.running
    with pytest.raises(StoreError, match="Remove this folder"):
        job.asked  # noqa: B018


def test_a_result_or_a_line_of_the_journal_that_was_changed_is_not_shown(store: Store) -> None:
    job = Job(store.root / "jobs" / "made-up")
    job.folder.mkdir(parents=True)
    lines = [json.dumps({"text": f"scored {number}"}) for number in range(3)]
    signed = [job.signed(line) for line in lines]
    signed[1] = signed[1].replace("scored 1", "scored 7")
    (job.folder / jobs.JOURNAL).write_text("\n".join(signed) + "\n")
    assert job.news()[0] == [{"text": "scored 0"}, {"text": "scored 2"}]
    whole = recorded.results([])
    text = job.signed(json.dumps(to_json(whole)))
    (job.folder / jobs.RESULTS).write_text(text)
    assert job.results() == whole
    (job.folder / jobs.RESULTS).write_text(text.replace(whole.model.name, "another"))
    assert job.results() is None
