"""Timing and scoring: what the store does not know yet is measured in interleaved rounds, and scored."""

from __future__ import annotations

import threading

from workbench import backends
from workbench.bench import Bench
from workbench.board import Board
from workbench.data import Dataset
from workbench.errors import WorkbenchError
from workbench.experiment import Experiment
from workbench.machine import this_machine
from workbench.records import EngineRecord, Region, Result, Status, Timing, from_json, to_json
from workbench.rounds import measure_group, timing_key, told
from workbench.scoring import PLAIN, Way, outputs_of, runnable_engines, score_all, unscored_engines
from workbench.sources import Sources
from workbench.store import Store, key_of


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
    missing = {} if not groups else {k: g for k, g in groups.items() if remeasure or not _recall(board, store, *g)}
    engines = runnable_engines(board)
    unscored = unscored_engines(board, store, data, reference, way)
    needed = {row.engine.key: row.engine for _, rows in missing.values() for row in rows if row.engine}
    needed |= {engine.key: engine for engine in unscored}
    if reference and unscored and not outputs_of(store, reference, data):
        needed[reference.key] = reference
        engines.setdefault(reference.key, reference)
    bench = Bench(board, experiment, store, cancel, sources.model.outputs)
    try:
        if needed:
            bench.open_all([engine for key, engine in engines.items() if key in needed])
        for batch, (group, _) in sorted(missing.items()):
            measure_group(bench, group, batch, samples, region)
        score_all(bench, data, samples, reference, unscored, way)
    finally:
        bench.close()


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
            )
            groups[batch] = (key, rows)
    return groups


def _recall(board: Board, store: Store, group: str, rows: tuple[Result, ...]) -> bool:
    """Take the timings of a whole group from the store; False unless all are there."""
    found = []
    for row in rows:
        facts = store.facts("timing", timing_key(group, row.engine.key if row.engine else ""))
        if facts is None:
            return False
        found.append(from_json(Timing, facts))
    if len({timing.group for timing in found}) != 1:
        return False  # a later session measured only some of them again: these did not all take turns
    for row, timing in zip(rows, found, strict=True):
        board.update(row, f"{told(row, timing)} (from the store)", status=Status.DONE, timing=timing, reused=True)
    board.count(reused_timings=len(rows))
    return True
