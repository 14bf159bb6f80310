"""From the user's model to what backends build from: opening, exporting and rewriting, each step kept in the store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.data import Dataset, Samples, save_samples
from workbench.errors import InputError
from workbench.machine import version_of
from workbench.models import digest_of, recognize
from workbench.protocols import Source
from workbench.records import Calibration, ExportCheck, Model, from_json, to_json
from workbench.store import Draft, Made, Store, key_of
from workbench.worker import Pool

DEMO = "demo"
KERAS_SIGNATURE = "serving_default"  # the one that Keras' export writes for inference
CHECK_SAMPLES = 16

Say = Callable[[str], None]


def tensorflow_version() -> str:
    return version_of("tensorflow-cpu", "tensorflow")


def demo_model(store: Store, pool: Pool, say: Say) -> Path:
    """Path of the demo's ``.keras`` file, trained on first use (about a minute)."""
    from workbench.demo import recipe_digest

    def fill(draft: Draft) -> None:
        say("training the demo model on 3,200 digits (once, about a minute)")
        draft.facts = pool.call("tensorflow", "train_demo", progress=say, into=str(draft.folder))

    key = key_of(recipe=recipe_digest(), tensorflow=tensorflow_version())
    return store.make("demo", key, fill).folder / "demo.keras"


def read_model(store: Store, pool: Pool, path: str, signature: str = "") -> Model:
    """Open a model: its signature, size and digest.

    Raises:
        InputError: it is missing, damaged, of an unknown format, or cannot be used; the text says what to do.
    """
    kind = recognize(path)
    key = key_of(
        digest=digest_of(path),
        kind=kind,
        signature=signature,
        versions=[tensorflow_version(), version_of("keras"), version_of("onnx")],
    )

    def fill(draft: Draft) -> None:
        name = "onnx" if kind == "onnx" else "tensorflow"
        draft.facts = pool.call(name, "inspect", path=str(Path(path).absolute()), signature=signature)

    facts = store.make("model", key, fill).facts
    where = Path(path).absolute()
    # the facts are those of the content; another copy of it may have another name
    return replace(from_json(Model, facts), path=str(where), name=where.name if where.is_dir() else where.stem)


def open_model(path: str, signature: str = "", *, store: Store | None = None) -> Model:
    """Open a ``.keras`` file, a SavedModel folder or an ``.onnx`` file and say what it is; ``"demo"`` is the built-in one.

    The file is read in a child process, so a damaged one cannot harm the caller. Takes seconds for TensorFlow models.

    Raises:
        InputError: the model cannot be used; the text says why and what to do.
    """
    store = (store or Store()).prepare()
    with Pool(store.log_path, threading.Event()) as pool:
        if path == DEMO:
            path = str(demo_model(store, pool, lambda _: None))
        return read_model(store, pool, path, signature)


@dataclass(frozen=True)
class Form:
    """One prepared form of the model: its key in the store and where it lies."""

    key: str
    source: Source
    reused: bool


