"""The last measurement of a search: its best points in turn, so that the answer is a verdict and not the largest of many numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

from workbench.compare.cost_table import block_joules
from workbench.errors import RunError
from workbench.measure.interleave import Rounds, interleave
from workbench.measure.verdict import Judged, Lap, between, judged, laps_of
from workbench.records import Block, EngineRecord, Event, Progress, Result, Status, from_json
from workbench.runs.open_engines import OpenEngines
from workbench.runs.run_rows import RunRows
from workbench.search.under_limits.measuring import Measurer
from workbench.search.under_limits.wanted import LATENCY, RACE, Wanted
from workbench.settings.experiment import Experiment
from workbench.system.energy import LEAST_PERIODS
from workbench.system.stop import Stop

LAUNCHES, ROUNDS, BLOCK_S = 6, 6, 0.08
FEW_ROUNDS, LONG_S = 2, 1.0
"""So many rounds in a launch where a block lasts for at least so many seconds: each is then known well."""
LONG = 1.1
"""A block lasts for so many times the shortest in which its energy can be counted."""


class Racer(NamedTuple):
    """A finalist: its row, and its own open worker."""

    row: Result
    engine: EngineRecord
    opened: OpenEngines


def race(rows: Sequence[Result], measurer: Measurer, wanted: Wanted, samples: str) -> list[Judged]:
    """The verdict of every row but the first against the first, by the value that is wanted; all of them take turns.

    Where the least energy is wanted, "faster" means less energy of a sample.

    Args:
        rows: the finalists, built.
        measurer: what measured them.
        wanted: the objective.
        samples: path of the file of samples.

    Raises:
        RunError, WorkerError: an engine failed, or its energy was not counted.
        Cancelled: it was cancelled.
    """
    with ExitStack() as stack:
        racers = [_racer(row, measurer, samples, stack) for row in rows]
        laps: list[dict[int, Lap]] = [{} for _ in racers]
        seconds = _block_s(rows) if wanted.energy else BLOCK_S
        rounds = ROUNDS if seconds < LONG_S else FEW_ROUNDS
        for launch in range(LAUNCHES):
            _tell(measurer, launch, len(rows), seconds * rounds * len(rows))
            if launch:
                for racer in racers:
                    racer.opened.relaunch([racer.engine])
            with racers[0].opened.measuring("comparing the best points of a search"):
                for place, block in _launch(racers, launch, measurer.experiment, samples, (seconds, rounds)):
                    ((number, lap),) = laps_of([block]).items()
                    cost = _joules(block, rows[place]) if wanted.energy else lap.seconds
                    per = 1 if wanted.objective == LATENCY else rows[place].batch
                    laps[place][number] = lap._replace(seconds=cost / per)
    return judged([between(own, laps[0]) for own in laps[1:]])


def _tell(measurer: Measurer, launch: int, points: int, seconds: float) -> None:
    """Report that a launch begins, and how long its blocks and those of the later ones take."""
    left_s = seconds * (LAUNCHES - launch)
    progress = Progress(RACE, launch, LAUNCHES, "launches", left_s)
    measurer.on_event(Event(f"the best {points} points in turn, launch {launch + 1} of {LAUNCHES}", progress=progress))


def _racer(row: Result, measurer: Measurer, samples: str, stack: ExitStack) -> Racer:
    assert row.engine is not None
    built = replace(row, status=Status.BUILT, timing=None)
    rows = RunRows((built,), measurer.store.new_run(), measurer.on_event, lambda _: "", Stop.of(measurer.stop))
    opened = OpenEngines(rows, measurer.experiment, measurer.store, samples)
    stack.callback(opened.close)
    opened.open_cohort([row.engine], {})
    return Racer(built, row.engine, opened)


def _block_s(rows: Sequence[Result]) -> float:
    """Seconds of a block in which the counters that counted the energy of these rows can count it."""
    periods = [each.period_s for row in rows if row.timing for block in row.timing.blocks for each in block.energy]
    return max(BLOCK_S, LONG * LEAST_PERIODS * max(periods, default=0.0))


def _joules(block: Block, row: Result) -> float:
    """Joules of one call in a block.

    Raises:
        RunError: a counter could not be read.
    """
    assert row.timing is not None
    if not (found := block_joules(block, row.timing)):
        raise RunError(f"The energy of {row.row} could not be counted in the last race.")
    return sum(found.values())


def _launch(
    racers: Sequence[Racer], launch: int, asked: Experiment, samples: str, times: tuple[float, int]
) -> Iterator[tuple[int, Block]]:
    """The blocks of one launch with the place of the racer; ``times``: the seconds of each, and the rounds."""
    plan, (seconds, rounds) = asked.plan, times
    for racer in racers:
        _call(racer, "prepare_timing", samples=samples, batch=racer.row.batch, region=plan.region, warm_up_s=plan.warm_up_s,
              wait=plan.wait, copies=plan.copies, together=True)  # fmt: skip

    def block(place: int) -> tuple[Any, bool]:
        answer = racers[0].opened.undisturbed(lambda: _call(racers[place], "block", seconds=seconds, min_calls=2))
        return answer, bool(answer["quiet"])

    for taken in interleave(len(racers), Rounds(rounds, asked.seed, launch, launch * rounds), block):
        made = from_json(Block, taken.value | taken.where | {"launch": launch, "began_s": 0.0, "asked_s": seconds})
        yield taken.variant, made


def _call(racer: Racer, task: str, **arguments: Any) -> Any:
    held = racer.opened.get(racer.engine.key)
    if held is None:
        (row,) = racer.opened.run_rows.rows
        raise RunError(f"{row.row} failed in the last race: {row.failure.message if row.failure else 'it ended'}.")
    return held[0].call(task, **arguments)
