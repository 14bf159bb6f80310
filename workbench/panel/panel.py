"""The panel: it edits an Experiment and shows Results. It measures nothing; everything it does can be called without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, brief
from workbench.jobs import job as jobs
from workbench.jobs.job import Asked, Job
from workbench.models.live import identity
from workbench.panel import checks, history, view
from workbench.panel.controls import Controls
from workbench.panel.history import HistoryPage
from workbench.panel.layout import COMPARE, RUN, STEPS, Layout
from workbench.panel.loaded_model import LoadedModel, load, model_settings
from workbench.panel.notebook_view import View
from workbench.panel.outcome import outcome, outcome_text, why_ended
from workbench.panel.planned import Planner
from workbench.panel.search import SearchSection
from workbench.panel.shown_run import ShownRun
from workbench.panel.work import BackgroundWork
from workbench.plan.scoring import Scoring
from workbench.records import Results
from workbench.runs import pipeline
from workbench.runs.archive import Run
from workbench.runs.open_run import asked_for, facts_of
from workbench.runs.sources import Opened
from workbench.settings.cluster import ClusterSettings
from workbench.settings.experiment import Experiment
from workbench.store import Store

OTHER_SETTINGS = "The settings have changed since this run; the results below are for the earlier settings."
NOTEBOOK = "JPY_SESSION_NAME"
"""Jupyter's server tells a kernel in this variable which notebook it serves."""


Work = Callable[[Experiment], None]


