"""The table of results, for programs and for people: a row per result, compared with one baseline."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, cast

from workbench.accuracy.guard import guarded, same_files
from workbench.accuracy.guard import remarks as guard_remarks
from workbench.choices.methods import method_of
from workbench.compare.pairs import comparison, variant_name
from workbench.compare.remarks import remark
from workbench.records import CPU, Result, Row, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from pandas.io.formats.style import Styler

    from workbench.records import Results

COLUMNS = (
    "variant",
    "batch",
    "device",
    "status",
    "p50 ms",
    "p90 ms",
    "p95 ms",
    "p99 ms",
    "queries/s",
    "samples/s",
    "speed-up",
    "low",
    "high",
    "verdict",
    "asked",
    "built",
    "top-1 %",
    "acc low",
    "acc high",
    "agree %",
    "agree in",
    "fixed",
    "broken",
    "metric",
    "score",
    "score low",
    "score high",
    "loss",
    "loss low",
    "loss high",
    "budget",
    "peak MiB",
    "engine MB",
    "build s",
    "load samples/s",
    "callers",
    "note",
    "launches",
    "ended",
    "outliers",
)
WHOLE = ("batch", "fixed", "broken", "launches", "outliers", "callers")
WORDS = ("variant", "device", "status", "verdict", "asked", "built", "metric", "budget", "note", "ended", "agree in")
WIDE_ONLY = (
    "p90 ms", "p95 ms", "queries/s", "loss", "peak MiB", "engine MB", "build s", "under load", "launches", "outliers",
    "note",
)  # fmt: skip
"""Left out where the table has to fit a terminal."""
ABSENT = "–"
TERMINAL_WIDTH = 140


def table(results: Results, baseline: str = "") -> pd.DataFrame:
    """One row per result, in the order of the results; columns as in ``COLUMNS``, absent values missing.

    Milliseconds are milliseconds, MiB are 2**20 and MB 10**6 bytes, percent is 0 to 100. ``p50 ms``, ``samples/s`` and
    ``speed-up`` have one basis: the typical call of the undisturbed rounds, without waiting for a core
    (:attr:`workbench.records.Timing.median_s`); the speed-up divides the baseline's time by this one's, round by round. A
    percentile is missing where it is not known (:meth:`workbench.records.Timing.no_percentile`). ``agree in`` names the
    output that agrees least, of which ``agree %`` is, where several are compared. ``score``
    and ``loss`` are in the metric's own unit, percent and points for shares; ``budget`` is what the guard says.

    Raises:
        InputError: unknown baseline.
    """
    import pandas as pd

    compared = comparison(results, baseline)
    judged = {id(row.result): row for row in compared.rows}
    refused = dict(compared.refused)
    twins = same_files(results.rows)
    cells = [
        _cells(result, judged.get(id(result)), refused.get(result.row, ""), results.budget, twins)
        for result in results.rows
    ]
    frame = pd.DataFrame(cells, columns=list(COLUMNS))
    for name in COLUMNS:
        kind: Any = "Int64" if name in WHOLE else "str" if name in WORDS else "float64"
        frame[name] = frame[name].astype(kind)
    return frame


def _cells(result: Result, row: Row | None, refused: str, budget: str, twins: dict[str, str]) -> dict[str, Any]:
    told = guard_remarks(result, budget, twins.get(result.spec.label, ""))
    cells: dict[str, Any] = {
        "variant": result.spec.label,
        "batch": result.batch,
        "device": result.device,
        "status": str(result.status),
        "asked": result.spec.asked,
        "verdict": str(row.verdict) if row else "",
        "agree in": "",
        "built": "",
        "note": "; ".join(filter(None, [remark(result, row, refused), *told])),
        **guarded(result, budget),
        "ended": "",
    }
    if timing := result.timing:
        for percent in (50, 90, 95, 99):
            value = timing.percentile_s(percent)
            cells[f"p{percent} ms"] = None if value is None else value * 1e3
        cells |= {"queries/s": timing.queries_per_s, "samples/s": timing.samples_per_s}
        cells["peak MiB"] = timing.peak_rss_bytes / 2**20
        cells |= {"launches": len(timing.launches) or 1, "ended": str(timing.ended), "outliers": timing.outliers}
    if result.load and (best := result.load.best):
        cells |= {"load samples/s": best.queries_per_s * result.batch, "callers": best.concurrency}
    if row:
        cells |= {"speed-up": row.speedup, "low": row.low, "high": row.high}
    if engine := result.engine:
        cells |= {"built": engine.realized.label, "engine MB": engine.size_bytes / 1e6, "build s": engine.build_s}
    if score := result.accuracy:
        cells |= {"agree %": score.agreement * 100, "agree in": score.agreement_output * (len(score.agreements) > 1)}
        top_1 = score.metric == "top-1"
        if score.value is not None and score.low is not None and score.high is not None and top_1:
            cells |= {"top-1 %": score.value * 100, "acc low": score.low * 100, "acc high": score.high * 100}
        if score.p_value is not None:
            cells |= {"fixed": score.fixed, "broken": score.broken}
    return cells


def display_table(results: Results, baseline: str = "") -> Styler:
    """The table for people: texts instead of numbers, every name escaped, columns without data left out.

    Raises:
        InputError: unknown baseline.

    """
    frame = _readable(table(results, baseline))
    line = "1px solid rgba(128, 128, 128, 0.35)"
    # no colors of its own: the same table stands on light and on dark pages
    numbers = "text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums"
    styles: list[Any] = [
        {"selector": "th, td", "props": numbers},
        {"selector": "th", "props": f"vertical-align: bottom; border-bottom: {line}"},
        {"selector": "td", "props": "vertical-align: top"},
    ]
    columns: dict[Any, Any] = {
        name: [{"selector": "th, td", "props": "text-align: left"}]
        for name in ("variant", "built", "note")
        if name in frame
    }
    if "note" in frame:
        columns["note"] += [{"selector": "td", "props": "white-space: normal; min-width: 36em"}]
    shown: Any = frame.style.format(escape="html").hide(axis="index").set_table_styles(styles)
    shown = shown.set_table_styles(columns, overwrite=False)
    first = frame["variant"] != frame["variant"].shift()
    shown = shown.set_properties(subset=(frame.index[first], slice(None)), **{"border-top": line})
    if "speed-up" in frame:
        faster = frame["speed-up"].str.endswith("faster")
        shown = shown.set_properties(subset=(frame.index[faster], "speed-up"), **{"font-weight": "bold"})
    return cast("Styler", shown)


def text_table(results: Results, baseline: str = "") -> str:
    """The table for a terminal, at most 140 columns wide; notes and what is not possible follow below it.

    Raises:
        InputError: unknown baseline.

    """
    frame = _readable(table(results, baseline))
    names = [name for name in frame.columns if name not in WIDE_ONLY]
    width = {name: max(map(len, [name, *frame[name]])) for name in names}
    for optional in ("fixed/broken", "agrees", "p99 ms", "samples/s"):
        if sum(width.values()) + 2 * len(width) - 2 > TERMINAL_WIDTH:
            width.pop(optional, None)
    width["variant"] = max(8, width["variant"] + min(0, TERMINAL_WIDTH - sum(width.values()) - 2 * len(width) + 2))
    lines = []
    texts: list[dict[str, str]] = [dict(zip(names, names, strict=True)), *cast("Any", frame.to_dict("records"))]
    for row in texts:
        first = shortened(row["variant"], width["variant"]).ljust(width["variant"])
        lines.append("  ".join([first, *(row[name].rjust(width[name]) for name in width if name != "variant")]))
    lines.insert(1, "─" * len(lines[0]))
    remarks: dict[tuple[str, str], list[str]] = {}
    if "note" in frame:
        for variant, batch, note in zip(frame["variant"], frame["batch"], frame["note"], strict=True):
            if note:
                remarks.setdefault((variant, note), []).append(f"@{batch}")
    notes = [f"{variant} {' '.join(batches)}: {note}" for (variant, note), batches in remarks.items()]
    notes += [f"not possible here: {', '.join(labels)}: {why}" for why, labels in not_possible(results.rows).items()]
    for note in notes:
        lines += wrapped(note)
    return "\n".join(line.rstrip() for line in lines)


def wrapped(text: str) -> list[str]:
    """The lines of a remark below a table in a terminal."""
    return textwrap.wrap(text, TERMINAL_WIDTH, subsequent_indent="    ")


def not_possible(rows: Iterable[Result]) -> dict[str, list[str]]:
    """The variants that cannot be had here, by reason."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.status == Status.UNSUPPORTED:
            why = row.failure.message if row.failure else "no reason was given"
            reasons.setdefault(why, {})[variant_name(row.spec)] = None
    return {why: list(labels) for why, labels in sorted(reasons.items())}


