"""The section Search of the page Configure: the best setting under limits, found by a process of its own, which goes on without the panel."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import traitlets
from markupsafe import Markup

from workbench.display import searched as tables
from workbench.display.html import join, tag
from workbench.errors import InputError, StoreError, WorkbenchError
from workbench.jobs import job as jobs
from workbench.jobs.job import RESULTS, SEARCHES, Asked, End, Job
from workbench.panel import view, widgets
from workbench.panel.controls import Controls
from workbench.panel.fields import Fold, button, field
from workbench.panel.outcome import why_ended
from workbench.panel.settings import control
from workbench.panel.work import BackgroundWork
from workbench.records import Event, Progress
from workbench.search.under_limits.wanted import (
    FEWEST,
    MEASURE_S,
    OBJECTIVES,
    RACE,
    SHARE,
    THROUGHPUT,
    point_s,
    searched,
)
from workbench.settings.commands import placed
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import Integers, Number
from workbench.settings.options import command_line
from workbench.settings.table import SETTINGS
from workbench.store import Store

ABOUT = (
    "Run measures every combination of the settings above. A search finds the best of them within limits, also over these threads and streams, "
    "and measures only some. It goes on when this page is closed."
)
SAME = ("model", "data")
"""Settings by which a new panel finds a search that still runs, where its notebook began none."""
AGAIN = "Press Search to go on: finished points are taken from the store."


class SearchSection:
    """Starts a search, follows it, and shows what it has found.

    The experiment is that of ``controls``, ``runs`` is what carries out a run, and ``opened`` is called with the experiment of the best
    point. ``function`` is the name of a metric that is not a setting.
    """

    owner = ""  # the notebook, as its server names it

    def __init__(
        self,
        store: Store,
        controls: Controls,
        runs: BackgroundWork,
        opened: Callable[[Experiment], None],
        function: str = "",
    ) -> None:
        self._store, self._read, self._runs = store, controls.read, runs
        self._opened, self.function = opened, function
        self._work = BackgroundWork(self._tick)
        self.job: Job | None = None
        self.found: dict[str, Any] | None = None
        self._budget = ""  # of the search that is shown
        self.controls = _controls(controls.control["budget"])
        self.start = button("Search", "search", "Search with these limits", "wb-search", button_style="primary")
        self.cancel = button("Cancel search", "stop", "Stop now; the best so far is kept", "wb-end-search")
        self.open = button(
            "Compare the best in a run",
            "folder-open",
            "Set up a run of the best, the other best ones and FP32",
            "wb-open-best",
        )
        self.state, self.message = widgets.HTML(), widgets.HTML()
        self.answer, self.tried = widgets.HTML(), widgets.HTML(css="wb-tried")
        self.widget = Fold("Search for the best setting", [
            widgets.HTML(view.hint(ABOUT)),
            widgets.Box(list(self.controls.values()), css="wb-grid"),
            widgets.Box([self.start, self.cancel, self.open], css="wb-line"),
            self.state, self.message, self.answer, self.tried,
        ])  # fmt: skip
        self.start.on_click(lambda _: self.search())
        self.cancel.on_click(lambda _: self.end())
        self.open.on_click(lambda _: self.open_now())
        self._tick()

    def search(self) -> None:
        """Start a search; :meth:`wait` says when it has ended."""
        if self._work.busy:
            return
        try:
            if self.function:
                raise InputError(
                    f"A search scores by a metric's name, and this panel was given the function '{self.function}'. Make the panel "
                    "without it, and choose a metric."
                )
            limits = self._limits()
            asked = replace(self._read(), budget=self.controls["budget"].value)
            seconds = _seconds(self.controls["measure_s"].value)
            if seconds == MEASURE_S:  # the default
                self.controls["measure_s"].value = seconds = point_s(limits["objective"], asked.backends)
            experiment = searched(asked, seconds)
        except WorkbenchError as error:
            self.message.value = view.message(error.message)
            return
        job = Asked(experiment.parameters(), owner=self.owner, search=limits)
        self._show(None)
        self._follow(lambda: jobs.start(self._store, job))

    def end(self) -> None:
        """Ask the search to stop; what it has found stays."""
        if self._work.busy:
            self._work.cancel.set()
            self._work.phase = "cancelling"
            if self.job is not None:
                self.job.cancel()
            self._tick()

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the search has ended."""
        self._work.wait(timeout_s)

    def open_now(self) -> None:
        """Compare the best point with the other best ones and FP32 in a run."""
        if self._runs.busy:
            self.say("A run is in progress. Compare the best points when it has ended.", "warn")
        elif self.found and self.found["parameters"] is not None:
            self._opened(Experiment(**self.found["parameters"]))

    def restore(self, experiment: Experiment, owner: str) -> None:
        """Show the last search that this notebook began, or one of the same model and data that still runs, and follow it."""
        self.owner = owner
        job = last_search(self._store, experiment, owner)
        if job is None or self._work.busy:
            return
        self._write(job.asked)
        self.widget.button.value = True
        self._follow(lambda: job)

    def _follow(self, found: Callable[[], Job]) -> None:
        self.message.value, self.job = "", None
        self._work.start(
            lambda: self._watch(found()),
            "starting",
            failed=lambda error: self.say(*why_ended(error)),
        )
        self._tick()

    def _watch(self, job: Job) -> None:
        """In the thread: follow a search to its end."""
        self._work.post(partial(self._began, job, job.asked.experiment.budget))
        end, at = End("lost"), 0
        for item in job.follow():
            if isinstance(item, Event):
                self._work.post(partial(self._apply, item))
            elif isinstance(item, End):
                end = item
            elif (now := _changed(job)) != at:
                at = now
                self._work.post(partial(self._show, job.found()))
        self._work.post(partial(self._show, job.found()))
        self._work.post(partial(self._ended, end))

    def _began(self, job: Job, budget: str) -> None:
        self.job, self._budget = job, budget
        if self._work.cancel.is_set():  # it was asked before there was a job to tell
            job.cancel()

    def _apply(self, event: Event) -> None:
        if not self._work.progress:
            self._work.since_s = event.at
        if not self._work.cancel.is_set():
            self._work.phase = event.text
        if event.progress and event.progress.phase in ("search", RACE):  # others are those of single points
            self._work.progress = event.progress

    def _show(self, found: dict[str, Any] | None) -> None:
        """Show what was found so far."""
        self.found = found
        if found is None:
            self.answer.value = self.tried.value = ""
            return
        sure = tables.chance(found)
        parts = [tables.race(found).html()]
        parts += [tag("p", f"{sure}. {tables.ESTIMATE}")] if sure else []
        parts += [tables.front(found).html(), tables.scores(found, self._budget).html()]
        if found["parameters"] is not None:
            parts.append(
                view.copyable(
                    "To compare them with FP32 in a report, in a terminal", command_line("report", found["parameters"])
                )
            )
        self.answer.value = join(parts)
        tried = tables.tried(found)
        self.tried.value = replace(tried, rows=tried.rows[::-1]).html(lines=True)

    def _ended(self, end: End) -> None:
        best = self.found["best"] if self.found else None
        doubt = tables.doubt(self.found) if self.found else ""
        known = f"The best is {best}. {doubt}".strip() if best else "No measured point is within the limits."
        if end.how == "done":
            self.say(known, "good" if best and not doubt else "warn")
        else:
            so_far = f" The best so far is {best}." if best else ""
            how = "The search was cancelled." if end.how == "cancelled" else end.message or "The search has failed."
            self.say(f"{how}{so_far} {AGAIN}", "warn" if end.how == "cancelled" else "bad")

    def say(self, text: str, kind: str = "bad") -> None:
        """Show a message beside the buttons."""
        self.message.value = view.message(text, kind)

    def _limits(self) -> dict[str, Any]:
        """Arguments of ``find_best``.

        Raises:
            InputError: a field holds what cannot be used.
        """
        values = {name: each.value for name, each in self.controls.items()}
        found: dict[str, Any] = {"objective": values["objective"], "share": SHARES.parse(values["share"])}
        for name, unit in (("latency_limit_s", 1e-3), ("memory_limit_bytes", 2**20)):
            limit = LIMITS[name].parse(values[name])
            found |= {name: limit * unit} if limit else {}
        return found | {name: list(each.parse(values[name])) for name, each in COUNTS.items()}

    def _write(self, asked: Asked) -> None:
        """Put what a search was started with into the fields."""
        limits = asked.search or {}
        self.controls["objective"].value = limits["objective"]
        self.controls["share"].value = limits["share"]
        self.controls["latency_limit_s"].value = limits.get("latency_limit_s", 0.0) * 1e3
        self.controls["memory_limit_bytes"].value = limits.get("memory_limit_bytes", 0.0) / 2**20
        self.controls["measure_s"].value = asked.experiment.measure_s
        self.controls["budget"].value = asked.experiment.budget
        for name in COUNTS:
            self.controls[name].value = ",".join(map(str, limits[name]))

    def _tick(self) -> None:
        work = self._work
        for each in (self.start, *self.controls.values()):
            each.disabled = work.busy
        self.cancel.disabled = not work.busy or work.cancel.is_set()
        self.open.disabled = work.busy or not (self.found and self.found["parameters"])
        self.state.value = _state(work) if work.busy else ""