class Panel(View):
    """Controls for an experiment, buttons to run it, and its results as they arrive.

    Runs are separate processes (``workbench.jobs.job``), which the panel starts and watches. A new panel of the same notebook finds
    the run of the one before it. ``metric`` is as in :func:`workbench.run`; the process of a run gets a copy of it.
    """

    _run: ShownRun
    where = ClusterSettings()  # runs are carried out there

    def __init__(
        self,
        experiment: Experiment | None = None,
        *,
        store: Store | str | Path | None = None,
        remeasure: bool = False,
        model: Any = None,
        data: Any = None,
        metric: Any = None,
    ) -> None:
        self._store = Store.of(store)
        self.place = self._store.root
        experiment = pipeline.with_live(experiment or Experiment(), self._store, model, data)
        if isinstance(metric, str):
            experiment, metric = replace(experiment, metric=metric), None
        self._metric, self._metric_name = metric, "" if metric is None else str(Scoring.of(experiment, metric).metric)
        self._scores = identity(metric)
        self._began_as = experiment.parameters()
        self._work = BackgroundWork(self._tick)
        self._model, self._planner, self._locked = LoadedModel(), Planner(self._store), False
        self._controls = Controls(experiment, self._store.root / "uploads", self._edited, self.load, self._metric_name)
        self.limit = self._controls.presets.limit
        self._out = Layout(remeasure=remeasure)
        self._run = ShownRun(self._store, self._work, self._controls.read, self._on_row)
        self._run.scored = self._scores
        self._run.react(self._changed, self._say, self._finished)
        self._history = HistoryPage(self._store, self._open, self._reopen, self.show_run)
        self.search = SearchSection(self._store, self._controls, self._work, self._run_found, self._metric_name)
        self.widget = self._out.widget(self._pages(), self._store)
        self._connect()
        self._changed()
        if unknown := self._controls.unknown:
            self._say(f"There is no backend {', '.join(map(repr, unknown))}; the list below has those that exist.")
        self._history.refresh()
        if found := history.to_show(self._store, experiment, os.environ.get(NOTEBOOK, ""), self._scores):
            self._open(found)
        self.search.restore(experiment, os.environ.get(NOTEBOOK, ""))

    def _connect(self) -> None:
        self._out.build.on_click(lambda _: self.build())
        self._out.run.on_click(lambda _: self.benchmark())
        self._out.cancel.on_click(lambda _: self.cancel())
        self._out.finish.on_click(lambda _: self.finish())
        self._out.again.observe(lambda _: self._changed(), "value")

    def _pages(self) -> dict[str, list[Any]]:
        model, data, configure = self._controls.boxes()
        before = {"Model": [model, self._model.facts], "Data": [data], "Configure": [configure, self.search.widget]}
        return {**before, **self._run.boxes(), "History": [self._history.widget]}

    def _ipython_display_(self) -> None:
        self._out.arrival.display(self.widget)

    @property
    def experiment(self) -> Experiment:
        """What the controls say now.

        Raises:
            InputError: a control holds a value that cannot be used.
        """
        return self._controls.read()

    def load(self) -> None:
        """Read the model's inputs and outputs; the data can be chosen at the same time."""
        if not self._work.busy:
            self._start("reading the model", self._load)
            self._controls.unlock_data()

    def build(self) -> None:
        """Build the engines, without measuring."""
        self._ask("build")

    def benchmark(self) -> None:
        """Build, measure and score."""
        self._ask("all")

    def cancel(self) -> None:
        """Ask the running work to stop; :meth:`wait` says when it has."""
        self._run.end()

    def finish(self) -> None:
        """Ask the run to begin nothing more and to end with what it has, as if its time limit were over now."""
        self._run.finish()

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the running work has ended."""
        self._work.wait(timeout_s)

    def _on_row(self, row: str) -> None:
        """The button of a row: end it, or try it again, and no other that had failed."""
        if row not in self._run.again():
            self._run.cancel(row)
        elif other := history.scored_otherwise(self._run.scored, self._scores):
            self._say(other, "warn")  # its other rows would have another score than this one
        elif not self._work.busy:
            self._begin_job("all", self.ran, skip=self._run.again(besides=row))

    def _ask(self, only: str) -> None:
        try:
            experiment = self.experiment.resolved()
            if not self.where.cluster:  # its workers have other cores
                pipeline.check(experiment, Scoring.of(experiment, self._metric))
        except WorkbenchError as error:
            self._say(error.message)
            return
        self._begin_job(only, experiment)

    def _begin_job(self, only: str, experiment: Experiment, skip: tuple[str, ...] = ()) -> None:
        asked = Asked(
            experiment.parameters(), only=only, remeasure=bool(self._out.again.value), skip=skip,
            minutes=self.limit.minutes,
            owner=os.environ.get(NOTEBOOK, ""), began_as=self._began_as, metric=self._scores,
            where=asdict(self.where) if self.where.cluster else {},
        )  # fmt: skip
        self._start("starting", lambda _: self._run.follow(jobs.start(self._store, asked, self._metric)), page=RUN)

    def _open(self, job: Job) -> None:
        """Show an earlier run, or watch one that is running."""
        if self._work.busy:
            return
        try:
            self._controls.write(job.asked.experiment, opened=True)
        except (WorkbenchError, TypeError) as error:
            self._say(f"This run cannot be opened: {brief(error)}")
            return
        self._changed()
        self._start("opening", lambda _: self._run.follow(job), page=RUN)

    def show_run(self, run: Run) -> None:
        """Show the results of a run in the history as they are; nothing is measured, and its backends need not exist here."""
        asked = asked_for(facts_of(run.name, self._store))
        if self._work.busy or asked is None:
            self._say("This run cannot be opened: this version does not know its settings.", "warn")
            return
        self._controls.write(asked, opened=True)
        self._changed()
        self._start("opening", lambda _: self._run.open(run, asked), asked, page=RUN)

    def _run_found(self, experiment: Experiment) -> None:
        """Carry out an experiment that was not made by hand, such as that of the best point of a search."""
        self._controls.write(experiment)
        self._changed()
        self._ask("all")

    def _reopen(self, experiment: Experiment, text: str) -> None:
        if self._work.busy:
            return
        self._controls.write(experiment)
        self._changed()
        self._out.show(list(STEPS).index("Configure"))
        self._say(text, "good")

    def _start(self, phase: str, work: Work, asked: Experiment | None = None, *, page: int | None = None) -> None:
        """Do ``work`` in the thread with the experiment of the controls, or ``asked``, and show a page; do nothing while other work runs."""
        if self._work.busy:
            return
        try:
            experiment = asked or self.experiment
        except WorkbenchError as error:
            self._say(error.message)
            return
        self._say("")
        self._work.start(partial(work, experiment), phase, failed=lambda error: self._say(*why_ended(error)))
        self._tick()
        if page is not None:
            self._out.show(page)

    def _load(self, experiment: Experiment) -> None:
        """In the thread: read the model."""
        if problem := load(experiment, self._store, self._work, self._show_model):
            self._work.post(partial(self._say, problem, "warn"))

    def _finished(self, at: str, results: Results, watched: bool) -> None:
        self._planner.learn(self.ran, results, self._run.scored)
        self._show_model(model_settings(self.ran), Opened(results.model, results.export, results.examination))
        self._out.message.value = outcome(results, history.local(at))
        self._out.order.offer(results, self.ran, self._run_found)
        if watched:
            self._out.notify(outcome_text(results)[0])
        if results.measured and self._out.steps.index == RUN:
            self._out.show(COMPARE)

    def _show_model(self, asked: tuple[str, ...], opened: Opened) -> None:
        self._controls.show_model(opened.model)
        self._model.put(asked, opened)
        self._changed()

    def _edited(self) -> None:
        """A person changed a control: an error of what was tried before is over."""
        if "wb-bad" in self._out.message.value:
            self._say("")
        self._controls.opened = False
        self._changed()

    def _changed(self) -> None:
        """A control was changed: what follows from it is shown again."""
        errors, absent = self._controls.wrong(), self._controls.absent()
        self._out.problem.value = view.problems(absent | errors, self._controls.missing, opened=self._controls.opened)
        if errors:
            self._out.plan.value = ""
            self._controls.mark(absent | errors, {})
            self._controls.presets.stray()
        else:
            self._follow(self.experiment, absent)
        self._tick()

    def _follow(self, experiment: Experiment, absent: Mapping[str, str]) -> None:
        """Show what follows from settings that can be used; ``absent`` is said of files that are not there, as of an imported run."""
        resolved, busy = experiment.resolved(), self._work.busy
        model, graph = self._model.of(experiment)
        self._controls.refresh(experiment)
        experiment = self.experiment  # whose baseline may be gone with its variant
        self._controls.mark(absent, checks.doubtful(resolved, model, graph))
        if not busy:
            self._controls.preview.look(resolved, model)
            again = bool(self._out.again.value)
            planned = self._planner.plan(resolved, model, again=again, scored=self._scores) if model else None
            self._out.plan.value = view.plan(planned, experiment) if planned else view.plan_without_model(experiment)
            self._controls.presets.follow(experiment, planned)
        self._run.export.refresh(resolved, self._metric_name, self.limit.minutes)
        changed = self.results is not None and self.ran != resolved
        other = OTHER_SETTINGS if changed else history.scored_otherwise(self._run.scored, self._scores)
        self._out.outdated.value = view.message("" if busy else other, "warn")

    def _tick(self) -> None:
        busy = self._work.busy
        self._out.follow(self._work, measures=self._run.job is not None)
        if busy != self._locked:
            self._locked = busy
            if busy:
                self._out.plan.value = self._out.outdated.value = ""
            self._controls.lock(busy)
            self._run.lines.touch()
            self._history.refresh(busy=busy)
            if not busy:
                self._changed()
        self._run.draw(running=busy)

    def _say(self, text: str, kind: str = "bad") -> None:
        self._out.say(text, kind)
