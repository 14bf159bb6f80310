"""The main job: a model comes in, is exported, rewritten, built, timed, scored; what was done before is not done again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

from workbench import backends
from workbench.accuracy.budget import budget_for
from workbench.data.splits import more_set_aside
from workbench.errors import Cancelled, InputError
from workbench.locks.scratch import remove_left_behind
from workbench.models.describe import counted
from workbench.models.live import identity, kept_data, kept_model
from workbench.plan.planning import ONLY, plan, subject_of
from workbench.plan.rows import check_batch, usable
from workbench.plan.scoring import Scoring
from workbench.plan.variants import variants_of
from workbench.records import Event, LayerProfile, Peaks, Progress, Result, Results, Status
from workbench.runs.archive import remember
from workbench.runs.building import build_all, build_reference, examine, prepare_layers, warn_of_differences
from workbench.runs.context import RunContext
from workbench.runs.dry_run import look_ahead
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.runs.guard_files import score_files
from workbench.runs.layer_pass import profile_all
from workbench.runs.measure import measure_and_score, peaks_of
from workbench.runs.outlook import Outlook
from workbench.runs.parts import PLANNED, Part, keep_part
from workbench.runs.reading import demo_model, read_model
from workbench.runs.results import results_of
from workbench.runs.run_rows import OnEvent, RunRows, log_event
from workbench.runs.scoring import NO_ACCURACY
from workbench.runs.sources import DEMO, data_of
from workbench.runs.time_limit import remark, time_for
from workbench.settings.commands import papermill_command
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import choose
from workbench.settings.time_limit import limit_s
from workbench.store import Store
from workbench.system.limits import limits_of
from workbench.system.machine import check_cores, check_threads
from workbench.system.memory import check_limits
from workbench.system.progress import followed
from workbench.system.stop import Stop
from workbench.workers.pool import Pool


def check(experiment: Experiment, scoring: Scoring | None = None) -> None:
    """Find what names nothing before any work is done for it. ``scoring`` is the experiment's where it is left out.

    Raises:
        InputError: a backend or build option that does not exist, a baseline that is not among the variants, more threads or
            other cores than this machine has, a limit of memory that is too low for any run, or a budget without its unit.
    """
    check_limits()
    metric = (scoring or Scoring.of(experiment)).metric
    budget_for(experiment.budget, share=metric is None or metric.share)
    for address in experiment.backends:
        backends.check(address)
    backends.check_options(experiment.build_options)
    variants = variants_of(experiment)
    names = dict.fromkeys(label for spec in variants for label in (spec.variant, spec.label))
    check_threads(experiment.threads)
    check_cores(experiment.plan.cores)
    if experiment.baseline:
        choose("baseline", [experiment.baseline], names)


NOT_SCORED = "no engine could be scored; each row says why."
CANCELLED = "the run was cancelled before an engine was scored. Run it again with the same settings: what was built and timed is taken from the store."


@overload
def run(
    experiment: Experiment | None = None,
    *,
    dry_run: Literal[True],
    store: Store | str | Path | None = None,
    only: str = "all",
    remeasure: bool = False,
    minutes: float | str | None = None,
    metric: Any = None,
) -> Outlook: ...


@overload
def run(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    on_event: OnEvent | None = ...,
    cancel: threading.Event | None = None,
    only: str = "all",
    remeasure: bool = False,
    minutes: float | str | None = None,
    model: Any = None,
    data: Any = None,
    metric: Any = None,
    calibrating: bool | None = None,
    dry_run: Literal[False] = False,
) -> Results: ...


def run(
    experiment: Experiment | None = None,
    *,
    store: Store | str | Path | None = None,
    on_event: OnEvent | None = None,
    cancel: threading.Event | None = None,
    only: str = "all",
    remeasure: bool = False,
    minutes: float | str | None = None,
    model: Any = None,
    data: Any = None,
    metric: Any = None,
    calibrating: bool | None = None,
    dry_run: bool = False,
) -> Results | Outlook:
    """Run an experiment to its results. Blocks; heavy work happens in child processes.

    Args:
        experiment: what to do; the defaults where nothing is said.
        model: a live ``keras.Model`` instead of the experiment's ``model``; kept in the store.
        data: arrays by input name, ``(x, y)``, or a generator of such batches, instead of the experiment's ``data``.
        store: where artefacts and results are kept, as a :class:`Store` or the path of a folder; what is there is used again.
        on_event: called for every step and every change of a row; without it a terminal and an open notebook show a progress bar.
        cancel: set it to stop; unfinished rows are then cancelled. A :class:`workbench.system.stop.Stop` can stop single rows as well.
        only: "all", "build" to stop after building, or "time" to leave out scores.
        remeasure: time again what the store already has timings for.
        minutes: a time limit, after which no further engine is built and no launch begins; what is built is timed once and scored.
        metric: a function of (outputs by name, labels) that gives a number per sample, more is better, or a ``workbench.Metric``.
        calibrating: whether samples are set aside for calibration and not tested; by default where one of the variants calibrates.
        dry_run: make nothing, and return the plan with the state of each step (:class:`workbench.runs.outlook.Outlook`).

    >>> [str(step.kind) for step in run(Experiment(), store="/no/store", dry_run=True).open()]  # what is left to do
    ['train', 'copy', 'read']

    Raises:
        InputError: the model, the data or a setting cannot be used at all.
        StoreError: the store cannot be written. A variant that fails costs its own rows only, and says why there.
    """
    choose("only", [only], ONLY)
    limit = limit_s(minutes)
    if dry_run:
        return _look_ahead(experiment or Experiment(), store, (model, data, metric), only, remeasure, limit)
    stop = Stop.of(cancel)
    stop.deadline.begin(limit)
    with followed(on_event) as listener:
        place = Store.of(store).prepare().for_run(partial(on_event_only, listener), stop)
        experiment, metric = _with_metric(with_live(experiment or Experiment(), place, model, data).resolved(), metric)
        asked = _Asked(experiment, Scoring.of(experiment, metric), stop, listener, only, remeasure, calibrating)
        return _carry_out(asked, place, scored_by=identity(metric))


def _with_metric(experiment: Experiment, metric: Any) -> tuple[Experiment, Any]:
    """The name of a metric takes the place of the experiment's; anything else is used beside it."""
    return (replace(experiment, metric=metric), None) if isinstance(metric, str) else (experiment, metric)


