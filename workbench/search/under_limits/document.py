"""A result of a search as plain values, which the command prints as JSON and the process of a search writes for the panel."""

from __future__ import annotations

import math
from typing import Any

from workbench.search.under_limits.find import Finalist, SearchResult
from workbench.search.under_limits.loop import SearchStep


def document(result: SearchResult) -> dict[str, Any]:
    """The document of the schema ``search``; ``null`` stands for a limit that was not given and for what is not known."""
    limits = result.wanted
    return {
        "objective": limits.objective,
        "latency_limit_s": _finite(limits.latency_s),
        "memory_limit_bytes": _finite(limits.memory_bytes),
        "points": len(result.points),
        "budget": result.budget,
        "steps": [_step(step, result) for step in result.steps],
        "refused": [{"backend": pair[0], "precision": pair[1], "why": why} for pair, why in result.refused.items()],
        "unsure": [{"backend": pair[0], "precision": pair[1], "why": why} for pair, why in result.unsure.items()],
        "left_out": [{"variant": label, "why": why} for label, why in result.left_out.items()],
        "accuracy": [
            {"backend": pair[0], "precision": pair[1], "score": score} for pair, score in result.accuracy.items()
        ],
        "front": [result.points[step.place].name for step in result.front],
        "finalists": [_finalist(each, result) for each in result.finalists],
        "best": result.best.name if result.best else None,
        "shown_within_budget": result.shown.name if result.shown else None,
        "parameters": result.experiment.changes() if result.experiment else None,
        "missed": result.missed,
        "cancelled": result.cancelled,
        "note": result.note,
        "wall_s": result.wall_s,
    }


def _finite(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None


def _step(step: SearchStep, result: SearchResult) -> dict[str, Any]:
    point, measured = result.points[step.place], step.measured
    known = measured.call_s is not None
    return {
        "point": point.name,
        "backend": point.spec.address,
        "precision": point.spec.asked,
        "batch": point.batch,
        "threads": point.spec.threads,
        "streams": point.spec.streams,
        "why": step.why,
        "call_s": measured.call_s,
        "low_s": measured.low_s,
        "high_s": measured.high_s,
        "samples_per_s": measured.samples_per_s if known else None,
        "joules": measured.joules,
        "memory_bytes": measured.memory_bytes if known else None,
        "holds": measured.holds(result.wanted),
        "reused": measured.reused,
        "problem": measured.problem,
    }


def _finalist(each: Finalist, result: SearchResult) -> dict[str, Any]:
    one = each.verdict
    return {
        "point": result.points[each.step.place].name,
        "speedup": one.speedup if one else None,
        "low": one.low if one else None,
        "high": one.high if one else None,
        "verdict": str(one.verdict) if one else None,
        "why": one.why if one else "",
    }
