"""What a notebook calls: a panel where there is a person, a run with a line per step where there is none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from workbench.cluster.where import run as run_there
from workbench.compare.summary import summary
from workbench.panel.notebook_view import Report, View
from workbench.panel.panel import Panel
from workbench.report import event_file
from workbench.runs import pipeline
from workbench.runs.archive import find, runs
from workbench.runs.open_run import asked_for, facts_of, open_run
from workbench.settings.cluster import ClusterSettings
from workbench.settings.experiment import Experiment
from workbench.settings.table import RUN_SETTINGS
from workbench.store import Store
from workbench.system import logs
from workbench.system.interactive import is_interactive

LOG = logging.getLogger(__name__)


def show(
    experiment: Experiment,
    *,
    store: Store | str | Path | None = None,
    remeasure: bool = False,
    minutes: float | str | None = None,
    model: Any = None,
    data: Any = None,
    metric: Any = None,
    run: str = "",
    **cluster: Any,
) -> View:
    """With a person at the notebook: display a panel. Without: run the experiment, a line per step.

    ``minutes`` is the time limit of a run, as in :func:`workbench.run`; in the panel it can be changed.

    With ``run``, the name of a run in the history, its last letters, or "latest", that run is shown as it was, and nothing is measured.

    ``model`` and ``data`` are a live ``keras.Model`` and live arrays or a generator, ``metric`` a function or a
    ``workbench.Metric``, as in :func:`workbench.run`.

    ``cluster`` stands for the settings of a cluster: ``cluster``, the address of a scheduler, ``cluster_label``, ``cohort`` and
    ``retry_failed``. The run is then carried out by its workers (:func:`workbench.run_on_cluster`).

    Raises:
        WorkbenchError: without a person, whatever :func:`workbench.run` raises.

    Example::

        workbench.show(workbench.Experiment(model="model.onnx"))
    """
    place, remeasure = Store.of(store), RUN_SETTINGS["remeasure"].parse(remeasure)
    where, limit = ClusterSettings(**cluster), RUN_SETTINGS["minutes"].parse(minutes)
    if run:
        return _kept(run, place)
    experiment = pipeline.with_live(experiment, place, model, data)
    if is_interactive():
        from IPython.display import display

        panel = Panel(experiment, store=place, remeasure=remeasure, metric=metric)
        panel.limit.write(limit)
        panel.where = where
        display(panel)  # type: ignore[no-untyped-call]
        return panel
    with event_file.reporting() as reporter, logs.shown(reporter.message):
        how = {"remeasure": remeasure, "minutes": limit, "metric": metric}
        results = run_there(experiment, where, store=place, on_event=reporter.event, **how)
        LOG.info("%s", "\n".join(summary(results).results()) or "Nothing was measured.")  # now: figures take a while
        reporter.end(results)
    return Report(experiment, results, place.root)


def _kept(name: str, store: Store) -> View:
    """A run of the history in a panel, or as the results of this notebook."""
    known = {run.name: run for run in runs(store)}
    kept = known[find(name, tuple(known.values()))]
    asked = asked_for(facts_of(kept.name, store)) or Experiment()
    if is_interactive():
        from IPython.display import display

        panel = Panel(asked, store=store)
        panel.show_run(kept)
        display(panel)  # type: ignore[no-untyped-call]
        return panel
    results = open_run(kept.name, store)
    with event_file.reporting() as reporter:
        reporter.end(results)
    return Report(asked, results, store.root)
