"""Timing and scoring: one worker per engine stays open, and all take turns in random order, one at a time."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench import backends, cuda
from workbench.accuracy import score, told
from workbench.benchmark import order
from workbench.board import Board
from workbench.data import Dataset
from workbench.errors import Cancelled, WorkbenchError
from workbench.experiment import Experiment
from workbench.machine import this_machine
from workbench.records import (
    CPU,
    Accuracy,
    Block,
    DeviceFacts,
    EngineRecord,
    Region,
    Result,
    Status,
    TensorSpec,
    Timing,
    from_json,
    to_json,
)
from workbench.sources import Sources
from workbench.store import Draft, Store, key_of
from workbench.worker import NO_GPU, Worker, thread_env


@dataclass
class Turn:
    """One variant's part in the interleaved measuring of one batch size."""

    row: Result
    worker: Worker
    opened: dict[str, Any]
    warm_up_ns: tuple[int, ...] = ()
    blocks: tuple[Block, ...] = ()


class Bench:
    """The open workers of one run."""

    def __init__(
        self,
        board: Board,
        experiment: Experiment,
        store: Store,
        cancel: threading.Event,
        outputs: tuple[TensorSpec, ...] = (),
    ) -> None:
        self.board, self.experiment, self.store, self.cancel = board, experiment, store, cancel
        self.outputs = outputs  # the model's, with the place of the batch in each
        self._workers: dict[str, tuple[Worker, dict[str, Any]]] = {}

    def open_all(self, engines: list[EngineRecord]) -> None:
        """Start a worker per engine. Libraries are imported side by side; engines are then opened one at a time."""
        waiting: list[tuple[EngineRecord, Worker]] = []
        for engine in engines:
            modules = list(backends.get(engine.spec.backend).imports)
            if engine.device == CPU:
                env = NO_GPU | thread_env(engine.spec.threads)
            else:
                env = thread_env(engine.spec.threads)
                modules += cuda.IMPORTS
            worker = Worker(self.store.log_path(engine.spec.label), env=env, cancel=self.cancel)
            self._workers[engine.key] = (worker, {})
            worker.send("hello", modules=modules)
            waiting.append((engine, worker))
        self.board.say(f"starting {len(engines)} worker processes")
        for engine, worker in waiting:
            try:
                opened = worker.receive("hello")
                folder = str(self.store.path("engine", engine.key))
                opened |= worker.call("open_engine", engine=folder, record=to_json(engine))
            except Cancelled:
                raise
            except WorkbenchError as error:
                self.drop(engine.key, "open", error)
            else:
                self._workers[engine.key] = (worker, opened)

    def get(self, key: str) -> tuple[Worker, dict[str, Any]] | None:
        return self._workers.get(key)

    def drop(self, key: str, step: str, error: WorkbenchError) -> None:
        """End a worker that failed, and its rows with it."""
        worker, _ = self._workers.pop(key)
        worker.kill()
        rows = tuple(
            row for row in self.board.rows if row.engine and row.engine.key == key and row.status != Status.DONE
        )
        self.board.fail(rows, step, error)

    def close(self) -> None:
        for worker, _ in self._workers.values():
            worker.kill()
        self._workers.clear()


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
) -> None:
    """Time every built row and score every built engine, except what the store already knows.

    ``reference`` is the engine that stands for the source model; without it nothing can be scored.
    """
    region = experiment.plan.region
    samples = str(sources.samples_file(data.test))
    groups = _groups(board, experiment, data, region)
    missing = {} if not groups else {k: g for k, g in groups.items() if remeasure or not _recall(board, store, *g)}
    engines = _engines(board)
    unscored = _unscored(board, store, data, reference)
    needed = {row.engine.key: row.engine for _, rows in missing.values() for row in rows if row.engine}
    needed |= {engine.key: engine for engine in unscored}
    if reference and unscored and not _outputs(store, reference, data):
        needed[reference.key] = reference
        engines.setdefault(reference.key, reference)
    bench = Bench(board, experiment, store, cancel, sources.model.outputs)
    try:
        if needed:
            bench.open_all([engine for key, engine in engines.items() if key in needed])
        for batch, (group, _) in sorted(missing.items()):
            _measure_group(bench, group, batch, samples, region)
        _score_all(bench, data, samples, reference, unscored)
    finally:
        bench.close()


