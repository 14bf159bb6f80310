"""What was measured under load, compared with the baseline under the same load, as rows of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.formats import digits, ms
from workbench.compare.pairs import plain_name, variant_name
from workbench.measure.verdict import Lap, between, judged
from workbench.records import ClosedLoop, Load, LoadAnswer, LoadGenRun, OpenLoop, Result, Results, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator


class LoadRow(NamedTuple):
    """One closed loop, and its throughput divided by the baseline's under the same number of callers."""

    result: Result
    loop: ClosedLoop
    verdict: Verdict | None  # None: there is nothing to compare with
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


def load_comparison(results: Results, baseline: str = "") -> tuple[LoadRow, ...]:
    """Every closed loop, in the order of the results, against the baseline's with the same batch and callers.

    The verdict is that of :func:`workbench.measure.verdict.judged`, taken together for all loops of one batch size and number of
    callers. Load is measured in one launch, so the interval is widened as that of a single launch. A round counts where neither
    engine's threads were still at work after it.
    """
    name = plain_name(results, baseline or results.baseline)
    anchors = {row.batch: row for row in results.rows if variant_name(row.spec) == name and row.load}
    loops = [(result, load, loop) for result, load in loaded(results) for loop in load.closed]
    rows = [_unjudged(result, load, loop, anchors.get(result.batch)) for result, load, loop in loops]
    groups: dict[tuple[int, int], list[int]] = {}
    for place, row in enumerate(rows):
        if row is None:
            groups.setdefault((loops[place][0].batch, loops[place][2].concurrency), []).append(place)
    for (batch, callers), places in groups.items():
        load = anchors[batch].load
        base = load.at(callers) if load else None
        assert base is not None
        found = judged([between(_laps(loops[place][2]), _laps(base)) for place in places])
        for place, one in zip(places, found, strict=True):
            rows[place] = LoadRow(loops[place][0], loops[place][2], *one)
    return tuple(row for row in rows if row is not None)


def loaded(results: Results) -> Iterator[tuple[Result, Load]]:
    return ((row, row.load) for row in results.rows if row.load)


def _unjudged(result: Result, load: Load, loop: ClosedLoop, anchor: Result | None) -> LoadRow | None:
    """The row of a loop that is not compared with the baseline's; ``None`` if it is compared."""
    if not loop.blocks:
        return LoadRow(result, loop, None, why=loop.failure)
    base = anchor.load.at(loop.concurrency) if anchor and anchor.load else None
    if anchor is None or anchor.load is None or base is None:
        return LoadRow(result, loop, None, why="the baseline was not measured under this load")
    if result is anchor:
        return LoadRow(result, loop, Verdict.BASELINE, speedup=1.0)
    if load.group != anchor.load.group:
        return LoadRow(result, loop, None, why="not compared: not measured in turn with the baseline")
    return None


def _laps(loop: ClosedLoop) -> dict[int, Lap]:
    """The rounds of a loop by number: the mean time from one answer to the next, of all callers together."""
    return {block.round: Lap(0, 1 / block.calls_per_s if block.calls else 0.0, block.quiet) for block in loop.blocks}


def load_rows(results: Results, baseline: str = "") -> list[dict[str, Any]]:
    """One row per variant, batch and number of callers: throughput of all callers together, and latencies under that load.

    ``scaling`` is throughput divided by that of the fewest callers measured, ``cores`` CPU seconds per second, ``speed-up``
    throughput divided by the baseline's with as many callers. Without any load there is none.
    """
    cells = []
    for row in load_comparison(results, baseline):
        loop, load = row.loop, row.result.load
        cell: dict[str, Any] = {
            "variant": row.result.spec.label,
            "batch": row.result.batch,
            "callers": loop.concurrency,
        }
        cell |= {"verdict": str(row.verdict or ""), "speed-up": row.speedup, "low": row.low, "high": row.high}
        cell["note"] = _note(loop, row.why)
        if loop.blocks and load:
            first = load.measured[0]
            cell |= {"queries/s": loop.queries_per_s, "samples/s": loop.queries_per_s * row.result.batch}
            cell |= {"mean ms": loop.mean_s * 1e3, "cores": loop.cores_used}
            cell |= {f"p{percent} ms": ms(loop.percentile_s(percent)) for percent in (50, 90, 99)}
            cell |= {"scaling": loop.queries_per_s / first.queries_per_s, "knee": "knee" if loop is load.knee else ""}
        cells.append(cell)
    return cells


