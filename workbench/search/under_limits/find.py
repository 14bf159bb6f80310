"""A search for the best setting of an engine under limits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from workbench.errors import Cancelled, InputError, WorkbenchError
from workbench.measure.verdict import Judged
from workbench.plan.calibrates import calibrates
from workbench.records import Event, Machine, Progress
from workbench.runs.run_rows import OnEvent
from workbench.runs.sources import data_of
from workbench.runs.steps import SAMPLES, write_samples
from workbench.search.under_limits.loop import PointSearch, SearchStep, budget_of
from workbench.search.under_limits.measuring import Measurer, beside_others, check_threads, model_of, space
from workbench.search.under_limits.race import race
from workbench.search.under_limits.wanted import OBJECTIVES, SHARE, THROUGHPUT, Point, Wanted
from workbench.settings.experiment import Experiment
from workbench.store import Store, key_of
from workbench.system.machine import this_machine
from workbench.system.progress import followed
from workbench.system.stop import Stop

FINALISTS = 5


@dataclass(frozen=True)
class Finalist:
    """One of the best points, with its verdict against the first in the last race; ``None``: it was not raced."""

    step: SearchStep
    verdict: Judged | None = None


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        points: the whole space.
        steps: what was measured, in order, each with the reason for its choice.
        finalists: the best points; the first is the answer unless another was faster than it in the last race.
        front: the Pareto front of latency and throughput, or of latency and energy where the least of it is wanted, among the measured points
            that hold the limits.
        refused: backends and precisions that must not be taken, with the reason.
        unsure: backends and precisions that are not shown to be within the accuracy budget, with the reason; they are taken only where no
            other one remains.
        left_out: variants that were asked for and have no point, with the reason.
        accuracy: the score of each backend and precision, in words.
        budget: how many points are measured.
        missed: the estimated chance that a point that was not measured is better by more than 2 %; ``None``: not known.
        shown: the best measured point that holds the limits and is shown to be within the accuracy budget; ``None``: there is none.
        experiment: compares the best point with FP32 and the other best ones, at its batch and threads; ``None``: there is no best point.
        cancelled: the search was cancelled, and this is the best so far.
        note: why there was no last race; "" where there was one.
    """

    points: tuple[Point, ...]
    wanted: Wanted
    steps: tuple[SearchStep, ...]
    finalists: tuple[Finalist, ...]
    front: tuple[SearchStep, ...]
    refused: dict[tuple[str, str], str]
    unsure: dict[tuple[str, str], str]
    left_out: dict[str, str]
    accuracy: dict[tuple[str, str], str]
    budget: int
    missed: float | None
    machine: Machine
    shown: Point | None
    experiment: Experiment | None
    cancelled: bool = False
    note: str = ""
    wall_s: float = 0.0

    @property
    def best(self) -> Point | None:
        """The answer; ``None`` where no measured point holds the limits."""
        return self.points[self.finalists[0].step.place] if self.finalists else None


OnResult = Callable[[SearchResult], object]


def find_best(
    experiment: Experiment,
    *,
    objective: str = THROUGHPUT,
    latency_limit_s: float = math.inf,
    memory_limit_bytes: float = math.inf,
    threads: tuple[int, ...] = (1,),
    streams: tuple[int, ...] = (1,),
    share: float = SHARE,
    store: Store | str | Path | None = None,
    on_event: OnEvent | None = None,
    on_result: OnResult = lambda _: None,
    cancel: threading.Event | None = None,
) -> SearchResult:
    """The best of backends, precisions, batches, threads, streams and optimization levels within limits, without measuring all. Blocks.

    The accuracy budget is that of the experiment. What was measured before with the same settings is taken from the store, so that a
    search that was ended goes on when it is started again.

    Args:
        experiment: model, data, backends, precisions, batches, optimization levels, budget. ``measure_s`` is the time for each point.
        objective: ``"throughput"``: samples per second, ``"latency"``: the least time of a call, or ``"energy"``: the least of a sample.
        latency_limit_s: largest median time of a call, in seconds.
        memory_limit_bytes: largest memory of the process that runs the engine, in bytes.
        threads: numbers of CPU threads to try.
        streams: numbers of calls in flight to try, on NVIDIA GPUs.
        share: of the points that is measured, at least 12 of them.
        store: where engines and results are kept.
        on_event: called for every step; without it as in :func:`workbench.run`.
        on_result: called with the result so far after each measured point, and before the last race.
        cancel: set it to stop; the best so far is returned.

    Example::

        found = workbench.find_best(workbench.Experiment(model="net.onnx", data="data.npz"), latency_limit_s=0.02, threads=(1, 2))
        print(found.best)

    Raises:
        InputError: an unknown objective, a value that is not valid, no point that can be measured, or no energy that can be counted.
    """
    _check(objective, share, threads, latency_limit_s, memory_limit_bytes)
    place, stop, asked = Store.of(store).prepare(), Stop.of(cancel), experiment.resolved()
    limits = Wanted(objective, latency_limit_s, memory_limit_bytes)
    with followed(on_event) as listener:
        model = model_of(asked, place, lambda text: listener(Event(text)))
        points, left_out = space(asked, model, threads, streams)
        measurer = Measurer(asked, points, place, listener, stop, calibrates(asked, model), energy=limits.energy)
        search = PointSearch(points, limits, measurer.measure, measurer.not_taken, asked.seed)
        going = _Going(search, measurer, budget_of(len(points), share), this_machine(), left_out, time.monotonic())
        return going.carried_out(on_result, samples=lambda: _samples(asked, measurer))


