"""Timing and scoring: what the store does not know yet is measured in interleaved rounds, cohort by cohort, and scored."""

from __future__ import annotations

import threading

from workbench import backends
from workbench.data.dataset import Dataset
from workbench.errors import Cancelled, WorkbenchError
from workbench.experiment import Experiment
from workbench.records import CPU, EngineRecord, Peaks, Region, Result, Status, to_json
from workbench.runs.bench import Bench
from workbench.runs.board import Board
from workbench.runs.cohorts import anchors, engines_of, recall, timeable
from workbench.runs.load_rounds import measure_load
from workbench.runs.peaks import machine_peaks
from workbench.runs.rounds import measure_groups, told
from workbench.runs.scoring import PLAIN, Way, comparable_of, outputs_of, runnable_engines, score_all, unscored_engines
from workbench.runs.sources import Sources
from workbench.store import Store, key_of
from workbench.system.machine import this_machine
from workbench.system.turns import turn


def measure_and_score(
    board: Board,
    experiment: Experiment,
    sources: Sources,
    data: Dataset,
    store: Store,
    cancel: threading.Event,
    *,
    reference: EngineRecord | None,
    remeasure: bool,
    way: Way = PLAIN,
) -> None:
    """Time every built row and score every built engine, except what the store already knows.

    ``reference`` is the engine that stands for the source model; without it nothing can be scored.
    """
    region = experiment.plan.region
    samples = str(sources.samples_file(data.test))
    groups = _groups(board, experiment, data, region)
    if not remeasure:
        for group, members in groups.values():
            _recall(board, store, group, members, experiment.baseline)
    untimed = [row for row in board.rows if row.status == Status.BUILT and row.batch in groups]
    engines = runnable_engines(board)
    unscored = unscored_engines(board, store, data, reference, way)
    needed = engines_of(row for row in untimed if row.engine and row.engine.runnable)
    needed |= {engine.key: engine for engine in unscored}
    if reference and unscored and not outputs_of(store, reference, data):
        needed = {reference.key: reference} | needed  # first: without its answers nothing can be scored
    waiting = [engines.get(key, engine) for key, engine in needed.items()]
    bench = Bench(
        board, experiment, store, cancel, sources.model.outputs, samples=samples, comparable=comparable_of(sources)
    )
    try:
        while waiting:
            with turn("opening engines", alone=False, cancel=cancel, waiting=board.whisper):
                waiting = bench.open_cohort(waiting, _beside(board, groups, experiment.baseline))
            measure_groups(bench, {batch: group for batch, (group, _) in sorted(groups.items())}, samples, region)
            here = [engine for engine in unscored if bench.get(engine.key)]
            if here:
                with turn("scoring engines", alone=False, cancel=cancel, waiting=board.whisper):
                    score_all(bench, data, samples, reference, here, way)
            unscored = [engine for engine in unscored if bench.get(engine.key) is None]
            bench.clear()
    finally:
        bench.close()
    measure_load(board, experiment, samples, data.test.digest, store, cancel, again=remeasure)


def _beside(
    board: Board, groups: dict[int, tuple[str, tuple[Result, ...]]], baseline: str
) -> dict[str, tuple[EngineRecord, ...]]:
    """By engine key: the engines of the baseline at the batch sizes at which that engine has not been timed."""
    found: dict[str, tuple[EngineRecord, ...]] = {}
    base = anchors(timeable(board.rows), baseline)
    for row in board.rows:
        anchor = base.get(row.batch)
        if row.engine and row.status == Status.BUILT and row.batch in groups and anchor and anchor.engine:
            found[row.engine.key] = (*found.get(row.engine.key, ()), anchor.engine)
    return found


def _groups(
    board: Board, experiment: Experiment, data: Dataset, region: Region
) -> dict[int, tuple[str, tuple[Result, ...]]]:
    """For each batch size: the key of the group, and its rows. Rows that cannot be timed over the region fail here."""
    groups: dict[int, tuple[str, tuple[Result, ...]]] = {}
    for row in board.rows:
        if row.engine and row.engine.runnable and row.status == Status.BUILT:
            able = backends.get(row.spec.backend).measures(row.spec, region)
            if not able:
                board.fail((row,), "measure", WorkbenchError(f"{able.reason}; {able.fix}."))
    machine = this_machine()
    for batch in experiment.batches:
        rows = tuple(
            row
            for row in board.rows
            if row.batch == batch and row.status == Status.BUILT and row.engine and row.engine.runnable
        )
        if rows:
            key = key_of(
                engines=sorted(row.engine.key for row in rows if row.engine),
                batch=batch,
                plan=to_json(experiment.plan),
                ways=sorted((row.spec.label, row.spec.cuda_graph, row.spec.streams) for row in rows),
                samples=data.test.digest,
                machine=to_json(machine),
                denormals="flushed",  # how engines are opened is part of what was timed
            )
            groups[batch] = (key, rows)
    return groups


def _recall(board: Board, store: Store, group: str, rows: tuple[Result, ...], baseline: str) -> None:
    """Take from the store what it knows of a group."""
    found = recall(store, group, rows, anchors(rows, baseline).get(rows[0].batch))
    for row in rows:
        if row.row in found:
            timing, also = found[row.row]
            text = f"{told(row, timing)} (from the store)"
            board.update(row, text, status=Status.DONE, timing=timing, also=also, reused=True)
    board.count(reused_timings=len(found))


def peaks_of(experiment: Experiment, board: Board, store: Store, cancel: threading.Event) -> Peaks | None:
    """What this machine can do at most, where that was asked for and something ran on its CPU."""
    if not experiment.roofline or not any(row.timing and row.device == CPU for row in board.rows):
        return None
    try:
        return machine_peaks(store, experiment.threads, cores=experiment.plan.cores, cancel=cancel, say=board.whisper)
    except Cancelled:
        raise
    except WorkbenchError as error:
        board.say(f"no roofline: the machine's peaks could not be measured ({error.message})")
        return None
