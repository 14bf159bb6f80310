"""Under load, after latency and accuracy: closed loops in interleaved rounds, open loops at rates or in search of one, LoadGen.

Every engine is opened again for it, in a separate process, for as many calls at once as there will be callers: some libraries
must know that beforehand. So the latency rounds stay as they are without load, and a failure under load costs no latency.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workbench.errors import Cancelled, WorkbenchError
from workbench.measure.interleave import Rounds, interleave
from workbench.plan.measuring import load_group_key, load_key
from workbench.records import (
    ClosedLoop,
    Load,
    LoadAnswer,
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
from workbench.runs.context import RunContext
from workbench.runs.open_engines import OpenEngines
from workbench.runs.run_rows import RunRows
from workbench.runs.time_limit import time_for
from workbench.store import Store
from workbench.system.measuring_lock import hold_lock
from workbench.timing.loadgen import here, refusal
from workbench.workers.worker import Worker

KIND = "load"
PROBES = 8
NARROW = 1.05
"""A search has found its rate where the lowest that does not hold is so near to the highest that does."""
LOADGEN_PATIENCE = 20
"""LoadGen is given so many times its own length, and a minute more."""


@dataclass
class LoadMember:
    """One variant's part in the measuring of one batch size under load."""

    row: Result
    worker: Worker
    load: Load
    callers: int = 0  # that serve its open loops

    def keep(self, **changes: Any) -> None:
        self.load = replace(self.load, **changes)


def measure_load(context: RunContext) -> None:
    """Measure every timed row under load, as the experiment's load plan says, except what the store knows."""
    run_rows, experiment, samples = context.run_rows, context.experiment, context.samples
    plan = experiment.load_plan
    groups = {} if plan.empty else _groups(context)
    missing = {
        batch: group
        for batch, group in groups.items()
        if context.remeasure or not _recall(run_rows, context.store, *group)
    }
    if not missing or not time_for(run_rows, "load"):
        return
    began = time.monotonic()
    engines = {row.engine.key: row.engine for _, rows in missing.values() for row in rows if row.engine}
    # with as many calls at once as there will be callers; what was built does not depend on it
    waiting = [
        replace(engine, spec=replace(engine.spec, streams=max(plan.callers, engine.spec.streams)))
        for engine in engines.values()
    ]
    opened = OpenEngines(run_rows, experiment, context.store, samples)
    try:
        while waiting:
            before = {engine.key for engine in waiting}
            with hold_lock("opening engines", alone=False, cancel=context.stop, waiting=run_rows.report_wait):
                waiting = opened.open_cohort(waiting, {})
            tried = before - {engine.key for engine in waiting}
            for batch, (group, rows) in sorted(missing.items()):
                here = [row for row in rows if row.engine and row.engine.key in tried]
                if not time_for(run_rows, f"load at batch {batch}", plan.known_s * len(here)):
                    continue
                what = f"measuring load at batch {batch}"
                run_rows.phase(f"measure load at batch {batch}")
                with opened.measuring(what, plan.known_s * len(here) or None):
                    _measure_group(opened, plan, group, batch, here, samples)
            opened.clear()
    finally:
        opened.close()
        run_rows.count(measure_s=time.monotonic() - began)


def _groups(context: RunContext) -> dict[int, tuple[str, tuple[Result, ...]]]:
    """For each batch size: the key under which its loads are kept, and its rows."""
    experiment, machine, groups = context.experiment, context.executor.subject.platform.machine, {}
    for batch in experiment.batches:
        done = (row for row in context.run_rows.rows if row.batch == batch and row.status == Status.DONE)
        rows = tuple(row for row in done if row.timing)
        if rows:
            members = [(row.spec, row.engine.key) for row in rows if row.engine]
            key = load_group_key(members, batch, experiment.load_plan, context.data.test.digest, machine)
            groups[batch] = (key, rows)
    return groups


def _recall(run_rows: RunRows, store: Store, group: str, rows: tuple[Result, ...]) -> bool:
    """Take the loads of a whole group from the store; False unless all are there.

    They may be of several cohorts, each of which took turns among itself; a comparison asks for that.
    """
    found = [store.record(KIND, load_key(group, row.engine.key if row.engine else ""), Load) for row in rows]
    if None in found:
        return False
    for row, load in zip(rows, filter(None, found), strict=True):
        run_rows.update(row, f"{load_text(row, load)} (from the store)", load=load)
    return True


