"""Interleaved rounds: the variants of one batch size take turns in random order, one at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workbench import backends
from workbench.bench import Bench
from workbench.benchmark import order
from workbench.errors import Cancelled, RunError, WorkbenchError
from workbench.records import (
    Block,
    Clock,
    DeviceFacts,
    InEffect,
    Region,
    Result,
    Status,
    Timing,
    from_json,
    to_json,
)
from workbench.store import key_of
from workbench.worker import Worker

CLOCK_S = 0.03
"""Seconds of timed calls of one clock in one round, at most: three clocks then add about as much as a row takes."""


@dataclass
class Turn:
    """One variant's part in the interleaved measuring of one batch size."""

    row: Result
    worker: Worker
    opened: dict[str, Any]
    warm_up_ns: tuple[int, ...] = ()
    blocks: tuple[Block, ...] = ()


def measure_group(bench: Bench, group: str, batch: int, samples: str, region: Region) -> None:
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
        _keep(bench, turn, group, session, region, samples)
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


def _keep(bench: Bench, turn: Turn, group: str, session: str, region: Region, samples: str) -> None:
    """Store one variant's timing and show it."""
    engine = turn.row.engine
    if engine is None or bench.get(engine.key) is None:
        return
    try:
        facts = turn.worker.call("device")
        peak = turn.worker.call("peak")["peak_rss_bytes"]
        in_effect = _beside(bench, turn, lambda: turn.worker.call("in_effect"))
        clocks = _beside(bench, turn, lambda: _clocks(bench, turn, samples)) if bench.experiment.plan.clocks else []
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
        in_effect=tuple(from_json(InEffect, each) for each in in_effect),
        clocks=tuple(from_json(Clock, each) for each in clocks),
    )
    bench.store.put("timing", timing_key(group, engine.key), to_json(timing))
    bench.board.count(measured=1)
    bench.board.update(turn.row, told(turn.row, timing), status=Status.DONE, timing=timing)


def _beside(bench: Bench, turn: Turn, ask: Callable[[], Any]) -> Any:
    """What is asked beside the timing, as JSON; where the library refuses it, the row keeps its timing and the log says why."""
    try:
        return ask()
    except RunError as error:
        bench.board.say(f"{turn.row.row}: {error.message}")
        return []


def _clocks(bench: Bench, turn: Turn, samples: str) -> Any:
    """The clocks of one engine in turn with each other, as JSON; none over several streams, where calls overlap."""
    spec, plan = turn.row.spec, bench.experiment.plan
    if spec.streams > 1:
        return []
    bench.board.whisper(f"{turn.row.row}: its clocks in turn")
    able = backends.get(spec.backend).measures(spec, Region.COMPUTE)
    return turn.worker.call(
        "clocks",
        samples=samples,
        batch=turn.row.batch,
        compute=able.ok,
        rounds=plan.rounds,
        block_s=min(plan.block_s, CLOCK_S),
        seed=plan.seed + turn.row.batch,
    )


def timing_key(group: str, engine: str) -> str:
    return key_of(group=group, engine=engine)


def told(row: Result, timing: Timing) -> str:
    return f"{row.row}: median {timing.median_s * 1e3:.3f} ms, {timing.samples_per_s:,.0f} samples/s"
