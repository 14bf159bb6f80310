"""Write a deployment: a folder that is complete or not there."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.accuracy.score import score_text
from workbench.backends.base import Deployable, Deployed
from workbench.deploy.chosen import Chosen, chosen
from workbench.deploy.metrics import metrics
from workbench.deploy.preprocessing import preprocessing
from workbench.deploy.readme import readme
from workbench.deploy.reference import check_tensors, drift_reference, reference, tolerance
from workbench.deploy.source import ReferenceModel, copy_files, requirement, source_of
from workbench.deploy.triton import config, queue_of
from workbench.errors import BuildError, InputError, RunError, brief, writing
from workbench.locks.scratch import Held, Scratch
from workbench.records import Deployment, Measured, Timing, from_json, to_json
from workbench.runs.archive import LATEST
from workbench.store import Store, file_digest
from workbench.store.arrays import write_npz
from workbench.system.machine import version_of

LOG = logging.getLogger(__name__)
RECORD, CONFIG, DRIFT = "deployment.json", "config.pbtxt", "drift.npz"
SERVING_FILES = ("model.py", "counting.py", "watching.py")
"""What Triton runs of a deployment, beside its runner."""
SCHEMA = "workbench/deployment/1"
OPTION = "argument DIR"
CHECK_S = 600
UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


def deploy(
    folder: Path,
    *,
    run: str = LATEST,
    variant: str = "",
    batch: int | None = None,
    store: Store | str | Path | None = None,
    over_budget: bool = False,
) -> Deployment:
    """Write the deployment of a measured row to ``folder``, after its answers were checked in another process.

    Args:
        folder: a new or empty folder.
        run: the name of a run in the store, the end of one, or "latest".
        variant: the variant's name as in the tables; may be left out where the run has one.
        batch: a batch size that was measured; may be left out where there is one.
        store: the store, or the path of one.
        over_budget: also where the variant is over the accuracy budget.

    Raises:
        InputError: the row does not exist or cannot be deployed, or ``folder`` holds files.
        StoreError: the folder cannot be written.
        RunError: the deployed model does not give the answers of the engine that was measured. Nothing is left behind.

    Example::

        deploy(Path("digits"), variant="onnxruntime int8", batch=8)

    """
    place = Store.of(store)
    check_new(folder)
    found = chosen(run, variant, batch, place, over_budget=over_budget)
    check_tensors(found)
    LOG.info("deploying %s of the run %s", found.row.row, found.run)
    with place.in_use("deploying an engine"), _new(folder) as draft, Scratch() as scratch:
        made = _fill(found, source_of(found, place, scratch / "source"), draft, scratch / "engine")
        LOG.info("checking the answers of the deployed model")
        check_answers(draft, made)
    return made


def read(folder: Path) -> Deployment:
    """The record of the deployment in ``folder``, whose files are as they were written.

    Raises:
        InputError: there is none, or it is damaged; the text names the file.
    """
    try:
        document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise InputError(
            f"'{folder}' is not a deployment: its {RECORD} cannot be read ({brief(cause, 120)}). Make one with workbench deploy."
        ) from cause
    if document.pop("schema", "") != SCHEMA:
        raise InputError(f"'{folder}' was deployed by another version of the workbench. Deploy it again.")
    try:
        found = from_json(Deployment, document)
    except Exception as cause:  # cattrs raises groups of whatever the fields raise
        raise InputError(f"{folder / RECORD} is damaged ({brief(cause, 120)}). Deploy it again.") from cause
    for name, digest in found.files.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            state = "is missing" if not path.is_file() else "is not as it was deployed"
            raise InputError(f"'{name}' of the deployment '{folder}' {state}. Deploy it again.")
    return found


def version_folder(folder: Path, name: str) -> Path:
    """The folder with the model's files."""
    return folder / "repository" / name / "1"


def check_new(folder: Path) -> None:
    """Refuse a folder that holds anything, and a path that is not one.

    Raises:
        InputError: it is a file, or a folder that is not empty.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"'{folder}' is not a folder. Give the path of a new one.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"The folder '{folder}' is not empty. Give the path of a new one, or remove it.")


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its place at the end; on any error nothing is left."""
    target = folder.absolute()
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")

    def made() -> Path:
        draft.mkdir(parents=True)
        return draft

    with writing(folder, OPTION):
        held = Held(made)
    try:
        with writing(folder, OPTION):
            yield draft
            draft.rename(target)  # replaces an empty folder, and no other
    finally:
        held.remove()


