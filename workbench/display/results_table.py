"""The table of results: a row for each variant and batch, compared with one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.compare.comparison import not_built, not_possible, rows
from workbench.compare.formats import ABSENT, absent, digits, interval, score_text, speedup_text
from workbench.compare.remarks import Remark
from workbench.display.table import DATA, MAIN, NUMBER, PAGE, USUAL, WHOLE, Column, Content, Row, Span, Table
from workbench.records import CPU, Status, Verdict
from workbench.records.methods import method_of

if TYPE_CHECKING:
    from workbench.records import Results


VISIBLE = 0.03
NO_QUOTIENT = "A speed-up compares blocks that took turns, so it can differ from the quotient of two p50, which are over all undisturbed blocks."


def results_table(results: Results, baseline: str = "") -> Table:
    """Every result with all its values; what readers see leaves out what is not possible or was not built for lack of time, and puts
    variants without any number last.

    Raises:
        InputError: unknown baseline.
    """
    notes = [f"Not possible here: {', '.join(names)}: {why}" for why, names in not_possible(results.rows).items()]
    notes += [f"Not built: {', '.join(names)}: {why}" for why, names in not_built(results.rows).items()]
    every = rows(results, baseline)
    pairs = zip(results.rows, every, strict=True)
    possible = [row for result, row in pairs if result.status != Status.UNSUPPORTED and not result.left_out]
    timed = {row["variant"] for row in possible if not absent(row.get("queries/s"))}
    shown = sorted(possible, key=lambda row: row["variant"] not in timed)
    notes += [NO_QUOTIENT] if _is_no_quotient(possible) else []
    return Table(COLUMNS, tuple(shown), notes=tuple(notes), empty="There are no results.", every=tuple(every))


def _is_no_quotient(shown: Sequence[Row]) -> bool:
    """Whether the speed-up of a row differs visibly from the quotient of the medians that the table shows."""
    base = {row["batch"]: row["p50 ms"] for row in shown if row["verdict"] == Verdict.BASELINE and row.get("p50 ms")}
    pairs = (
        (row["speed-up"], base[row["batch"]] / row["p50 ms"])
        for row in shown
        if not absent(row.get("speed-up")) and not absent(row.get("p50 ms")) and row["batch"] in base
    )
    return any(abs(speedup / quotient - 1) > VISIBLE for speedup, quotient in pairs)


def _speedup(row: Row) -> Content:
    text = speedup_text(row["verdict"], row.get("speed-up"), row.get("low"), row.get("high"))
    return (Span(text, "strong"),) if row["verdict"] == Verdict.FASTER else text


def _built(row: Row) -> str:
    built = row["built"] or ABSENT
    return built if built.startswith((method_of(row["asked"]).realized, ABSENT)) else f"{built} (asked {row['asked']})"


def _agrees(row: Row) -> str:
    """``97.1 %``, or ``0.0 % in 'boxes'`` where several outputs are compared: the name is that of the worst."""
    percent, output = row.get("agree %"), row["agree in"]
    return ABSENT if absent(percent) else f"{percent:.1f} %" + (f" in '{output}'" if output else "")


def _note(row: Row) -> str:
    return "; ".join(each.text for each in _notes(row))


def _notes(row: Row) -> tuple[Remark, ...]:
    """The notes of a row; the first begins with its status where it has not all that it should."""
    first, *more = row["notes"] or (Remark(""),)
    if row["status"] not in (Status.DONE, Status.BUILT):
        first = first._replace(text=f"{row['status']}: {first.text}" if first.text else str(row["status"]))
    return (first, *more)


def _of(name: str, text: Any) -> Any:
    """A cell that is a dash where this value is missing."""
    return lambda row: ABSENT if absent(row.get(name)) else text(row)


COLUMNS = (
    Column("variant", rank=MAIN),
    Column("batch", WHOLE, help="Samples in one call", rank=MAIN),
    Column("device", silent=("", CPU), rank=USUAL + 1),
    Column("status", rank=DATA),
    Column("p50", NUMBER, "ms", "Time of a typical call: the median over undisturbed rounds", rank=MAIN),
    Column("speed-up", NUMBER, help="Time of the baseline divided by the time of this variant, with its 95 % interval",
           format=_speedup, rank=MAIN),
    Column("low", NUMBER, rank=DATA),
    Column("high", NUMBER, rank=DATA),
    Column("verdict", rank=DATA),
    Column("p90", NUMBER, "ms", rank=PAGE),
    Column("p95", NUMBER, "ms", rank=PAGE),
    Column("p99", NUMBER, "ms", "Shown only where the sample supports it", rank=4),
    Column("queries/s", NUMBER, help="Calls per second, one after another", rank=PAGE),
    Column("samples/s", NUMBER, help="The batch divided by the median", rank=5),
    Column("asked", rank=DATA),
    Column("built", help="Number format of the layers with weights, read back from the engine", format=_built, rank=USUAL + 1),
    Column("top-1", NUMBER, "%", "Share of the labelled test samples that are right, with its 95 % interval",
           heading="top-1 accuracy", rank=USUAL + 2,
           format=lambda row: interval(row.get("top-1 %"), row.get("acc low"), row.get("acc high"), " %")),
    Column("acc low", NUMBER, rank=DATA),
    Column("acc high", NUMBER, rank=DATA),
    Column("agree", NUMBER, "%", "Share of samples with the source model's answer", _agrees, 3, "agrees"),
    Column("agree in", rank=DATA),
    Column("metric", rank=DATA),
    Column("score", NUMBER, rank=USUAL + 2,
           format=lambda row: score_text(row.get("metric", ""), row.get("score"), row.get("score low"), row.get("score high"))),
    Column("score low", NUMBER, rank=DATA),
    Column("score high", NUMBER, rank=DATA),
    Column("loss", NUMBER, help="How much worse than the source model, with its 95 % interval", rank=PAGE,
           format=lambda row: interval(row.get("loss"), row.get("loss low"), row.get("loss high"))),
    Column("loss low", NUMBER, rank=DATA),
    Column("loss high", NUMBER, rank=DATA),
    Column("budget", help="Whether the loss is within what may be lost", rank=USUAL + 1),
    Column("fixed", WHOLE, help="Samples that the source model has wrong and this variant right, and the other way round",
           heading="fixed/broken", format=_of("fixed", lambda row: f"+{row['fixed']} −{row['broken']}"), rank=2),
    Column("broken", WHOLE, rank=DATA),
    Column("peak", NUMBER, "MiB", rank=PAGE),
    Column("engine", NUMBER, "MB", rank=PAGE),
    Column("build", NUMBER, "s", rank=PAGE),
    Column("launches", WHOLE, help="Starts of the engine's process, and what ended the measuring", rank=PAGE,
           format=_of("launches", lambda row: f"{row['launches']}, {row['ended']}")),
    Column("ended", rank=DATA),
    Column("outliers", WHOLE, rank=PAGE),
    Column("load samples/s", NUMBER, heading="under load", rank=PAGE,
           format=_of("callers", lambda row: f"{digits(row['load samples/s'])} by {row['callers']}")),
    Column("callers", WHOLE, rank=DATA),
    Column("note", format=_note, note=True, parts=_notes),
)  # fmt: skip
