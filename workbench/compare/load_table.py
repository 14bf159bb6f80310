"""What was measured under load, compared with the baseline under the same load, as tables."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.compare.comparison import ABSENT, TERMINAL_WIDTH, digits, speedup_text
from workbench.compare.pairs import plain_name, variant_name
from workbench.records import Answer, ClosedLoop, Load, LoadGenRun, OpenLoop, Result, Results, Verdict
from workbench.timing.verdict import ALLOWANCE, Lap, between, judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

LOAD_COLUMNS = (
    "variant", "batch", "callers", "queries/s", "samples/s", "mean ms", "p50 ms", "p90 ms", "p99 ms", "cores", "scaling",
    "speed-up", "low", "high", "verdict", "knee", "note",
)  # fmt: skip
RATE_COLUMNS = (
    "variant", "batch", "callers", "queries/s", "percentile", "ms", "low ms", "high ms", "limit ms", "in limit %", "answer",
    "busy %", "late µs", "queries", "note",
)  # fmt: skip
LOADGEN_COLUMNS = (
    "variant", "batch", "scenario", "result", "samples/s", "p50 ms", "p90 ms", "p99 ms", "settings", "note",
)  # fmt: skip
BELOW = ("note", "settings")
"""Stand below the table where it has to fit a terminal."""
UNOFFICIAL = "LoadGen, unofficial"
NOTHING = "Nothing was measured under load. Set 'concurrency' such as 1,2,4, a 'rate', or a protocol of MLPerf."
WORDS = frozenset({"variant", "verdict", "knee", "note", "percentile", "answer", "scenario", "result", "settings"})
WHOLE = frozenset({"batch", "callers", "queries"})


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

    The verdict is that of :func:`workbench.timing.verdict.judged`, taken together for all loops of one batch size and number of
    callers. Load is measured in one launch, so the interval is widened as that of a single launch. A round counts where neither
    engine's threads were still at work after it.
    """
    name = plain_name(results, baseline or results.baseline)
    anchors = {row.batch: row for row in results.rows if variant_name(row.spec) == name and row.load}
    loops = [(result, load, loop) for result, load in _loaded(results) for loop in load.closed]
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


def _loaded(results: Results) -> Iterator[tuple[Result, Load]]:
    return ((row, row.load) for row in results.rows if row.load)


def _unjudged(result: Result, load: Load, loop: ClosedLoop, anchor: Result | None) -> LoadRow | None:
    """The row of a loop that is not compared with the baseline's; ``None`` where it is to be compared."""
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


def load_table(results: Results, baseline: str = "") -> pd.DataFrame:
    """One row per variant, batch and number of callers: throughput of all callers together, and latencies under that load.

    ``scaling`` is throughput divided by that of the fewest callers measured, ``cores`` CPU seconds per second, ``speed-up``
    throughput divided by the baseline's with as many callers. Without any load the table is empty.
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
            cell |= {f"p{percent} ms": _ms(loop.percentile_s(percent)) for percent in (50, 90, 99)}
            cell |= {"scaling": loop.queries_per_s / first.queries_per_s, "knee": "knee" if loop is load.knee else ""}
        cells.append(cell)
    return _frame(cells, LOAD_COLUMNS)


def _note(loop: ClosedLoop, why: str) -> str:
    parts = [loop.note] if loop.blocks and loop.concurrency > 1 else []
    parts += [f"{loop.noisy_blocks} of {len(loop.blocks)} blocks were disturbed"] if loop.noisy_blocks else []
    return "; ".join([*parts, *([why] if why else [])])


def rate_table(results: Results) -> pd.DataFrame:
    """One row per variant, batch and rate of arrivals: the percentile with its interval, and whether the limit holds."""
    return _frame([_rate_cells(row, loop) for row, load in _loaded(results) for loop in load.open], RATE_COLUMNS)


def _rate_cells(row: Result, loop: OpenLoop) -> dict[str, Any]:
    tail = loop.tail
    late = sorted(stretch.late_ns for stretch in loop.stretches)
    return {
        "variant": row.spec.label,
        "batch": row.batch,
        "callers": loop.callers,
        "queries/s": loop.rate,
        "percentile": f"p{loop.percent:g}",
        "ms": _ms(tail.value) if tail else None,
        "low ms": _ms(tail.low) if tail else None,
        "high ms": _ms(tail.high) if tail else None,
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
    elif loop.answer == Answer.CANNOT_TELL and loop.saturated:
        parts.append(
            f"callers were busy {loop.busy:.0%} of the time: the queue may only have had too little time to grow"
        )
    elif loop.stretches and (loop.too_few or not loop.tail):
        parts.append(f"too few queries to show p{loop.percent:g}; raise 'measure_s'")
    return "; ".join(parts)


def loadgen_table(results: Results) -> pd.DataFrame:
    """One row per variant and batch that LoadGen drove, by LoadGen's own summary; none of it official."""
    found = ((row, load.loadgen) for row, load in _loaded(results))
    return _frame([_loadgen_cells(row, run) for row, run in found if run], LOADGEN_COLUMNS)


