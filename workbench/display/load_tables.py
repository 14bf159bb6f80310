"""What was measured under load, as tables: callers at once, arrivals at a rate, LoadGen, deployments through their server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.compare import load_table
from workbench.compare.formats import speedup_text
from workbench.display.served_table import served_tables
from workbench.display.table import DATA, NUMBER, WHOLE, Column, Table
from workbench.measure.verdict import ALLOWANCE

if TYPE_CHECKING:
    from workbench.records import Results

NOTHING = "Nothing was measured under load. Set 'concurrency' such as 1,2,4, a 'rate', or a protocol of MLPerf."
UNOFFICIAL = "LoadGen, unofficial"
ROW = (Column("variant"), Column("batch", WHOLE))
PERCENTILES = tuple(Column(f"p{percent}", NUMBER, "ms") for percent in (50, 90, 99))
NOTE = Column("note", note=True)


def load_tables(results: Results, baseline: str = "") -> tuple[Table, ...]:
    """The tables that hold anything; one empty table that says how to measure under load where none does."""
    found = (
        closed_loops(results, baseline),
        open_loops(results),
        loadgen(results),
        *served_tables(results.served, results),
    )
    return tuple(each for each in found if each.rows or each.notes) or (Table(ROW, (), empty=NOTHING),)


def closed_loops(results: Results, baseline: str = "") -> Table:
    """A row for each variant, batch and number of callers; see :func:`workbench.compare.load_table.load_rows`."""
    about = (
        "Each caller calls again as soon as it has its answer. Knee: beyond it, waiting grows more than throughput. "
        f"Intervals hold {ALLOWANCE:.0%} for the difference between two launches of one engine."
    )
    rows = tuple(load_table.load_rows(results, baseline))
    return Table(CLOSED, rows, title="Callers at once", about=about, empty=NOTHING)


def open_loops(results: Results) -> Table:
    """A row for each rate of arrivals, and below them up to which rate each variant holds the limit, where that was searched for."""
    about = "Queries arrive at random times at a mean rate; latency counts from the arrival."
    notes = tuple(load_table.searched(results))
    rows = tuple(load_table.rate_rows(results))
    return Table(OPEN, rows, title="Arrivals at a rate", about=about, notes=notes, empty="No rate was measured.")


def loadgen(results: Results) -> Table:
    """A row for each variant that LoadGen drove; its own summary unfolds below."""
    summaries = [
        (f"{row.row}: LoadGen {load.loadgen.version}'s own summary", load.loadgen.summary)
        for row, load in load_table.loaded(results)
        if load.loadgen and load.loadgen.summary
    ]
    rows = tuple(load_table.loadgen_rows(results))
    made = Table(LOADGEN, rows, title=UNOFFICIAL, about="As MLPerf LoadGen summed it up; not a result of MLPerf.")
    return replace(made, appendix=tuple(summaries))


CLOSED = (
    *ROW,
    Column("callers", WHOLE),
    Column("queries/s", NUMBER),
    Column("samples/s", NUMBER, rank=5),
    Column("mean", NUMBER, "ms", rank=3),
    *PERCENTILES,
    Column("cores", NUMBER, help="CPU seconds per second", rank=2),
    Column("scaling", NUMBER, help="Throughput divided by that of the fewest callers measured", rank=4),
    Column("knee"),
    Column("speed-up", NUMBER, help="Throughput divided by the baseline's with the same number of callers",
           format=lambda row: speedup_text(row["verdict"], row.get("speed-up"), row.get("low"), row.get("high"))),
    Column("low", NUMBER, rank=DATA),
    Column("high", NUMBER, rank=DATA),
    Column("verdict", rank=DATA),
    NOTE,
)  # fmt: skip
OPEN = (
    *ROW,
    Column("callers", WHOLE),
    Column("queries/s", NUMBER),
    Column("percentile"),
    Column("", NUMBER, "ms"),
    Column("low", NUMBER, "ms"),
    Column("high", NUMBER, "ms"),
    Column("limit", NUMBER, "ms"),
    Column("in limit", NUMBER, "%"),
    Column("answer"),
    Column("busy", NUMBER, "%", "Share of the time for which the callers were busy"),
    Column("late", NUMBER, "µs", "Median delay of the generator of load"),
    Column("queries", WHOLE),
    NOTE,
)
LOADGEN = (
    *ROW,
    Column("scenario"),
    Column("result"),
    Column("samples/s", NUMBER),
    *PERCENTILES,
    Column("settings", note=True),
    NOTE,
)
