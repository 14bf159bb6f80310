"""Under load, after latency and accuracy: closed loops in interleaved rounds, open loops at rates or in search of one, LoadGen.

Every engine is opened again for it, in a process of its own, for as many calls at once as there will be callers: some libraries
must know that beforehand. So the latency rounds stay as they are without load, and a failure under load costs no latency.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workbench.errors import Cancelled, WorkbenchError
from workbench.experiment import Experiment
from workbench.measure.interleave import Rounds, interleave
from workbench.records import (
    Answer,
    ClosedLoop,
    EngineRecord,
    Load,
    LoadBlock,
    LoadGenRun,
    LoadPlan,
    OpenLoop,
    OpenStretch,
    Result,
    Status,
    from_json,
    to_json,
)
from workbench.records.load import STRETCHES, queries_for
from workbench.runs.bench import Bench
from workbench.runs.board import Board
from workbench.store import Store, key_of
from workbench.system.machine import this_machine
from workbench.system.turns import turn as place_in_line
from workbench.timing.loadgen import here, refusal
from workbench.workers.worker import Worker

KIND = "load"
PROBES = 8
NARROW = 1.05
"""A search has found its rate where the lowest that does not hold is so near to the highest that does."""
LOADGEN_PATIENCE = 20
"""LoadGen is given so many times its own length, and a minute more."""


@dataclass
class Turn:
    """One variant's part in the measuring of one batch size under load."""

    row: Result
    worker: Worker
    load: Load
    callers: int = 0  # who answer its open loops

    def keep(self, **changes: Any) -> None:
        self.load = replace(self.load, **changes)


def measure_load(
    board: Board,
    experiment: Experiment,
    samples: str,
    digest: str,
    store: Store,
    cancel: threading.Event,
    *,
    again: bool,
) -> None:
    """Measure every timed row under load, as the experiment's load plan says, except what the store knows.

    ``samples`` is the file of the test samples and ``digest`` theirs; with ``again`` nothing is taken from the store.
    """
    plan = experiment.load_plan
    groups = {} if plan.empty else _groups(board, experiment, digest)
    missing = {batch: group for batch, group in groups.items() if again or not _recall(board, store, *group)}
    if not missing:
        return
    began = time.monotonic()
    engines = {row.engine.key: row.engine for _, rows in missing.values() for row in rows if row.engine}
    waiting = [_opened_for(engine, plan.callers) for engine in engines.values()]
    bench = Bench(board, experiment, store, cancel, samples=samples)
    try:
        while waiting:
            before = {engine.key for engine in waiting}
            with place_in_line("opening engines", alone=False, cancel=cancel, waiting=board.whisper):
                waiting = bench.open_cohort(waiting, {})
            tried = before - {engine.key for engine in waiting}
            for batch, (group, rows) in sorted(missing.items()):
                here = [row for row in rows if row.engine and row.engine.key in tried]
                what = f"measuring load at batch {batch}"
                with place_in_line(what, alone=True, cancel=cancel, waiting=board.whisper):
                    _measure_group(bench, plan, group, batch, here, samples)
            bench.clear()
    finally:
        bench.close()
        board.count(measure_s=time.monotonic() - began)


def _opened_for(engine: EngineRecord, callers: int) -> EngineRecord:
    """The engine's record with as many calls at once as there will be callers; what was built does not depend on it."""
    return replace(engine, spec=replace(engine.spec, streams=max(callers, engine.spec.streams)))


def _groups(board: Board, experiment: Experiment, digest: str) -> dict[int, tuple[str, tuple[Result, ...]]]:
    """For each batch size: the key under which its loads are kept, and its rows."""
    groups = {}
    for batch in experiment.batches:
        rows = tuple(row for row in board.rows if row.batch == batch and row.status == Status.DONE and row.timing)
        if rows:
            key = key_of(
                engines=sorted(row.engine.key for row in rows if row.engine),
                batch=batch,
                plan=to_json(experiment.load_plan),
                ways=sorted((row.spec.label, row.spec.threads, row.spec.cuda_graph) for row in rows),
                samples=digest,
                machine=to_json(this_machine()),
            )
            groups[batch] = (key, rows)
    return groups


