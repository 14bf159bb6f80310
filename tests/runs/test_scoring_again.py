"""Scoring that is disturbed: workers that are killed, calls that are too large, rows that are cancelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model

from workbench.cli import main
from workbench.errors import RunError
from workbench.plan.scoring import TOGETHER
from workbench.records import Event, Result, Status
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.stop import Stop
from workbench.workers.worker import Worker

QUICK = {
    "backends": "onnxruntime",
    "precisions": "fp32",
    "batches": 1,
    "measure_s": 0.02,
    "max_measure_s": 0.02,
    "rounds": 2,
}


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Workers that are asked to score are killed just before, as long as a number is left here; it is taken off."""
    left: list[int] = []
    call = Worker.call

    def kill_first(self: Worker, task: str, **arguments):
        if task == "evaluate" and left:
            left.pop()
            self.process.kill()
            self.process.wait()
        return call(self, task, **arguments)

    monkeypatch.setattr(Worker, "call", kill_first)
    return left


@pytest.fixture
def asked(tmp_path) -> Experiment:
    x = np.eye(4, dtype=np.float32).repeat(10, axis=0)[:, :4]
    np.savez(tmp_path / "data.npz", x=x, y=x[:, :3].argmax(1))
    model = small_model.small_onnx(tmp_path / "model.onnx")
    return Experiment(model=model, data=str(tmp_path / "data.npz"), **QUICK)


def test_a_worker_that_is_killed_once_is_started_again_and_scores(asked, store, killed) -> None:
    killed += [1]
    events = []
    results = run(asked, store=store, on_event=lambda event: events.append(event.text))
    (row,) = results.rows
    assert row.status == Status.DONE
    assert row.accuracy is not None
    assert results.warnings == ()
    assert not killed
    assert any(
        text.startswith("onnxruntime fp32 is scored once more: The worker process ended with") for text in events
    )


@pytest.mark.long
def test_one_that_is_killed_again_leaves_the_run_without_accuracy_and_it_says_so(asked, store, killed) -> None:
    killed += [1, 2]
    results = run(asked, store=store)
    assert results.rows[0].accuracy is None
    assert results.warnings[0].startswith("No accuracy: the source model could not be run (The worker process ended")
    again = run(asked, store=Store(store.root))
    assert again.rows[0].accuracy is not None
    assert again.warnings == ()


def test_samples_are_scored_as_requested_where_more_of_them_fail_together(asked, store, monkeypatch) -> None:
    call, batches = Worker.call, []

    def refuse(self: Worker, task: str, **arguments):
        if task == "evaluate":
            batches.append(arguments["batch"])
            if arguments["batch"] > 1:
                raise RunError("Could not run samples 0 to 31: no memory")
        return call(self, task, **arguments)

    monkeypatch.setattr(Worker, "call", refuse)
    (row,) = run(asked, store=store).rows
    assert row.accuracy is not None
    assert batches == [TOGETHER, 1]


def cancelled_while_scored(experiment: Experiment, store: Store, *rows: str) -> dict[str, Result]:
    """The rows of a run of which these are cancelled as soon as they are scored."""
    stop = Stop()

    def stop_them(event: Event) -> None:
        if event.result and event.result.status == Status.SCORING and event.result.row in rows:
            stop.stop_row(event.result.row)

    return {row.row: row for row in run(experiment, store=store, on_event=stop_them, cancel=stop).rows}


def test_a_row_that_is_cancelled_while_it_is_scored_ends_as_cancelled_and_keeps_its_time(asked, store) -> None:
    asked = replace(asked, backends=("onnxruntime", "openvino"))
    rows = cancelled_while_scored(asked, store, "openvino fp32 @1")
    assert {name: row.status for name, row in rows.items()} == {
        "onnxruntime fp32 @1": Status.DONE,
        "openvino fp32 @1": Status.CANCELLED,
    }
    assert rows["openvino fp32 @1"].timing is not None
    assert rows["openvino fp32 @1"].accuracy is None
    again = {row.row: row for row in run(asked, store=store).rows}["openvino fp32 @1"]
    assert (again.status, again.reused) == (Status.DONE, True)
    assert again.accuracy is not None


def test_an_engine_is_scored_for_those_of_its_rows_that_were_not_cancelled(asked, store) -> None:
    rows = cancelled_while_scored(replace(asked, batches=(1, 2)), store, "onnxruntime fp32 @2")
    assert {name: (row.status, row.accuracy is None) for name, row in rows.items()} == {
        "onnxruntime fp32 @1": (Status.DONE, False),
        "onnxruntime fp32 @2": (Status.CANCELLED, True),
    }


@pytest.mark.long
def test_a_report_without_accuracy_ends_with_status_3_and_begins_with_the_reason(asked, tmp_path, capsys) -> None:
    options = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    html = tmp_path / "report.html"
    files = ["--model", asked.model, "--data", asked.data, "--output", str(html), "--store", str(tmp_path / "store")]
    assert main(["report", *files, *options, "--metric", "top-5"]) == 3
    reported = capsys.readouterr()
    assert "Warning: No accuracy: 'top-5' needs scores of more" in " ".join(reported.out.split())
    assert reported.err.endswith("workbench: The report has no accuracy; its first lines say why.\n")
    assert "<strong>Warning:</strong> No accuracy: " in html.read_text()
