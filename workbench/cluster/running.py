"""An experiment on the workers of a Dask cluster: the same rows and the same results as on this machine."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.cluster.activity import Activity
from workbench.cluster.cohorts import Division, builds, cohorts
from workbench.cluster.connection import ClusterMember, SchedulerLost, WorkerLost, connected, members
from workbench.cluster.crew import Crew, JobOutcome
from workbench.cluster.delivery import Entry
from workbench.cluster.ledger import Ledger
from workbench.cluster.merge import EndedPart, merged, merged_row
from workbench.cluster.sending import sent_files
from workbench.cluster.work import Work
from workbench.cluster.workers import workers_alike
from workbench.errors import Cancelled, InputError, RunError
from workbench.errors.printable import one_line
from workbench.locks.scratch import remove_left_behind
from workbench.models.describe import counted
from workbench.plan.planning import ONLY
from workbench.records import FINAL, Results, Status, split_address
from workbench.records.methods import MODELOPT
from workbench.runs.archive import remember
from workbench.runs.parts import PLANNED, Part
from workbench.runs.pipeline import on_event_only, repeat_command, with_live
from workbench.runs.run_rows import OnEvent, RunRows
from workbench.runs.sources import DEMO
from workbench.runs.time_limit import baseline_first, leave_out, remark
from workbench.settings.cluster import ClusterSettings
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import choose
from workbench.settings.time_limit import limit_s
from workbench.store import Store
from workbench.system.progress import followed
from workbench.system.stop import Stop

EXAMINATION = "examination"
FROM_BUILDS = ("engine", EXAMINATION, "model", "onnx", "portable", "saved_model")
"""Kinds that are sent to a worker that measures, so that it builds and converts nothing."""
CHANGES = ("status", "engine", "timing", "accuracy", "failure", "reused", "also", "load", "worker")


def run_on_cluster(
    experiment: Experiment | None = None,
    cluster: Any = "",
    *,
    label: str = "",
    cohort: int = ClusterSettings.cohort,
    store: Store | str | Path | None = None,
    on_event: OnEvent | None = None,
    cancel: threading.Event | None = None,
    only: str = "all",
    remeasure: bool = False,
    minutes: float | str | None = None,
    retry_failed: bool = False,
    model: Any = None,
    data: Any = None,
    metric: str | None = None,
) -> Results:
    """Run an experiment on the workers of a Dask cluster; the results are as those of :func:`workbench.run`. Blocks.

    What has ended is in this store, so that the same call continues after an interruption. Each row names its worker, or why it failed.

    Args:
        experiment: what to do.
        cluster: the address of the scheduler, ``tls://…`` or on the loopback interface, or a ``distributed.Client``.
        label: use the workers with this label only. They must be alike: results of unlike machines are not compared.
        cohort: number of variants that take turns with the baseline on one worker.
        store: where artefacts and results are kept on this machine.
        on_event: called for every step, from the calling thread; without it as in :func:`workbench.run`.
        cancel: set it to stop.
        only: as in :func:`workbench.run`.
        remeasure: measure again what the store has.
        minutes: a time limit, as in :func:`workbench.run`.
        retry_failed: repeat rows that failed in an earlier run; otherwise they stay failed.
        model: a live model.
        data: live arrays.
        metric: the name of a metric.

    Raises:
        InputError: an address that must not be used, no worker with the label, unlike workers, or a model, data or setting that cannot be used.
        StoreError: the store cannot be written.

    Example::

        results = workbench.run_on_cluster(workbench.Experiment(model="model.onnx"), "tcp://127.0.0.1:8786")
    """
    with followed(on_event) as listener:
        asked = _ClusterRequest(
            experiment or Experiment(), label, cohort, only, retry_failed, listener, limit_s(minutes)
        )
        return _run(asked, cluster, Store.of(store), Stop.of(cancel), remeasure=remeasure, live=(model, data, metric))


def _run(
    asked: _ClusterRequest,
    cluster: Any,
    store: Store,
    stop: Stop,
    *,
    remeasure: bool,
    live: tuple[Any, Any, Any],
) -> Results:
    """``live`` are a model, data and a metric as :func:`run_on_cluster` takes them."""
    model, data, metric = live
    if metric is not None and not isinstance(metric, str):
        raise InputError(
            "A function that scores cannot be sent to a cluster. Give the name of a metric, or run it here."
        )
    choose("only", [asked.only], ONLY)
    stop.deadline.begin(asked.limit_s)
    remove_left_behind()
    place = store.prepare().for_run(partial(on_event_only, asked.on_event), stop)
    experiment = with_live(asked.experiment, place, model, data).resolved()
    experiment = experiment if metric is None else replace(experiment, metric=metric)
    with connected(cluster) as connection, place.in_use("running an experiment on a cluster"):
        sent = sent_files(experiment, place, stop, asked.on_event)
        whole = replace(asked, experiment=experiment)
        return _ClusterRun(whole, Work(connection, place, sent, stop, remeasure)).results()


@dataclass(frozen=True)
class _ClusterRequest:
    """What a caller asked of a run on a cluster."""

    experiment: Experiment
    label: str
    cohort: int
    only: str
    retry_failed: bool
    on_event: OnEvent
    limit_s: float | None


@dataclass(frozen=True)
class _Job:
    """A part that is to be carried out: the rows that are left of it."""

    ledger: Ledger
    rows: tuple[str, ...]
    part: Part
    needs: tuple[Entry, ...] = ()


class _ClusterRun:
    """The whole run: its division, its queue, and its rows."""

    def __init__(self, asked: _ClusterRequest, work: Work) -> None:
        self._asked, self._work = asked, work
        self._known: dict[str, ClusterMember] = {}
        self._uses = {
            "environments": sorted({split_address(each)[2] for each in asked.experiment.backends} - {""}),
            "modelopt": any(MODELOPT in each for each in asked.experiment.precisions),
        }
        self._fingerprint = ""
        self._ledgers: list[Ledger] = []
        self._ignored: set[str] = set()
        self._said: queue.Queue[str] = queue.Queue()
        self._activity = Activity()
        self._crew: Crew[_Job] | None = None
        self._done = 0

    def results(self) -> Results:
        """Carry it out."""
        began, asked, work = time.monotonic(), self._asked, self._work
        workers = workers_alike(self._members(), asked.label, work.connection.address)
        self._fingerprint = workers[0].record.fingerprint
        planned = self._read = self._planned(workers)
        repeat = lambda row: repeat_command(asked.experiment, row, work.store)  # noqa: E731 - as RunRows takes it
        self._rows = RunRows(planned.rows, work.store.new_run(), asked.on_event, repeat, work.stop)
        work.store.waiting = self._rows.report_wait
        self._rows.say(f"{planned.model.name}: {counted(len(workers), 'worker')}; {planned.data}")
        for row in self._rows.rows:
            self._rows.update(row)
        try:
            self._phases(planned)
        except (SchedulerLost, Cancelled, KeyboardInterrupt) as error:
            work.stop.set()
            if isinstance(error, SchedulerLost):
                self._rows.warn(f"{error.message} What had ended is kept; the same command continues from there.")
        finally:
            work.connection.unsubscribe()
        self._end_open_rows()
        return self._whole(planned, began)

    def _whole(self, planned: Results, began: float) -> Results:
        asked, rows, work = self._asked, self._rows, self._work
        if ended := remark(rows.rows, asked.experiment.baseline, work.stop.deadline):
            rows.warn(ended)
        found = merged(planned, rows.rows, self._parts, asked.experiment.baseline)
        where = asked.experiment.model
        if where == DEMO:
            where = str(work.store.path(*work.sent.entries[0]) / "demo.keras")
        found = replace(
            found,
            run=rows.run,
            model=replace(found.model, path=where),
            tally=replace(found.tally, wall_s=time.monotonic() - began),
            notes=tuple(dict.fromkeys((*found.notes, *rows.notes))),
            warnings=tuple(dict.fromkeys((*rows.warnings, *work.warnings, *found.warnings))),
        )
        rows.say(f"done: {found.tally}")
        remember(work.store, found.run, found, asked.experiment)
        return found

    def _members(self) -> list[ClusterMember]:
        """The workers of the cluster now."""
        self._known = members(self._work.connection, self._uses, self._known)
        return list(self._known.values())

    def _workers(self) -> list[ClusterMember]:
        """The workers that may be used now: those with the label that are like the ones at the beginning."""
        try:
            found = self._members()
        except InputError as error:  # one that has joined since must not be used
            if error.message not in self._ignored:
                self._ignored.add(error.message)
                self._rows.note(error.message)
            return []
        label = self._asked.label
        having = [each for each in found if not label or label in each.record.labels]
        return [each for each in having if each.record.fingerprint == self._fingerprint]

    def _planned(self, workers: Sequence[ClusterMember]) -> Results:
        """The results without a measurement: the model, the samples, and which rows are possible, from the first worker that answers.

        Raises:
            WorkbenchError: the model, the data or a setting cannot be used.
        """
        ledger = self._ledger((), PLANNED, fresh=False)
        if ledger.ended and ledger.ended[-1].results:
            return ledger.ended[-1].results
        for worker in workers:
            on_event_only(self._asked.on_event, f"{worker.label}: reading the model")
            try:
                found = self._work.carry_out(Part(ledger.next_key(), (), PLANNED), worker)
            except WorkerLost:
                continue
            ledger.add((), worker.record)
            return found
        raise InputError("Every worker of the cluster ended while it read the model. Their logs say more.")

    def _ledger(self, rows: Sequence[str], only: str, *, fresh: bool) -> Ledger:
        return Ledger(self._work.store, self._work.sent.key(self._fingerprint, rows, only), only, fresh=fresh)

    def _phases(self, planned: Results) -> None:
        """Build, then measure what was built."""
        asked = self._asked
        self._work.connection.subscribe(self._said.put)
        made: dict[str, Ledger] = {}
        jobs = []
        for division in builds(baseline_first(planned.rows, asked.experiment.baseline)):
            ledger = self._ledger(division.rows, "build", fresh=False)
            made |= dict.fromkeys(division.rows, ledger)
            jobs.append(self._job(division, ledger, "build", division.rows))
        jobs = [job for job in jobs if job.rows]
        if jobs:  # the graph is the same for all: one worker examines it while others build
            jobs[0] = replace(jobs[0], part=replace(jobs[0].part, examined=True))
        deadline = self._work.stop.deadline
        self._carry_out("build engines", jobs, lambda: deadline.over)
        if deadline.over:
            leave_out(self._rows, self._rows.open_rows())
        if asked.only == "build" or self._work.stop.everything:
            return
        used = {name: [entry for entry in ledger.used() if entry[0] in FROM_BUILDS] for name, ledger in made.items()}
        shared = [entry for entries in used.values() for entry in entries if entry[0] == EXAMINATION]
        jobs = []
        for division in cohorts(planned.rows, asked.experiment.baseline, asked.cohort):
            ledger = self._ledger(division.rows, asked.only, fresh=self._work.remeasure)
            able = [name for name in division.rows if self._built(name, made[name])]
            needs = dict.fromkeys((*shared, *(entry for name in able for entry in used[name])))
            jobs.append(self._job(division, ledger, asked.only, able, tuple(needs)))
        self._carry_out("measure", jobs)

    def _built(self, name: str, made: Ledger) -> bool:
        found = merged_row(self._rows.row(name), made.ended)
        return found is not None and found.status == Status.BUILT

    def _job(
        self, division: Division, ledger: Ledger, only: str, able: Sequence[str], needs: tuple[Entry, ...] = ()
    ) -> _Job:
        """What is left of a part, of the rows that can be carried out; what has ended is shown."""
        self._ledgers.append(ledger)
        self._show(division.rows)
        left = ledger.open_rows([self._rows.row(name) for name in able], retry_failed=self._asked.retry_failed)
        rows = division.again(left, able)
        return _Job(ledger, rows, Part(ledger.next_key(), rows, only), needs)

    def _show(self, names: Sequence[str]) -> None:
        """Show what is known of these rows."""
        for name in names:
            before = self._rows.row(name)
            found = merged_row(before, self._parts)
            if found is None:
                continue
            if found.failure and found.failure.repro:  # it names files of the worker
                command = repeat_command(self._asked.experiment, found, self._work.store)
                found = replace(found, failure=replace(found.failure, repro=command))
            changes = {field: getattr(found, field) for field in CHANGES}
            if any(getattr(before, field) != value for field, value in changes.items()):
                self._rows.update(before, **changes)

    @property
    def _parts(self) -> list[EndedPart]:
        """All parts that have ended, in the order in which they were planned."""
        return [ended for ledger in self._ledgers for ended in ledger.ended]

    def _carry_out(self, phase: str, jobs: Sequence[_Job], over: Callable[[], bool] = lambda: False) -> None:
        """Carry out parts; none begins any more once the time is ``over``."""
        jobs = [job for job in jobs if job.rows]
        self._rows.phase(phase, len(jobs), "parts")
        self._done = 0
        stop = self._work.stop
        crew = self._crew = Crew(self._do, self._workers, self._tell, lambda: stop.everything or over(), self._report)
        try:
            crew.carry_out(jobs)
        except KeyboardInterrupt:
            stop.set()
            crew.finish()

    def _do(self, job: _Job, worker: ClusterMember) -> None:
        """In the thread of a worker: carry out a part."""
        try:
            found = self._work.carry_out(job.part, worker, job.needs)
        except WorkerLost:
            self._known.pop(worker.address, None)  # another process may have its address next
            raise
        expected = self._read
        if (found.model.digest, found.tested_digest) != (expected.model.digest, expected.tested_digest):
            raise RunError(f"The worker {worker.label} read another model or other samples; its results are not used.")

    def _tell(self, outcome: JobOutcome[_Job]) -> None:
        """Note and show what became of a part."""
        job, worker, error = outcome.job, outcome.worker, outcome.error
        if outcome.began:
            status = Status.BUILDING if job.part.only == "build" else Status.MEASURING
            phase = "build" if job.part.only == "build" else "measure"
            self._activity.began(worker.label, phase, job.rows)
            self._rows.say(f"{worker.label}: {job.part.only} {', '.join(job.rows)}")
            for name in job.rows:
                if not self._rows.row(name).timing:
                    self._rows.update(self._rows.row(name), status=status)
            return
        self._activity.ended(worker.label)
        self._done += 1
        if isinstance(error, Cancelled):
            return
        if isinstance(error, WorkerLost):
            self._rows.warn(
                f"{error.message} {counted(len(job.rows), 'row')} had no result by then ({', '.join(job.rows)}). The option "
                "--retry-failed repeats those and no others."
            )
        job.ledger.add(job.rows, worker.record, error.message if error else "")
        self._show(job.rows)
        self._rows.advance(self._done)

    def _report(self) -> None:
        """Tell what workers have reported, and what each does now."""
        with suppress(queue.Empty):
            while True:
                text = one_line(self._said.get_nowait())
                self._activity.said(text)
                self._rows.say(text, detail=True)
        labels = [
            member.label for member in list(self._known.values()) if member.record.fingerprint == self._fingerprint
        ]
        if state := self._activity.news(labels, self._crew.waiting if self._crew else 0):
            self._rows.report_cluster(state)

    def _end_open_rows(self) -> None:
        """End the rows for which nothing was done."""
        asked = self._asked
        measured = {name for part in self._parts for name in part.rows if part.only != "build"}
        open_rows = [row for row in self._rows.rows if row.status not in FINAL]
        if asked.only != "build":
            open_rows += [
                row
                for row in self._rows.rows
                if row.status == Status.BUILT and row.row not in measured and row.engine and row.engine.runnable
            ]
        self._rows.update_all(tuple(open_rows), status=Status.CANCELLED)
        if open_rows and not self._work.stop.everything:
            self._rows.warn(
                f"{counted(len(open_rows), 'row')} did not begin, because no worker was left. Start one (workbench worker) and run "
                "the same again: it continues from there."
            )
