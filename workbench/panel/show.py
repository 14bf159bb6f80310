"""What a notebook calls: a panel where there is a person, a run with a line per step where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workbench import pipeline
from workbench.experiment import Experiment
from workbench.panel.panel import Panel
from workbench.panel.parts import Report, View
from workbench.records import FINAL, Event, Status
from workbench.settings_table.table import RUN_SETTINGS
from workbench.store import Store


def is_interactive() -> bool:
    """Whether a person has this notebook open.

    JupyterLab lets the code it runs ask for input; nbclient, papermill and nbconvert do not. Voilà shows the notebook to
    a person although it runs it through nbclient. WORKBENCH_HEADLESS=1 decides against.
    """
    if os.environ.get("WORKBENCH_HEADLESS") == "1":
        return False
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return True
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def show(
    experiment: Experiment,
    *,
    store: Store | str | Path | None = None,
    remeasure: bool = False,
    model: Any = None,
    data: Any = None,
    metric: Any = None,
) -> View:
    """With a person at the notebook: display a panel. Without: run the experiment, a line per step.

    ``model`` and ``data`` are a live ``keras.Model`` and live arrays or a generator, ``metric`` a function or a
    ``workbench.Metric``, as in :func:`workbench.run`.

    Raises:
        WorkbenchError: without a person, whatever :func:`workbench.run` raises.
    """
    place, remeasure = Store.of(store), RUN_SETTINGS["remeasure"].parse(remeasure)
    experiment = pipeline.with_live(experiment, place, model, data)
    if is_interactive():
        from IPython.display import display

        panel = Panel(experiment, store=place, remeasure=remeasure, metric=metric)
        display(panel)  # type: ignore[no-untyped-call]
        return panel
    results = pipeline.run(experiment, store=place, on_event=_Log(), remeasure=remeasure, metric=metric)
    return Report(experiment, results)


class _Log:
    """Prints the events of a run that are worth a line: steps, engines built, rows timed and scored or failed."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, event: Event) -> None:
        ended = event.result is None or event.result.status in FINAL - {Status.UNSUPPORTED}
        # an engine that serves several batches tells the same for each of its rows
        if ended and not event.detail and event.text != self._last:
            print(event.text, flush=True)
            self._last = event.text
