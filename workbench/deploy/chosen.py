"""Find a row of a run in the store, with all that a deployment takes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.accuracy.by_sample import load_outputs
from workbench.accuracy.guard import Guard, Judgement, disagreement, judgement
from workbench.backends.base import Deployable
from workbench.compare.kept_runs import Cell, read
from workbench.data.samples import Samples, load_samples
from workbench.errors import InputError
from workbench.plan.scoring import batch_in_key, outputs_key
from workbench.records import EngineRecord, Machine, Model, Result, Timing
from workbench.runs.archive import find, runs
from workbench.runs.scoring import FILE
from workbench.runs.steps import SAMPLES
from workbench.runs.timings import recall_timing
from workbench.runs.whole import KIND
from workbench.store import Store, key_of

if TYPE_CHECKING:
    import numpy as np

GONE = "was removed from the store. Run the experiment again, which makes only what is missing"


@dataclass(frozen=True)
class Chosen:
    """A measured row, the folder of its engine, and the samples with its answers."""

    run: str
    row: Result  # with every duration
    timings: tuple[Timing, ...]  # of the same variant in the same run, ascending by batch
    model: Model
    machine: Machine
    about: dict[str, Any]  # what the run noted of itself
    judged: Judgement | None  # against the accuracy budget; None: nothing is judged
    samples: Samples
    outputs: dict[str, np.ndarray]  # the engine's, by name, first axis = sample
    engine: Path
    origin: Path  # the prepared model

    @property
    def record(self) -> EngineRecord:
        assert self.row.engine is not None
        return self.row.engine


def chosen(run: str, variant: str, batch: int | None, store: Store, *, over_budget: bool = False) -> Chosen:
    """The row of a run, found by the variant's name and the batch; each may be left out ("", ``None``) where there is only one.

    Args:
        run: the name of a run, or the end of one, or "latest".
        variant: as in the tables, "onnxruntime int8". Of a variant that was built several times the fastest build is taken, or the one that is
            named, "tensorrt fp16 build 2".
        batch: one that was measured.
        store: where the run is.
        over_budget: take a variant also where it is over the accuracy budget.

    Raises:
        InputError: the row does not exist, is over its budget or cannot be deployed, or parts of it are missing from the store.

    """
    known = runs(store)
    name = find(run, known)
    kept, about = read(name, store), (store.facts(KIND, name) or {})["about"]
    row = _row([cell.result for cell in kept.cells], fastest_build(kept.cells, variant), batch, name)
    judged = judgement(row, (about["parameters"] or {}).get("budget", ""))
    if not over_budget:
        _check_accuracy(row, judged)
    _check_deployable(row)
    engine = row.engine
    assert engine is not None
    timings = _timings(about.get("used", ()), engine.key, store)
    own = next(
        (one for one in timings if one.batch == row.batch and row.timing and one.group == row.timing.group), None
    )
    folder = store.find("engine", engine.key)
    if own is None or folder is None:
        raise InputError(f"The {'timing' if folder else 'engine'} of {row.row} {GONE}.")
    found_model, samples = _model(about, store), _samples(about, store)
    key = outputs_key(engine.key, about["tested"], _together(found_model, row, kept.cells))
    place = store.find("outputs", key)
    if place is None:
        raise InputError(f"The answers of {row.row} to the test samples {GONE}.")
    origin = store.root / engine.origin
    if not origin.exists():
        raise InputError(f"The model that {row.row} was built from {GONE}.")
    outputs, row = load_outputs(place / FILE), replace(row, timing=own)
    return Chosen(
        name, row, timings, found_model, kept.machine, about, judged, samples, outputs, folder, origin,
    )  # fmt: skip


def fastest_build(cells: Sequence[Cell], variant: str) -> str:
    """The label of a variant's fastest build, where it was built several times; else ``variant``.

    The fastest has the smallest geometric mean of the medians at all batch sizes that any of the builds was measured at.
    """
    times: dict[str, dict[int, float]] = {}
    for cell in cells:
        spec = cell.result.spec
        if spec.build and cell.median_s and variant in (spec.variant, replace(spec, build=0).label):
            times.setdefault(spec.label, {})[cell.result.batch] = cell.median_s
    batches = {batch for found in times.values() for batch in found}
    means = {label: math.prod(found.values()) for label, found in times.items() if set(found) == batches}
    return min(means, key=lambda label: means[label]) if means else variant


def _row(rows: list[Result], variant: str, batch: int | None, run: str) -> Result:
    if not rows:
        raise InputError(f"The run {run} measured nothing. Choose another (workbench history --runs lists them).")
    variants = list(dict.fromkeys(row.spec.label for row in rows))
    if not variant and len(variants) == 1:
        variant = variants[0]
    if variant not in variants:
        asked = f"has no measured variant '{variant}'" if variant else "has several variants"
        raise InputError(f"The run {run} {asked}. Set --variant to one of: {', '.join(variants)}.")
    found = {row.batch: row for row in rows if row.spec.label == variant}
    if batch is None and len(found) == 1:
        return next(iter(found.values()))
    if batch not in found:
        asked = f"was not measured at batch {batch}" if batch is not None else "was measured at several batches"
        raise InputError(f"'{variant}' {asked}. Set --batch to one of: {', '.join(map(str, sorted(found)))}.")
    return found[batch]


def _check_accuracy(row: Result, judged: Judgement | None) -> None:
    problem = disagreement(row)
    if judged is not None and judged.verdict == Guard.OVER:
        problem = f"it is over the accuracy budget ({judged})"
    if problem:
        raise InputError(
            f"{row.row} is not deployed: {problem}. Choose another variant, or add --over-budget to take it all the same."
        )


def _check_deployable(row: Result) -> None:
    spec = row.spec
    if spec.environment:
        raise InputError(
            f"{row.row} runs in another Python ('{spec.environment}'). Run the experiment in that Python and deploy from there."
        )
    backend = backends.get(spec.backend)
    if not isinstance(backend, Deployable):
        able = ", ".join(name for name in backends.names() if isinstance(backends.get(name), Deployable))
        raise InputError(f"Engines of {backend.title} cannot be deployed. Choose a variant of {able}.")
    found = backend.deploys(spec)
    if not found:
        raise InputError(f"{row.row} cannot be deployed: {found.reason}; {found.fix}.")


def _timings(used: list[str], engine: str, store: Store) -> tuple[Timing, ...]:
    """Those of an engine among what a run used, one for each batch and group, ascending by batch."""
    found = []
    for name in used:
        kind, _, key = name.partition("/")
        # the manifest alone says whose timing it is; its file of durations is read for this engine only
        seen = store.peek(kind, key) if kind == "timing" else None
        if seen is not None and seen.facts["timing"]["engine_key"] == engine and (timing := recall_timing(store, key)):
            found.append(timing)
    return tuple(sorted(found, key=lambda one: (one.batch, one.measured_at)))


def _model(about: dict[str, Any], store: Store) -> Model:
    for name in about.get("used", ()):
        kind, _, key = name.partition("/")
        found = store.record("model", key, Model) if kind == "model" else None
        if found is not None and found.digest == about["digest"]:
            return found
    raise InputError(f"The description of the model {GONE}.")


def _samples(about: dict[str, Any], store: Store) -> Samples:
    place = store.find("samples", key_of(samples=about["tested"]))
    if place is None:
        raise InputError(f"The test samples were {GONE.removeprefix('was ')}.")
    return load_samples(place / SAMPLES)


def _together(model: Model, row: Result, cells: Any) -> int:
    """The batch that the outputs were made at, where a sample's answer depends on the others (:func:`batch_in_key`)."""
    return batch_in_key(model, row.spec, {cell.result.batch for cell in cells})
