"""A run in an MLflow store: parameters, metrics with their intervals, figures, report and plan.

MLflow is imported when a run is tracked, because the import takes seconds. Its reports of usage are off
(:mod:`workbench.system.telemetry`). The store is an SQLite file in the workbench's store unless MLflow's own variable
MLFLOW_TRACKING_URI names another one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief, optional
from workbench.records import Results, to_json
from workbench.report.document import document
from workbench.settings.experiment import Experiment
from workbench.store import Store

FIX = "pip install 'inference-workbench[mlflow]'"
URI = "MLFLOW_TRACKING_URI"
_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]")
MOST_CHARACTERS = 6000
"""Of a parameter; MLflow refuses longer ones."""


def check() -> None:
    """Find out before a run whether it can be tracked.

    Raises:
        MissingPackageError: MLflow or what its SQLite store needs is not installed.
    """
    for name in ("mlflow", "sqlalchemy", "alembic"):
        optional(name, FIX)


def track(results: Results, experiment: Experiment, store: Store, files: Sequence[Path] = ()) -> str:
    """Write one run, and one nested run for each row of its results; returns where, in words.

    Raises:
        InputError: MLflow refused it; the text has its reason.
        MissingPackageError: as :func:`check`.
    """
    check()
    mlflow: Any = optional("mlflow", FIX)
    where = os.environ.get(URI) or f"sqlite:///{store.root.absolute() / 'mlflow.db'}"
    found = document(results)
    try:
        client = mlflow.MlflowClient(tracking_uri=where)
        place = _experiment(client, results.model.name, store)
        with _run(client, place, results.run or results.model.name, _tags(results)) as run:
            _parameters(client, run, experiment.parameters())
            for row in found["rows"]:
                _row(client, place, run, row)
            _artefacts(client, run, results, experiment, store, files)
    except Exception as cause:  # mlflow raises errors of its own, of SQLAlchemy and of the network
        raise InputError(f"MLflow did not take the run ({where}): {brief(cause)}. Check {URI}.") from cause
    return f"MLflow: experiment '{results.model.name}', run {run} in {where}"


def _experiment(client: Any, name: str, store: Store) -> str:
    """The id of the experiment of this name; its files lie in the workbench's store where MLflow's is there too."""
    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    own = None if os.environ.get(URI) else (store.root.absolute() / "mlflow").as_uri()
    return str(client.create_experiment(name, artifact_location=own))


@contextmanager
def _run(client: Any, place: str, name: str, tags: dict[str, str]) -> Iterator[str]:
    run = client.create_run(place, run_name=name, tags=tags).info.run_id
    try:
        yield str(run)
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)


def _tags(results: Results) -> dict[str, str]:
    return {
        "workbench.run": results.run,
        "model": results.model.name,
        "model_sha256": results.model.digest,
        "machine": results.machine.label,
        "data": results.data,
        "baseline": results.baseline,
    }


def _parameters(client: Any, run: str, given: dict[str, Any]) -> None:
    for name, value in given.items():
        client.log_param(run, name, str(value)[:MOST_CHARACTERS])


def _row(client: Any, place: str, parent: str, row: dict[str, Any]) -> None:
    """A nested run with the row's metrics; the parent has them too, under the row's name."""
    tags = {"mlflow.parentRunId": parent, "status": row["status"], "device": row["device"]}
    tags |= {"verdict": row["speedup"]["verdict"]} if row["speedup"] else {}
    tags |= {"failure": row["failure"]["message"]} if row["failure"] else {}
    name = _NOT_IN_NAMES.sub(" ", f"{row['variant']} batch {row['batch']}")
    with _run(client, place, row["row"], tags) as run:
        _parameters(client, run, {each: row[each] for each in ("variant", "backend", "asked", "batch", "threads")})
        for metric, value in metrics(row).items():
            client.log_metric(run, metric, value)
            client.log_metric(parent, f"{name}/{metric}", value)


def metrics(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of ``workbench run --json``, intervals as ``_low`` and ``_high``; what is not known is left out."""
    timing, speedup, accuracy = (row[name] or {} for name in ("timing", "speedup", "accuracy"))
    engine = row["engine"] or {}
    ends = ("", "_low", "_high")
    found = {
        **{name: timing.get(name) for name in ("p50_s", "p90_s", "p95_s", "p99_s", "samples_per_s")},
        **{f"speedup{end}": speedup.get(end[1:] or "ratio") for end in ends},
        **{f"accuracy{end}": accuracy.get(end[1:] or "value") for end in ends},
        **{f"{name}{end}": accuracy.get(f"{name}{end}") for name in ("loss", "agreement") for end in ends},
        **{name: engine.get(name) for name in ("size_bytes", "build_s")},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _artefacts(
    client: Any, run: str, results: Results, experiment: Experiment, store: Store, files: Sequence[Path]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _write_json(folder / "results.json", document(results))
        _write_json(folder / "plan.json", _plan(experiment, store))
        for name, figure in results.figures().items():
            figure.savefig(folder / f"{name}.png", dpi=120)
        for file in (*sorted(folder.iterdir()), *files):
            client.log_artifact(run, str(file), "figures" if file.suffix == ".png" else None)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _plan(experiment: Experiment, store: Store) -> list[dict[str, Any]]:
    from workbench.runs import pipeline

    found = pipeline.run(experiment, store=store, dry_run=True)
    return [{**to_json(step), "state": str(state)} for step, state in zip(found.plan.steps, found.states, strict=True)]
