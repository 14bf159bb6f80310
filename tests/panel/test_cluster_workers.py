"""The page Run shows the workers of a cluster while a run goes on."""

from __future__ import annotations

import time

from workbench.jobs.job import Asked
from workbench.panel.panel import Panel
from workbench.records import ClusterState, Event, WorkerState


def test_the_workers_are_shown_with_their_rows_while_the_run_goes_on(panel: Panel) -> None:
    run = panel._run
    run._begin(None, Asked(panel.experiment.parameters()))
    workers = (
        WorkerState("w0 on <host>", "measure", ("onnxruntime fp32 @1",), "round 2", time.time()),
        WorkerState("w1 on h"),
    )
    run._apply(Event("1 of 2 workers busy", cluster=ClusterState(workers, 3)))
    run._apply(Event("another step"))
    run.draw(running=True)
    shown = run._workers.value
    for text in ("1 of 2 workers busy, 3 parts wait", "w0 on &lt;host&gt;", "onnxruntime fp32 @1", "round 2", "idle"):
        assert text in shown
    run.draw(running=False)
    assert run._workers.value == ""
    run._begin(None, Asked(panel.experiment.parameters()))
    run.draw(running=True)
    assert run._workers.value == ""
