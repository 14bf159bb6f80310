"""What steps do: each function fills one draft of the store by a task in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from workbench.conformance.examination import Examination
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples, save_samples
from workbench.errors import InputError
from workbench.models import formats
from workbench.plan.forms import examined_key
from workbench.plan.subject import CHECK_SAMPLES, FILE_SAMPLES, Subject
from workbench.protocols import TF_WORKER
from workbench.records import ExportCheck, Model, from_json, to_json
from workbench.runs import conformance
from workbench.runs.engines import Means
from workbench.store import Draft, file_digest

SAMPLES, ONNX = "samples.npz", "model.onnx"


def check_of(facts: Any) -> ExportCheck | None:
    """What the facts of a prepared model say about its export; ``None`` where they say nothing."""
    return from_json(ExportCheck, facts["check"]) if isinstance(facts, dict) and "check" in facts else None


def write_samples(samples: Samples, draft: Draft) -> None:
    """Write samples as a file that workers can read."""
    save_samples(samples, draft.folder / SAMPLES)


def samples_of(data: Dataset, part: str, count: int) -> Samples:
    """The samples that a plan names: see :func:`workbench.plan.forms.samples_step`.

    Raises:
        InputError: calibration samples, of which the data have none.
    """
    first = {"test": None, "check": CHECK_SAMPLES, "scored": FILE_SAMPLES}
    if part in first:
        return data.test if first[part] is None else data.test.take(slice(0, first[part]))
    if data.calibration is None:
        raise InputError("Calibration samples are needed, and the data have none. Give real data (option --data).")
    return data.calibration.take(slice(0, count)) if part == "ranges" else data.calibration


def export_saved_model(means: Means, model: Model, draft: Draft) -> None:
    """Write the model as a SavedModel."""
    means.say(f"exporting the {formats.TITLES[model.format]} as a SavedModel")
    into = str(draft.folder / "saved_model")
    means.pool.call(TF_WORKER, "export_saved_model", progress=means.say, model=to_json(model), into=into)
    draft.facts = {}


def export(means: Means, model: Model, draft: Draft, asked: Mapping[str, Any]) -> None:
    """Write the model as ONNX in FP32 and compare it with its source; ``asked`` as in :func:`rewrite`."""
    if model.format in formats.CONVERTED_BY_TENSORFLOW:
        formats.check_tensorflow(f"Converting a {formats.TITLES[model.format]} to ONNX", "run it with LiteRT")
    means.say("exporting to ONNX and comparing with the source")
    into, worker = str(draft.folder / ONNX), formats.exports_in(model.format)
    check = means.pool.call(worker, "export_onnx", progress=means.say, model=to_json(model), into=into, **asked)
    draft.facts = {"check": check}


def rewrite(means: Means, what: str, draft: Draft, asked: Mapping[str, Any]) -> None:
    """Rewrite an ONNX file to a lower precision; ``asked`` holds the arguments of the child's task besides its output."""
    means.say(f"rewriting {what}")
    into = draft.folder / ONNX
    draft.facts = means.pool.call("onnx", "rewrite", progress=means.say, into=str(into), **asked)
    draft.facts |= {"sha256": file_digest(into)}


def examination(means: Means, subject: Subject, onnx: Path) -> Any:
    """What the graph of an ONNX file is made of: ``Examination`` as JSON, from the store where it has it."""
    store = means.store

    def fill(draft: Draft) -> None:
        means.say("examining the graph")
        draft.facts = means.pool.call(
            "onnx",
            "examine",
            progress=means.say,
            path=str(onnx),
            model=to_json(subject.model),
            results=[str(folder) for folder in conformance.result_folders(store)],
        )

    key = examined_key(subject, conformance.known_files(store))
    return store.make("examination", key, fill, check=partial(from_json, Examination)).facts
