"""Runs whose time is over: what they leave out, what they measure all the same, and what they say of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import recorded
import small_runs
from small_runs import counts, write_dense

from workbench.records import NOT_BUILT, Ended, Event, Failure, Precision, Result, Status
from workbench.runs.pipeline import run
from workbench.runs.time_limit import baseline_first, remark
from workbench.store import Store
from workbench.system.deadline import Deadline
from workbench.system.stop import Stop

ask = partial(small_runs.ask, measure_s=0.05, max_measure_s=0.05, rounds=6, batches="1")


class Clocked(Stop):
    """Its time passes when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.deadline = Deadline(lambda: self.now_s)

    def after_the_first_engine(self, event: Event) -> None:
        """Five minutes pass, without a limit a user asks for the end."""
        if event.result and event.result.status == Status.BUILT:
            self.now_s = 301.0
            if self.deadline.limit_s is None:
                self.deadline.finish()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("time_limit"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("minutes", "why", "then"),
    [
        (5, "The time limit of 5 minutes", "The same run without the limit goes on from there."),
        (None, "The request to finish", "Run it again to go on."),
    ],
)
def test_what_is_built_is_timed_and_scored_and_the_rest_is_named_once(
    folder: Path, store: Store, minutes: int | None, why: str, then: str
) -> None:
    stop = Clocked()
    asked = ask(folder, baseline="openvino int8", roofline=True)
    found = run(asked, store=store, cancel=stop, minutes=minutes, on_event=stop.after_the_first_engine)
    rows = {row.row: row for row in found.rows}
    # the baseline comes first, wherever it stands in the list, and then what it is scored against
    for done in (rows.pop("openvino int8 @1"), rows.pop("onnxruntime fp32 @1")):
        assert (done.status, done.timing is None, done.accuracy is None) == (Status.DONE, False, False)
    assert all(row.left_out and row.engine is None for row in rows.values())
    (said,) = (text for text in found.warnings if "ended the run" in text)
    assert said.startswith(f"{why} ended the run: 2 rows were not built (")
    assert said.endswith(then)
    assert all(name in said for name in rows)
    assert any(text.startswith("Not measured: the peak rates of this machine, for which ") for text in found.warnings)
    again = run(replace(asked, roofline=False), store=store)
    assert {row.status for row in again.rows} == {Status.DONE}
    assert counts(again)[0] == 2  # what was built is not built again


def test_an_engine_in_the_store_is_taken_where_no_other_would_be_built(folder: Path, store: Store) -> None:
    asked = ask(folder, precisions="fp32", backends="onnxruntime")
    run(asked, store=store, only="build")
    stop = Stop()
    stop.deadline.finish()
    found = run(ask(folder, precisions="fp32,int8", backends="onnxruntime"), store=store, cancel=stop)
    assert {row.row: row.status for row in found.rows} == {
        "onnxruntime fp32 @1": Status.DONE,
        "onnxruntime int8 @1": Status.CANCELLED,
    }


def timed(label: str, ended: Ended) -> Result:
    row = recorded.measured(label)
    return replace(row, timing=replace(row.timing, ended=ended))


def not_built(label: str) -> Result:
    spec = recorded.spec(label)
    return Result(spec, 1, Status.CANCELLED, failure=Failure(NOT_BUILT, "no time"))


def test_the_sentence_names_what_is_not_known_and_what_was_not_built() -> None:
    deadline = Deadline(lambda: 0.0)
    deadline.begin(60)
    rows = [
        timed("tensorflow fp32", Ended.TIME),
        timed("onnxruntime fp32", Ended.KNOWN),
        timed("openvino fp32", Ended.TIME),
        not_built("openvino int8"),
    ]
    assert remark(rows, "tensorflow fp32", deadline) == (
        "The time limit of 1 minute ended the run: 1 row was not built (openvino int8 @1); 1 row was measured for less time than planned, "
        "and is not known to be faster or slower than the baseline (openvino fp32 @1). The same run without the limit goes on from there."
    )
    assert remark([timed("tensorflow fp32", Ended.KNOWN)], "", deadline) == ""
    many = remark([*rows[:2], *(not_built(f"openvino:x{number} int8") for number in range(9))], "", deadline)
    assert "9 rows were not built (openvino:x0 int8 @1, " in many
    assert ", openvino:x5 int8 @1, 3 more)" in many


def test_the_baseline_is_built_first_and_then_what_is_in_fp32() -> None:
    labels = ("openvino int8", "openvino fp32", "onnxruntime int8", "onnxruntime fp32")
    rows = [Result(recorded.spec(label), 1) for label in labels]
    assert [row.spec.label for row in baseline_first(rows, "onnxruntime int8")] == [
        labels[2],
        labels[1],
        labels[3],
        labels[0],
    ]
    first, *_ = baseline_first(rows, "")
    assert first.spec.precision == Precision.FP32
