"""The page History: earlier runs in the store, and those that are running."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from workbench import jobs, panel_view
from workbench import panel_widgets as widgets
from workbench.errors import StoreError, WorkbenchError
from workbench.experiment import Experiment
from workbench.jobs import Asked, Job
from workbench.panel_fields import field
from workbench.store import Store

SHOWN = 200


class HistoryPage:
    """A list to choose from; ``opened`` is called with the job that was chosen."""

    def __init__(self, store: Store, opened: Callable[[Job], None]) -> None:
        self._store, self._opened = store, opened
        self._jobs: dict[str, Job] = {}
        self.filter = field(
            widgets.Text,
            "Filter",
            "Only runs whose line holds these letters",
            "",
            placeholder="such as demo, int8 or running",
        ).add_class("wb-wide")
        self.choice = widgets.Select(options=[], rows=10, tooltip="A run to open or to watch").add_class("wb-history")
        self.open = widgets.Button(description="Open", icon="folder-open", disabled=True).add_class("wb-open")
        self.again = widgets.Button(description="Look again", icon="refresh", tooltip="Read the store again")
        self.said = widgets.HTML()
        self.widget = widgets.VBox([
            widgets.Box([self.filter]).add_class("wb-line"), self.choice, widgets.Box([self.open, self.again]).add_class("wb-line"), self.said,
        ])  # fmt: skip
        self.filter.observe(lambda _: self.refresh(), "value")
        self.again.on_click(lambda _: self.refresh())
        self.open.on_click(lambda _: self.open_now())

    def refresh(self, *, busy: bool = False) -> None:
        """Read the store again."""
        self._jobs = {}
        for job in jobs.all_jobs(self._store)[:SHOWN]:
            line = told(job)
            if line and self.filter.value.strip().lower() in line.lower():
                self._jobs[line] = job
        self.choice.options = list(self._jobs)
        self.open.disabled = busy or not self._jobs
        self.said.value = panel_view.hint("" if self._jobs else "There is no such run in this store.")

    def open_now(self) -> None:
        if job := self._jobs.get(self.choice.value):
            self._opened(job)


def told(job: Job) -> str:
    """One line about a run; empty where it cannot be read."""
    try:
        asked = job.asked
        experiment = asked.experiment
    except (WorkbenchError, TypeError):  # of another version, perhaps
        return ""
    state = "running" if job.running else "done" if (job.folder / jobs.RESULTS).exists() else "without results"
    parts = (
        began(asked), Path(experiment.model).name, ", ".join(experiment.backends), ", ".join(experiment.precisions),
        f"batches {', '.join(map(str, experiment.batches))}", state,
    )  # fmt: skip
    return f"{' · '.join(parts)} ({job.name[-6:]})"


def began(asked: Asked) -> str:
    """When it began, by the clock of this machine."""
    try:
        return f"{datetime.fromisoformat(asked.at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return asked.at


def to_show(store: Store, experiment: Experiment, owner: str) -> Job | None:
    """The run that a new panel of this notebook is to show: the newest that this very notebook began, or that was asked for
    with the same settings. A panel that was made with other settings than the notebook now has watches what still runs, and
    leaves what has ended to the history.
    """
    parameters = experiment.parameters()
    for job in jobs.all_jobs(store)[:SHOWN]:
        try:
            asked = job.asked
        except StoreError:
            continue
        mine = bool(owner) and asked.owner == owner
        same = asked.parameters == parameters and asked.only == "all"
        if (mine and (asked.began_as == parameters or job.running)) or (same and (job.running or _ended_well(job))):
            return job
    return None


def _ended_well(job: Job) -> bool:
    return (job.folder / jobs.RESULTS).exists()