def _engines(board: Board) -> dict[str, EngineRecord]:
    """Engines that can run here, by key."""
    return {
        row.engine.key: row.engine
        for row in board.rows
        if row.engine and row.engine.runnable and row.status in (Status.BUILT, Status.DONE)
    }


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


def _timing_key(group: str, engine: str) -> str:
    return key_of(group=group, engine=engine)


def _recall(board: Board, store: Store, group: str, rows: tuple[Result, ...]) -> bool:
    """Take the timings of a whole group from the store; False unless all are there."""
    found = []
    for row in rows:
        facts = store.facts("timing", _timing_key(group, row.engine.key if row.engine else ""))
        if facts is None:
            return False
        found.append(from_json(Timing, facts))
    if len({timing.group for timing in found}) != 1:
        return False  # a later session measured only some of them again: these did not all take turns
    for row, timing in zip(rows, found, strict=True):
        board.update(row, f"{_told(row, timing)} (from the store)", status=Status.DONE, timing=timing, reused=True)
    board.count(reused_timings=len(rows))
    return True


def _measure_group(bench: Bench, group: str, batch: int, samples: str, region: Region) -> None:
    """Interleaved rounds over every variant of one batch size that is still alive."""
    board, plan = bench.board, bench.experiment.plan
    began = time.monotonic()
    session = f"{group}-{uuid.uuid4().hex[:8]}"  # only those that took turns in this very session may be compared
    disturbed = False  # by the threads of the variant before, which had not come to rest
    turns = []
    for row in board.rows:
        opened = bench.get(row.engine.key) if row.engine else None
        if row.batch == batch and row.status == Status.BUILT and opened and not row.timing:
            turns.append(Turn(row, *opened))
    turns = [turn for turn in turns if _warm_up(bench, turn, samples, region)]
    for number, places in order(len(turns), plan.rounds, plan.seed + batch):
        if number % 4 == 0:
            board.whisper(f"batch {batch}: round {number + 1} of {plan.rounds}, {len(turns)} variants in turn")
        for position, place in enumerate(places):
            turn = turns[place]
            key = turn.row.engine.key if turn.row.engine else ""
            if bench.get(key) is None:
                continue  # failed in an earlier round
            try:
                answer = turn.worker.call("block", seconds=plan.block_s, min_calls=plan.min_calls)
            except Cancelled:
                raise
            except WorkbenchError as error:
                bench.drop(key, "measure", error)
                continue
            rested = answer["quiet"]
            found = from_json(Block, answer | {"round": number, "position": position})
            turn.blocks += (replace(found, quiet=rested and not disturbed),)
            disturbed = not rested
    for turn in turns:
        _keep(bench, turn, group, session, region)
    board.count(measure_s=time.monotonic() - began)


def _warm_up(bench: Bench, turn: Turn, samples: str, region: Region) -> bool:
    turn.row = bench.board.update(turn.row, status=Status.MEASURING)
    plan = bench.experiment.plan
    try:
        answer = turn.worker.call(
            "prepare_timing",
            samples=samples,
            batch=turn.row.batch,
            region=region,
            warm_up_s=plan.warm_up_s,
            wait=plan.wait,
            copies=plan.copies,
            together=not plan.protocol,
        )
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.drop(turn.row.engine.key if turn.row.engine else "", "warm up", error)
        return False
    turn.warm_up_ns = tuple(answer["warm_up_ns"])
    return True


