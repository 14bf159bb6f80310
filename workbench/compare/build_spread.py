"""How much several builds of one variant differ, and which of them is the fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.compare.formats import digits
from workbench.compare.pairs import comparison

if TYPE_CHECKING:
    from workbench.records import Result, Results


def spread_rows(results: Results) -> list[dict[str, Any]]:
    """A row for each variant that was built several times and each batch: the median of each build in milliseconds, the slowest divided
    by the fastest, and the speed-up over the baseline with its interval over builds.
    """
    if not any(row.spec.build for row in results.measured):
        return []
    judged = {row.result.row: row for row in comparison(results).rows}
    groups: dict[tuple[str, int], list[Result]] = {}
    for row in results.measured:
        if row.spec.build:
            groups.setdefault((row.spec.variant, row.batch), []).append(row)
    found = []
    for (variant, batch), rows in groups.items():
        times = [row.timing.median_s * 1e3 for row in rows if row.timing]
        best = rows[times.index(min(times))]
        verdict = judged.get(best.row)
        found.append({
            "variant": variant, "batch": batch, "builds": len(rows), "medians ms": ", ".join(map(digits, times)),
            "fastest ms": min(times), "slowest ms": max(times), "slowest / fastest": max(times) / min(times),
            "speed-up": verdict.speedup if verdict else None, "low": verdict.low if verdict else None,
            "high": verdict.high if verdict else None, "verdict": str(verdict.verdict) if verdict else "",
            "fastest build": best.spec.build, "engine": best.engine.key if best.engine else "",
        })  # fmt: skip
    return found


def notes(results: Results) -> tuple[str, ...]:
    """What a reader should know beside the table: which builds to take, and what choosing the fastest does to its time."""
    lines = [
        f"Fastest build of {variant} over all its batches: build {engine.spec.build} (engine {engine.key})."
        for variant, engine in results.fastest_builds.items()
    ]
    return (
        *lines,
        "The time of the fastest of several builds is too optimistic: measured again, it will be slower on average.",
    )