def load_key(group: str, engine: str) -> str:
    return key_of(group=group, engine=engine)


def _recall(board: Board, store: Store, group: str, rows: tuple[Result, ...]) -> bool:
    """Take the loads of a whole group from the store; False unless all are there.

    They may be of several cohorts, each of which took turns among itself; a comparison asks for that.
    """
    facts = [store.facts(KIND, load_key(group, row.engine.key if row.engine else "")) for row in rows]
    if None in facts:
        return False
    found = [from_json(Load, each) for each in facts]
    for row, load in zip(rows, found, strict=True):
        board.update(row, f"{told(row, load)} (from the store)", load=load)
    return True


def _measure_group(bench: Bench, plan: LoadPlan, group: str, batch: int, rows: Iterable[Result], samples: str) -> None:
    board, session, turns = bench.board, f"{group}-{uuid.uuid4().hex[:8]}", []
    when = datetime.now(UTC).isoformat(timespec="seconds")
    for row in rows:
        opened = bench.get(row.engine.key) if row.engine else None
        load = Load(row.engine.key if row.engine else "", batch, session, plan, when)
        if opened:
            turns.append(Turn(row, opened[0], load))
        else:
            why = f"The engine could not be opened for {plan.callers} callers at once. Its log says more."
            board.update(row, f"{row.row}: {why}", load=replace(load, failure=why))
    for level in plan.concurrency:
        _closed_loops(bench, plan, turns, level, samples)
    _at_rates(bench, plan, turns, samples)
    if plan.scenario:
        for turn in turns:
            _loadgen(bench, plan, turn, samples)
    for turn in turns:
        bench.store.put(KIND, load_key(group, turn.load.engine_key), to_json(turn.load))
        board.update(turn.row, told(turn.row, turn.load), load=turn.load)


def _asked(bench: Bench, turn: Turn, task: str, **arguments: Any) -> Any:
    """A worker's answer; a sentence instead where it could not give one. A worker that died is not asked again."""
    if bench.get(turn.load.engine_key) is None:
        return "The engine's process has ended."
    try:
        return turn.worker.call(task, **arguments)
    except Cancelled:
        raise
    except WorkbenchError as error:
        if turn.worker.process.poll() is not None:
            bench.drop(turn.load.engine_key, "measure under load", error)
        return error.message


def _prepared(bench: Bench, plan: LoadPlan, turn: Turn, callers: int, samples: str, *, fewer: bool = False) -> Any:
    """Have so many callers warm, or one where ``fewer`` will do and the library serves no more; as :func:`_asked`."""
    return _asked(
        bench, turn, "prepare_load", samples=samples, batch=turn.load.batch, region=plan.region, concurrency=callers,
        warm_up_s=plan.warm_up_s, fewer=fewer,
    )  # fmt: skip


