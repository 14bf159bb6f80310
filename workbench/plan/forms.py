"""Steps from a model to the prepared models that backends build from: SavedModel, ONNX, ONNX in a lower precision, fixed shapes.

The keys are made here and nowhere else. The functions return the steps, each after those that it needs, and a :class:`Prepared`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from workbench import backends
from workbench.errors import InputError
from workbench.export import CONVERSION
from workbench.models import formats
from workbench.plan.calibrates import CALIBRATED
from workbench.plan.reading import opened
from workbench.plan.step import Kind, Step, merged
from workbench.plan.subject import Subject, known_key
from workbench.precision.rewrite import ALL, CALIBRATED_FORMS
from workbench.precision.selection import Selection
from workbench.records import Calibration, to_json
from workbench.records.methods import MODELOPT
from workbench.store import key_of

KERAS_SIGNATURE = "serving_default"  # the one that Keras' export writes for inference
MODEL_RULES = 3
"""Version of the description of a model and of the ONNX file that is made from it: raise it when earlier ones would differ."""
FACTS = 4
"""Version of what an examination holds: raise it when earlier ones would differ."""
RANGED_FORMS = ("fp16", "fp16-modelopt", "bf16-modelopt")
"""Where there are calibration samples, they show which results go beyond the range of 16-bit floats."""
NOT_READ = "the calibration samples have not been read"


@dataclass(frozen=True)
class Prepared:
    """A prepared model as a plan names it."""

    key: str  # part of the keys of engines; "" where it is not known yet
    step: str  # the id of the step that makes it
    file: str = ""  # within the artefact; "": the model's own file
    signature: str = ""  # of a SavedModel
    samples: str = ""  # the id of the step that writes calibration samples for a backend that quantizes by itself
    rewrite: str = ""  # the id of the step that rewrote it to a lower precision
    unknown: str = ""  # what the key depends on that is not known yet
    as_it_is: bool = False  # quantized by the user: what an engine makes of it is reported, not judged

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids of all steps whose results are read when an engine is built from it."""
        return tuple(dict.fromkeys(filter(None, (self.step, self.rewrite, self.samples))))


Chain = tuple[tuple[Step, ...], Prepared]


def prepared(
    subject: Subject,
    form: str,
    *,
    batch: int | None = None,
    method: Calibration | None = None,
    selection: Selection = ALL,
) -> Chain:
    """The form that a backend named in ``Backend.source``, with its batch fixed if one is given.

    ``method`` and ``selection`` are for forms that are rewritten.

    Raises:
        InputError: it needs calibration samples, which the data do not have.
    """
    if form.endswith(CALIBRATED):
        chain = _calibrated(subject, form.removesuffix(CALIBRATED))
    elif form.startswith("onnx:"):
        chain = _onnx(subject, form[5:], method, selection)
    else:
        chain = _tensorflow(subject, form)
    return chain if batch is None or not form.startswith("onnx:") else _fixed(subject, *chain, batch)


def samples_step(part: str, digest: str, count: int = 0) -> Step:
    """Write samples as a file that workers read. ``part`` names them: "test", "check", "scored", "calibration" or "ranges"."""
    names = {
        "check": "test samples to compare the conversion on",
        "scored": "test samples to score files on",
        "ranges": f"{count} calibration samples",
    }
    arguments: dict[str, Any] = {"part": part} | ({"count": count} if part == "ranges" else {})
    unknown = "" if digest else "the samples have not been read"
    what = names.get(part, f"the {part} samples")
    return Step(Kind.SAMPLES, what, known_key(digest, samples=digest), (), arguments, unknown)


def _tensorflow(subject: Subject, form: str) -> Chain:
    model = subject.model
    copy, _ = steps = opened(subject)
    if form in ("keras", "tflite") or model.signed:
        # engines of older versions gave the stored integers of a TensorFlow Lite file
        rules = {"rules": MODEL_RULES} if form == "tflite" else {}
        key = key_of(digest=model.digest, form=form, signature=model.signature, **rules)
        return steps, Prepared(key, copy.id, signature=model.signature)
    platform = subject.platform
    key = key_of(
        digest=model.digest,
        form="saved_model",
        signature=model.signature,
        versions=[platform.tensorflow, platform.version("keras"), str(CONVERSION)],
    )
    what = f"the {formats.TITLES[model.format]} to a SavedModel"
    step = Step(Kind.SAVED_MODEL, what, key, tuple(each.id for each in steps))
    return (*steps, step), Prepared(key, step.id, "saved_model", KERAS_SIGNATURE)


def _calibrated(subject: Subject, form: str) -> Chain:
    """A form with calibration samples beside it, for a backend that quantizes by itself."""
    steps, found = prepared(subject, form)
    samples = _ranges(subject)
    known = subject.samples.ranges
    key = known_key(found.key, known, form=found.key, samples=known)
    unknown = found.unknown or ("" if known else NOT_READ)
    return merged(steps, [samples]), replace(found, key=key, samples=samples.id, unknown=unknown)


