"""From the user's model to what backends build from: opening, exporting and rewriting, each step kept in the store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from workbench.accuracy.detection import parse_roles
from workbench.accuracy.label_settings import Reading
from workbench.accuracy.metrics import Metric, metric_of
from workbench.choices.limits import Limits
from workbench.choices.methods import MODELOPT
from workbench.data.dataset import Dataset, dataset
from workbench.data.labels import Labelling
from workbench.data.samples import Samples, save_samples
from workbench.errors import (
    Cancelled,
    ExportError,
    InputError,
    LimitError,
    WorkbenchError,
)
from workbench.examine import Examination
from workbench.experiment import Experiment
from workbench.export import CONVERSION
from workbench.models import formats
from workbench.models.live import kept_model
from workbench.models.original import path_of
from workbench.precision import modelopt
from workbench.precision.rewrite import ALL, CALIBRATED_FORMS
from workbench.precision.selection import Selection
from workbench.protocols import Source
from workbench.records import Calibration, ExportCheck, Model, from_json, to_json
from workbench.runs import conformance
from workbench.runs.calibrates import CALIBRATED, calibrates
from workbench.runs.reading import Say, demo_model, read_model, tensorflow_version
from workbench.store import Draft, Made, Store, file_digest, key_of
from workbench.system.machine import version_of
from workbench.workers.worker import Pool

DEMO = "demo"
KERAS_SIGNATURE = "serving_default"  # the one that Keras' export writes for inference
CHECK_SAMPLES = 16
MODEL_RULES = 2
"""Of what opening a model tells, and of the ONNX file that is made of it: raise it when earlier ones would differ."""
FACTS = 3
"""Version of what an examination holds: raise it when earlier ones would differ."""


def data_of(
    experiment: Experiment, model: Model, *, calibrating: bool | None = None, metric: Metric | None = None
) -> Dataset:
    """The samples of an experiment, opened in one way by all who need them: other samples have other keys in the store.

    Args:
        experiment: its data, seed, pixels, precisions and metric count.
        model: the experiment's model, opened.
        calibrating: whether samples are set aside for calibration; ``None``: if one of its variants calibrates.
        metric: what compares the labels, where it is not the experiment's own; what labels are is decided for it.

    Raises:
        InputError: as :func:`workbench.data.dataset.dataset`.
    """
    if calibrating is None:
        calibrating = calibrates(experiment, model)
    how = Reading(
        experiment.labels,
        experiment.ignore_label,
        int(experiment.class_axis) if experiment.class_axis else None,
        parse_roles(experiment.box_outputs),
        experiment.score_output,
    )
    chosen = metric_of(experiment.metric) if metric is None else metric
    return dataset(
        experiment.data,
        model,
        experiment.calibration_samples if calibrating else 0,
        experiment.seed,
        demo=experiment.model == DEMO,
        pixels=experiment.pixels,
        labelling=Labelling(chosen, how, experiment.group_column),
        data_mib=experiment.data_mib,
    )


def open_model(
    model: Any,
    signature: str = "",
    input_shapes: str = "",
    input_values: str = "",
    *,
    store: Store | str | Path | None = None,
) -> Model:
    """Open a model file and say what it is; ``"demo"`` is the built-in one, and a live ``keras.Model`` is saved first.

    The file is read in a child process, so a damaged one cannot harm the caller. Takes seconds for TensorFlow models.
    ``signature``, ``input_shapes`` and ``input_values`` are those of :class:`workbench.Experiment`.

    Raises:
        InputError: the model cannot be used; the text says why and what to do.
    """
    store = Store.of(store).prepare()
    path = model if isinstance(model, str | Path) else kept_model(model, store)
    with Pool(store.log_path, threading.Event()) as pool:
        if path == DEMO:
            path = demo_model(store, pool, lambda _: None)
        return read_model(store, pool, str(path), signature, input_shapes, input_values)


@dataclass(frozen=True)
class Opened:
    """A model looked at: what it is, how it became ONNX and what its graph holds, or why it could not become ONNX."""

    model: Model
    check: ExportCheck | None = None
    examination: Any = None  # of workbench.examine, as JSON
    problem: str = ""


def examine_model(
    path: str,
    signature: str = "",
    input_shapes: str = "",
    input_values: str = "",
    *,
    store: Store,
    say: Say,
    cancel: threading.Event | None = None,
    limits: Limits | None = None,
) -> Opened:
    """Open a model, bring it to ONNX and look at its graph. Takes as long as the export.

    Raises:
        InputError: the model cannot be opened.
    """
    store.prepare()
    with Pool(store.log_path, cancel or threading.Event(), limits=limits) as pool:
        pool.waiting = say
        place = str(demo_model(store, pool, say)) if path == DEMO else path
        model = read_model(store, pool, place, signature, input_shapes, input_values)
        sources = Sources(store, pool, model, dataset("random", model, 0, 0, demo=False), say)
        try:
            found = sources.examination()
        except Cancelled:
            raise
        except WorkbenchError as error:
            return Opened(model, problem=error.message)
        return Opened(model, sources.check, found)


def _check_of(facts: Any) -> ExportCheck | None:
    """What the facts of a form say about its export; ``None`` where they say nothing."""
    return from_json(ExportCheck, facts["check"]) if isinstance(facts, dict) and "check" in facts else None


@dataclass(frozen=True)
class Form:
    """One prepared form of the model: its key in the store and where it lies."""

    key: str
    source: Source
    reused: bool
    as_it_is: bool = False  # quantized by the user: what an engine makes of it is told, not judged
    made: Any = None  # what a rewrite said it did, as JSON, with the SHA-256 of its file


class Sources:
    """The prepared forms of one model, each made at first use."""

    def __init__(
        self, store: Store, pool: Pool, model: Model, data: Dataset, say: Say, batches: tuple[int, ...] = ()
    ) -> None:
        """``batches`` are those asked for: a conversion is compared there where the model ran at none when it was opened."""
        self._batches = () if model.probe and model.probe.worked else batches
        self._store, self._pool, self._data, self._say = store, pool, data, say
        self.model = model  # with the user's path
        self._forms: dict[str, Form] = {}
        self._failed: dict[str, WorkbenchError] = {}
        self.check: ExportCheck | None = None

    @cached_property
    def original(self) -> Model:
        """The model with the path of its copy in the store, which is what is read."""
        return replace(self.model, path=str(path_of(self.model, self._store))) if self.model.path else self.model

    def get(
        self,
        form: str,
        *,
        batch: int | None = None,
        method: Calibration | None = None,
        samples: int = 0,
        selection: Selection = ALL,
    ) -> Form:
        """The form that a backend named in ``Backend.source``, with its batch fixed if one is given.

        ``method``, ``samples`` and ``selection`` are for forms that are rewritten.

        Raises:
            ExportError, InputError: it cannot be made; the text says why.
        """
        if form.endswith(CALIBRATED):
            found = self._calibrated(form.removesuffix(CALIBRATED), samples)
        elif form.startswith("onnx:"):
            found = self._onnx(form[5:], method, samples, selection)
        else:
            found = self._tensorflow(form)
        if batch is not None and form.startswith("onnx:"):
            found = self._fixed(found, batch)
        return found

    def examination(self) -> Any:
        """What the ONNX form is made of and which backends refuse which of its nodes: ``Examination`` as JSON.

        Raises:
            ExportError, InputError: there is no ONNX form.
        """
        form = self._exported()
        libraries = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13", "tensorrt")

        def fill(draft: Draft) -> None:
            self._say("examining the graph")
            draft.facts = self._pool.call(
                "onnx",
                "examine",
                progress=self._say,
                path=str(form.source.path),
                model=to_json(self.model),
                results=str(conformance.folder_of(self._store)),
            )

        known = conformance.known_files(self._store)
        versions = [version_of(name) for name in libraries]
        key = key_of(origin=form.key, facts=FACTS, versions=versions, known=known)
        return self._store.make("examination", key, fill, check=partial(from_json, Examination)).facts

    def samples_file(self, samples: Samples) -> Path:
        """Where the samples lie as a file that workers can read."""

        def fill(draft: Draft) -> None:
            save_samples(samples, draft.folder / "samples.npz")

        return self._store.make("samples", key_of(samples=samples.digest), fill).folder / "samples.npz"

    def _made(self, kind: str, key: str, fill: Callable[[Draft], None], file: str, signature: str = "") -> Form:
        if key in self._forms:
            return self._forms[key]
        if key in self._failed:  # it would fail again, after as long
            raise self._failed[key]
        try:
            made: Made = self._store.make(kind, key, fill, check=_check_of)
        except (ExportError, LimitError) as error:
            self._failed[key] = error
            raise
        source = Source(made.folder / file, self.model.inputs, self.model.outputs, signature)
        form = Form(key, source, made.reused, made=made.facts)
        self._forms[key] = form
        self.check = _check_of(made.facts) or self.check
        return form

    def _tensorflow(self, form: str) -> Form:
        model = self.model
        if form in ("keras", "tflite") or model.signed:
            # engines of older versions gave the stored integers of a TensorFlow Lite file
            rules = {"rules": MODEL_RULES} if form == "tflite" else {}
            key = key_of(digest=model.digest, form=form, signature=model.signature, **rules)
            source = Source(Path(self.original.path), model.inputs, model.outputs, model.signature)
            return Form(key, source, reused=True)

        def fill(draft: Draft) -> None:
            self._say(f"exporting the {formats.TITLES[model.format]} as a SavedModel")
            into = str(draft.folder / "saved_model")
            self._pool.call(
                "tensorflow", "export_saved_model", progress=self._say, model=to_json(self.original), into=into
            )
            draft.facts = {}

        key = key_of(
            digest=model.digest,
            form="saved_model",
            signature=model.signature,
            versions=[tensorflow_version(), version_of("keras"), str(CONVERSION)],
        )
        return self._made("saved_model", key, fill, "saved_model", KERAS_SIGNATURE)

    def _calibrated(self, form: str, count: int) -> Form:
        """A form with calibration samples beside it, for a backend that quantizes by itself."""
        found = self.get(form)
        samples = self._calibration(count)
        source = replace(found.source, samples=self.samples_file(samples))
        return Form(key_of(form=found.key, samples=samples.digest), source, found.reused)

    def _calibration(self, count: int) -> Samples:
        calibration = self._data.calibration
        if calibration is None:
            given = "none of the data were set aside" if self._data.real else "random inputs were given"
            raise InputError(
                f"INT8 needs real calibration samples, and {given}. "
                + ("Ask for a precision that calibrates." if self._data.real else "Give real data (option --data).")
            )
        return calibration.take(slice(0, count))

    def _onnx(self, form: str, method: Calibration | None, count: int, selection: Selection) -> Form:
        origin = self._exported()
        if form == "fp32":
            return origin
        calibration = self._calibration(count) if form in CALIBRATED_FORMS else None
        if form in (
            "fp16",
            "fp16-modelopt",
            "bf16-modelopt",
        ):  # where there are real samples, they show which results go beyond its range
            calibration = self._data.calibration

        outside = [os.environ.get(modelopt.SETTING, "")] if form.endswith(MODELOPT) else []

        def fill(draft: Draft) -> None:
            self._say(f"rewriting to {form}" + (f" ({method} calibration)" if calibration and method else ""))
            draft.facts = self._pool.call(
                "onnx",
                "rewrite",
                progress=self._say,
                source=str(origin.source.path),
                form=form,
                into=str(draft.folder / "model.onnx"),
                samples=str(self.samples_file(calibration)) if calibration else None,
                method=method,
                quantize=list(selection.quantize),
                keep=list(selection.keep),
            )
            draft.facts |= {"sha256": file_digest(draft.folder / "model.onnx")}

        key = key_of(
            origin=origin.key,
            form=form,
            method=method if calibration else None,
            samples=calibration.digest if calibration else None,
            selection=selection.key,
            versions=[version_of("onnxruntime"), version_of("onnx"), *outside],
        )
        return self._made("onnx", key, fill, "model.onnx")

    def _exported(self) -> Form:
        """The model as ONNX in FP32, compared with its source before anyone uses it."""
        model, data = self.model, self._data

        def fill(draft: Draft) -> None:
            self._say("exporting to ONNX and comparing with the source")
            saved_model = str(self._tensorflow("saved_model").source.path) if model.is_tensorflow else None
            real = data.test.take(slice(0, CHECK_SAMPLES)) if data.real else None
            check = self._pool.call(
                formats.WORKERS.get(model.format, "tensorflow" if model.format == "tflite" else "onnx"),
                "export_onnx",
                progress=self._say,
                model=to_json(self.original),
                saved_model=saved_model,
                samples=str(self.samples_file(real)) if real else None,
                into=str(draft.folder / "model.onnx"),
                batches=self._batches,
            )
            draft.facts = {"check": check}

        versions = [version_of("tf2onnx"), version_of("onnx"), tensorflow_version(), str(CONVERSION)]
        signature = [model.signature, to_json(model.inputs)]
        asked: dict[str, Any] = {"batches": self._batches} if self._batches else {}
        asked |= {"real": data.real, "rules": MODEL_RULES}
        key = key_of(digest=model.digest, signature=signature, form="fp32", versions=versions, **asked)
        return self._made("onnx", key, fill, "model.onnx")

    def _fixed(self, origin: Form, batch: int) -> Form:
        """All axes known: the batch as given, free ones at their usual size."""
        sizes = {spec.name: list(spec.sized(batch)) for spec in self.model.inputs if spec.free_axes}

        def fill(draft: Draft) -> None:
            into = str(draft.folder / "model.onnx")
            self._pool.call("onnx", "fix_batch", source=str(origin.source.path), batch=batch, sizes=sizes, into=into)
            draft.facts = {}

        fixed = self._made("onnx", key_of(origin=origin.key, batch=batch, sizes=sizes), fill, "model.onnx")
        return replace(fixed, made=origin.made, source=replace(fixed.source, samples=origin.source.samples))