def _closed_loops(bench: Bench, plan: LoadPlan, turns: list[Turn], level: int, samples: str) -> None:
    """Every variant under so many callers, in interleaved rounds."""
    ready = []
    for turn in turns:
        answer = _prepared(bench, plan, turn, level, samples)
        if isinstance(answer, str):
            turn.keep(closed=(*turn.load.closed, ClosedLoop(level, failure=answer)))
        else:
            ready.append((turn, answer["note"]))
    failures: dict[int, str] = {}

    def block(place: int) -> tuple[Any, bool] | None:
        answer = _asked(bench, ready[place][0], "load_block", seconds=plan.block_s)
        if isinstance(answer, str):
            failures[place] = answer
            return None
        return answer, answer["quiet"]

    def each_round(number: int) -> None:
        if number % 4 == 0:
            about = f"{level} {'caller' if level == 1 else 'callers'}"
            bench.board.whisper(f"{about}: round {number + 1} of {plan.rounds}, {len(ready)} variants in turn")

    blocks: list[tuple[LoadBlock, ...]] = [()] * len(ready)
    rounds = Rounds(plan.rounds, plan.seed + level)
    for taken in interleave(
        len(ready), rounds, block, takes_part=lambda place: place not in failures, each_round=each_round
    ):
        blocks[taken.variant] += (from_json(LoadBlock, taken.value | taken.where),)
    for place, (turn, note) in enumerate(ready):
        failed = failures.get(place, "")
        loop = ClosedLoop(level, () if failed else blocks[place], note, failed)
        turn.keep(closed=(*turn.load.closed, loop))


def _at_rates(bench: Bench, plan: LoadPlan, turns: list[Turn], samples: str) -> None:
    """The open loops: at each rate, or in search of one; by as many callers as the library serves."""
    if not plan.rates and not plan.search:
        return
    for turn in turns:
        answer = _prepared(bench, plan, turn, plan.callers, samples, fewer=True)
        turn.callers = 0 if isinstance(answer, str) else answer["callers"]
    ready = [turn for turn in turns if turn.callers]
    for rate in plan.rates:
        _open_loops(bench, plan, ready, [rate] * len(ready))
    if plan.search:
        _search(bench, plan, ready)