class Sources:
    """The prepared forms of one model, each made at first use."""

    def __init__(self, store: Store, pool: Pool, model: Model, data: Dataset, say: Say) -> None:
        self._store, self._pool, self._data, self._say = store, pool, data, say
        self.model = model
        self._forms: dict[str, Form] = {}
        self.check: ExportCheck | None = None

    def get(self, form: str, *, batch: int | None = None, method: Calibration | None = None, samples: int = 0) -> Form:
        """The form that a backend named in ``Backend.source``, with its batch fixed if one is given.

        Raises:
            ExportError, InputError: it cannot be made; the text says why.
        """
        found = self._tensorflow(form) if not form.startswith("onnx:") else self._onnx(form[5:], method, samples)
        if batch is not None and form.startswith("onnx:"):
            found = self._fixed(found, batch)
        return found

    def samples_file(self, samples: Samples) -> Path:
        """Where the samples lie as a file that workers can read."""

        def fill(draft: Draft) -> None:
            save_samples(samples, draft.folder / "samples.npz")

        return self._store.make("samples", key_of(samples=samples.digest), fill).folder / "samples.npz"

    def _made(self, kind: str, key: str, fill: Callable[[Draft], None], file: str, signature: str = "") -> Form:
        if key in self._forms:
            return self._forms[key]
        made: Made = self._store.make(kind, key, fill)
        source = Source(made.folder / file, self.model.inputs, self.model.outputs, signature)
        form = Form(key, source, made.reused)
        self._forms[key] = form
        if isinstance(made.facts, dict) and "check" in made.facts:
            self.check = from_json(ExportCheck, made.facts["check"])
        return form

    def _tensorflow(self, form: str) -> Form:
        model = self.model
        if form == "keras" or model.format == "saved_model":
            key = key_of(digest=model.digest, form=form, signature=model.signature)
            source = Source(Path(model.path), model.inputs, model.outputs, model.signature)
            return Form(key, source, reused=True)

        def fill(draft: Draft) -> None:
            self._say("exporting the Keras model as a SavedModel")
            into = str(draft.folder / "saved_model")
            self._pool.call("tensorflow", "export_saved_model", progress=self._say, keras=model.path, into=into)
            draft.facts = {}

        key = key_of(digest=model.digest, form="saved_model", tensorflow=tensorflow_version())
        return self._made("saved_model", key, fill, "saved_model", KERAS_SIGNATURE)

    def _onnx(self, form: str, method: Calibration | None, count: int) -> Form:
        origin = self._exported()
        if form == "fp32":
            return origin
        calibration = None
        if form.startswith("int8"):
            calibration = self._data.calibration
            if calibration is None:
                raise InputError(
                    "INT8 needs real calibration samples, and none were given. Give data as an .npz file with "
                    "the model's inputs (option --data)."
                )
            calibration = calibration.take(slice(0, count))

        def fill(draft: Draft) -> None:
            self._say(f"rewriting to {form}" + (f" ({method} calibration)" if calibration else ""))
            draft.facts = self._pool.call(
                "onnx",
                "rewrite",
                progress=self._say,
                source=str(origin.source.path),
                form=form,
                into=str(draft.folder / "model.onnx"),
                samples=str(self.samples_file(calibration)) if calibration else None,
                method=method,
            )

        key = key_of(
            origin=origin.key,
            form=form,
            method=method if calibration else None,
            samples=calibration.digest if calibration else None,
            versions=[version_of("onnxruntime"), version_of("onnxconverter-common"), version_of("onnx")],
        )
        return self._made("onnx", key, fill, "model.onnx")

    def _exported(self) -> Form:
        """The model as ONNX in FP32, compared with its source before anyone uses it."""
        model, data = self.model, self._data

        def fill(draft: Draft) -> None:
            into = str(draft.folder / "model.onnx")
            if model.format == "onnx":
                self._pool.call("onnx", "copy_onnx", progress=self._say, model=to_json(model), into=into)
                draft.facts = {}
                return
            self._say("exporting to ONNX and comparing with the source")
            saved_model = self._tensorflow("saved_model").source
            asked = replace(model, signature=saved_model.signature)
            check = self._pool.call(
                "tensorflow",
                "export_onnx",
                progress=self._say,
                saved_model=str(saved_model.path),
                model=to_json(asked),
                samples=str(self.samples_file(data.test.take(slice(0, CHECK_SAMPLES)))),
                real=data.real,
                into=into,
            )
            draft.facts = {"check": check}

        versions = [version_of("tf2onnx"), version_of("onnx"), tensorflow_version()]
        key = key_of(digest=model.digest, signature=model.signature, form="fp32", real=data.real, versions=versions)
        return self._made("onnx", key, fill, "model.onnx")

    def _fixed(self, origin: Form, batch: int) -> Form:
        def fill(draft: Draft) -> None:
            into = str(draft.folder / "model.onnx")
            self._pool.call("onnx", "fix_batch", source=str(origin.source.path), batch=batch, into=into)
            draft.facts = {}

        return self._made("onnx", key_of(origin=origin.key, batch=batch), fill, "model.onnx")
