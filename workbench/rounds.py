"""Interleaved rounds: the variants of one batch size take turns in random order, one at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workbench.bench import Bench
from workbench.benchmark import order
from workbench.cohorts import keep_members, timing_key
from workbench.errors import Cancelled, WorkbenchError
from workbench.records import Block, DeviceFacts, Region, Result, Status, Timing, from_json
from workbench.timings import keep_timing
from workbench.worker import Worker


@dataclass
class Turn:
    """One variant's part in the interleaved measuring of one batch size."""

    row: Result
    worker: Worker
    opened: dict[str, Any]
    warm_up_ns: tuple[int, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def again(self) -> bool:
        """The baseline, in a further cohort."""
        return self.row.timing is not None


def measure_group(bench: Bench, group: str, batch: int, samples: str, region: Region, rows: Sequence[Result]) -> None:
    """Interleaved rounds over those of these rows, all of one batch size, whose engines are open."""
    board, plan = bench.board, bench.experiment.plan
    began = time.monotonic()
    session = f"{group}-{uuid.uuid4().hex[:8]}"  # only those that took turns in this very session may be compared
    disturbed = False  # by the threads of the variant before, which had not come to rest
    turns = []
    for row in rows:
        opened = bench.get(row.engine.key) if row.engine else None
        if opened:
            turns.append(Turn(row, *opened))
    turns = [turn for turn in turns if _warm_up(bench, turn, samples, region)]
    for number, places in order(len(turns), plan.rounds, plan.seed + batch):
        if number % 4 == 0:
            board.whisper(f"batch {batch}: round {number + 1} of {plan.rounds}, {len(turns)} variants in turn")
        for position, place in enumerate(places):
            turn = turns[place]
            key = turn.row.engine.key if turn.row.engine else ""
            if bench.get(key) is None or board.stop.has(turn.row.row):
                board.withdraw()
                continue  # failed in an earlier round, or was asked to stop
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
    kept = {turn.row.engine.key: _keep(bench, turn, group, session, region) for turn in turns if turn.row.engine}
    keep_members(bench.store, session, {engine: key for engine, key in kept.items() if key})
    board.count(measure_s=time.monotonic() - began)


def _warm_up(bench: Bench, turn: Turn, samples: str, region: Region) -> bool:
    if not turn.again:
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


def _keep(bench: Bench, turn: Turn, group: str, session: str, region: Region) -> str:
    """Store one variant's timing and show it; the key that it has in the store."""
    engine = turn.row.engine
    if engine is None or bench.get(engine.key) is None or bench.board.stop.has(turn.row.row):
        return ""
    try:
        facts = turn.worker.call("device")
        peak = turn.worker.call("peak")["peak_rss_bytes"]
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.drop(engine.key, "measure", error)
        return ""
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
    key = timing_key(group, engine.key, session if turn.again else "")
    timing = keep_timing(bench.store, key, timing)
    if turn.again:
        text = f"{told(turn.row, timing)} (again, in turn with further variants)"
        bench.board.update(turn.row, text, also=(*turn.row.also, timing))
    else:
        bench.board.count(measured=1)
        bench.board.update(turn.row, told(turn.row, timing), status=Status.DONE, timing=timing)
    return key


def told(row: Result, timing: Timing) -> str:
    return f"{row.row}: median {timing.median_s * 1e3:.3f} ms, {timing.samples_per_s:,.0f} samples/s"