def _open_loops(bench: Bench, plan: LoadPlan, turns: list[Turn], rates: list[float]) -> list[OpenLoop]:
    """Every variant at its rate, stretch by stretch in turn; the loops are kept with the variants too."""
    loops = []
    for turn, rate in zip(turns, rates, strict=True):
        counted = queries_for(rate, plan.block_s * plan.rounds, plan.percent, plan.limit_s)
        planned = -(-counted // STRETCHES) * STRETCHES
        loops.append(OpenLoop(rate, turn.callers, plan.limit_s, plan.percent, plan.seed, planned))
        bench.board.whisper(f"{turn.row.row}: {rate:,.4g} queries per second")
    done = [0] * len(turns)  # stretches of each, which have arrivals of their own

    def stretch(place: int) -> tuple[OpenStretch, bool] | None:
        loop = loops[place]
        may_be_over = loop.planned * (1 - plan.percent / 100)
        answer = _asked(
            bench, turns[place], "open_stretch", rate=loop.rate, count=loop.planned // STRETCHES,
            seed=plan.seed * 1000 + done[place], latency_limit_s=plan.limit_s,
            may_be_over=max(0.0, may_be_over - sum(stretch.over for stretch in loop.stretches) / 3),
        )  # fmt: skip
        done[place] += 1
        if isinstance(answer, str):
            loops[place] = replace(loop, failure=answer)
            return None
        return from_json(OpenStretch, answer), True

    def goes_on(place: int) -> bool:
        return not loops[place].failure and not loops[place].ended_early

    for taken in interleave(len(turns), Rounds(STRETCHES, plan.seed), stretch, takes_part=goes_on):
        loop = loops[taken.variant]
        loops[taken.variant] = replace(loop, stretches=(*loop.stretches, taken.value))
    for turn, loop in zip(turns, loops, strict=True):
        turn.keep(open=tuple(sorted((*turn.load.open, loop), key=lambda each: each.rate)))
    return loops


@dataclass
class Bounds:
    """What a search knows: a rate that holds, and one that does not or was not shown to."""

    holds: float
    beyond: float
    probes: int = 0

    @property
    def open(self) -> bool:
        return self.probes < PROBES and self.beyond > NARROW * self.holds

    def told(self, loop: OpenLoop) -> str:
        """Take in what was found; why it is of no use to go on, or ""."""
        self.probes += 1
        if loop.failure:
            self.probes = PROBES
            return loop.failure
        if loop.answer == Answer.CANNOT_TELL and loop.too_few:
            self.probes = PROBES
            return f"At {loop.rate:.3g} queries/s there were too few for p{loop.percent:g}. Raise 'measure_s'."
        if loop.answer == Answer.HOLDS:
            self.holds = loop.rate
        else:
            self.beyond = loop.rate
        return ""


def _search(bench: Bench, plan: LoadPlan, turns: list[Turn]) -> None:
    """By bisection from what a closed loop of as many callers reached, which no open loop can go beyond for long."""
    searching = []
    for turn in turns:
        alone, reached = turn.load.measured[:1], turn.load.at(turn.callers)
        if alone and alone[0].median_s > plan.limit_s:
            held = f"{alone[0].concurrency} at once" if alone[0].concurrency > 1 else "alone"
            turn.keep(search_note=f"Half of the calls took longer than the limit even {held}.")
        elif reached:
            searching.append((turn, Bounds(0.0, reached.queries_per_s)))
    while pending := [(turn, bounds) for turn, bounds in searching if bounds.open]:
        rates = [(bounds.holds + bounds.beyond) / 2 for _, bounds in pending]
        loops = _open_loops(bench, plan, [turn for turn, _ in pending], rates)
        for (turn, bounds), loop in zip(pending, loops, strict=True):
            if why := bounds.told(loop):
                turn.keep(search_note=why)


def _loadgen(bench: Bench, plan: LoadPlan, turn: Turn, samples: str) -> None:
    able = here()
    why = "" if able else f"LoadGen did not run: {able.reason}. To change that: {able.fix}"
    why = why or refusal(plan.scenario, turn.load.batch)
    rate = plan.rates[0] if plan.rates else (turn.load.bracket[0] or 0.0)
    if plan.scenario == "Server" and not rate and not why:
        why = "LoadGen did not run: no rate was found that holds the latency limit. Raise 'latency_limit_ms', or set 'rate'."
    if why:
        turn.keep(loadgen=LoadGenRun(plan.scenario, "", failure=why))
        return
    bench.board.whisper(f"{turn.row.row}: LoadGen, {plan.scenario}")
    arguments: dict[str, Any] = {
        "samples": samples, "batch": turn.load.batch, "scenario": plan.scenario, "callers": plan.callers,
        "seconds": plan.loadgen_s, "queries": plan.loadgen_queries, "seed": plan.seed,
        "rate": rate * turn.load.batch, "limit_s": plan.limit_s, "percent": plan.percent,
    }  # fmt: skip
    answer = _asked(bench, turn, "loadgen", limit_s=60 + LOADGEN_PATIENCE * plan.loadgen_s, settings=arguments)
    found = LoadGenRun(plan.scenario, "", failure=answer) if isinstance(answer, str) else from_json(LoadGenRun, answer)
    turn.keep(loadgen=found)


def told(row: Result, load: Load) -> str:
    """One line on what was found, for the log of a run."""
    parts = []
    if best := load.best:
        parts.append(f"{best.queries_per_s * load.batch:,.0f} samples/s with {best.concurrency} at once")
    parts += [f"{loop.rate:,.4g} queries/s: {loop.answer}" for loop in load.open if not load.plan.search]
    if load.plan.search:
        holds, _ = load.bracket
        parts.append(
            f"holds up to {holds:,.4g} queries/s" if holds else f"no rate found that holds. {load.search_note}"
        )
    if run := load.loadgen:
        parts.append(f"LoadGen {run.scenario}: {_judged(run)}")
    parts += dict.fromkeys(loop.failure for loop in load.closed if loop.failure)
    return f"{row.row}: {'; '.join(parts) or load.failure}"


def _judged(run: LoadGenRun) -> str:
    if run.failure:
        return run.failure
    return f"{'valid' if run.valid else 'invalid'}, {run.samples_per_s or 0:,.4g} samples/s, unofficial"