def run_part(
    experiment: Experiment,
    part: Part,
    *,
    store: Store,
    on_event: OnEvent = lambda _: None,
    cancel: threading.Event | None = None,
    remeasure: bool = False,
) -> Results:
    """Carry out a part of a run, as a worker of a cluster does: :func:`run` for some rows of the experiment.

    All that concerns the whole experiment, such as which samples are set aside, is as in the whole run. The results are kept as
    :func:`workbench.runs.parts.keep_part` describes, and are not in the history.

    Raises:
        InputError, StoreError: as :func:`run`.
    """
    stop = Stop.of(cancel)
    place = store.prepare().for_run(partial(on_event_only, on_event), stop)
    asked = _Asked(experiment, Scoring.of(experiment), stop, on_event, part.only, remeasure, part=part)
    return _carry_out(asked, place, scored_by="")


def _carry_out(asked: _Asked, store: Store, scored_by: str) -> Results:
    """The run itself, from reading the model to the results in the store."""
    began, experiment = time.monotonic(), asked.experiment
    remove_left_behind()
    limits = limits_of(experiment.step_memory_mib, experiment.step_s)
    with store.in_use("running an experiment"), Pool(store.log_path, asked.stop, limits=limits) as pool:
        pool.waiting = partial(on_event_only, asked.on_event)
        try:
            context = _begin(asked, Means(store, pool, pool.waiting))
        except Cancelled:
            raise Cancelled("Stopped while the model was being read; nothing has been built yet.") from None
        pool.using, pool.waiting, store.waiting = context.run_rows.logs_to, context.wait, context.wait
        found, cancelled = _Extras(), False
        try:
            if asked.only != PLANNED:
                build_all(context)
            if asked.part and asked.part.examined:
                examine(context)
            if asked.only not in ("build", PLANNED):
                _measure(context, found, scored=asked.only == "all")
        except (Cancelled, KeyboardInterrupt):
            _cancel(context.run_rows, asked.only)
            cancelled = True
        if asked.part is None and (ended := remark(context.run_rows.rows, experiment.baseline, asked.stop.deadline)):
            context.run_rows.warn(ended)
        _warn_without_accuracy(context, asked.only, CANCELLED if cancelled else NOT_SCORED)
        context.run_rows.count(wall_s=time.monotonic() - began)
        context.run_rows.say(f"done: {context.run_rows.tally}")
        results = replace(results_of(context), run=context.run_rows.run, **vars(found))
        if asked.part:
            keep_part(store, asked.part, results)
        else:
            remember(store, results.run, results, experiment, scored_by=scored_by)
            context.run_rows.note_in_journal("end", ended="cancelled" if cancelled else "done")
        return results


def _look_ahead(
    experiment: Experiment,
    store: Store | str | Path | None,
    given: tuple[Any, Any, Any],
    only: str,
    remeasure: bool,
    limit: float | None,
) -> Outlook:
    """A dry run; ``given`` are a model, data and a metric as :func:`run` takes them."""
    model, data, metric = given
    if model is not None or data is not None:
        raise InputError(
            "A dry run writes nothing, and a live model or live data would have to be written to the store. Save them, and set "
            "'model' and 'data' to their paths."
        )
    experiment, metric = _with_metric(experiment.resolved(), metric)
    scoring = Scoring.of(experiment, metric)
    check(experiment, scoring)
    found = look_ahead(experiment, Store.of(store), scoring, only=only, remeasure=remeasure)
    return replace(found, limit_s=limit)


def with_live(experiment: Experiment, store: Store, model: Any, data: Any) -> Experiment:
    """The experiment on a live model and live data, which are kept in the store as files first."""
    if model is not None:
        experiment = replace(experiment, model=str(kept_model(model, store)))
    return experiment if data is None else replace(experiment, data=str(kept_data(data, store)))