def _keep(bench: Bench, turn: Turn, group: str, session: str, region: Region) -> None:
    """Store one variant's timing and show it."""
    engine = turn.row.engine
    if engine is None or bench.get(engine.key) is None:
        return
    try:
        facts = turn.worker.call("device")
        peak = turn.worker.call("peak")["peak_rss_bytes"]
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.drop(engine.key, "measure", error)
        return
    timing = Timing(
        engine_key=engine.key,
        batch=turn.row.batch,
        region=region,
        group=session,
        blocks=turn.blocks,
        warm_up_ns=turn.warm_up_ns,
        load_s=turn.opened["load_s"],
        base_rss_bytes=turn.opened["rss_bytes"],
        peak_rss_bytes=peak,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=from_json(DeviceFacts, facts) if facts else None,
        streams=engine.spec.streams,
        protocol=bench.experiment.protocol,
    )
    bench.store.put("timing", _timing_key(group, engine.key), to_json(timing))
    bench.board.count(measured=1)
    bench.board.update(turn.row, _told(turn.row, timing), status=Status.DONE, timing=timing)


def _told(row: Result, timing: Timing) -> str:
    return f"{row.row}: median {timing.median_s * 1e3:.3f} ms, {timing.samples_per_s:,.0f} samples/s"


def _output_key(engine: EngineRecord, data: Dataset) -> str:
    return key_of(engine=engine.key, samples=data.test.digest)


def _outputs(store: Store, engine: EngineRecord, data: Dataset) -> Path | None:
    folder = store.find("outputs", _output_key(engine, data))
    return folder / "outputs.npz" if folder else None


def _accuracy_key(engine: EngineRecord, reference: EngineRecord, data: Dataset) -> str:
    return key_of(engine=engine.key, reference=reference.key, samples=data.test.digest)


def _unscored(board: Board, store: Store, data: Dataset, reference: EngineRecord | None) -> list[EngineRecord]:
    """Engines without a score; scores that the store has are put into their rows."""
    if reference is None:
        return []
    missing = []
    for engine in _engines(board).values():
        facts = store.facts("accuracy", _accuracy_key(engine, reference, data))
        if facts is None:
            missing.append(engine)
        else:
            _show(board, engine, from_json(Accuracy, facts))
            board.count(reused_scores=1)
    return missing


def _show(board: Board, engine: EngineRecord, accuracy: Accuracy) -> None:
    text = f"{engine.spec.label}: {told(accuracy)}"
    for row in board.rows:
        if row.engine and row.engine.key == engine.key:
            status = Status.DONE if row.status == Status.SCORING else row.status
            board.update(row, text, status=status, accuracy=accuracy)


def _score_all(
    bench: Bench, data: Dataset, samples: str, reference: EngineRecord | None, unscored: list[EngineRecord]
) -> None:
    if reference is None or not unscored:
        return
    try:
        expected = _evaluate(bench, reference, data, samples)
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.board.say(f"no accuracy: the source model could not be run ({error.message})")
        return
    for engine in unscored:
        if bench.get(engine.key) is None:
            continue
        try:
            _score_one(bench, engine, reference, expected, data, samples)
        except Cancelled:
            raise
        except WorkbenchError as error:
            bench.drop(engine.key, "score", error)


def _score_one(
    bench: Bench,
    engine: EngineRecord,
    reference: EngineRecord,
    expected: dict[str, Any],
    data: Dataset,
    samples: str,
) -> None:
    for row in bench.board.rows:
        if row.engine and row.engine.key == engine.key:
            text = f"{row.spec.label}: scoring {data.test.count} samples"
            bench.board.update(row, text, status=Status.SCORING)
    accuracy = score(engine.key, _evaluate(bench, engine, data, samples), expected, data.test.labels)
    bench.store.put("accuracy", _accuracy_key(engine, reference, data), to_json(accuracy))
    bench.board.count(scored=1)
    _show(bench.board, engine, accuracy)


def _evaluate(bench: Bench, engine: EngineRecord, data: Dataset, samples: str) -> dict[str, Any]:
    """Outputs of an engine on every test sample, by name; from the store if they are there."""
    import numpy as np

    def fill(draft: Draft) -> None:
        opened = bench.get(engine.key)
        if opened is None:
            raise WorkbenchError("its worker has ended")
        batch = engine.spec.batch or max(bench.experiment.batches)
        outputs = to_json(bench.outputs)
        into = str(draft.folder / "outputs.npz")
        opened[0].call("evaluate", samples=samples, batch=batch, outputs=outputs, into=into)

    folder = bench.store.make("outputs", _output_key(engine, data), fill).folder
    with np.load(folder / "outputs.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
