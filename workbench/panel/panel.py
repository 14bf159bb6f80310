"""The panel: it edits an Experiment and shows Results. It measures nothing; everything it does can be called without it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench import pipeline
from workbench.accuracy.metrics import metric_of
from workbench.compare.advice import best_told
from workbench.errors import Cancelled, WorkbenchError, brief
from workbench.experiment import Experiment
from workbench.jobs import jobs
from workbench.jobs.jobs import Asked, End, Job
from workbench.models.live import identity
from workbench.panel import history, parts, view, widgets
from workbench.panel.compare import ComparePage
from workbench.panel.export import ExportPage
from workbench.panel.form import Form
from workbench.panel.history import HistoryPage
from workbench.panel.layers import LayersPage
from workbench.panel.layout import COMPARE, RUN, STEPS, Layout
from workbench.panel.parts import Beside, View
from workbench.panel.planned import Planner
from workbench.panel.rows import AGAIN, Lines
from workbench.panel.work import Work
from workbench.records import FINAL, Event, Failure, Model, Results, Status
from workbench.runs import sources
from workbench.store import Store

OTHER_SETTINGS = "The controls have changed since: these are the results of the settings before."
NOTEBOOK = "JPY_SESSION_NAME"
"""Jupyter's server tells a kernel in this variable which notebook it serves."""


