"""The last measurement of a search: its best points in turn, so that the answer is a verdict and not the largest of many numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

from workbench.errors import RunError
from workbench.measure.interleave import Rounds, interleave
from workbench.measure.verdict import Judged, Lap, between, judged, laps_of
from workbench.records import Block, EngineRecord, Result, Status, from_json
from workbench.runs.open_engines import OpenEngines
from workbench.runs.run_rows import RunRows
from workbench.search.under_limits.measuring import Measurer
from workbench.search.under_limits.wanted import THROUGHPUT, Wanted
from workbench.settings.experiment import Experiment
from workbench.system.stop import Stop

LAUNCHES, ROUNDS, BLOCK_S = 6, 6, 0.08


class Racer(NamedTuple):
    """A finalist: its row, and its own open worker."""

    row: Result
    engine: EngineRecord
    opened: OpenEngines


def race(rows: Sequence[Result], measurer: Measurer, wanted: Wanted, samples: str) -> list[Judged]:
    """The verdict of every row but the first against the first, by the value that is wanted; all of them take turns.

    Args:
        rows: the finalists, built.
        measurer: what measured them.
        wanted: the objective.
        samples: path of the file of samples.

    Raises:
        RunError, WorkerError: an engine failed.
        Cancelled: it was cancelled.
    """
    with ExitStack() as stack:
        racers = [_racer(row, measurer, samples, stack) for row in rows]
        laps: list[dict[int, Lap]] = [{} for _ in racers]
        for launch in range(LAUNCHES):
            if launch:
                for racer in racers:
                    racer.opened.relaunch([racer.engine])
            with racers[0].opened.measuring("comparing the best points of a search"):
                blocks = _launch(racers, launch, measurer.experiment, samples)
                for place, (number, lap) in blocks:
                    per = rows[place].batch if wanted.objective == THROUGHPUT else 1
                    laps[place][number] = lap._replace(seconds=lap.seconds / per)
    return judged([between(own, laps[0]) for own in laps[1:]])


def _racer(row: Result, measurer: Measurer, samples: str, stack: ExitStack) -> Racer:
    assert row.engine is not None
    built = replace(row, status=Status.BUILT, timing=None)
    rows = RunRows((built,), measurer.store.new_run(), measurer.on_event, lambda _: "", Stop.of(measurer.stop))
    opened = OpenEngines(rows, measurer.experiment, measurer.store, samples)
    stack.callback(opened.close)
    opened.open_cohort([row.engine], {})
    return Racer(built, row.engine, opened)


def _launch(
    racers: Sequence[Racer], launch: int, asked: Experiment, samples: str
) -> Iterator[tuple[int, tuple[int, Lap]]]:
    """The blocks of one launch: the place of the racer, and the lap with its number."""
    plan = asked.plan
    for racer in racers:
        _call(racer, "prepare_timing", samples=samples, batch=racer.row.batch, region=plan.region, warm_up_s=plan.warm_up_s,
              wait=plan.wait, copies=plan.copies, together=True)  # fmt: skip

    def block(place: int) -> tuple[Any, bool]:
        answer = racers[0].opened.undisturbed(lambda: _call(racers[place], "block", seconds=BLOCK_S, min_calls=2))
        return answer, bool(answer["quiet"])

    for taken in interleave(len(racers), Rounds(ROUNDS, asked.seed, launch, launch * ROUNDS), block):
        made = from_json(Block, taken.value | taken.where | {"launch": launch, "began_s": 0.0, "asked_s": BLOCK_S})
        (lap,) = laps_of([made]).items()
        yield taken.variant, lap


def _call(racer: Racer, task: str, **arguments: Any) -> Any:
    held = racer.opened.get(racer.engine.key)
    if held is None:
        (row,) = racer.opened.run_rows.rows
        raise RunError(f"{row.row} failed in the last race: {row.failure.message if row.failure else 'it ended'}.")
    return held[0].call(task, **arguments)
