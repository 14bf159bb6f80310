"""The section Search of the page Configure: a real search in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from workbench.jobs import job as jobs
from workbench.jobs.job import CONTROL, SEARCHES, Asked
from workbench.panel.panel import NOTEBOOK, Panel
from workbench.records import Status
from workbench.settings.experiment import Experiment
from workbench.store import Store

ENDED_S = 180


@pytest.fixture
def panel(experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    """Of a notebook, with a space of two points."""
    monkeypatch.setenv(NOTEBOOK, "search.ipynb")
    panel = Panel(experiment, store=store)
    panel.search.controls["measure_s"].value = 0.06
    yield panel
    panel.search.end()
    panel.search.wait(ENDED_S)


def searched(panel: Panel) -> None:
    panel.search.search()
    panel.search.wait(ENDED_S)


@pytest.mark.long
def test_a_search_shows_what_was_tried_and_the_answer_is_compared_in_a_run(
    panel: Panel, experiment: Experiment, store: Store
) -> None:
    searched(panel)
    found = panel.search.found
    assert found is not None
    assert len(found["steps"]) == found["points"] == 2
    assert found["best"] in panel.search.message.value
    for text in ("What was tried", "the first of onnxruntime fp32"):
        assert text in panel.search.tried.value
    for text in ("Pareto front", "The best", "All points were measured", "workbench report --model"):
        assert text in panel.search.answer.value
    assert jobs.all_jobs(store) == ()  # the history has runs only
    shown = Panel(experiment, store=store).search  # a new kernel
    shown.wait(ENDED_S)
    assert shown.found == found
    assert shown.widget.button.value
    assert shown.controls["measure_s"].value == 0.06
    panel.search.open_now()
    panel.wait(ENDED_S)
    assert panel.results is not None
    (row,) = panel.results.rows
    assert row.status == Status.DONE
    assert (panel.results.tally.built, panel.results.tally.measured) == (0, 1)
    assert f"{row.spec.label} @{row.batch}, 1 thread" == found["best"]


@pytest.mark.long
def test_a_cancelled_search_keeps_the_best_so_far(panel: Panel) -> None:
    panel.search.controls["measure_s"].value = 5.0
    panel.search.search()
    while not (panel.search.found and panel.search.found["best"]):
        panel.search.wait(0.05)
        assert panel.search._work.busy
    panel.search.end()
    panel.search.wait(ENDED_S)
    assert "The search was cancelled. The best so far is onnxruntime fp32" in panel.search.message.value
    assert panel.search.found["cancelled"]
    assert not panel.search.open.disabled


def test_cancel_in_the_moment_before_there_is_a_process_reaches_it(panel: Panel, store: Store) -> None:
    panel.search.controls["measure_s"].value = 600.0
    panel.search.search()
    assert panel.search.job is None
    panel.search.end()
    panel.search.wait(ENDED_S)
    (job,) = jobs.all_jobs(store, SEARCHES)
    assert json.loads((job.folder / CONTROL).read_text(encoding="utf-8")) == {"cancel": ""}


@pytest.mark.long
def test_a_search_goes_on_without_its_panel(experiment: Experiment, store: Store) -> None:
    """Another panel of the same model and data follows it."""
    limits = {"objective": "latency", "share": 1.0, "threads": [1], "streams": [1], "latency_limit_s": 1e-6}
    asked = Asked(experiment.parameters(), search=limits)
    job = jobs.start(store, asked)
    panel = Panel(replace(experiment, batches=(1,)), store=store)
    assert panel.search._work.busy
    panel.search.wait(ENDED_S)
    assert job.end is not None
    assert job.end.how == "done"
    assert panel.search.found == job.found()
    assert panel.search.controls["objective"].value == "latency"


def test_the_budget_of_a_search_follows_that_of_the_page_and_can_be_another(panel: Panel) -> None:
    panel._controls.control["budget"].value = "1 %"
    assert panel.search.controls["budget"].value == "1 %"
    panel.search.controls["budget"].value = "2 %"
    assert panel.experiment.budget == "1 %"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("latency_limit_s", -1.0, "'latency limit' must be"),
        ("threads", "0", "'threads' must be"),
        ("share", 2.0, "'share' must be"),
    ],
)
def test_a_limit_that_cannot_be_used_is_a_sentence(
    panel: Panel, store: Store, field: str, value: object, said: str
) -> None:
    panel.search.controls[field].value = value
    panel.search.search()
    assert said.replace("'", "&#39;") in panel.search.message.value
    assert jobs.all_jobs(store, SEARCHES) == ()


@pytest.mark.long
def test_no_point_within_the_limits_is_said(panel: Panel) -> None:
    panel.search.controls["latency_limit_s"].value = 1e-6
    searched(panel)
    assert "No measured point is within the limits." in panel.search.message.value
    assert panel.search.open.disabled


def test_a_function_as_the_metric_is_refused(experiment: Experiment, store: Store) -> None:
    panel = Panel(experiment, store=store, metric=lambda outputs, labels: 1.0)
    panel.search.search()
    assert "A search scores by a metric" in panel.search.message.value


def test_a_search_without_points_fails_with_its_sentence(experiment: Experiment, store: Store) -> None:
    panel = Panel(replace(experiment, precisions=("fp8",)), store=store)
    searched(panel)
    assert "No point can be measured" in panel.search.message.value