def _measure_group(
    opened: OpenEngines, plan: LoadPlan, group: str, batch: int, rows: Iterable[Result], samples: str
) -> None:
    run_rows, session, members = opened.run_rows, f"{group}-{uuid.uuid4().hex[:8]}", []
    when = datetime.now(UTC).isoformat(timespec="seconds")
    for row in rows:
        held = opened.get(row.engine.key) if row.engine else None
        load = Load(row.engine.key if row.engine else "", batch, session, plan, when)
        if held:
            members.append(LoadMember(row, held[0], load))
        else:
            why = f"The engine could not be opened for {plan.callers} callers at once. Its log says more."
            run_rows.update(row, f"{row.row}: {why}", load=replace(load, failure=why))
    for level in plan.concurrency:
        _closed_loops(opened, plan, members, level, samples)
    _at_rates(opened, plan, members, samples)
    if plan.scenario:
        for member in members:
            _loadgen(opened, plan, member, samples)
    for member in members:
        opened.store.put(KIND, load_key(group, member.load.engine_key), to_json(member.load))
        run_rows.update(member.row, load_text(member.row, member.load), load=member.load)


def _asked(opened: OpenEngines, member: LoadMember, task: str, **arguments: Any) -> Any:
    """A worker's answer; a sentence instead where it could not give one. A worker that died is not asked again."""
    if opened.get(member.load.engine_key) is None:
        return "The engine's process has ended."
    try:
        return opened.undisturbed(lambda: member.worker.call(task, **arguments))
    except Cancelled:
        raise
    except WorkbenchError as error:
        if member.worker.process.poll() is not None:
            opened.drop(member.load.engine_key, "measure under load", error)
        return error.message


def _prepared(
    opened: OpenEngines, plan: LoadPlan, member: LoadMember, callers: int, samples: str, *, fewer: bool = False
) -> Any:
    """Warm up this number of callers, or one if ``fewer`` is set and the library serves only one; errors as :func:`_asked`."""
    return _asked(
        opened, member, "prepare_load", samples=samples, batch=member.load.batch, region=plan.region, concurrency=callers,
        warm_up_s=plan.warm_up_s, fewer=fewer,
    )  # fmt: skip


def _closed_loops(opened: OpenEngines, plan: LoadPlan, members: list[LoadMember], level: int, samples: str) -> None:
    """Measure every variant with this number of callers, in interleaved rounds."""
    ready = []
    for member in members:
        answer = _prepared(opened, plan, member, level, samples)
        if isinstance(answer, str):
            member.keep(closed=(*member.load.closed, ClosedLoop(level, failure=answer)))
        else:
            ready.append((member, answer["note"]))
    failures: dict[int, str] = {}

    def block(place: int) -> tuple[Any, bool] | None:
        answer = _asked(opened, ready[place][0], "load_block", seconds=plan.block_s)
        if isinstance(answer, str):
            failures[place] = answer
            return None
        return answer, answer["quiet"]

    def each_round(number: int) -> None:
        if number % 4 == 0:
            about = f"{level} {'caller' if level == 1 else 'callers'}"
            opened.run_rows.report_progress(
                f"{about}: round {number + 1} of {plan.rounds}, {len(ready)} variants in turn"
            )

    blocks: list[tuple[LoadBlock, ...]] = [()] * len(ready)
    rounds = Rounds(plan.rounds, plan.seed + level)
    for taken in interleave(
        len(ready), rounds, block, takes_part=lambda place: place not in failures, each_round=each_round
    ):
        blocks[taken.variant] += (from_json(LoadBlock, taken.value | taken.where),)
    for place, (member, note) in enumerate(ready):
        failed = failures.get(place, "")
        loop = ClosedLoop(level, () if failed else blocks[place], note, failed)
        member.keep(closed=(*member.load.closed, loop))


def _at_rates(opened: OpenEngines, plan: LoadPlan, members: list[LoadMember], samples: str) -> None:
    """The open loops: at each rate, or in search of one; by as many callers as the library serves."""
    if not plan.rates and not plan.search:
        return
    for member in members:
        answer = _prepared(opened, plan, member, plan.callers, samples, fewer=True)
        member.callers = 0 if isinstance(answer, str) else answer["callers"]
    ready = [member for member in members if member.callers]
    for rate in plan.rates:
        _open_loops(opened, plan, ready, [rate] * len(ready))
    if plan.search:
        _search(opened, plan, ready)


