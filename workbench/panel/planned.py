"""What a run would build and measure: what is possible, less what the store has already.

It is shown at every change of a control, so nothing is made, read through or hashed for it. Where it would take the samples
to know, it is left open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from workbench import backends, pipeline
from workbench.data.dataset import Dataset
from workbench.experiment import Experiment
from workbench.panel.estimate import Estimate, History, kind_of
from workbench.records import EngineSpec, Model, Result, Results, Status
from workbench.runs.calibrates import calibrates
from workbench.runs.sources import DEMO, Sources
from workbench.store import MANIFEST, Draft, Made, Store
from workbench.store.store import Check
from workbench.system.machine import same_versions

RUN_BEGAN = "%Y%m%dT%H%M%S"
"""How the name of a run begins: 15 characters, UTC."""


class Planned(NamedTuple):
    """Rows, and of the variants that are possible those whose engine has to be built, may have to be, or is there."""

    rows: tuple[Result, ...]
    new: tuple[EngineSpec, ...]
    perhaps: tuple[EngineSpec, ...]  # it depends on samples that nobody has read yet
    there: tuple[EngineSpec, ...]
    measured: int  # rows to measure, at most
    surely: bool  # all of those: each is measured beside an engine that is new, or measuring again was asked for
    before: Estimate  # how long builds of what is to build took

    @property
    def to_build(self) -> tuple[EngineSpec, ...]:
        return self.new + self.perhaps


class Planner:
    """Says of experiments what is left to do for them."""

    def __init__(self, store: Store) -> None:
        self._names, self._history = _Names(store.root), History(store)
        self._calibrated: dict[Any, tuple[str, str]] = {}  # digests of calibration samples, and the run that told
        self._about: Any = None
        self._engines: dict[EngineSpec, Path | None] = {}

    def learn(self, ran: Experiment, results: Results, scored: str = "") -> None:
        """A run has told which samples calibrated it."""
        self._about = None  # packages may be others by now
        if results.calibrated_digest:
            self._calibrated[_asked(ran, results.model, scored)] = (results.calibrated_digest, results.run)

    def plan(self, experiment: Experiment, model: Model, *, again: bool = False, scored: str = "") -> Planned:
        """What a run would do. ``scored`` identifies a metric that is no setting; ``again``: timings are not reused.

        Raises:
            InputError: a backend that does not exist.
        """
        made_up = _made_up(experiment)
        rows = pipeline.plan(experiment, model, has_calibration=not made_up)
        calibrating = calibrates(experiment, model)
        samples = None if made_up or not calibrating else _Samples(self._digest(experiment, model, scored))
        # the model's path has no part in any name; with it, its layers would be read from the file
        about = (replace(model, path=""), made_up, samples and samples.known)
        if about != self._about:
            self._about, self._engines = about, {}
        data = Dataset(cast("Any", samples), cast("Any", None), "", real=not made_up)
        sources = Sources(self._names, cast("Any", None), about[0], data, lambda _: None, experiment.batches)
        kinds = self._history.durations()
        specs = dict.fromkeys(row.spec for row in rows if row.status == Status.PLANNED)
        with same_versions():
            self._engines |= {spec: self._names.engine(spec, sources) for spec in specs if spec not in self._engines}
        new: list[EngineSpec] = []
        perhaps: list[EngineSpec] = []
        there: list[EngineSpec] = []
        for spec in specs:
            engine = self._engines[spec]
            if engine is None and kind_of(spec) in kinds:
                perhaps.append(spec)
            else:
                (there if engine and (engine / MANIFEST).is_file() else new).append(spec)
        timed = [row for row in rows if row.status == Status.PLANNED and _measurable(row.spec, experiment)]
        groups = {row.batch for row in timed if row.spec in new}  # beside a new engine all of a group is measured
        surely = again or all(row.batch in groups for row in timed)
        before = self._history.estimate([*new, *perhaps])
        return Planned(rows, tuple(new), tuple(perhaps), tuple(there), len(timed), surely, before)

    def _digest(self, experiment: Experiment, model: Model, scored: str) -> str:
        """Of the calibration samples, as a run with the same ones has told; empty where none has."""
        digest, run = self._calibrated.get(_asked(experiment, model, scored), ("", ""))
        try:
            changed = Path(experiment.data).expanduser().stat().st_mtime
        except OSError:
            return digest  # the built-in digits
        return digest if time.strftime(RUN_BEGAN, time.gmtime(changed)) < run[:15] else ""


def _made_up(experiment: Experiment) -> bool:
    """Whether its samples are random ones, which calibrate nothing."""
    return experiment.data == "random" or (experiment.data == "auto" and experiment.model != DEMO)


def _asked(experiment: Experiment, model: Model, scored: str) -> Any:
    """What decides which samples calibrate. A file's labels, which are a part of them, are read as the metric wants them."""
    reading = () if experiment.data in ("auto", "digits") else (experiment.pixels, experiment.metric, scored)
    return model.digest, model.inputs, experiment.data, experiment.calibration_samples, *reading


def _measurable(spec: EngineSpec, experiment: Experiment) -> bool:
    return bool(backends.get(spec.backend).measures(spec, experiment.plan.region))


class _Unknown(Exception):  # noqa: N818 - no error: an answer
    """The name of an engine depends on samples whose digest is not known."""


class _Engine(Exception):  # noqa: N818 - no error: an answer
    """Where the engine that was asked for is, or would be."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.place = place


class _Samples:
    """Stands for calibration samples, of which a name takes the digest only."""

    def __init__(self, known: str) -> None:
        self.known = known

    @property
    def digest(self) -> str:
        if not self.known:
            raise _Unknown
        return self.known

    def take(self, _chosen: slice) -> _Samples:
        return self


class _Names(Store):
    """Stands for the store while the pipeline names what it would build: it makes nothing, and tells where the engine is.

    So an engine's key is worked out in one place only, that in which it is built.
    """

    def make(self, kind: str, key: str, fill: Callable[[Draft], None], check: Check = None) -> Made:  # noqa: ARG002 - the store's
        if kind == "engine":
            raise _Engine(self.path(kind, key))
        return Made(self.path(kind, key), {}, reused=True)

    def engine(self, spec: EngineSpec, sources: Sources) -> Path | None:
        """The folder of this engine, there or not; ``None`` where that cannot be said."""
        try:
            pipeline.build(spec, pipeline.prepared(sources, spec), self, cast("Any", None), lambda _: None)
        except _Engine as found:
            return found.place
        except _Unknown:
            return None
        raise AssertionError("an engine was built without asking the store")