def _fill(chosen: Chosen, source: ReferenceModel | None, draft: Path, scratch: Path) -> Deployment:
    backend = backends.get(chosen.row.spec.backend)
    assert isinstance(backend, Deployable)
    scratch.mkdir()
    parts = backend.deployed(chosen.engine, chosen.record, chosen.origin, scratch)
    made = _with_source(_record(chosen, parts), source)
    inner = version_folder(draft, made.name)
    inner.mkdir(parents=True)
    copy_files(parts.files, inner)
    own = resources("workbench.deploy.files")
    texts = {
        inner / "runner.py": backend.runner.read_text(encoding="utf-8"),
        **{inner / name: own.joinpath(name).read_text(encoding="utf-8") for name in SERVING_FILES},
        inner / "options.json": _json(
            served_options(made) | {"metrics": metrics(chosen), "source": source.options() if source else None}
        ),
        inner.parent / CONFIG: config(made),
        draft / "selftest.py": own.joinpath("selftest.py").read_text(encoding="utf-8"),
        draft / "preprocessing.json": _json(preprocessing(chosen)),
        draft / "README.md": readme(made, parts),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    if source:
        source.write(inner)
    for name, arrays in (("reference.npz", reference(chosen)), (DRIFT, drift_reference(chosen))):
        with (draft / name).open("wb") as file:
            write_npz(file, arrays)
    written = sorted(path for path in draft.rglob("*") if path.is_file())
    made = replace(made, files={path.relative_to(draft).as_posix(): file_digest(path) for path in written})
    (draft / RECORD).write_text(_json({"schema": SCHEMA, **to_json(made)}), encoding="utf-8")
    return made


def _with_source(made: Deployment, source: ReferenceModel | None) -> Deployment:
    if source is None:
        return made
    packages = tuple(dict.fromkeys([*made.packages, source.package]))
    return replace(made, source=source.row.spec.label, source_backend=source.row.spec.backend, packages=packages)


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def served_options(made: Deployment) -> dict[str, Any]:
    """What ``model.py`` reads beside itself."""
    return {
        "inputs": [spec.name for spec in made.inputs],
        "outputs": [spec.name for spec in made.outputs],
        "batched": made.queue.max_batch > 0,
        "fixed_batch": made.fixed_batch,
        "options": made.options,
    }


def _record(chosen: Chosen, parts: Deployed) -> Deployment:
    row, record, model = chosen.row, chosen.record, chosen.model
    accuracy = row.accuracy
    budget = (chosen.about["parameters"] or {}).get("budget", "")
    return Deployment(
        name=UNFIT.sub("_", model.name).strip("_") or "model",
        model=model.name,
        model_sha256=model.digest,
        run=chosen.run,
        variant=row.spec.label,
        batch=row.batch,
        backend=row.spec.backend,
        asked=row.spec.asked,
        built=record.realized.label,
        library=record.library,
        library_version=record.library_version,
        packages=(requirement(record), f"numpy=={version_of('numpy')}"),
        inputs=model.inputs,
        outputs=model.outputs,
        fixed_batch=row.spec.batch or model.fixed_batch,
        options=dict(parts.options),
        measured=_measured(chosen.timings, row.timing),
        queue=queue_of(row, chosen.timings, model, chosen.machine.cores),
        machine=chosen.machine,
        accuracy=score_text(accuracy) if accuracy else "",
        budget=f"{budget}, {chosen.judged}" if chosen.judged else "",
        tolerance=tolerance(row.spec.precision),
        bound=parts.bound,
        agreement=accuracy.agreement if accuracy else None,
    )


def _measured(timings: tuple[Timing, ...], chosen_timing: Timing | None) -> tuple[Measured, ...]:
    """One for each batch: of the row's own timing, and of the newest of the others."""
    by_batch = {one.batch: one for one in timings}
    if chosen_timing is not None:
        by_batch[chosen_timing.batch] = chosen_timing
    return tuple(_times(one) for _, one in sorted(by_batch.items()))


def _times(timing: Timing) -> Measured:
    known = {f"p{percent}": timing.percentile_s(percent) for percent in (50, 90, 95, 99)}
    return Measured(
        batch=timing.batch,
        median_s=timing.median_s,
        samples_per_s=timing.samples_per_s,
        block_medians_s=tuple(block.typical_ns(alone=timing.alone) * 1e-9 for block in timing.counted),
        percentiles_s={name: value for name, value in known.items() if value is not None},
        launches=max(1, len(timing.launches)),
        measured_at=timing.measured_at,
    )


def check_answers(folder: Path, made: Deployment) -> dict[str, Any]:
    """Run the deployment's own self-test of its answers in another process; what it found.

    Raises:
        RunError: the answers are not those of the engine that was measured, or the model does not run.
    """
    command = [sys.executable, "-B", str(folder / "selftest.py"), "--answers", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"The self-test of {made.variant} did not end within {CHECK_S} s.") from None
    try:
        found: dict[str, Any] = json.loads(done.stdout)["answers"]
    except (ValueError, KeyError):
        reason = brief(BuildError((done.stderr.strip().splitlines() or ["no reason was given"])[-1]), 300)
        raise RunError(f"The deployed model of {made.variant} does not run: {reason}", log=done.stderr) from None
    if not found["right"]:
        raise RunError(
            f"The deployed model of {made.variant} does not give the answers of the engine that was measured: they differ by up to "
            f"{found['largest_difference']:.2g} of the largest value, and {made.tolerance:.2g} is accepted. Was the library changed "
            "since? Run the experiment again."
        )
    return found
