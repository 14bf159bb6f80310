"""The page History: earlier runs in the store, those made without a panel too, and those that are running; side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from workbench.compare.across import Across, compare_runs, not_kept, page
from workbench.errors import StoreError, WorkbenchError
from workbench.experiment import Experiment
from workbench.jobs import jobs
from workbench.jobs.jobs import Asked, Job
from workbench.panel import view, widgets
from workbench.panel.fields import field
from workbench.panel.saved_notebook import placed
from workbench.runs.archive import Run, runs, scored_by
from workbench.store import Store

SHOWN = 200
HINT = "Ctrl or Shift chooses several: two or more runs that came to results can be compared. The newest stands first."
NO_RESULTS = "It came to no results"


class Entry(NamedTuple):
    """A line of the list: a run that came to results, the job that was its process, or both."""

    line: str
    job: Job | None
    run: Run | None


class HistoryPage:
    """A list to choose from. ``opened`` is called with the job that was chosen; ``reopened`` with an experiment that is to be
    written into the form, and what to say of it.
    """

    def __init__(
        self, store: Store, opened: Callable[[Job], None], reopened: Callable[[Experiment, str], None]
    ) -> None:
        self._store, self._opened, self._reopened = store, opened, reopened
        self._entries: dict[str, Entry] = {}
        self._busy = False
        self.found: Across | None = None
        self.filter = field(
            widgets.Text,
            "Filter",
            "Only runs whose line holds these letters",
            "",
            placeholder="such as demo, int8 or running",
            continuous_update=False,  # it looks through all runs of the store
            css="wb-wide",
        )
        self.choice = widgets.SelectMultiple(
            options=[], rows=10, tooltip="Runs to open, to watch or to compare", css="wb-history"
        )
        self.open = widgets.Button(
            description="Open",
            icon="folder-open",
            tooltip="Show the run, or put its settings into the controls",
            css="wb-open",
        )
        self.compare = widgets.Button(
            description="Compare",
            icon="columns",
            tooltip="What each of the chosen runs measured, side by side",
            css="wb-compare-runs",
        )
        self.again = widgets.Button(description="Look again", icon="refresh", tooltip="Read the store again")
        self.said = widgets.HTML()
        self.side = widgets.HTML()
        self.together = widgets.Button(
            description="Measure them in one run",
            icon="play",
            tooltip="Put all of these variants into the controls, to be measured in turn; press Run then",
            layout={"display": "none"},
            css="wb-together",
        )
        self.widget = widgets.VBox([
            widgets.Box([self.filter], css="wb-line"), self.choice,
            widgets.HTML(view.hint(HINT)),
            widgets.Box([self.open, self.compare, self.again], css="wb-line"), self.said, self.side,
            widgets.Box([self.together], css="wb-line"),
        ])  # fmt: skip
        self.filter.observe(lambda _: self.refresh(busy=self._busy), "value")
        self.choice.observe(lambda _: self._offer(), "value")
        self.again.on_click(lambda _: self.refresh(busy=self._busy))
        self.open.on_click(lambda _: self.open_now())
        self.compare.on_click(lambda _: self.compare_now())
        self.together.on_click(lambda _: self.together_now())

    def refresh(self, *, busy: bool = False) -> None:
        """Read the store again."""
        self._busy = busy
        letters = self.filter.value.strip()
        try:
            found = entries(self._store, letters)
            said = view.hint(_few(found, letters))
        except StoreError as error:
            found, said = [], view.message(error.message)
        self._entries = {each.line: each for each in found}
        kept = [line for line in self.choice.value if line in self._entries]
        self.choice.options = list(self._entries)
        self.choice.value = kept
        self.said.value = said
        self._offer()

    def _chosen(self) -> list[Entry]:
        return [self._entries[line] for line in self.choice.value if line in self._entries]

    def _offer(self) -> None:
        """Buttons that have something to do."""
        chosen = self._chosen()
        self.open.disabled = self._busy or len(chosen) != 1
        self.compare.disabled = len(chosen) < 2
        self.together.disabled = self._busy

    def open_now(self) -> None:
        """Show the chosen run; of one that was made without a panel, its settings."""
        (chosen,) = self._chosen()
        if chosen.job is not None:
            self._opened(chosen.job)
            return
        try:
            asked = Experiment(**(chosen.run.parameters or {})) if chosen.run else None
        except (WorkbenchError, TypeError):  # of another version, perhaps
            asked = None
        if asked is None or not (chosen.run and chosen.run.parameters):
            self.said.value = view.message("The settings of this run are not known to this version.", "warn")
            return
        function = scored_by(self._store, chosen.run.name)
        self._reopened(
            asked,
            "These are the settings of a run that was made without a panel. Press Run to see what came of it: what the store "
            f"still has is not measured again.{f' It {not_kept(function)}' if function else ''}",
        )

    def compare_now(self) -> None:
        """Show the chosen runs side by side."""
        chosen = self._chosen()
        without = [each.line for each in chosen if each.run is None]
        names = [each.run.name for each in chosen if each.run]
        try:
            found = compare_runs(*names, store=self._store)
        except WorkbenchError as error:
            self.found = None
            why = "".join(f" {NO_RESULTS}: {line}." for line in without)
            self.side.value = view.message(error.message + why, "warn")
        else:
            self.found = found
            left_out = "".join(view.message(f"{NO_RESULTS}: {line}", "warn") for line in without)
            self.side.value = page(found) + left_out
        offered = self.found is not None and self.found.experiment is not None
        widgets.show(self.together, offered)

    def together_now(self) -> None:
        """Put the variants of the compared runs into the controls."""
        if self.found and self.found.experiment:
            names = ", ".join(run.name for run in self.found.runs)
            self._reopened(
                self.found.experiment,
                f"These are the variants of {names}. Press Run to measure them in turn. {self.found.note}".rstrip(),
            )


def entries(store: Store, letters: str = "") -> list[Entry]:
    """The newest runs and jobs of a store whose lines hold these letters, at most ``SHOWN``; a job and the run that it came to
    are one.

    Raises:
        StoreError: the store cannot be read.
    """
    known = {run.name: run for run in runs(store)}
    both: list[tuple[str, Job | None, Run | None]] = []
    both += [(job.name, job, known.pop(job.run, None)) for job in jobs.all_jobs(store)]
    both += [(run.name, None, run) for run in known.values()]
    found: list[Entry] = []
    # names of both begin with the time at which they began
    for _, job, run in sorted(both, key=lambda each: each[0], reverse=True):
        line = told(job) if job else _without_panel(run) if run else ""
        if line and letters.lower() in line.lower():
            found.append(Entry(line, job, run))
            if len(found) == SHOWN:
                break
    return found


def _few(found: Sequence[Entry], letters: str) -> str:
    """Why there are not more of them."""
    if len(found) == SHOWN:
        return f"These are the newest {SHOWN}; the filter finds older ones too."
    if found:
        return ""
    return "There is no such run in this store." if letters else "There is no run in this store yet."


def _without_panel(run: Run) -> str:
    return f"{_local(run.time)} · {run.told} · without a panel ({run.name[-6:]})"


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
    return f"{' · '.join(parts)} ({(job.run or job.name)[-6:]})"


def began(asked: Asked) -> str:
    """When it began, by the clock of this machine."""
    return _local(asked.at)


def _local(at: str) -> str:
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return at


def scored_otherwise(by: str, ours: str) -> str:
    """What to say of a run that was not scored by a panel's own function, both by their identity; "" where it was."""
    if by == ours:
        return ""
    scored, given = (each.rpartition(" ")[0] or each for each in (by, ours))
    how = f"by a function '{scored}'" if by else "without a function"
    what = f"{'another' if by else 'a'} function '{given}'" if ours else "none"
    return (
        f"These results were scored {how}, and this panel was given {what}. To go on with them make the panel "
        f"{'with that function' if by else 'without one'}; Run makes new ones."
    )


def to_show(store: Store, experiment: Experiment, owner: str, metric: str = "") -> Job | None:
    """The run that a new panel of this notebook is to show: the newest that this very notebook began, or that was asked for
    with the same settings; scored by the same function, whose :func:`workbench.models.live.identity` is ``metric``. A panel that was
    made with other settings than the notebook now has watches what still runs, and leaves what has ended to the history.
    """
    parameters = experiment.parameters()
    here = placed(parameters)  # a saved notebook has absolute paths
    for job in jobs.all_jobs(store)[:SHOWN]:
        try:
            asked = job.asked
        except StoreError:
            continue
        mine = bool(owner) and asked.owner == owner
        comparable = asked.parameters.keys() == here.keys()  # else it is of another version
        scored = asked.metric == metric
        same = comparable and placed(asked.parameters) == here and asked.only == "all" and scored
        began_here = asked.began_as == parameters and scored
        if (mine and (began_here or job.running)) or (same and (job.running or _ended_well(job))):
            return job
    return None


def _ended_well(job: Job) -> bool:
    return (job.folder / jobs.RESULTS).exists()
