"""A run that is asked to end soon with what it has, or to stop before there is a process to ask; and the field of the time limit."""

from __future__ import annotations

import json
import time

import pytest
from panels import control

from workbench.jobs.job import CONTROL, all_jobs
from workbench.panel.panel import Panel
from workbench.panel.show import show
from workbench.records import Ended, Status
from workbench.settings.experiment import Experiment
from workbench.store import Store


def until(panel: Panel, true) -> None:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        panel.wait(0.05)
    assert true()


def test_finish_now_keeps_what_is_measured_and_says_what_is_not_known(panel: Panel) -> None:
    for name, value in {"until": "narrow", "within": 1e-6, "max_measure_s": 3600.0}.items():
        control(panel, name).value = value
    assert panel._out.finish.disabled
    panel.benchmark()
    until(panel, lambda: "launch 2" in str(panel._work.progress))
    assert not panel._out.finish.disabled
    panel._out.finish.click()
    panel.wait(60)
    assert panel._out.finish.disabled
    assert {row.timing.ended for row in panel.results.measured} == {Ended.TIME}
    assert {row.status for row in panel.results.rows} == {Status.DONE}
    assert any(text.startswith("The request to finish ended the run: ") for text in panel.results.warnings)


def test_cancel_in_the_moment_before_there_is_a_job_reaches_it(panel: Panel, store: Store) -> None:
    control(panel, "measure_s").value = 600.0
    panel.benchmark()
    assert panel._run.job is None
    panel.cancel()
    panel.wait(60)
    assert not panel._work.busy
    assert panel.results is None or {row.status for row in panel.results.rows} == {Status.CANCELLED}
    (job,) = all_jobs(store)
    assert json.loads((job.folder / CONTROL).read_text()) == {"cancel": ""}


def test_finish_in_the_moment_before_there_is_a_job_reaches_it(panel: Panel, store: Store) -> None:
    panel.benchmark()
    panel.finish()
    panel.wait(60)
    (job,) = all_jobs(store)
    assert json.loads((job.folder / CONTROL).read_text()) == {"finish": True}


def test_the_limit_is_read_at_its_field_and_goes_with_the_run(panel: Panel, store: Store) -> None:
    limit = panel.limit
    limit.field.value = "soon"
    assert "must be a number above 0 and at most 43200, or empty for no time limit; found" in limit.children[1].value
    assert "Time limit (minutes)" in panel._out.problem.value
    assert panel._out.run.disabled
    limit.field.value = "30"
    assert not panel._out.run.disabled
    assert "minutes=30" in panel._run.export.commands.value
    panel.build()
    assert limit.field.disabled
    panel.wait(60)
    (job,) = all_jobs(store)
    assert job.asked.minutes == "30"
    assert not limit.field.disabled


def test_a_notebook_gives_the_panel_its_limit(
    store: Store, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.panel.show.is_interactive", lambda: True)
    shown: list[Panel] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert show(experiment, store=store, minutes=2.5) is shown[0]
    assert shown[0].limit.minutes == "2.5"