def shortened(text: str, width: int) -> str:
    """Cut in the middle: the ends of a variant's name, backend and precision, say most."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text, variants without any number last; what is not possible and empty columns are left out."""
    import pandas as pd

    frame = frame[frame["status"] != Status.UNSUPPORTED]
    numbers = frame["queries/s"].notna().groupby(frame["variant"]).transform("any")
    frame = pd.concat([frame[numbers], frame[~numbers]])
    rows = [_texts({str(name): value for name, value in row.items()}) for row in frame.to_dict("records")]
    shown = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["variant", "batch"], dtype="str")
    nothing = {"device": ["", CPU]}
    empty = [name for name in shown.columns[2:] if shown[name].isin(nothing.get(name, [ABSENT, ""])).all()]
    return shown.drop(columns=empty)


def _texts(row: dict[str, Any]) -> dict[str, str]:
    built = row["built"] or ABSENT
    if not built.startswith((method_of(row["asked"]).realized, ABSENT)):
        built = f"{built} (asked {row['asked']})"
    note = row["note"]
    if row["status"] not in (Status.DONE, Status.BUILT):
        note = f"{row['status']}: {note}" if note else row["status"]
    return {
        "variant": row["variant"],
        "batch": str(row["batch"]),
        "device": row["device"],
        "p50 ms": digits(row["p50 ms"]),
        "speed-up": speedup_text(row["verdict"], row["speed-up"], row["low"], row["high"]),
        "p90 ms": digits(row["p90 ms"]),
        "p95 ms": digits(row["p95 ms"]),
        "p99 ms": digits(row["p99 ms"]),
        "queries/s": digits(row["queries/s"]),
        "samples/s": digits(row["samples/s"]),
        "built": built,
        "top-1 accuracy": _interval(row["top-1 %"], row["acc low"], row["acc high"]),
        "agrees": _agrees(row["agree %"], row["agree in"]),
        "score": score_text(row["metric"], row["score"], row["score low"], row["score high"]),
        "loss": ABSENT if _none(row["loss"]) else _interval(row["loss"], row["loss low"], row["loss high"], ""),
        "budget": row["budget"] or ABSENT,
        "fixed/broken": ABSENT if _none(row["fixed"]) else f"+{row['fixed']} −{row['broken']}",
        "peak MiB": digits(row["peak MiB"]),
        "engine MB": digits(row["engine MB"]),
        "build s": digits(row["build s"]),
        "launches": ABSENT if _none(row["launches"]) else f"{row['launches']}, {row['ended']}",
        "outliers": ABSENT if _none(row["outliers"]) else f"{row['outliers']:,}",
        "under load": ABSENT if _none(row["callers"]) else f"{digits(row['load samples/s'])} by {row['callers']}",
        "note": note,
    }


