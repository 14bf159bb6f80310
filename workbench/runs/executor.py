"""Makes the steps of a plan that the store lacks, in child processes of this machine.

A step is looked up first: what it needs is made only where its own result is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from workbench.accuracy.agreement import Comparable
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.errors import ExportError, LimitError, WorkbenchError
from workbench.graph.provenance import layer_names
from workbench.models.original import path_of
from workbench.plan import engines, forms
from workbench.plan.step import Kind, Plan, Step
from workbench.plan.subject import SampleFacts, Subject
from workbench.precision.rewrite import ALL
from workbench.precision.selection import Selection
from workbench.protocols import Source
from workbench.records import Calibration, EngineRecord, EngineSpec, ExportCheck, Model
from workbench.runs import steps as tasks
from workbench.runs.engines import Means, PreparedModel, fill_engine, is_engine, record_of
from workbench.runs.history import History
from workbench.store import Draft, Made, key_of

GIVEN = (Kind.TRAIN, Kind.COPY, Kind.READ)
"""Steps that were carried out before there was a plan: without them nothing is known of the model."""


class Executor:
    """Carries out steps about one model. Results and failures are remembered: what failed would fail again, after as long."""

    def __init__(self, means: Means, subject: Subject, data: Dataset, plan: Plan | None = None) -> None:
        self.means, self.subject, self.data = means, subject, data
        self._steps: dict[str, Step] = dict(plan.by_id) if plan else {}
        self._history = History(means.store)
        self._made: dict[str, Made] = {}
        self._failed: dict[str, WorkbenchError] = {}
        self._kinds: Mapping[Kind, Callable[[Step, Draft], None]] = {
            Kind.SAMPLES: lambda step, draft: tasks.write_samples(self._samples(step), draft),
            Kind.SAVED_MODEL: lambda _, draft: tasks.export_saved_model(self.means, self.original, draft),
            Kind.EXPORT: self._export,
            Kind.REWRITE: self._rewrite,
            Kind.FIX: self._fix,
            Kind.BUILD: lambda step, draft: fill_engine(
                self.means, step.spec, step.key, self.made((), engines.source_in(step)), draft
            ),
        }

    @classmethod
    def of(cls, means: Means, model: Model, data: Dataset, count: int = 0) -> Executor:
        """For a model and samples outside a run; the first ``count`` calibration samples calibrate."""
        return cls(means, Subject(model, SampleFacts.of(data, count)), data)

    @property
    def model(self) -> Model:
        """As it was opened, with the user's path."""
        return self.subject.model

    @cached_property
    def original(self) -> Model:
        """The model with the path of its copy in the store, which is what is read."""
        model = self.model
        return replace(model, path=str(path_of(model, self.means.store))) if model.path else model

    @property
    def check(self) -> ExportCheck | None:
        """How the ONNX form compares with its source, where it was needed."""
        found = (
            self._made[step.id].facts
            for step in self._steps.values()
            if step.id in self._made and step.kind == Kind.EXPORT
        )
        return next((check for facts in found if (check := tasks.check_of(facts))), None)

    @property
    def comparable(self) -> Comparable:
        """What opening the model, and its conversion to ONNX so far, have shown of its outputs."""
        model, check = self.model, self.check
        found = Comparable.of(model.outputs, model)
        return replace(found, unreached=(dict(check.unreached) if check else {}) | dict(found.unreached))

    def make(self, step: Step) -> Made:
        """The result of a step from the store, or made now, after what it needs.

        Raises:
            WorkbenchError: it, or something that it needs, cannot be made; the text says why.
        """
        if step.id in self._made:
            return self._made[step.id]
        if step.key in self._failed:
            raise self._failed[step.key]
        self._steps.setdefault(step.id, step)
        check = is_engine if step.kind == Kind.BUILD else tasks.check_of
        try:
            made = self.means.store.make(step.artefact, step.key, partial(self._fill, step), check=check)
        except (ExportError, LimitError) as error:
            self._failed[step.key] = error
            raise
        self._made[step.id] = made
        return made

    def _fill(self, step: Step, draft: Draft) -> None:
        self.make_needs(step)
        draft.step, draft.began = step.kind, time.monotonic()
        self.means.pool.expected_s = self._history.seconds(step)
        try:
            self._kinds[step.kind](step, draft)
        finally:
            self.means.pool.expected_s = None

    def make_needs(self, step: Step | forms.Prepared) -> None:
        """Make what a step needs, or what a prepared model is read from."""
        for each in step.needs:
            if self._steps[each].kind not in GIVEN:
                self.make(self._steps[each])

    def prepare(self, step: Step) -> None:
        """Make what an engine needs, unless it is in the store; and the ONNX form that it goes back to, whose comparison is shown."""
        for each in self._before(step):
            if each.kind == Kind.EXPORT:
                self.make(each)
        if not self.means.store.has(step.artefact, step.key):
            self.make_needs(step)

    def _before(self, step: Step) -> list[Step]:
        """The steps that a step needs, directly or not."""
        direct = [self._steps[each] for each in step.needs]
        return [*(one for each in direct for one in self._before(each)), *direct]

    def engine(self, step: Step) -> tuple[EngineRecord, bool]:
        """The engine of a step, and whether the store had it.

        Raises:
            PrecisionError: it was not built in the requested precision; nothing is kept.
            BuildError, WorkerError, ExportError: it could not be built.
        """
        made = self.make(step)
        source = self.source(engines.source_in(step))
        return record_of(made.facts, step.spec, source, self.means.store), made.reused

    def engine_of(self, spec: EngineSpec) -> tuple[EngineRecord, bool]:
        """The engine of a variant that need not be in a plan; as :meth:`engine`."""
        chain = engines.engine(self.subject, spec)
        self.add(chain)
        self.prepare(chain[-1])
        return self.engine(chain[-1])

    def add(self, steps: tuple[Step, ...]) -> None:
        """Steps that can be made besides those of the plan."""
        self._steps |= {step.id: step for step in steps if step.id not in self._steps}

    def prepared(
        self,
        form: str,
        *,
        batch: int | None = None,
        method: Calibration | None = None,
        selection: Selection = ALL,
    ) -> PreparedModel:
        """A prepared model by the name of its form, made where the store lacks it; see :func:`workbench.plan.forms.prepared`.

        Raises:
            ExportError, InputError: it cannot be made; the text says why.
        """
        return self.made(*forms.prepared(self.subject, form, batch=batch, method=method, selection=selection))

    def made(self, steps: tuple[Step, ...], prepared: forms.Prepared) -> PreparedModel:
        """The prepared model at the end of these steps."""
        self.add(steps)
        self.make_needs(prepared)
        sha256 = self._made[prepared.rewrite].facts.get("sha256", "") if prepared.rewrite else ""
        return PreparedModel(prepared.key, self.source(prepared), prepared.as_it_is, sha256)

    def source(self, prepared: forms.Prepared) -> Source:
        """The path of a prepared model, which need not exist yet."""
        model = self.model
        step = self._steps[prepared.step]
        path = Path(self.original.path) if step.kind in GIVEN else self._path(step) / prepared.file
        samples = self._path(self._steps[prepared.samples]) / tasks.SAMPLES if prepared.samples else None
        return Source(path, model.inputs, model.outputs, prepared.signature, samples, self._layers)

    def samples_file(self, samples: Samples) -> Path:
        """Where the samples lie as a file that workers can read."""
        key = key_of(samples=samples.digest)
        made = self.means.store.make("samples", key, partial(tasks.write_samples, samples))
        return made.folder / tasks.SAMPLES

    def examination(self) -> Any:
        """What the ONNX form is made of and which backends refuse which of its nodes: ``Examination`` as JSON.

        Raises:
            ExportError, InputError: there is no ONNX form.
        """
        form = self.made(*forms.exported(self.subject))
        return tasks.examination(self.means, self.subject, form.source.path)

    @cached_property
    def _layers(self) -> tuple[str, ...]:
        return layer_names(Path(self.original.path))

    def _path(self, step: Step) -> Path:
        return self.means.store.path(step.artefact, step.key)

    def _samples(self, step: Step) -> Samples:
        return tasks.samples_of(self.data, step.arguments["part"], step.arguments.get("count", 0))

    def _samples_path(self, step: str | None) -> str | None:
        return str(self._made[step].folder / tasks.SAMPLES) if step else None

    def _export(self, step: Step, draft: Draft) -> None:
        given = step.arguments
        saved_model = given["saved_model"] and str(self.source(forms.Prepared(**given["saved_model"])).path)
        asked = {
            "saved_model": saved_model,
            "samples": self._samples_path(given["samples"]),
            "batches": given["batches"],
        }
        tasks.export(self.means, self.original, draft, asked)

    def _rewrite(self, step: Step, draft: Draft) -> None:
        given = step.arguments
        asked = {
            "source": str(self._path(self._steps[given["source"]]) / tasks.ONNX),
            "form": given["form"],
            "calibration": (self._samples_path(given["samples"]), given["method"]),
            "selection": {name: given[name] for name in ("quantize", "keep")},
        }
        tasks.rewrite(self.means, step.what, draft, asked)

    def _fix(self, step: Step, draft: Draft) -> None:
        source = str(self._path(self._steps[step.arguments["source"]]) / tasks.ONNX)
        asked = {"batch": step.arguments["batch"], "sizes": step.arguments["sizes"]}
        into = str(draft.folder / tasks.ONNX)
        self.means.pool.call("onnx", "fix_batch", source=source, into=into, **asked)
        draft.facts = {}
