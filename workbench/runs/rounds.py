"""Interleaved rounds: the variants of one batch size take turns in random order, one at a time, until enough is known."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.errors import Cancelled, RunError, WorkbenchError
from workbench.measure.interleave import Rounds, interleave
from workbench.records import (
    Block,
    Clock,
    DeviceFacts,
    Ended,
    EngineRecord,
    InEffect,
    Launch,
    Region,
    Result,
    Status,
    Timing,
    Until,
    Verdict,
    from_json,
)
from workbench.runs.bench import Bench
from workbench.runs.cohorts import anchors, keep_members, timeable, timing_key
from workbench.runs.timings import keep_timing
from workbench.system.turns import turn as place_in_line
from workbench.timing import verdict
from workbench.workers.worker import Worker

CLOCK_S = 0.03
"""Seconds of timed calls of one clock in one round, at most: three clocks then add about as much as a row takes."""


@dataclass
class Turn:
    """One variant's part in the interleaved measuring of one batch size."""

    row: Result
    engine: EngineRecord
    base_rss_bytes: int = 0
    launches: tuple[Launch, ...] = ()
    blocks: tuple[Block, ...] = ()
    ended: Ended | None = None  # None: it goes on
    kept: str = ""  # the key that its timing has in the store

    @property
    def again(self) -> bool:
        """The baseline, in a further cohort."""
        return self.row.timing is not None

    @property
    def timed_s(self) -> float:
        return sum(block.wall_s for block in self.blocks)


@dataclass
class Party:
    """The variants of one batch size that take turns with each other."""

    batch: int
    group: str
    turns: list[Turn]
    anchor: Turn | None  # the baseline, which goes on as long as any other does
    session: str  # only those that took turns in this very session may be compared
    began: float = field(default_factory=time.monotonic)
    rounds: int = 0

    @property
    def open(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.ended is None]


def measure_groups(bench: Bench, groups: Mapping[int, str], samples: str, region: Region) -> None:
    """Measure every built variant whose engine is open, at each of these batch sizes; ``groups`` has the key of each group.

    All batch sizes are measured in a launch. Then the workers of those variants are started again whose difference from
    the baseline is not known yet, and only those are measured on, together with the baseline. While a batch size is measured
    nobody else on this machine measures or builds.
    """
    board, plan = bench.board, bench.experiment.plan
    began = time.monotonic()
    parties = [party for batch, group in groups.items() if (party := _party(bench, batch, group)).turns]
    for launch in range(plan.launches):
        parties = [party for party in parties if party.open]
        if launch:
            engines = {turn.engine.key: turn.engine for party in parties for turn in party.open}
            if not engines:
                break
            with place_in_line("opening engines", alone=False, cancel=bench.cancel, waiting=board.whisper):
                bench.relaunch([engine for key, engine in engines.items() if bench.get(key)])
        for party in parties:
            with _alone(bench, party) as ours:
                if ours:
                    _take_turns(bench, party, launch, samples, region)
                    _without_the_lost(bench, party)
                    _decide(bench, party, launch + 1)
                    for turn in [turn for turn in party.turns if turn.ended and not turn.kept]:
                        turn.kept = _keep(bench, party, turn, region, samples)
            _without_the_lost(bench, party)
            if not party.open:
                keep_members(
                    bench.store, party.session, {turn.engine.key: turn.kept for turn in party.turns if turn.kept}
                )
    board.count(measure_s=time.monotonic() - began)


@contextmanager
def _alone(bench: Bench, party: Party) -> Iterator[bool]:
    """Wait until nobody else measures or builds; ``False`` inside where all rows were asked to stop meanwhile."""
    board, rows = bench.board, tuple(turn.row for turn in party.open)
    board.withdraw()
    what = f"measuring {Path(bench.experiment.model).name} at batch {party.batch}"
    with ExitStack() as held:
        try:
            with board.working_on(rows):
                held.enter_context(place_in_line(what, alone=True, cancel=bench.cancel, waiting=board.whisper))
        except Cancelled:
            if board.stop.everything:
                raise
            yield False
        else:
            with board.working_on(rows, together=False):
                yield True
    board.withdraw()


