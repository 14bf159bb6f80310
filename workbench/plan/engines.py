"""Steps that build engines: one for every variant, and one for the reference engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench import backends
from workbench.plan.forms import Chain, Prepared, prepared
from workbench.plan.step import Kind, Step
from workbench.plan.subject import Platform, Subject
from workbench.precision.selection import Selection
from workbench.records import CPU, EngineSpec, to_json
from workbench.settings.experiment import Experiment
from workbench.store import key_of


def source_of(subject: Subject, spec: EngineSpec) -> Chain:
    """The prepared model that this variant is built from.

    Raises:
        InputError: it needs calibration samples, which the data do not have.
    """
    model = subject.model
    form = backends.get(spec.backend).source(spec, model)
    held = model.quantized == spec.asked
    if form.startswith("onnx:") and held:
        form = "onnx:fp32"  # which is the model as it is: quantizing it twice would only harm it
    chosen = Selection(spec.quantize, spec.keep)
    steps, found = prepared(subject, form, batch=spec.batch, method=spec.calibration, selection=chosen)
    return steps, replace(found, as_it_is=held or form == "tflite")


def engine_key(source: str, spec: EngineSpec, platform: Platform) -> str:
    """The key of an engine; ``source`` is that of the prepared model."""
    backend, machine = backends.get(spec.backend), platform.machine
    # how an engine is launched is not part of it
    served = replace(spec, cuda_graph=False, streams=1, batches=spec.batches if "batches" in backend.settings else ())
    names = (*backend.distributions, *backend.builders)
    versions = backends.versions(spec) if spec.environment else [platform.version(name) for name in names]
    return key_of(
        source=source,
        spec=_shaping(served),
        versions=versions,
        machine=[machine.cpu, *machine.instructions] if backends.device(spec) == CPU else [machine.cpu, machine.gpu],
        **({"recipe": backend.recipe} if backend.recipe else {}),
    )


def _shaping(spec: EngineSpec) -> Any:
    """The variant as part of an engine's key; without fields that have their defaults, so that earlier engines are found."""
    return {
        name: value for name, value in to_json(spec).items() if value or name not in ("environment", "build", "side")
    }


def engine(subject: Subject, spec: EngineSpec) -> tuple[Step, ...]:
    """The steps to this variant's engine, which is the last of them.

    Raises:
        InputError: it needs calibration samples, which the data do not have.
    """
    steps, source = source_of(subject, spec)
    key = engine_key(source.key, spec, subject.platform) if source.key else ""
    named = replace(source, key="", unknown="")  # so that the step is the same before its key is known
    arguments = {"spec": to_json(spec), "source": to_json(named)}
    return (*steps, Step(Kind.BUILD, spec.label, key, source.needs, arguments, source.unknown))


def source_in(step: Step) -> Prepared:
    """The prepared model of a step to build an engine, without its key."""
    return Prepared(**step.arguments["source"])


def reference_spec(experiment: Experiment, subject: Subject) -> EngineSpec | None:
    """The engine that stands for the source model when others are scored (``Backend.reference_for``). It need not be a variant of
    the experiment. ``None``: no backend runs the source model as it is.
    """
    found = backends.reference(subject.model)
    if found is None:
        return None
    spec = EngineSpec(*found, batches=experiment.batches, threads=experiment.threads)
    if experiment.shapes == "fixed":
        spec = replace(spec, batch=max(experiment.batches), batches=(max(experiment.batches),))
    return spec