class Panel(View):
    """Controls for an experiment, buttons to run it, and its results as they arrive.

    Runs are processes of their own (``workbench.jobs.jobs``): the panel starts and watches them. A new panel of the same notebook
    finds the run of the one before it. ``metric`` is a function or a ``workbench.Metric`` as in :func:`workbench.run`; the
    process of a run is handed a copy of it.
    """

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
        experiment = pipeline.with_live(experiment or Experiment(), self._store, model, data)
        if isinstance(metric, str):
            experiment, metric = replace(experiment, metric=metric), None
        self._metric, self._metric_name = metric, "" if metric is None else str(metric_of(metric))
        self._scores = self._scored = identity(metric)  # what scores here, and what scored the results that are shown
        self._began_as = experiment.parameters()
        self._work = Work(self._tick)
        self._job: Job | None = None  # the run that is being watched
        self._all = True  # it is to measure, and not only to build
        self._phase, self._began = "", 0.0
        self._model: tuple[tuple[str, ...], Model] | None = None
        self._looked: sources.Opened | None = None
        self._planner = Planner(self._store)
        self._locked = False
        self._form = Form(experiment, self._store.root / "uploads", self._edited, self._metric_name)
        self._out = Layout(remeasure=remeasure)
        self._facts = widgets.HTML()
        self._impossible = widgets.HTML()
        self._lines = Lines(self._on_row)
        self._compare = ComparePage(self._store)
        self._layers = LayersPage(self._store)
        self._export = ExportPage(self._store, lambda: self.experiment)
        self._history = HistoryPage(self._store, self._open, self._reopen)
        self.widget = self._out.widget(self._pages(), self._store)
        self._form.load.on_click(lambda _: self.load())
        self._form.control["signature"].observe(self._on_signature, "value")
        self._out.build.on_click(lambda _: self.build())
        self._out.run.on_click(lambda _: self.benchmark())
        self._out.cancel.on_click(lambda _: self.cancel())
        self._out.again.observe(lambda _: self._changed(), "value")
        self._changed()
        if self._form.unknown:
            self._say(
                f"There is no backend {', '.join(map(repr, self._form.unknown))}; the list below has those that exist."
            )
        self._history.refresh()
        if found := history.to_show(self._store, experiment, os.environ.get(NOTEBOOK, ""), self._scores):
            self._open(found)

    def _pages(self) -> dict[str, list[Any]]:
        model, data, configure = self._form.boxes()
        return {
            "Model": [model, self._facts],
            "Data": [data],
            "Configure": [configure],
            "Run": [self._lines.widget, self._impossible],
            "Compare": [self._compare.widget],
            "Layers": [self._layers.widget],
            "Export": [self._export.widget],
            "History": [self._history.widget],
        }

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    @property
    def experiment(self) -> Experiment:
        """What the controls say now.

        Raises:
            InputError: a control holds a value that cannot be used.
        """
        return self._form.read()

    def load(self) -> None:
        """Read the model's inputs and outputs."""
        self._start("reading the model", self._load)

    def build(self) -> None:
        """Build the engines, without measuring."""
        self._ask("build")

    def benchmark(self) -> None:
        """Build, measure and score."""
        self._ask("all")

    def cancel(self) -> None:
        """Ask the running work to stop; :meth:`wait` says when it has."""
        if self._work.busy:
            self._work.cancel.set()
            self._phase = "cancelling"
            if self._job is not None:
                self._job.cancel()

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the running work has ended."""
        self._work.wait(timeout_s)

    def _on_signature(self, _change: object) -> None:
        if not self._form.quiet:
            self.load()

    def _on_row(self, row: str) -> None:
        """The button of a row: end it, or try it again, and no other that had failed."""
        others = tuple(name for name, each in self._lines.results.items() if each.status in AGAIN and name != row)
        if row not in self._lines.results or self._lines.results[row].status not in AGAIN:
            if self._job is not None:
                self._job.cancel(row)
                self._lines.end(row)
        elif other := history.scored_otherwise(self._scored, self._scores):
            self._say(other, "warn")  # its other rows would have another score than this one
        elif not self._work.busy:
            self._begin_job("all", self.ran, skip=others)

    def _ask(self, only: str) -> None:
        try:
            experiment = self.experiment.resolved()
            pipeline.check(experiment)
        except WorkbenchError as error:
            self._say(error.message)
            return
        self._begin_job(only, experiment)

    def _begin_job(self, only: str, experiment: Experiment, skip: tuple[str, ...] = ()) -> None:
        asked = Asked(
            experiment.parameters(),
            only=only,
            remeasure=bool(self._out.again.value),
            skip=skip,
            owner=os.environ.get(NOTEBOOK, ""),
            began_as=self._began_as,
            metric=self._scores,
        )
        if self._start("starting", lambda _: self._watch(jobs.start(self._store, asked, self._metric))):
            self._out.show(RUN)

    def _open(self, job: Job) -> None:
        """Show an earlier run, or watch one that is running."""
        if self._work.busy:
            return
        try:
            self._form.write(job.asked.experiment)
        except (WorkbenchError, TypeError) as error:
            self._say(f"This run cannot be opened: {brief(error)}")
            return
        self._changed()
        if self._start("opening", lambda _: self._watch(job)):
            self._out.show(RUN)

    def _reopen(self, experiment: Experiment, text: str) -> None:
        """Put an experiment into the controls, and say what it is."""
        if self._work.busy:
            return
        self._form.write(experiment)
        self._changed()
        self._out.show(list(STEPS).index("Configure"))
        self._say(text, "good")

    def _start(self, phase: str, work: Callable[[Experiment], None]) -> bool:
        if self._work.busy:
            return False
        try:
            experiment = self.experiment
        except WorkbenchError as error:
            self._say(error.message)
            return False
        self._say("")
        self._phase, self._began = phase, time.time()
        self._work.start(partial(self._guarded, work, experiment))
        self._tick()
        return True

    def _guarded(self, work: Callable[[Experiment], None], experiment: Experiment) -> None:
        """In the thread: whatever goes wrong becomes one sentence."""
        try:
            work(experiment)
        except Cancelled as error:
            self._work.post(partial(self._say, error.message, "warn"))
        except WorkbenchError as error:
            self._work.post(partial(self._say, error.message))
        except Exception as error:
            self._work.post(
                partial(self._say, f"Something unexpected went wrong: {type(error).__name__}: {brief(error)}")
            )

    def _load(self, experiment: Experiment) -> None:
        model = sources.open_model(*_asked(experiment), store=self._store)
        self._work.post(partial(self._show_model, _asked(experiment), sources.Opened(model)))
        opened = sources.examine_model(*_asked(experiment), store=self._store, say=self._said, cancel=self._work.cancel)
        self._work.post(partial(self._show_model, _asked(experiment), opened))
        if opened.problem:
            self._work.post(partial(self._say, opened.problem, "warn"))

    def _watch(self, job: Job) -> None:
        """In the thread: follow a run to its end, whoever started it."""
        self._work.post(partial(self._begin, job, job.asked))
        end = End("lost")
        for item in job.follow():
            if isinstance(item, Event):
                self._work.post(partial(self._apply, item))
            elif isinstance(item, End):
                end = item
        results = job.results()
        if results is None:
            self._work.post(partial(self._end, end))
        else:
            self._work.post(partial(self._finish, job, results, parts.beside(results)))

    def _begin(self, job: Job, asked: Asked) -> None:
        self._job, self._scored = job, asked.metric
        self.results, self.ran, self._all = None, asked.experiment, asked.only == "all"
        self._lines.clear()
        self._compare.show(None, None, {})
        self._layers.show(None)
        self._export.show(None, str)

    def _apply(self, event: Event) -> None:
        if not self._lines.results:
            self._began = event.at
        if not self._work.cancel.is_set():
            self._phase = event.text
        self._lines.apply(event)

    def _end(self, end: End) -> None:
        """It came to nothing, or was ended from outside."""
        self._job = None
        over = FINAL - {Status.BUILT} if self._all else FINAL
        for result in list(self._lines.results.values()):
            if result.status not in over:
                failure = Failure("run", "The run's process was ended before this row was done.")
                self._lines.put(replace(result, status=Status.CANCELLED, failure=failure))
        self._lines.touch()
        self._say(end.message, "warn" if end.how == "cancelled" else "bad")

    def _finish(self, job: Job, results: Results, beside: Beside) -> None:
        self.results, self._job = results, None
        self._planner.learn(self.ran, results, self._scored)
        for result in results.rows:
            self._lines.put(result)
        self._lines.touch()
        self._show_model(_asked(self.ran), sources.Opened(results.model, results.export, results.examination))
        self._compare.show(results, self.ran, *beside)
        self._layers.show(results)
        self._export.show(results, lambda: str(self._compare.baseline.value), beside.figures)
        text, kind = _outcome(results)
        self._say(f"Run of {history.began(job.asked)}: {text}", kind)
        if results.measured and self._out.steps.index == RUN:
            self._out.show(COMPARE)

    def _said(self, text: str) -> None:
        """In the thread: a step that goes on."""
        self._work.post(partial(setattr, self, "_phase", text))

    def _show_model(self, asked: tuple[str, ...], opened: sources.Opened) -> None:
        model = opened.model
        self._form.show_model(model)
        self._looked = opened
        self._model = ((asked[0], model.signature if model.signatures else asked[1], *asked[2:]), model)
        self._changed()

    def _edited(self) -> None:
        """A person changed a control: an error of what was tried before is over."""
        if "wb-bad" in self._out.message.value:
            self._say("")
        self._changed()

    def _changed(self) -> None:
        """A control was changed: what follows from it is shown again."""
        try:
            experiment = self.experiment
            resolved = experiment.resolved()
            model = self._model[1] if self._model and self._model[0] == _asked(experiment) else None
            self._form.refresh(experiment)
            again = bool(self._out.again.value)
            planned = self._planner.plan(resolved, model, again=again, scored=self._scores) if model else None
        except WorkbenchError as error:
            self._out.problem.value = view.message(error.message)
            self._out.plan.value = ""
        else:
            self._out.problem.value = ""
            self._facts.value = self._told() if model else ""
            self._out.plan.value = view.plan(planned, experiment) if planned else view.plan_without_model(experiment)
            self._export.refresh(experiment, self._metric_name)
            other = OTHER_SETTINGS if self.results is not None and self.ran != resolved else ""
            other = other or history.scored_otherwise(self._scored, self._scores)
            self._out.outdated.value = view.message(other, "warn")
        self._tick()

    def _told(self) -> str:
        looked = self._looked
        if looked is None:
            return ""
        return view.model_facts(looked.model, parts.looked_at(looked.examination), looked.check)

    def _tick(self) -> None:
        """Bring buttons, state and rows up to date."""
        busy, wrong = self._work.busy, bool(self._out.problem.value)
        for button in (self._out.build, self._out.run, self._out.again):
            button.disabled = busy or wrong
        self._out.cancel.disabled = not busy or self._work.cancel.is_set()
        if busy != self._locked:
            self._locked = busy
            self._form.lock(busy)
            self._lines.touch()
            self._history.refresh(busy=busy)
            if not busy:
                self._changed()
        done = view.progress(self._lines.results.values())
        self._out.state.value = view.state(self._phase, done, time.time() - self._began) if busy else ""
        self._lines.draw(running=busy)
        self._impossible.value = view.not_possible(tuple(self._lines.results.values()))

    def _say(self, text: str, kind: str = "bad") -> None:
        self._out.message.value = view.message(text, kind)


def _asked(experiment: Experiment) -> tuple[str, str, str, str]:
    """What decides which model is opened, and how."""
    return experiment.model, experiment.signature, experiment.input_shapes, experiment.input_values


def _outcome(results: Results) -> tuple[str, str]:
    """How a run ended, in one sentence, and its color."""
    states = [result.status for result in results.rows]
    counts = ", ".join(
        f"{states.count(status)} {status}" for status in dict.fromkeys(states) if status != Status.UNSUPPORTED
    )
    kind = "bad" if Status.FAILED in states else "warn" if Status.CANCELLED in states else "good"
    best = "".join(f" {line[0].upper()}{line[1:]}." for line in best_told(results))
    return f"{counts or 'Nothing to do'}. This run {results.tally}.{best}", kind