def _without_the_lost(bench: Bench, party: Party) -> None:
    """Go on without those that failed or were asked to stop."""
    stop = bench.board.stop
    party.turns = [
        turn for turn in party.turns if turn.ended or (bench.get(turn.engine.key) and not stop.has(turn.row.row))
    ]
    if party.anchor not in party.turns:
        party.anchor = None


def _party(bench: Bench, batch: int, group: str) -> Party:
    """The rows at this batch size that are open and not timed, and the baseline's beside them."""
    able = timeable(bench.board.rows)
    base = anchors(able, bench.experiment.baseline).get(batch)
    here = [row for row in able if row.batch == batch and row.engine and bench.get(row.engine.key)]
    due = any(row.timing is None for row in here)
    rows = [row for row in here if row.timing is None or (due and base and row.row == base.row)]
    turns = [Turn(row, row.engine) for row in rows if row.engine]
    anchor = next((turn for turn in turns if base and turn.row.row == base.row), None)
    return Party(batch, group, turns, anchor, f"{group}-{uuid.uuid4().hex[:8]}")


def _take_turns(bench: Bench, party: Party, launch: int, samples: str, region: Region) -> None:
    """The rounds of one launch, over those that go on."""
    plan = bench.experiment.plan
    turns = [turn for turn in party.open if _warm_up(bench, turn, samples, region)]
    rounds = Rounds(plan.relaunch_rounds if launch else plan.rounds, plan.seed + party.batch, launch, party.rounds)
    again = f"launch {launch + 1}, " if launch else ""

    def takes_part(place: int) -> bool:
        goes_on = bench.get(turns[place].engine.key) is not None and not bench.board.stop.has(turns[place].row.row)
        if not goes_on:  # it failed in an earlier round, or was asked to stop
            bench.board.withdraw()
        return goes_on

    def each_round(number: int) -> None:
        if number % 4 == 0:
            about = f"{again}round {number + 1} of {rounds.count}, {len(turns)} variants in turn"
            bench.board.whisper(f"batch {party.batch}: {about}")

    for taken in interleave(
        len(turns),
        rounds,
        lambda place: _block(bench, turns[place]),
        takes_part=takes_part,
        each_round=each_round,
        clock=lambda: time.monotonic() - party.began,
    ):
        more = {"launch": taken.launch, "began_s": taken.began_s}
        turns[taken.variant].blocks += (from_json(Block, taken.value | taken.where | more),)
    party.rounds += rounds.count


def _block(bench: Bench, turn: Turn) -> tuple[dict[str, Any], bool] | None:
    """One block of a variant as JSON, and whether its threads rested afterwards; ``None`` where it failed, which ends it."""
    plan, held = bench.experiment.plan, bench.get(turn.engine.key)
    if held is None:
        return None
    try:
        answer = held[0].call("block", seconds=plan.block_s, min_calls=plan.min_calls)
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.drop(turn.engine.key, "measure", error)
        return None
    return answer, answer["quiet"]


