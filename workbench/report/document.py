"""The results of a run as one JSON document, for other programs. ``docs/cli.md`` describes each field.

Values are in SI units with the unit in the name; what is not known is null. Fields are only added while the schema's version stays.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workbench.accuracy.guard import judgement
from workbench.compare.advice import advice, budget_held, recommended
from workbench.compare.pairs import comparison

if TYPE_CHECKING:
    from workbench.records import ClusterWorker, Machine, Model, Result, Results, Row, Timing

WORK = ("built", "reused_builds", "measured", "reused_timings", "scored", "reused_scores", "wall_s")
ACCURACY = (
    "metric", "samples", "value", "low", "high", "higher_is_better", "source_value", "loss", "loss_low", "loss_high", "agreement",
    "agreement_low", "agreement_high", "max_abs_diff",
)  # fmt: skip
PERCENTS = (50, 90, 95, 99)
"""Of a run's work and of a score: fields of the document that are attributes of the records."""


def document(results: Results) -> dict[str, Any]:
    """The run: model, machine, one entry for each row with times, verdict and accuracy, and what is recommended."""
    compared = comparison(results) if results.measured else None
    verdicts = {row.result.row: row for row in compared.rows} if compared else {}
    refused = dict(compared.refused) if compared else {}
    found: dict[str, Any] = {
        "run": results.run,
        "model": model(results.model),
        "machine": machine(results.machine),
        "data": results.data,
        "baseline": compared.baseline if compared else results.baseline,
        "budget": results.budget,
        "rows": [_row(row, results, verdicts.get(row.row), refused.get(row.row, "")) for row in results.rows],
        "recommended": [
            {"batch": batch, "row": best.row.row, "cannot_be_told_from": [row.row for row in best.ties]}
            for batch, best in recommended(results).items()
        ],
        "advice": list(advice(results)),
        "warnings": list(results.warnings),
        "notes": list(results.notes),
        "work": fields(results.tally, *WORK),
    }
    finished: dict[str, Any] = finite(found)
    return finished


def fields(record: object, *names: str) -> dict[str, Any]:
    """These attributes of a record by their names; null each where there is no record."""
    return {name: None if record is None else getattr(record, name) for name in names}


def model(model: Model) -> dict[str, Any]:
    """What identifies a model."""
    found = fields(model, "path", "name", "format") | {"sha256": model.digest}
    return found | fields(model, "parameters", "size_bytes")


def machine(machine: Machine) -> dict[str, Any]:
    """What identifies a machine."""
    found = fields(machine, "cpu", "cores") | {"instructions": list(machine.instructions)}
    return found | fields(machine, "memory_bytes", "gpu", "system", "python")


def finite(value: Any) -> Any:
    """The value with null in place of numbers that JSON has no form for: infinity and NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value


def _row(row: Result, results: Results, verdict: Row | None, refused: str) -> dict[str, Any]:
    engine, failure, judged = row.engine, row.failure, judgement(row, budget_held(results))
    return {
        "row": row.row,
        "variant": row.spec.label,
        "backend": row.spec.address,
        "asked": row.spec.asked,
        "batch": row.batch,
        "threads": row.spec.threads,
        "status": str(row.status),
        "device": row.device,
        "engine": {
            **fields(engine, "key", "library", "library_version"),
            "built": engine.realized.label,
            **fields(engine, "size_bytes", "build_s"),
        }
        if engine
        else None,
        "timing": _timing(row.timing, reused=row.reused) if row.timing else None,
        "speedup": {
            "ratio": verdict.speedup,
            **fields(verdict, "low", "high"),
            "verdict": str(verdict.verdict),
            "why": verdict.why or verdict.note,
        }
        if verdict
        else None,
        "not_compared": refused,
        "accuracy": fields(row.accuracy, *ACCURACY) if row.accuracy else None,
        "budget": str(judged.verdict) if judged else None,
        "worker": _worker(row.worker) if row.worker else None,
        "failure": {"step": failure.step, "message": failure.message, "repeat": failure.repro} if failure else None,
    }


def _worker(worker: ClusterWorker) -> dict[str, Any]:
    known = fields(worker, "name", "host", "fingerprint") | {"labels": list(worker.labels)}
    return known | {"devices": worker.devices, "machine": machine(worker.machine)}


def _timing(timing: Timing, *, reused: bool) -> dict[str, Any]:
    percentiles = {f"p{percent}_s": timing.percentile_s(percent) for percent in PERCENTS}
    missing = {f"p{percent}_s": why for percent in PERCENTS if (why := timing.no_percentile(percent))}
    known = percentiles | {"percentiles_missing": missing} | fields(timing, "samples_per_s", "measured_at")
    return {"region": str(timing.region), **known, "reused": reused}