def _open_loops(opened: OpenEngines, plan: LoadPlan, members: list[LoadMember], rates: list[float]) -> list[OpenLoop]:
    """Every variant at its rate, stretch by stretch in turn; the loops are kept with the variants too."""
    loops = []
    for member, rate in zip(members, rates, strict=True):
        counted = queries_for(rate, plan.block_s * plan.rounds, plan.percent, plan.limit_s)
        planned = -(-counted // STRETCHES) * STRETCHES
        loops.append(OpenLoop(rate, member.callers, plan.limit_s, plan.percent, plan.seed, planned))
        opened.run_rows.report_progress(f"{member.row.row}: {rate:,.4g} queries per second")
    done = [0] * len(members)  # stretches of each, which have separate arrivals

    def stretch(place: int) -> tuple[OpenStretch, bool] | None:
        loop = loops[place]
        may_be_over = loop.planned * (1 - plan.percent / 100)
        answer = _asked(
            opened, members[place], "open_stretch", rate=loop.rate, count=loop.planned // STRETCHES,
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

    for taken in interleave(len(members), Rounds(STRETCHES, plan.seed), stretch, takes_part=goes_on):
        loop = loops[taken.variant]
        loops[taken.variant] = replace(loop, stretches=(*loop.stretches, taken.value))
    for member, loop in zip(members, loops, strict=True):
        member.keep(open=tuple(sorted((*member.load.open, loop), key=lambda each: each.rate)))
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

    def why_not(self, loop: OpenLoop) -> str:
        """Narrow the bounds by one loop; return the reason why further loops are useless, or ""."""
        self.probes += 1
        if loop.failure:
            self.probes = PROBES
            return loop.failure
        if loop.answer == LoadAnswer.CANNOT_TELL and loop.too_few:
            self.probes = PROBES
            return f"At {loop.rate:.3g} queries/s there were too few for p{loop.percent:g}. Raise 'measure_s'."
        if loop.answer == LoadAnswer.HOLDS:
            self.holds = loop.rate
        else:
            self.beyond = loop.rate
        return ""


def _search(opened: OpenEngines, plan: LoadPlan, members: list[LoadMember]) -> None:
    """By bisection from what a closed loop of as many callers reached, which no open loop can go beyond for long."""
    searching = []
    for member in members:
        alone, reached = member.load.measured[:1], member.load.at(member.callers)
        if alone and alone[0].median_s > plan.limit_s:
            held = f"{alone[0].concurrency} at once" if alone[0].concurrency > 1 else "alone"
            member.keep(search_note=f"Half of the calls took longer than the limit even {held}.")
        elif reached:
            searching.append((member, Bounds(0.0, reached.queries_per_s)))
    while pending := [(member, bounds) for member, bounds in searching if bounds.open]:
        rates = [(bounds.holds + bounds.beyond) / 2 for _, bounds in pending]
        loops = _open_loops(opened, plan, [member for member, _ in pending], rates)
        for (member, bounds), loop in zip(pending, loops, strict=True):
            if why := bounds.why_not(loop):
                member.keep(search_note=why)


def _loadgen(opened: OpenEngines, plan: LoadPlan, member: LoadMember, samples: str) -> None:
    able = here()
    why = "" if able else f"LoadGen did not run: {able.reason}. To change that: {able.fix}"
    why = why or refusal(plan.scenario, member.load.batch)
    rate = plan.rates[0] if plan.rates else (member.load.bracket[0] or 0.0)
    if plan.scenario == "Server" and not rate and not why:
        why = "LoadGen did not run: no rate was found that holds the latency limit. Raise 'latency_limit_ms', or set 'rate'."
    if why:
        member.keep(loadgen=LoadGenRun(plan.scenario, "", failure=why))
        return
    opened.run_rows.report_progress(f"{member.row.row}: LoadGen, {plan.scenario}")
    batch = member.load.batch
    answer = _asked(
        opened, member, "loadgen", limit_s=60 + LOADGEN_PATIENCE * plan.loadgen_s,
        samples=samples, batch=batch, plan=to_json(plan), rate=rate * batch,
    )  # fmt: skip
    found = LoadGenRun(plan.scenario, "", failure=answer) if isinstance(answer, str) else from_json(LoadGenRun, answer)
    member.keep(loadgen=found)


def load_text(row: Result, load: Load) -> str:
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
