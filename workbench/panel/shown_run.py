"""The run that the panel shows: its rows as they arrive, and its results in the pages Compare, Layers and Export."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from workbench.jobs.job import Asked, End, Job
from workbench.panel import cluster, view, widgets
from workbench.panel.compare import ComparePage
from workbench.panel.export import ExportPage
from workbench.panel.layers import LayersPage
from workbench.panel.parts import Rendered, rendered
from workbench.panel.rows import AGAIN, Lines, unfinished
from workbench.panel.work import BackgroundWork
from workbench.records import ClusterState, Event, Failure, Result, Results, Status
from workbench.runs.archive import Run
from workbench.runs.open_run import open_run
from workbench.settings.experiment import Experiment
from workbench.store import Store

ENDED = "The run's process was ended before this row was done."


class ShownRun:
    """One run at a time. The panel reacts to it in ``began``, ``ended`` and ``finished`` (:meth:`react`)."""

    ran: Experiment  # what the results are of
    results: Results | None = None
    scored = ""  # identifies the function that scored it (``live.identity``)

    def __init__(
        self, store: Store, work: BackgroundWork, read: Callable[[], Experiment], on_row: Callable[[str], None]
    ) -> None:
        self._store, self._work = store, work
        self.job: Job | None = None  # the run that is being watched
        self.lines = Lines(on_row)
        self.compare, self.layers = ComparePage(store), LayersPage(store)
        self.export = ExportPage(store, read, self.compare)
        self._warned, self._not_possible, self._workers = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._cluster: ClusterState | None = None  # of the run that goes on

    def react(
        self,
        began: Callable[[], None],
        ended: Callable[[str, str], None],
        finished: Callable[[str, Results, bool], None],
    ) -> None:
        """Call these functions when a run begins, when it ends without results (with a message and its color), and when it has
        results (with its time, the results, and whether it ended just now).
        """
        self._began, self._ended, self._finished = began, ended, finished

    def boxes(self) -> dict[str, list[Any]]:
        """What each page holds."""
        return {
            "Run": [self._warned, self._workers, self.lines.widget, self._not_possible],
            "Compare": [self.compare.widget],
            "Layers": [self.layers.widget],
            "Export": [self.export.widget],
        }

    @property
    def rows(self) -> dict[str, Result]:
        """The rows of the run by name, including those that are not possible here."""
        return self.lines.results

    def again(self, besides: str = "") -> tuple[str, ...]:
        """Names of the rows that can be tried again, without this one."""
        return tuple(name for name, row in self.rows.items() if row.status in AGAIN and name != besides)

    def cancel(self, row: str = "") -> None:
        """Ask the run, or one of its rows, to stop."""
        if self.job is not None:
            self.job.cancel(row)
            self.lines.end(row)

    def end(self) -> None:
        """Ask the work that goes on to stop; a run that is being started is asked as soon as it can be."""
        if self._work.busy:
            self._work.cancel.set()
            self._work.phase = "cancelling"
            self.cancel()

    def finish(self) -> None:
        """Ask the run that goes on, or is being started, to end soon with what it has."""
        if self._work.busy:
            self._work.finish.set()
            self._work.phase = "finishing"
            if self.job is not None:
                self.job.finish()

    def draw(self, *, running: bool) -> None:
        """Show what has changed in the rows, and which are not possible."""
        self.lines.draw(running=running)
        self._not_possible.value = view.not_possible(tuple(self.rows.values()))
        self._workers.value = cluster.workers(self._cluster, time.time()) if self._cluster and running else ""

    def follow(self, job: Job) -> None:
        """In the thread: follow a run to its end; another panel may have started it."""
        self._work.post(partial(self._begin, job, job.asked))
        results = None if job.running else job.results()
        if results is not None:  # its journal is not replayed
            self._work.post(partial(self._finish, job.asked.at, results, rendered(results)))
            return
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
            self._work.post(partial(self._finish, job.asked.at, results, rendered(results), watched=True))

    def open(self, run: Run, asked: Experiment) -> None:
        """In the thread: read a run of the history."""
        results = open_run(run.name, self._store)
        self._work.post(partial(self._begin, None, Asked(asked.parameters(), at=run.time)))
        self._work.post(partial(self._finish, run.time, results, rendered(results)))

    def _begin(self, job: Job | None, asked: Asked) -> None:
        self.job, self.scored = job, asked.metric
        self.results, self.ran, self._cluster = None, asked.experiment, None
        self._warned.value = ""
        self.lines.clear()
        self.lines.measures = asked.only != "build"
        if job is not None and self._work.cancel.is_set():  # it was asked before there was a job to tell
            self.cancel()
        if job is not None and self._work.finish.is_set():
            job.finish()
        self.compare.wait()
        self.layers.show(None)
        self.export.show(None)
        self._began()

    def _apply(self, event: Event) -> None:
        if not self.rows:
            self._work.since_s = event.at
        if not self._work.cancel.is_set():
            self._work.phase = event.text
        self._work.progress = event.progress or self._work.progress
        self._cluster = event.cluster or self._cluster
        if event.warning:
            self._warned.value += view.message(event.text, "warn")
        self.lines.apply(event)

    def _end(self, end: End) -> None:
        """The run ended without results: its unfinished rows are cancelled."""
        self.job = None
        for result in list(self.rows.values()):
            if unfinished(result, measures=self.lines.measures):
                self.lines.put(replace(result, status=Status.CANCELLED, failure=Failure("run", ENDED)))
        self.lines.measures = False
        self.lines.touch()
        self.compare.show(None, None, {})
        self._ended(end.message, "warn" if end.how == "cancelled" else "bad")

    def _finish(self, at: str, results: Results, drawn: Rendered, *, watched: bool = False) -> None:
        self.results, self.job, self.lines.measures = results, None, False
        for result in results.rows:
            self.lines.put(result)
        self.lines.touch()
        self.compare.show(results, self.ran, *drawn)
        self.layers.show(results)
        self.export.show(results, drawn.figures)
        self._finished(at, results, watched)
