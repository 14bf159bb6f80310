"""What each variant loses by class and by group of samples, as rows of values: the worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.accuracy.guard import part_over

if TYPE_CHECKING:
    from workbench.records import PartLoss, Results

NAMES = ("variant", "by", "name", "samples", "source", "engine", "loss", "low", "high", "over budget")


def loss_rows(results: Results) -> list[dict[str, Any]]:
    """One row per variant and class or group, those that lose most first.

    "by" is "class", "label" or the column that names groups; "source" and "engine" are recall (by class) or the metric (by group),
    in percent for shares; "loss" is their difference, more is worse, with a simultaneous 95 % interval ("low", "high"): all
    intervals of one variant and one "by" hold together (Bonferroni). "over budget" says that the whole interval lies above what
    may be lost.
    """
    rows = []
    seen: set[str] = set()
    for row in results.rows:
        score = row.accuracy
        if score is None or row.spec.label in seen:
            continue
        seen.add(row.spec.label)
        for part in score.by:
            scale = 100 if part.share else 1
            numbers = (part.source_value, part.value, part.loss, part.low, part.high)
            scaled = [None if number is None else scale * number for number in numbers]
            over = part_over(part, score, results.budget)
            cells = (row.spec.label, part.by, part.name, part.samples, *scaled, over)
            rows.append(dict(zip(NAMES, cells, strict=True)))
    return rows


def kinds_of_parts(results: Results) -> dict[str, str]:
    """The division of the samples and the number of its parts as text: ``{"class": "10 classes"}``."""
    parts: list[PartLoss] = [part for row in results.rows if row.accuracy for part in row.accuracy.by]
    plural = {"class": "classes", "label": "labels"}
    return {part.by: f"{part.of:,} " + plural.get(part.by, f"groups of '{part.by}'") for part in parts}