def _loadgen_cells(row: Result, run: LoadGenRun) -> dict[str, Any]:
    return {
        "variant": row.spec.label,
        "batch": row.batch,
        "scenario": run.scenario,
        "result": "" if run.valid is None else "valid" if run.valid else "invalid",
        "samples/s": run.samples_per_s,
        **{f"p{percent} ms": _ms(run.percentile_s(percent)) for percent in (50, 90, 99)},
        "settings": run.settings,
        "note": "; ".join([*([run.failure] if run.failure else []), *([run.how] if run.how else []), *run.reasons]),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _frame(cells: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    words = dict.fromkeys((name for name in columns if name in WORDS), "")
    frame = pd.DataFrame([words | cell for cell in cells], columns=list(columns))
    for name in columns:
        kind: Any = "Int64" if name in WHOLE else "str" if name in WORDS else "float64"
        frame[name] = frame[name].astype(kind)
    return frame


@dataclass(frozen=True)
class Part:
    """One table for people: what it is, and how to read it."""

    heading: str
    about: str
    frame: pd.DataFrame  # every cell is text
    lines: tuple[str, ...] = ()  # sentences below it


def parts(results: Results, baseline: str = "") -> tuple[Part, ...]:
    """The tables that hold anything, as texts: closed loops, open loops, LoadGen; and above the open loops what a search found."""
    found = []
    loads, rates, runs = load_table(results, baseline), rate_table(results), loadgen_table(results)
    if len(loads):
        about = (
            "Every caller calls again as soon as it was answered. Knee: beyond it callers wait more than they get. "
            f"Intervals hold {ALLOWANCE:.0%} for the difference between two launches of one engine."
        )
        found.append(Part("Callers at once", about, _texts(loads, ("speed-up", "low", "high", "verdict"))))
    lines = tuple(searched(results))
    if len(rates) or lines:
        about = "Queries arrive at random times at a mean rate; latency counts from the arrival."
        found.append(Part("Arrivals at a rate", about, _texts(rates, ()), lines))
    if len(runs):
        found.append(Part(UNOFFICIAL, "As MLPerf LoadGen summed it up; no result of MLPerf.", _texts(runs, ())))
    return tuple(found)


def searched(results: Results) -> list[str]:
    """For every variant that a rate was searched for: up to which it holds."""
    lines = []
    for row, load in _loaded(results):
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


def _texts(frame: pd.DataFrame, merged: tuple[str, ...]) -> pd.DataFrame:
    """Every cell as text; the columns of an interval become one, and columns without anything are left out."""
    rows = []
    for row in frame.to_dict("records"):
        cells = {str(name): _text(str(name), value) for name, value in row.items() if name not in merged}
        if merged:
            cells["speed-up"] = speedup_text(row["verdict"], row["speed-up"], row["low"], row["high"])
            cells["note"] = cells.pop("note")
        rows.append(cells)
    import pandas as pd

    shown = pd.DataFrame(rows, dtype="str")
    return shown.drop(columns=[name for name in shown.columns[2:] if shown[name].isin(["", ABSENT]).all()])


def _text(name: str, value: Any) -> str:
    if name in WORDS:
        return str(value)
    if name in WHOLE:
        return f"{int(value)}"
    return digits(value)


def load_text(results: Results, baseline: str = "") -> str:
    """The tables for a terminal; "" where nothing was measured under load."""
    lines: list[str] = []
    for part in parts(results, baseline):
        frame = part.frame
        lines += ["", part.heading, *textwrap.wrap(part.about, TERMINAL_WIDTH)]
        below = [name for name in BELOW if name in frame]
        if len(frame):
            lines.append(frame.drop(columns=below).to_string(index=False))
        for text in (*part.lines, *_below(frame, below)):
            lines += textwrap.wrap(text, TERMINAL_WIDTH, subsequent_indent="    ")
    return "\n".join(lines).strip("\n")


def _below(frame: pd.DataFrame, names: list[str]) -> list[str]:
    """What is too wide for a column, a sentence for all rows of which it is true."""
    rows: dict[str, list[str]] = {}
    for row in frame.to_dict("records"):
        for name in names:
            if row[name]:
                rows.setdefault(row[name], []).append(f"{row['variant']} @{row['batch']}")
    return [f"{', '.join(dict.fromkeys(found))}: {text}" for text, found in rows.items()]


def load_html(results: Results, baseline: str = "") -> str:
    """The tables for a page, every name escaped; a sentence where nothing was measured under load.

    The summary that LoadGen wrote for each variant unfolds below its table.
    """
    from html import escape

    line = "1px solid rgba(128, 128, 128, 0.35)"
    numbers = "text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; vertical-align: top"
    styles: Any = [
        {"selector": "th, td", "props": numbers},
        {"selector": "th", "props": f"vertical-align: bottom; border-bottom: {line}"},
    ]
    pieces = []
    for part in parts(results, baseline):
        left: Any = {
            name: [{"selector": "th, td", "props": "text-align: left; white-space: normal"}]
            for name in part.frame.columns
            if name in WORDS
        }
        pieces.append(f"<h4>{escape(part.heading)}</h4><p>{escape(part.about)}</p>")
        pieces += [f"<p>{escape(text)}</p>" for text in part.lines]
        if part.frame.empty:
            continue
        styled: Any = part.frame.style.format(escape="html").hide(axis="index").set_table_styles(styles)
        styled = styled.set_table_styles(left, overwrite=False)
        pieces.append(styled.to_html())
    for row, load in _loaded(results):
        if load.loadgen and load.loadgen.summary:
            head = f"{row.row}: LoadGen {load.loadgen.version}'s own summary"
            body = escape(load.loadgen.summary)
            pieces.append(f"<details><summary>{escape(head)}</summary><pre>{body}</pre></details>")
    return "".join(pieces) or f"<p>{escape(NOTHING)}</p>"