def _warm_up(bench: Bench, turn: Turn, samples: str, region: Region) -> bool:
    held = bench.get(turn.engine.key)
    if held is None:
        return False
    worker, opened = held
    if not turn.launches:
        turn.base_rss_bytes = opened["rss_bytes"]
        if not turn.again:
            turn.row = bench.board.update(turn.row, status=Status.MEASURING)
    plan = bench.experiment.plan
    try:
        answer = worker.call(
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
        bench.drop(turn.engine.key, "warm up", error)
        return False
    turn.launches += (Launch(opened["import_s"], opened["load_s"], tuple(answer["warm_up_ns"])),)
    return True


def _decide(bench: Bench, party: Party, launches: int) -> None:
    """End those of whom enough is known after so many launches, and all where no more may follow."""
    plan = bench.experiment.plan
    others = [turn for turn in party.turns if turn is not party.anchor]
    if party.anchor is None or not others or plan.launches == 1:
        _end(party.open, Ended.FIXED)
        return
    spent = max(turn.timed_s for turn in party.open)
    last = launches == plan.launches or spent >= plan.max_measure_s
    if launches > 1 and not last and launches not in plan.looks:
        return
    base = _timing(bench, party, party.anchor)
    found = verdict.judged([verdict.evidence(_timing(bench, party, turn), base) for turn in others])
    for turn, judged in zip(others, found, strict=True):
        if turn.ended:
            continue
        if plan.until == Until.KNOWN and judged.verdict in (Verdict.FASTER, Verdict.SLOWER):
            turn.ended = Ended.KNOWN
        elif judged.half_width <= plan.within:
            turn.ended = Ended.NARROW
    if last:
        _end(party.open, Ended.BUDGET)
    elif all(turn.ended for turn in others):
        party.anchor.ended = Ended.KNOWN if any(turn.ended == Ended.KNOWN for turn in others) else Ended.NARROW


def _end(turns: list[Turn], why: Ended) -> None:
    for turn in turns:
        turn.ended = why


def _timing(bench: Bench, party: Party, turn: Turn, **more: Any) -> Timing:
    """What is known of a variant so far."""
    plan = bench.experiment.plan
    known: dict[str, Any] = {
        "region": plan.region,
        "load_s": turn.launches[0].load_s,
        "base_rss_bytes": turn.base_rss_bytes,
        "peak_rss_bytes": 0,
        "measured_at": "",
        "ended": turn.ended or Ended.FIXED,
    }
    return Timing(
        engine_key=turn.engine.key,
        batch=turn.row.batch,
        group=party.session,
        blocks=turn.blocks,
        warm_up_ns=turn.launches[0].warm_up_ns,
        streams=turn.engine.spec.streams,
        protocol=plan.protocol,
        launches=turn.launches,
        looks=len(plan.looks),
        **known | more,
    )


def _keep(bench: Bench, party: Party, turn: Turn, region: Region, samples: str) -> str:
    """Store one variant's timing and show it; the key that it has in the store."""
    plan, held = bench.experiment.plan, bench.get(turn.engine.key)
    if held is None or not turn.launches:
        return ""
    try:
        facts = held[0].call("device")
        peak = held[0].call("peak")["peak_rss_bytes"]
        in_effect = _beside(bench, turn, lambda: held[0].call("in_effect"))
        clocks = _beside(bench, turn, lambda: _clocks(bench, turn, held[0], samples)) if plan.clocks else []
    except Cancelled:
        raise
    except WorkbenchError as error:
        bench.drop(turn.engine.key, "measure", error)
        return ""
    timing = _timing(
        bench,
        party,
        turn,
        region=region,
        peak_rss_bytes=peak,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=from_json(DeviceFacts, facts) if facts else None,
        in_effect=tuple(from_json(InEffect, each) for each in in_effect),
        clocks=tuple(from_json(Clock, each) for each in clocks),
    )
    key = timing_key(party.group, turn.engine.key, party.session if turn.again else "")
    timing = keep_timing(bench.store, key, timing)
    if turn.again:
        text = f"{told(turn.row, timing)} (again, in turn with further variants)"
        turn.row = bench.board.update(turn.row, text, also=(*turn.row.also, timing))
    else:
        bench.board.count(measured=1)
        turn.row = bench.board.update(turn.row, told(turn.row, timing), status=Status.DONE, timing=timing)
    return key


def _beside(bench: Bench, turn: Turn, ask: Callable[[], Any]) -> Any:
    """What is asked beside the timing, as JSON; where the library refuses it, the row keeps its timing and the log says why."""
    try:
        return ask()
    except RunError as error:
        bench.board.say(f"{turn.row.row}: {error.message}")
        return []


def _clocks(bench: Bench, turn: Turn, worker: Worker, samples: str) -> Any:
    """The clocks of one engine in turn with each other, as JSON; none over several streams, where calls overlap."""
    spec, plan = turn.row.spec, bench.experiment.plan
    if spec.streams > 1:
        return []
    bench.board.whisper(f"{turn.row.row}: its clocks in turn")
    able = backends.get(spec.backend).measures(spec, Region.COMPUTE)
    return worker.call(
        "clocks",
        samples=samples,
        batch=turn.row.batch,
        compute=able.ok,
        rounds=plan.rounds,
        block_s=min(plan.block_s, CLOCK_S),
        seed=plan.seed + turn.row.batch,
    )


def told(row: Result, timing: Timing) -> str:
    text = f"{row.row}: median {timing.median_s * 1e3:.3f} ms, {timing.samples_per_s:,.0f} samples/s"
    if timing.ended == Ended.FIXED:
        return text
    launches = len(timing.launches)
    return f"{text}; {launches} launch{'es' * (launches != 1)}, {timing.ended}"
