"""The plan of an experiment. It is pure: nothing is read but what is passed in, and nothing is made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from workbench import backends
from workbench.data.dataset import Dataset
from workbench.errors import WorkbenchError
from workbench.plan.engines import engine, reference_spec, source_in
from workbench.plan.forms import examination, exported, samples_step
from workbench.plan.measuring import peaks_key
from workbench.plan.rows import rows_of, usable
from workbench.plan.scoring import PLAIN, Scoring, accuracy_key, batch_in_key, file_outputs_key, outputs_key
from workbench.plan.step import Kind, Plan, Step, merged
from workbench.plan.subject import Platform, SampleFacts, Subject
from workbench.protocols import Profiler
from workbench.records import CPU, EngineSpec, Failure, Model, Region, Result, Status
from workbench.settings.experiment import Experiment

ONLY = ("all", "build", "time")
BUILT = "which engines run here is known when they are built"


def subject_of(
    experiment: Experiment, model: Model, data: Dataset | SampleFacts, platform: Platform | None = None
) -> Subject:
    """What the plan of an experiment is about. Without ``platform`` it is for this machine."""
    samples = data if isinstance(data, SampleFacts) else SampleFacts.of(data, experiment.calibration_samples)
    asked = (experiment.signature, experiment.input_shapes, experiment.input_values)
    return Subject(model, samples, platform or Platform.here(), experiment.batches, asked)


def plan(
    experiment: Experiment,
    model: Model,
    data: Dataset | SampleFacts,
    *,
    scoring: Scoring = PLAIN,
    platform: Platform | None = None,
    only: str = "all",
    rows: Collection[str] = (),
) -> Plan:
    """The rows of an experiment and the steps that lead to their results.

    Args:
        experiment: resolved (:meth:`workbench.Experiment.resolved`).
        model: as opening it has shown it.
        data: the samples, or their digests; a digest that is "" leaves the keys open that depend on it.
        scoring: how engines are scored.
        platform: the machine and packages; this machine's where none is given.
        only: "all", "build" for a plan that ends with the engines, or "time".
        rows: the names of the rows that are planned; all where there are none.

    Raises:
        InputError: a backend that does not exist.
    """
    subject = subject_of(experiment, model, data, platform)
    planned: list[Result] = []
    chains: dict[EngineSpec, tuple[Step, ...] | WorkbenchError] = {}
    for row in rows_of(experiment, model, has_calibration=subject.samples.calibrates):
        if rows and row.row not in rows:
            continue
        if row.status == Status.PLANNED and row.spec not in chains:
            try:
                chains[row.spec] = engine(subject, row.spec)
            except WorkbenchError as error:
                chains[row.spec] = error
        failed = chains.get(row.spec)
        if isinstance(failed, WorkbenchError):
            row = replace(row, status=Status.UNSUPPORTED, failure=Failure("plan", failed.message))  # noqa: PLW2901
        planned.append(row)
    engines = {spec: chain for spec, chain in chains.items() if not isinstance(chain, WorkbenchError)}
    whole = _Whole(usable(experiment, model), subject, scoring, tuple(planned), engines)
    steps = merged(*engines.values()) if only == "build" else whole.steps()
    return Plan(tuple(planned), steps)


@dataclass(frozen=True)
class _Whole:
    experiment: Experiment
    subject: Subject
    scoring: Scoring
    rows: tuple[Result, ...]
    engines: Mapping[EngineSpec, tuple[Step, ...]]

    def steps(self) -> tuple[Step, ...]:
        if not self.engines:
            return ()
        building = merged(*self.engines.values())
        onnx = [examination(self.subject)] if any(step.kind == Kind.EXPORT for step in building) else []
        return merged(building, self._scores(), *onnx, self._files(), self._measurements())

    def _runs(self, spec: EngineSpec, region: Region = Region.HOST_TO_HOST) -> bool:
        return bool(backends.of(spec).measures(spec, region))

    def _scores(self) -> Iterable[Step]:
        """Run the test samples through every engine, and compare with the engine that stands for the source model."""
        here = {spec: chain[-1] for spec, chain in self.engines.items() if self._runs(spec)}
        if not here:
            return
        spec = reference_spec(self.experiment, self.subject)
        if spec is None:
            return
        try:
            chain = engine(self.subject, spec)
        except WorkbenchError:  # then nothing is scored, and the run says why
            return
        yield from chain
        facts, reference = self.subject.samples, chain[-1]
        test = samples_step("test", facts.test)
        yield test
        model, batches = self.subject.model, self.experiment.batches
        expected = _outputs(reference, test, facts.test, batch_in_key(model, spec, batches))
        yield expected
        for each, step in here.items():
            batch = batch_in_key(model, each, batches)
            outputs = _outputs(step, test, facts.test, batch)
            yield outputs
            key = accuracy_key(step.key, reference.key, facts.test, facts.truth, self.scoring, batch)
            needs = (step.id, outputs.id, expected.id)
            yield Step(Kind.SCORE, step.what, key, needs, unknown="" if key else step.unknown or test.unknown)

    def _files(self) -> Iterable[Step]:
        """Run the rewritten files whose engines do not run here, and the file that they were made from."""
        facts = self.subject.samples
        if not facts.real:
            return
        rewritten = [
            spec for spec, chain in self.engines.items() if source_in(chain[-1]).rewrite and not self._runs(spec)
        ]
        chains = [engine(self.subject, replace(spec, batch=None)) for spec in rewritten]
        files = [(exported(self.subject)[0], exported(self.subject)[1])] if chains else []
        files += [(chain[:-1], source_in(chain[-1])) for chain in chains]
        test = samples_step("scored", facts.scored)
        for steps, source in files:
            yield from steps
            yield test
            key = file_outputs_key(source.key, facts.scored)
            what = f"{source.file} as it is written ({steps[-1].what})"
            yield Step(
                Kind.EVALUATE, what, key, (source.step, test.id), unknown="" if key else source.unknown or test.unknown
            )

    def _measurements(self) -> Iterable[Step]:
        """Time every row of a batch size, interleaved; then under load, per layer, and the machine's peaks, where that is requested."""
        experiment, region = self.experiment, self.experiment.plan.region
        timed = [row for row in self.rows if row.spec in self.engines and self._runs(row.spec, region)]
        timed = [row for row in timed if row.batch in experiment.batches]
        test = samples_step("test", self.subject.samples.test)
        if timed:
            yield test
        measured = {}
        for batch in experiment.batches:
            group = [row for row in timed if row.batch == batch]
            needs = (*(self.engines[row.spec][-1].id for row in group), test.id)
            for row in group:
                arguments = {"row": row.row, "batch": batch, "engine": self.engines[row.spec][-1].id}
                measured[row.row] = Step(Kind.MEASURE, row.row, "", needs, arguments, BUILT)
        yield from measured.values()
        for step in measured.values() if not experiment.load_plan.empty else ():
            yield Step(Kind.LOAD, step.what, "", (*step.needs, step.id), step.arguments, BUILT)
        if experiment.roofline and any(backends.device(row.spec) == CPU for row in timed):
            key = peaks_key(experiment.threads, experiment.plan.cores, self.subject.platform)
            yield Step(Kind.PEAKS, "what this machine can do at most", key, (), {"threads": experiment.threads})
        for row in timed if experiment.layers else ():
            backend, step = backends.get(row.spec.backend), measured[row.row]
            if isinstance(backend, Profiler) and backend.profiles(row.spec):
                unknown = "it depends on the layers of the engine as it was built"
                yield Step(Kind.LAYERS, row.row, "", (step.id,), step.arguments, unknown)


def _outputs(engine_step: Step, test: Step, digest: str, batch: int) -> Step:
    key = outputs_key(engine_step.key, digest, batch)
    unknown = "" if key else engine_step.unknown or test.unknown
    return Step(Kind.EVALUATE, engine_step.what, key, (engine_step.id, test.id), {"engine": engine_step.id}, unknown)