def _check(objective: str, share: float, threads: tuple[int, ...], *limits: float) -> None:
    check_threads(threads)
    if objective not in OBJECTIVES or not 0 < share <= 1 or min(limits) <= 0:
        raise InputError(
            f"The objective is one of {', '.join(OBJECTIVES)}, the share above 0 and at most 1, and limits are above 0; found {objective}, "
            f"{share}, {', '.join(map(str, limits))}."
        )


@dataclass(frozen=True)
class _Going:
    """A search while it is carried out."""

    search: PointSearch
    measurer: Measurer
    budget: int
    machine: Machine
    left_out: dict[str, str]
    began: float

    def carried_out(self, on_result: OnResult, samples: Callable[[], str]) -> SearchResult:
        search, measurer, stop = self.search, self.measurer, self.measurer.stop
        try:
            for step in search.run(self.budget, stop.is_set):
                point = measurer.points[step.place]
                text = f"{point.name}: {described(step, point.batch)} ({step.why})"
                progress = Progress("search", len(search.steps), self.budget, "points")
                measurer.on_event(Event(text, progress=progress))
                on_result(self.result(self.finalists()))
        except Cancelled:
            stop.set()
        finalists, note = self.finalists(), ""
        missed = search.missed()
        if stop.is_set():
            note = "the search was cancelled"
        elif len(finalists) < 2:
            note = "there are not two points that hold the limits"
        else:
            on_result(self.result(finalists, missed=missed))
            finalists, note = _raced(finalists, search, measurer, samples)
        return self.result(finalists, missed=missed, note=note)

    def finalists(self) -> list[Finalist]:
        return [Finalist(step) for step in self.search.ranked()[:FINALISTS]]

    def result(self, finalists: list[Finalist], missed: float | None = None, note: str = "") -> SearchResult:
        points = self.measurer.points
        best = [points[each.step.place] for each in finalists]
        unsure = self.measurer.unsure
        ranked = [*best, *(points[step.place] for step in self.search.ranked())]
        return SearchResult(
            points=tuple(points),
            wanted=self.search.wanted,
            steps=tuple(self.search.steps),
            finalists=tuple(finalists),
            front=tuple(self.search.front()),
            refused=dict(self.measurer.refused),
            unsure=dict(unsure),
            left_out=self.left_out,
            accuracy=dict(self.measurer.accuracy),
            budget=self.budget,
            missed=missed,
            machine=self.machine,
            shown=next((point for point in ranked if point.pair not in unsure), None),
            experiment=beside_others(self.measurer.experiment, best, _backends(points)) if best else None,
            cancelled=self.measurer.stop.is_set(),
            note=note,
            wall_s=time.monotonic() - self.began,
        )


def _raced(
    finalists: list[Finalist], search: PointSearch, measurer: Measurer, samples: Callable[[], str]
) -> tuple[list[Finalist], str]:
    """The finalists with verdicts, the one with the best center first; and why not, where an engine failed."""
    rows = [measurer.rows[each.step.place] for each in finalists]
    try:
        verdicts = race(rows, measurer, search.wanted, samples())
    except Cancelled:
        measurer.stop.set()
        return finalists, "the search was cancelled during the last race"
    except WorkbenchError as error:
        return finalists, f"the last race failed: {error.message}"
    ahead = [replace(each, verdict=one) for each, one in zip(finalists[1:], verdicts, strict=True)]
    faster = [each for each in ahead if each.verdict and each.verdict.verdict == "faster"]
    if faster:  # the order of single measurements was wrong
        first = max(faster, key=lambda each: (each.verdict.speedup if each.verdict else None) or 0.0)
        rest = [finalists[0], *(each for each in ahead if each is not first)]
        return [first, *rest], ""
    return [finalists[0], *ahead], ""


def _backends(points: Iterable[Point]) -> Iterator[str]:
    return (point.spec.address for point in points)


def _samples(asked: Experiment, measurer: Measurer) -> str:
    test = data_of(asked, model_of(asked, measurer.store, lambda _: None)).test
    made = measurer.store.make("samples", key_of(samples=test.digest), partial(write_samples, test))
    return str(made.folder / SAMPLES)


def described(step: SearchStep, batch: int) -> str:
    """What was measured of a point with this batch, in words."""
    found = step.measured
    if found.call_s is None:
        return f"not measured: {found.problem}"
    kept = ", from the store" if found.reused else ""
    energy = "" if found.joules is None else f", {found.joules / batch * 1e3:.3g} mJ a sample"
    return f"{found.call_s * 1e3:.3f} ms a call, {found.samples_per_s:,.0f} samples/s{energy}{kept}"