@dataclass(frozen=True)
class _Asked:
    experiment: Experiment
    scoring: Scoring
    stop: Stop
    on_event: OnEvent
    only: str
    remeasure: bool
    calibrating: bool | None = None
    part: Part | None = None  # of the whole run, which another process has divided


@dataclass
class _Extras:
    """What results hold besides their rows."""

    examination: Any = None
    peaks: Peaks | None = None
    layer_profiles: tuple[LayerProfile, ...] = ()


def _measure(context: RunContext, extras: _Extras, *, scored: bool) -> None:
    """All that follows the builds, in this order; what was found stays in ``extras`` where the run is stopped."""
    context.run_rows.phase("prepare scoring")
    reference = build_reference(context) if scored else None
    extras.examination = examine(context)
    warn_of_differences(context, extras.examination)
    score_files(context)
    context.pool.close()  # builders must not share the cores with what is being timed
    measure_and_score(context, reference)
    extras.peaks = peaks_of(context)
    if context.experiment.layers and time_for(context.run_rows, "the time per layer"):
        context.run_rows.phase("time layers")
        prepare_layers(context)
        extras.layer_profiles = profile_all(
            context.run_rows.rows,
            context.store,
            samples=Path(context.samples),
            say=context.say,
            waiting=context.wait,
            cancel=context.stop,
        )


def _begin(asked: _Asked, means: Means) -> RunContext:
    experiment, say = asked.experiment, means.say
    check(experiment, asked.scoring)
    path = str(demo_model(means.store, means.pool, say)) if experiment.model == DEMO else experiment.model
    say(f"reading {path}")
    how = (experiment.signature, experiment.input_shapes, experiment.input_values)
    model = read_model(means.store, means.pool, path, *how)
    data = data_of(experiment, model, calibrating=asked.calibrating, metric=asked.scoring.metric)
    check_batch(experiment, model)
    rows = asked.part.rows if asked.part else ()
    found = plan(experiment, model, data, scoring=asked.scoring, only=asked.only, rows=rows)
    stop, usual = asked.stop, usable(experiment, model)
    run_rows = RunRows(
        found.rows,
        means.store.new_run(),
        asked.on_event,
        lambda row: repeat_command(experiment, row, means.store),
        stop,
    )
    if not asked.part:
        run_rows.note_in_journal("settings", parameters=experiment.parameters())
    means = means._replace(say=run_rows.report_progress)
    executor = Executor(means, subject_of(experiment, model, data), data, found)
    context = RunContext(usual, data, found, executor, run_rows, asked.remeasure, asked.scoring)
    _announce(context)
    return context


def _announce(context: RunContext) -> None:
    run_rows, data = context.run_rows, context.data
    possible = [row for row in run_rows.rows if row.status == Status.PLANNED]
    variants = {row.spec for row in possible}
    rows = f"{counted(len(variants), 'variant')}, {counted(len(possible), 'row')}"
    run_rows.say(f"{context.model.name}: {rows}; {data.description}")
    for each in data.values:
        run_rows.say(f"values of {each}")
    for text in filter(None, (context.store.remark, more_set_aside(data.calibration, data.test))):
        run_rows.note(text)
    if data.perhaps_labels:
        run_rows.warn(data.without_labels)
    for row in run_rows.rows:
        run_rows.update(row)


def on_event_only(on_event: OnEvent, text: str) -> None:
    """Report a step that comes before the rows are known."""
    event = Event(text, progress=Progress("read the model"))
    log_event(event)
    on_event(event)


def _warn_without_accuracy(context: RunContext, only: str, why: str) -> None:
    """Warn where a whole run on data with labels was timed and nothing was scored, unless there is such a warning already."""
    run_rows = context.run_rows
    ended = [row for row in run_rows.rows if row.timing]
    if only != "all" or context.data.test.labels is None or not ended or any(row.accuracy for row in ended):
        return
    if not any(text.startswith(NO_ACCURACY) for text in run_rows.warnings):
        run_rows.warn(f"{NO_ACCURACY}: {why}")


def _cancel(run_rows: RunRows, only: str) -> None:
    """End the rows that the cancelled run still owed something."""
    run_rows.update_all(run_rows.open_rows(), status=Status.CANCELLED)
    if only != "build":
        owed = tuple(r for r in run_rows.rows if r.status == Status.BUILT and r.engine and r.engine.runnable)
        run_rows.update_all(owed, status=Status.CANCELLED)
    run_rows.say("cancelled; what was finished is kept")


def repeat_command(experiment: Experiment, row: Result, store: Store) -> str:
    """The shell command that runs one row alone."""
    alone = replace(
        experiment,
        backends=(row.spec.address,),
        precisions=(row.spec.asked,),
        batches=(row.batch,),
        optimization_level=(-1 if row.spec.optimization_level is None else row.spec.optimization_level,),
        workspace_mib=((row.spec.workspace_bytes or 0) // 2**20,),
        baseline="",
    )
    return papermill_command(alone, store.root)