def _ranges(subject: Subject) -> Step:
    samples = subject.samples
    if not samples.calibrates:
        given = "none of the data were set aside" if samples.real else "random inputs were given"
        raise InputError(
            f"INT8 needs real calibration samples, and {given}. "
            + ("Ask for a precision that calibrates." if samples.real else "Give real data (option --data).")
        )
    return samples_step("ranges", samples.ranges, samples.count)


def exported(subject: Subject) -> Chain:
    """The model as ONNX in FP32, compared with its source before it is used."""
    model, samples, platform = subject.model, subject.samples, subject.platform
    steps: tuple[Step, ...] = opened(subject)
    saved_model: Prepared | None = None
    if model.is_tensorflow:
        steps, saved_model = _tensorflow(subject, "saved_model")
    checked = [samples_step("check", samples.check)] if samples.real else []
    steps = merged(steps, checked)
    asked: dict[str, Any] = {"batches": subject.compared_at} if subject.compared_at else {}
    key = key_of(
        digest=model.digest,
        signature=[model.signature, to_json(model.inputs)],
        form="fp32",
        versions=[
            platform.version("tf2onnx"),
            platform.version("onnx"),
            platform.tensorflow,
            str(CONVERSION),
        ],
        **asked,
        real=samples.real,
        rules=MODEL_RULES,
    )
    arguments = {
        "batches": list(subject.compared_at),
        "saved_model": to_json(saved_model) if saved_model else None,
        "samples": checked[0].id if checked else None,
    }
    step = Step(Kind.EXPORT, "to ONNX, compared with the source", key, tuple(one.id for one in steps), arguments)
    return (*steps, step), Prepared(key, step.id, "model.onnx")


def _onnx(subject: Subject, form: str, method: Calibration | None, selection: Selection) -> Chain:
    steps, origin = exported(subject)
    if form == "fp32":
        return steps, origin
    samples, platform = subject.samples, subject.platform
    calibration: Step | None = None
    digest = ""
    if form in CALIBRATED_FORMS:
        calibration, digest = _ranges(subject), samples.ranges
    elif form in RANGED_FORMS and samples.calibrates:
        calibration, digest = samples_step("calibration", samples.calibration), samples.calibration
    outside = [platform.modelopt] if form.endswith(MODELOPT) else []
    known = [digest] if calibration else []
    used = method if calibration else None
    key = known_key(
        *known,
        origin=origin.key,
        form=form,
        method=used,
        samples=digest if calibration else None,
        selection=selection.key,
        versions=[platform.version("onnxruntime"), platform.version("onnx"), *outside],
    )
    needs = (origin.step, *([calibration.id] if calibration else []))
    arguments = {
        "form": form,
        "source": origin.step,
        "samples": calibration.id if calibration else None,
        "method": str(method) if method else None,
        "quantize": list(selection.quantize),
        "keep": list(selection.keep),
    }
    what = f"to {form}" + (f" ({method} calibration)" if calibration and method else "")
    unknown = NOT_READ if calibration and not digest else ""
    step = Step(Kind.REWRITE, what, key, needs, arguments, unknown)
    found = Prepared(key, step.id, "model.onnx", rewrite=step.id, unknown=unknown)
    return merged(steps, [calibration] if calibration else [], [step]), found


def _fixed(subject: Subject, steps: tuple[Step, ...], origin: Prepared, batch: int) -> Chain:
    """All axes known: the batch as given, free ones at their usual size."""
    sizes = {spec.name: list(spec.sized(batch)) for spec in subject.model.inputs if spec.free_axes}
    key = known_key(origin.key, origin=origin.key, batch=batch, sizes=sizes)
    arguments = {"batch": batch, "sizes": sizes, "source": origin.step}
    step = Step(Kind.FIX, f"to batch {batch}", key, (origin.step,), arguments, origin.unknown)
    return (*steps, step), replace(origin, key=key, step=step.id, file="model.onnx")


def examination(subject: Subject) -> tuple[Step, ...]:
    """Look at the graph of the ONNX form. The key depends on what the store holds of ONNX's own cases: see :func:`examined_key`."""
    steps, origin = exported(subject)
    unknown = "it depends on the results of ONNX's own cases in the store"
    return (*steps, Step(Kind.EXAMINE, "the graph of the ONNX form", "", (origin.step,), unknown=unknown))


def examined_key(subject: Subject, known: list[str]) -> str:
    """The key of an examination; ``known`` are the SHA-256 of the files with results of ONNX's own cases."""
    _, origin = exported(subject)
    versions = [subject.platform.version(name) for name in backends.packages()]
    return key_of(origin=origin.key, facts=FACTS, versions=versions, known=known)
