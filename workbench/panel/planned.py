"""What a run would build and measure: what is possible, less what the store has already.

It is shown at every change of a control, so nothing is made, read through or hashed for it. Where it would take the samples
to know, it is left open.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from workbench import backends
from workbench.plan.calibrates import calibrates
from workbench.plan.groups import groups_of
from workbench.plan.planning import plan, subject_of
from workbench.plan.step import Kind
from workbench.plan.subject import Platform, SampleFacts
from workbench.records import EngineSpec, Model, Result, Results, Status, TimingPlan
from workbench.runs.history import Estimate, History, kind_of
from workbench.runs.outlook import built, measured_steps
from workbench.runs.pace import seconds_per_row
from workbench.runs.sources import DEMO
from workbench.settings.experiment import Experiment
from workbench.store import Store

RUN_BEGAN = "%Y%m%dT%H%M%S"
"""How the name of a run begins: 15 characters, UTC."""


class Planned(NamedTuple):
    """Rows, and of the variants that are possible those whose engine has to be built, may have to be, or is there."""

    rows: tuple[Result, ...]
    new: tuple[EngineSpec, ...]
    perhaps: tuple[EngineSpec, ...]  # it depends on samples that have not been read yet
    there: tuple[EngineSpec, ...]
    measured: int  # rows to measure, at most
    reused: int  # rows whose timings are in the store and are used again
    surely: bool  # ``measured`` is not only the most: the store was asked, or measuring again was asked for
    timed: tuple[Result, ...]  # rows that have a time after the run, whether measured or reused
    before: Estimate  # how long builds of what is to build took
    row_s: float | None = None  # how long measuring a row took in earlier runs with this plan; None: there were none

    @property
    def to_build(self) -> tuple[EngineSpec, ...]:
        return self.new + self.perhaps


class Planner:
    """Computes what is left to do for an experiment."""

    def __init__(self, store: Store) -> None:
        self._store, self._history = store, History(store)
        # digests of calibration samples, and the run that reported them
        self._calibrated: dict[Any, tuple[str, str]] = {}
        self._tested: dict[Any, tuple[str, str]] = {}  # of the samples that are timed
        self._platform: Platform | None = None
        self._paces: dict[TimingPlan, float | None] = {}  # seconds for a row, which a run may change

    def learn(self, ran: Experiment, results: Results, scored: str = "") -> None:
        """A run has reported which samples calibrated it."""
        self._platform = None  # packages may be others by now
        self._paces.clear()
        if results.calibrated_digest:
            self._calibrated[_asked(ran, results.model, scored)] = (results.calibrated_digest, results.run)
        self._tested[_timed_on(ran, results.model, scored)] = (results.tested_digest, results.run)

    def plan(self, experiment: Experiment, model: Model, *, again: bool = False, scored: str = "") -> Planned:
        """What a run would do. ``scored`` identifies a metric that is not a setting; ``again``: timings are not reused.

        Raises:
            InputError: a backend that does not exist.
        """
        self._platform = self._platform or Platform.here()
        found = plan(experiment, model, self._samples(experiment, model, scored), platform=self._platform, only="build")
        kinds = self._history.durations()
        new: list[EngineSpec] = []
        perhaps: list[EngineSpec] = []
        there: list[EngineSpec] = []
        for spec, step in found.engines.items():
            if not step.key and kind_of(spec) in kinds:
                perhaps.append(spec)
            else:
                (there if self._store.has(step.artefact, step.key) else new).append(spec)
        rows = found.rows
        region = experiment.plan.region
        timed = [
            row for row in rows if row.status == Status.PLANNED and backends.of(row.spec).measures(row.spec, region)
        ]
        groups = {row.batch for row in timed if row.spec in new}  # beside a new engine all of a group is measured
        kept = None if again else self._kept(experiment, model, scored)
        reused = [row for row in timed if kept and row.row in kept]
        surely = again or kept is not None or all(row.batch in groups for row in timed)
        before = self._history.estimate([*new, *perhaps])
        measured = len(timed) - len(reused)
        return Planned(
            rows, tuple(new), tuple(perhaps), tuple(there), measured, len(reused), surely, tuple(timed), before,
            self._row_s(experiment.plan),
        )  # fmt: skip

    def _row_s(self, asked: TimingPlan) -> float | None:
        if asked not in self._paces:
            self._paces[asked] = seconds_per_row(self._store, asked)
        return self._paces[asked]

    def _kept(self, experiment: Experiment, model: Model, scored: str) -> frozenset[str] | None:
        """The rows whose timings the store has; ``None`` where it is not known which samples are timed."""
        test = self._known(self._tested.get(_timed_on(experiment, model, scored), ("", "")), experiment)
        if not test:
            return None
        samples = replace(self._samples(experiment, model, scored), test=test)
        subject = subject_of(experiment, model, samples, self._platform)
        found = plan(experiment, model, samples, platform=self._platform)
        groups = groups_of(found, experiment, subject, built(found, self._store))
        steps = measured_steps(found, experiment, groups, self._store)
        return frozenset(step.arguments["row"] for step in found.of(Kind.MEASURE) if step.id in steps)

    def _samples(self, experiment: Experiment, model: Model, scored: str) -> SampleFacts:
        """What is known of the samples before they are read."""
        # random samples calibrate nothing
        made_up = experiment.data == "random" or (experiment.data == "auto" and experiment.model != DEMO)
        if made_up or not calibrates(experiment, model):
            return SampleFacts(real=not made_up, calibrates=False)
        # as a run with the same calibration samples reported it; empty where no run did
        digest = self._known(self._calibrated.get(_asked(experiment, model, scored), ("", "")), experiment)
        return SampleFacts(
            real=True, calibrates=True, calibration=digest, ranges=digest, count=experiment.calibration_samples
        )

    def _known(self, reported: tuple[str, str], experiment: Experiment) -> str:
        """A digest that a run reported; "" where the file of the samples has changed since."""
        digest, run = reported
        try:
            changed = Path(experiment.data).expanduser().stat().st_mtime
        except OSError:
            return digest  # the built-in digits
        return digest if time.strftime(RUN_BEGAN, time.gmtime(changed)) < run[:15] else ""


def _asked(experiment: Experiment, model: Model, scored: str) -> Any:
    """What decides which samples calibrate. They are drawn over the classes of a file's labels, as these are read."""
    reading: tuple[str, ...] = ()
    if experiment.data not in ("auto", "digits"):
        labels = experiment.labels, experiment.ignore_label, experiment.class_axis, experiment.box_outputs
        score = experiment.metric, scored, experiment.score_output, experiment.label_column, experiment.group_column
        reading = experiment.pixels, *score, *labels
    return model.digest, model.inputs, experiment.data, experiment.calibration_samples, *reading


def _timed_on(experiment: Experiment, model: Model, scored: str) -> Any:
    return _asked(experiment, model, scored), experiment.seed, experiment.input_values, max(experiment.batches)
