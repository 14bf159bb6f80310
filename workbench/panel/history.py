"""The page History: earlier runs in the store, those made without a panel too, and those that are running; side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from workbench.compare.across import not_kept
from workbench.compare.formats import duration
from workbench.display.across_table import Runs, compare_runs
from workbench.display.html import facts, join
from workbench.errors import StoreError, WorkbenchError
from workbench.jobs import job as jobs
from workbench.jobs.job import Asked, End, Job
from workbench.models.describe import counted
from workbench.panel import view, widgets
from workbench.panel.fields import field
from workbench.panel.labels import HistoryEntry, Labels
from workbench.panel.travel import Travel
from workbench.runs.archive import Outcome, Run, runs, scored_by
from workbench.runs.labels import label_of
from workbench.settings.commands import placed
from workbench.settings.experiment import Experiment
from workbench.store import Store

SHOWN = 200
HINT = "Hold Ctrl or Shift to choose several; two or more runs with results can be compared. The newest is first."
NO_RESULTS = "It has no results"


class HistoryPage:
    """A list to choose from. ``opened`` is called with the job that was chosen; ``reopened`` with an experiment that is to be
    written into the form, and what to say of it; ``shown`` with an imported run, which is shown as it is.
    """

    def __init__(
        self,
        store: Store,
        opened: Callable[[Job], None],
        reopened: Callable[[Experiment, str], None],
        shown: Callable[[Run], None] = lambda _: None,
    ) -> None:
        self._store, self._opened, self._reopened, self._shown = store, opened, reopened, shown
        self._entries: dict[str, HistoryEntry] = {}
        self._busy = False
        self.compared: Runs | None = None
        self.filter = field(
            widgets.Text,
            "Filter",
            "Only runs whose line contains this text",
            "",
            placeholder="such as demo, int8 or running",
            continuous_update=False,  # it looks through all runs of the store
            css="wb-wide",
        )
        self.choice = widgets.SelectMultiple(
            description="Runs", options=[], rows=10, tooltip="Runs to open, to watch or to compare", css="wb-history"
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
        self.about = widgets.HTML()
        self.side = widgets.HTML()
        self.together = widgets.Button(
            description="Measure them in one run",
            icon="play",
            tooltip="Put all of these variants into the controls, to be measured in turn; then press Run",
            layout={"display": "none"},
            css="wb-together",
        )
        self.travel = Travel(store, self._one_run, self._came_in)
        self.labels = Labels(store, self._one, lambda: self.refresh(busy=self._busy))
        self.widget = self._laid_out()
        self._connect()

    def _laid_out(self) -> Any:
        return widgets.VBox([
            widgets.Box([self.filter], css="wb-line"), self.choice,
            widgets.HTML(view.hint(HINT)),
            widgets.Box([self.open, self.compare, self.again], css="wb-line"), self.about, self.labels, self.said, self.side,
            widgets.Box([self.together], css="wb-line"), self.travel,
        ])  # fmt: skip

    def _connect(self) -> None:
        """Call methods when controls are used."""
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
        keys = {self._entries[line].key for line in self.choice.value if line in self._entries}
        self._entries = {each.line: each for each in found}
        kept = [line for line, each in self._entries.items() if each.key in keys]  # a name changes the line
        self.choice.value = ()  # first: the browser would look for lines that are gone
        self.choice.options = list(self._entries)
        self.choice.value = kept
        self.said.value = said
        self._offer()

    def _chosen(self) -> list[HistoryEntry]:
        return [self._entries[line] for line in self.choice.value if line in self._entries]

    def _one(self) -> HistoryEntry | None:
        """The line that is chosen; ``None`` where none or several are."""
        chosen = self._chosen()
        return chosen[0] if len(chosen) == 1 else None

    def _one_run(self) -> Run | None:
        """The run that is chosen; ``None`` where none or several are, or it has no results."""
        chosen = self._one()
        return chosen.run if chosen else None

    def _came_in(self, run: str) -> None:
        """Choose a run that was imported."""
        self.filter.value = ""
        self.refresh(busy=self._busy)
        self.choice.value = [line for line, each in self._entries.items() if each.run and each.run.name == run]

    def _offer(self) -> None:
        """Buttons that have something to do."""
        chosen = self._chosen()
        self.travel.export.disabled = self._one_run() is None
        self.open.disabled = self._busy or len(chosen) != 1
        self.compare.disabled = len(chosen) < 2
        self.together.disabled = self._busy
        self.about.value = "".join(about(each) for each in [self._one()] if each)
        self.labels.follow()

    def open_now(self) -> None:
        """Show the chosen run; of one that was made here without a panel, its settings."""
        (chosen,) = self._chosen()
        if chosen.job is not None:
            self._opened(chosen.job)
            return
        if chosen.run is not None and chosen.run.imported:
            self._shown(chosen.run)
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
            "These are the settings of a run that was made without a panel. Press Run to get its results: what the store "
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
            self.compared = None
            why = "".join(f" {NO_RESULTS}: {line}." for line in without)
            self.side.value = view.message(error.message + why, "warn")
        else:
            self.compared = found
            left_out = join(view.message(f"{NO_RESULTS}: {line}", "warn") for line in without)
            self.side.value = found.html() + left_out
        offered = self.compared is not None and self.compared.experiment is not None
        widgets.show(self.together, offered)

    def together_now(self) -> None:
        """Put the variants of the compared runs into the controls."""
        if self.compared and self.compared.experiment:
            names = ", ".join(run.name for run in self.compared.runs)
            self._reopened(
                self.compared.experiment,
                f"These are the variants of {names}. Press Run to measure them in turn. {self.compared.note}".rstrip(),
            )


def entries(store: Store, letters: str = "") -> list[HistoryEntry]:
    """The newest runs and jobs of a store whose lines hold these letters, at most ``SHOWN``; a job and its run
    are one.

    Raises:
        StoreError: the store cannot be read.
    """
    known = {run.name: run for run in runs(store)}
    both: list[tuple[str, Job | None, Run | None]] = []
    both += [(job.name, job, known.pop(job.run, None)) for job in jobs.all_jobs(store)]
    both += [(run.name, None, run) for run in known.values()]
    found: list[HistoryEntry] = []
    # names of both begin with the time at which they began
    for _, job, run in sorted(both, key=lambda each: each[0], reverse=True):
        entry = HistoryEntry(line(job, run), job, run)
        if entry.line:
            entry = entry._replace(line=_labelled(entry, store))
        if entry.line and letters.lower() in entry.line.lower():
            found.append(entry)
            if len(found) == SHOWN:
                break
    return found


def _labelled(entry: HistoryEntry, store: Store) -> str:
    """The line with the name of the run before it and its note after it."""
    label = label_of(store, entry.key)
    return " · ".join(filter(None, [label.name, entry.line, label.note]))


def _few(entries: Sequence[HistoryEntry], letters: str) -> str:
    """Why there are not more of them."""
    if len(entries) == SHOWN:
        return f"These are the newest {SHOWN}; the filter finds older ones too."
    if entries:
        return ""
    return "There is no such run in this store." if letters else "There is no run in this store yet."


def line(job: Job | None, run: Run | None) -> str:
    """A run in one line, what it came to before what was asked for; "" where its settings cannot be read."""
    try:
        experiment = job.asked.experiment if job else None
    except (WorkbenchError, TypeError):  # of another version, perhaps
        return ""
    if job and experiment:
        at, model, key = began(job.asked), Path(experiment.model).name, job.run or job.name
        settings = [", ".join(experiment.backends), ", ".join(experiment.precisions)]
        settings += [f"batches {', '.join(map(str, experiment.batches))}"]
    elif run:
        at, model, key = local(run.time), run.model, run.name
        settings = [run.settings, "" if run.imported else "without a panel"]
    else:
        return ""
    parts = [at, model, _state(job, run)[0], _fastest(run), *settings]
    return f"{' · '.join(filter(None, parts))} ({key[-6:]})"


def _state(job: Job | None, run: Run | None) -> tuple[str, str]:
    """Whether a run goes on or how it ended, with its duration; and the message of one that ended without results."""
    took = run.outcome.wall_s if run else None
    lasted = f" in {duration(took)}" if took else ""
    end = job.end if job else End("done")
    if end is None:
        return "running", ""
    if end.how == "cancelled":
        return f"cancelled, {counted(run.rows, 'row')} kept" if run else "cancelled", end.message
    if run or (job and (job.folder / jobs.RESULTS).exists()):
        return f"done{lasted}", ""
    return {"lost": "ended from outside"}.get(end.how, "failed"), end.message


def _fastest(run: Run | None) -> str:
    """The rows that are shown to be faster than the baseline: ``fastest: onnxruntime int8 @1, no row shown to be faster @8``."""
    rows = [f"{best.label or 'no row shown to be faster'} @{best.batch}" for best in (run.outcome.best if run else ())]
    return f"fastest: {', '.join(rows)}" if rows else ""


def about(entry: HistoryEntry) -> Markup:
    """What is known of a chosen run: model, samples, how it ended, and the result of each batch size."""
    job, run = entry.job, entry.run
    asked = (job.asked.parameters if job else run.parameters if run else None) or {}
    outcome = run.outcome if run else Outcome()
    state, message = _state(job, run)
    known = {
        "Model": [str(asked.get("model") or (run.model if run else ""))],
        "Samples": [outcome.data or str(asked.get("data", ""))],
        "State": [f"{state}: {message}" if message else state],
        "Result": [f"Batch {each.batch}: {each.text}" for each in outcome.best],
    }
    return facts((name, values) for name, values in known.items() if any(values))


def began(asked: Asked) -> str:
    """When it began, by the clock of this machine."""
    return local(asked.at)


def local(at: str) -> str:
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
        f"These results were scored {how}, and this panel was given {what}. To continue with them, create the panel "
        f"{'with that function' if by else 'without one'}; Run makes new results."
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