def _note(loop: ClosedLoop, why: str) -> str:
    parts = [loop.note] if loop.blocks and loop.concurrency > 1 else []
    parts += [f"{loop.noisy_blocks} of {len(loop.blocks)} blocks were disturbed"] if loop.noisy_blocks else []
    return "; ".join([*parts, *([why] if why else [])])


def rate_rows(results: Results) -> list[dict[str, Any]]:
    """One row per variant, batch and rate of arrivals: the percentile with its interval, and whether the limit holds."""
    return [_rate_cells(row, loop) for row, load in loaded(results) for loop in load.open]


def _rate_cells(row: Result, loop: OpenLoop) -> dict[str, Any]:
    value, low, high = map(ms, loop.tail or (None, None, None))
    late = sorted(stretch.late_ns for stretch in loop.stretches)
    return {
        "variant": row.spec.label,
        "batch": row.batch,
        "callers": loop.callers,
        "queries/s": loop.rate,
        "percentile": f"p{loop.percent:g}",
        "ms": value,
        "low ms": low,
        "high ms": high,
        "limit ms": loop.limit_s * 1e3,
        "in limit %": loop.within[0] * 100 if loop.within else None,
        "answer": "" if loop.failure else str(loop.answer),
        "busy %": loop.busy * 100 if loop.stretches else None,
        "late µs": late[len(late) // 2] * 1e-3 if late else None,
        "queries": loop.queries,
        "note": rate_note(loop),
    }


def rate_note(loop: OpenLoop) -> str:
    """What a reader should know of an open loop beside its numbers."""
    parts = [loop.failure] if loop.failure else []
    if loop.overloaded:
        parts.append(f"overloaded: callers were busy {loop.busy:.0%} of the time, so the queue only grew")
    if loop.ended_early:
        parts.append(f"ended after {loop.queries} of {loop.planned} queries: too many were late already")
    elif loop.answer == LoadAnswer.CANNOT_TELL and loop.saturated:
        parts.append(
            f"callers were busy {loop.busy:.0%} of the time: the queue may only have had too little time to grow"
        )
    elif loop.stretches and (loop.too_few or not loop.tail):
        parts.append(f"too few queries to show p{loop.percent:g}; raise 'measure_s'")
    return "; ".join(parts)


def loadgen_rows(results: Results) -> list[dict[str, Any]]:
    """One row per variant and batch that LoadGen drove, by LoadGen's own summary; none of it official."""
    return [_loadgen_cells(row, load.loadgen) for row, load in loaded(results) if load.loadgen]


def _loadgen_cells(row: Result, run: LoadGenRun) -> dict[str, Any]:
    return {
        "variant": row.spec.label,
        "batch": row.batch,
        "scenario": run.scenario,
        "result": "" if run.valid is None else "valid" if run.valid else "invalid",
        "samples/s": run.samples_per_s,
        **{f"p{percent} ms": ms(run.percentile_s(percent)) for percent in (50, 90, 99)},
        "settings": run.settings,
        "note": "; ".join([*([run.failure] if run.failure else []), *([run.how] if run.how else []), *run.reasons]),
    }


def searched(results: Results) -> list[str]:
    """For every variant that a rate was searched for: up to which it holds."""
    lines = []
    for row, load in loaded(results):
        if load.plan.search:
            holds, beyond = load.bracket
            text = (
                f"holds the limit up to {digits(holds)} queries/s"
                if holds
                else "no rate was found that holds the limit"
            )
            above = f", and not at {digits(beyond)}" if beyond else ""
            lines.append(f"{row.row}: {text}{above}. {load.search_note}".strip())
    return lines