def last_search(store: Store, experiment: Experiment, owner: str) -> Job | None:
    """The newest search that a notebook began, or that still runs with the model and the data of an experiment; ``None``: there is none."""
    here = placed(experiment.parameters())
    for job in jobs.all_jobs(store, SEARCHES):
        with suppress(StoreError):
            asked = job.asked
            theirs = placed(asked.parameters)
            same = all(theirs.get(name) == here[name] for name in SAME)
            if (owner and asked.owner == owner) or (same and job.running):
                return job
    return None


CHOICES = [(tables.WANTED[name], name) for name in OBJECTIVES]
NONE = "0: none"
SHARES = Number(name="share", default=SHARE, help="", low=0.0001, high=1.0)
SECONDS = Number(name="seconds for each point", default=MEASURE_S, help="", low=0.01, high=3600.0)
LIMITS = {
    "latency_limit_s": Number(name="latency limit", default=0.0, help="", low=0.0, high=1e9),
    "memory_limit_bytes": Number(name="memory limit", default=0.0, help="", low=0.0, high=1e9),
}
COUNTS = {name: Integers(name=name, default=(1,), help="", low=1, high=1024) for name in ("threads", "streams")}


def _controls(budget: Any) -> dict[str, Any]:
    """The fields by name. The accuracy budget follows the setting of the same page, and can be another for a search."""
    lost = control(replace(SETTINGS["budget"], label="Accuracy budget"), budget.value)
    traitlets.dlink((budget, "value"), (lost, "value"))
    tip = f"Share of all combinations; at least {FEWEST} are measured"
    return {
        "objective": field(widgets.Dropdown, "Look for", "What is best", THROUGHPUT, options=CHOICES),
        "latency_limit_s": field(widgets.FloatText, "Latency limit, ms", f"Largest median time of a call; {NONE}", 0.0),
        "budget": lost,
        "memory_limit_bytes": field(
            widgets.FloatText, "Memory limit, MiB", f"Largest memory of the engine's process; {NONE}", 0.0
        ),
        "threads": _numbers("Threads to try", "Numbers of CPU threads, such as 1,2"),
        "streams": _numbers("Streams to try", "Calls in flight, on NVIDIA GPUs, such as 1,2,4"),
        "share": field(widgets.FloatText, "Share to measure", tip, SHARE),
        "measure_s": field(widgets.FloatText, "Seconds for each point", "Timed calls of one point", MEASURE_S),
    }


def _numbers(label: str, tip: str) -> Any:
    # sent whole: of text that is sent while it is typed, the end may arrive after a click on Search
    return field(widgets.Text, label, tip, "1", continuous_update=False)


def _seconds(value: Any) -> float:
    return float(SECONDS.parse(value))


def _changed(job: Job) -> int:
    """When the results were written last; 0: there are none."""
    with suppress(OSError):
        return (job.folder / RESULTS).stat().st_mtime_ns
    return 0


def _state(work: BackgroundWork) -> Markup:
    """How long the search has taken, how many points were measured, and what is done now."""
    progress: Progress | None = work.progress
    parts = [f"{max(0.0, time.time() - work.since_s):.0f} s", progress.count if progress else "", work.phase]
    text = " · ".join(filter(None, parts))
    return tag("div", tag("span", class_="wb-spin"), text, class_="wb-state wb-search-state", role="status")
