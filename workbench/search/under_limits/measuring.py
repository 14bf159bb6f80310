"""The points of a space, and measuring one of them by an ordinary run, whose steps the store keeps.

A search that is started again takes finished points from the store. Accuracy is judged once for each backend and precision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from workbench.accuracy.guard import Guard, barred, judgement
from workbench.accuracy.score import doubts
from workbench.compare.cost_table import energy_notes, joules
from workbench.errors import Cancelled, InputError
from workbench.plan.calibrates import calibrates
from workbench.plan.rows import rows_of
from workbench.records import Accuracy, Model, Result, Results, Status
from workbench.runs import pipeline
from workbench.runs.run_rows import OnEvent
from workbench.runs.sources import data_of, open_model
from workbench.search.under_limits.wanted import MeasuredPoint, Point
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.machine import usable_cores


class Space(NamedTuple):
    """The points of a search, and why variants have none, by label."""

    points: list[Point]
    left_out: dict[str, str]


def space(experiment: Experiment, model: Model, threads: tuple[int, ...], streams: tuple[int, ...]) -> Space:
    """Every possible point, each once: settings that a backend does not have make no further points.

    Raises:
        InputError: there is none; the text has the reasons.
    """
    calibration = calibrates(experiment, model) and data_of(experiment, model).calibration is not None
    rows = [
        row
        for count in threads
        for calls in streams
        for row in rows_of(replace(experiment, threads=count, streams=calls), model, has_calibration=calibration)
    ]
    found = dict.fromkeys(Point(row.spec, row.batch) for row in rows if row.status == Status.PLANNED)
    if not found:
        reasons = dict.fromkeys(row.failure.message for row in rows if row.failure)
        raise InputError(f"No point can be measured: {'; '.join(reasons) or 'no backend is named'}.")
    left_out = {row.spec.label: row.failure.message for row in rows if row.failure and row.status != Status.PLANNED}
    return Space(list(found), left_out)


def check_threads(threads: tuple[int, ...]) -> None:
    if not threads or min(threads) < 1 or max(threads) > usable_cores():
        raise InputError(f"Threads must be from 1 to {usable_cores()}, the cores of this machine; found {threads}.")


@dataclass
class Measurer:
    """Measures points of one experiment."""

    experiment: Experiment
    points: list[Point]
    store: Store
    on_event: OnEvent
    stop: threading.Event
    calibrating: bool  # whether a point of the space calibrates: all points are then tested on the samples that remain
    energy: bool = False  # whether the energy of each point must be counted
    counters: str = ""  # that counted it
    refused: dict[tuple[str, str], str] = field(default_factory=dict)  # pairs that must not be taken, with the reason
    # pairs that are not shown to be within the budget, with the reason
    unsure: dict[tuple[str, str], str] = field(default_factory=dict)
    accuracy: dict[tuple[str, str], str] = field(default_factory=dict)  # pairs that were judged, in words
    rows: dict[int, Result] = field(default_factory=dict)

    def not_taken(self) -> set[tuple[str, str]]:
        """The pairs that must not be taken, and where others remain also those that are not shown to be within the budget."""
        out = {*self.refused, *self.unsure}
        return out if any(point.pair not in out for point in self.points) else set(self.refused)

    def measure(self, place: int, scored: bool) -> MeasuredPoint:
        """Build and time one point, and score it if asked for.

        Raises:
            Cancelled: it was cancelled.
            InputError: its energy cannot be counted, or not by the counters of the other points.
        """
        point = self.points[place]
        asked = alone(self.experiment, point)
        only = "all" if scored else "time"
        results = pipeline.run(
            asked,
            store=self.store,
            on_event=self.on_event,
            cancel=self.stop,
            only=only,
            calibrating=self.calibrating,
        )
        (row,) = results.rows
        if row.status == Status.CANCELLED:
            raise Cancelled("The search was cancelled.")
        self.rows[place] = row
        if scored:
            self._judge(point, row, results)
        found = _measured(row)
        if self.energy and found.call_s is not None:
            self._check_counters(point, joules(row.timing) if row.timing else {}, results)
        return found

    def _check_counters(self, point: Point, found: dict[str, float], results: Results) -> None:
        counters = " + ".join(found)
        if not found:
            raise InputError(f"Least energy cannot be searched for here. {' '.join(energy_notes(results))}")
        if self.counters and counters != self.counters:
            raise InputError(
                f"The energy of {point.name} was counted by {counters}, that of other points by {self.counters}. These are not one number: "
                "search for the least energy on processors and on GPUs separately."
            )
        self.counters = counters

    def _judge(self, point: Point, row: Result, results: Results) -> None:
        why = barred(row, results.budget) or (row.failure.message if row.failure else "")
        if why:
            self.refused[point.pair] = why
        if row.accuracy is None:
            return
        doubt, said = " ".join(doubts([row.accuracy])), judgement(row, results.budget)
        if doubt or (said is not None and said.verdict == Guard.UNSURE):
            self.unsure[point.pair] = doubt or (said.why if said else "")
        score = _score(row.accuracy)
        if said is not None and not why:
            unsure = self.unsure.get(point.pair)
            score += f", not shown to be within {results.budget}: {unsure}" if unsure else f", within {results.budget}"
        self.accuracy[point.pair] = score + (f", {why}" if why else "")


def alone(experiment: Experiment, point: Point) -> Experiment:
    """The experiment of one point."""
    spec = point.spec
    return replace(
        experiment,
        backends=(spec.address,),
        precisions=(spec.asked,),
        batches=(point.batch,),
        threads=spec.threads,
        streams=spec.streams,
        optimization_level=(-1 if spec.optimization_level is None else spec.optimization_level,),
        workspace_mib=((spec.workspace_bytes or 0) // 2**20,),
        baseline="",
    )


def beside_others(experiment: Experiment, points: Sequence[Point], backends: Iterable[str]) -> Experiment:
    """The experiment that compares the first point with FP32 and the precisions of the others on all backends, at its batch and threads,
    for as long as any comparison takes, or at least as long as the search measured a point.
    """
    usual = Experiment()
    return replace(
        alone(experiment, points[0]),
        backends=tuple(dict.fromkeys((points[0].spec.address, *backends))),
        precisions=tuple(dict.fromkeys(("fp32", *(point.spec.asked for point in points)))),
        measure_s=max(usual.measure_s, experiment.measure_s),
        max_measure_s=max(usual.max_measure_s, experiment.measure_s),
    )


def _score(found: Accuracy) -> str:
    """A score in words: ``top-1 97.4 % of 800 samples``."""
    text = f"{found.agreement:.1%} agree"
    if found.value is not None:
        text = f"{found.metric} " + (f"{100 * found.value:.4g} %" if found.share else f"{found.value:.4g}")
    return f"{text} of {found.samples:,} samples"


def _measured(row: Result) -> MeasuredPoint:
    if row.timing is None:
        return MeasuredPoint(None, problem=row.failure.message if row.failure else f"its state is '{row.status}'")
    timing = row.timing
    typical = timing.typical_median_s or (timing.median_s, None, None)
    return MeasuredPoint(
        typical[0],
        typical[1],
        typical[2],
        timing.peak_rss_bytes,
        reused=row.reused,
        samples_per_s=row.batch / typical[0],  # of the same calls as the time
        joules=sum(joules(timing).values()) or None,
    )


def model_of(experiment: Experiment, store: Store, say: Callable[[str], None]) -> Model:
    """The experiment's model, opened."""
    asked = (experiment.signature, experiment.input_shapes, experiment.input_values)
    return open_model(experiment.model, *asked, store=store, say=say)