def speedup_text(verdict: str, speedup: float | None, low: float | None, high: float | None) -> str:
    """``×2.10 [2.05, 2.16] faster``, with as many decimals as it takes to see that the interval leaves out 1."""
    if verdict == Verdict.BASELINE or speedup is None or low is None or high is None or math.isnan(low):
        return verdict or ABSENT
    decimals = _decimals(speedup)
    bound = low if verdict == Verdict.FASTER else high
    while verdict != Verdict.CANNOT_TELL and decimals < 5 and float(f"{bound:.{decimals}f}") == 1:
        decimals += 1
    return f"×{speedup:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}] {verdict}"


def score_text(metric: str, value: float | None, low: float | None, high: float | None) -> str:
    """``f1 93.10 [91.2, 94.8]``; nothing for top-1, which has a column of its own."""
    if _none(value) or metric == "top-1":
        return ABSENT
    ends = "" if _none(low) else f" [{low:.4g}, {high:.4g}]"
    return f"{metric} {value:.4g}{ends}"


def _agrees(percent: float | None, output: str) -> str:
    """``97.1 %``, or ``0.0 % in 'boxes'`` where several outputs are compared: the name is that of the worst."""
    if _none(percent):
        return ABSENT
    return f"{percent:.1f} %" + (f" in '{output}'" if output else "")


def _interval(value: float | None, low: float | None, high: float | None, unit: str = " %") -> str:
    if _none(value):
        return ABSENT
    return f"{value:.1f}{unit} [{low:.1f}, {high:.1f}]" if unit else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def digits(value: float | None) -> str:
    """Three significant digits, never in powers of ten: 0.240, 8.42, 61.3, 1,230."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:,.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    if value == 0:
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def _none(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
