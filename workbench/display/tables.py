"""The smaller tables: cost, clocks, settings in effect, losses by class and group, cold starts, disturbances."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.compare import build_spread, cold, cost_table, fairness, loss_table, noise, three_clocks
from workbench.compare.formats import absent, speedup_text
from workbench.display.table import DATA, FLAG, NUMBER, PAGE, WHOLE, Column, Row, Table

if TYPE_CHECKING:
    from workbench.records import Results

ROOFLINE_OFF = (
    "The machine's peaks were not measured: set roofline to true (--roofline true), which takes some seconds once."
)
NOTHING = "Nothing was measured, so costs are not known."
CLOCKS_OFF = "The clocks of each engine were not measured: set clocks to true (--clocks true)."
ONE_BUILD = "Each variant was built once: set builds to 3 or more (--builds 3) to see how much builds differ."
SHOWN = 5
"""Classes or groups of each variant that a page shows."""
VARIANT, BATCH = Column("variant"), Column("batch", WHOLE)


def costs(results: Results) -> Table:
    """What every variant cost; what is missing, and what the numbers do not say, is in the notes."""
    notes = tuple(cost_table.notes(results)) if results.measured else ()
    return Table(COSTS, tuple(cost_table.cost_rows(results)), notes=notes, empty=NOTHING)


def builds(results: Results) -> Table:
    """The spread between the builds of each variant; see :func:`workbench.compare.build_spread.spread_rows`."""
    rows = tuple(build_spread.spread_rows(results))
    return Table(BUILDS, rows, notes=build_spread.notes(results) if rows else (), empty=ONE_BUILD)


def clocks(results: Results) -> Table:
    """The clocks of every engine; the notes say what each encloses."""
    rows = three_clocks.clock_rows(results)
    what: dict[str, dict[str, None]] = {}
    for row in rows:
        name = f"{row['clock']} of {row['variant'].split()[0]}" if row["clock"] == "library" else row["clock"]
        what.setdefault(row["encloses"], {})[name] = None
    notes = tuple(f"{', '.join(names)}: {encloses}." for encloses, names in what.items())
    return Table(CLOCKS, tuple(rows), notes=notes, empty=CLOCKS_OFF)


def settings(results: Results) -> Table:
    """Every setting as it was found in the engines' processes; the notes say where two engines differ."""
    rows = tuple(fairness.setting_rows(results))
    notes = tuple(fairness.differences(results)) or ("All settings that are compared are the same for all engines.",)
    return Table(SETTINGS, rows, notes=notes if rows else (), empty="No settings were read back.")


def losses(results: Results) -> Table:
    """What each variant loses by class and by group; see :func:`workbench.compare.loss_table.loss_rows`."""
    rows = tuple(loss_table.loss_rows(results))
    parts = loss_table.kinds_of_parts(results)
    title = f"Loss by {' and by '.join(parts)}" if parts else ""
    return Table(
        LOSSES, rows, title=title, empty="There are no labels, so that the loss by class or group is not known."
    )


def worst_losses(results: Results) -> Table:
    """Of each variant the parts that lose most; all of them as data."""
    found = losses(results)
    seen: dict[tuple[str, str], int] = {}
    kept: list[Row] = []
    for row in found.rows:
        place = (row["variant"], row["by"])
        seen[place] = seen.get(place, 0) + 1
        kept += [row] if seen[place] <= SHOWN else []
    of = ", ".join(loss_table.kinds_of_parts(results).values())
    note = f"The {SHOWN} with the largest loss of each variant, of {of}. The intervals are simultaneous, at 95 % (Bonferroni)."
    return replace(found, rows=tuple(kept), every=found.rows, notes=(note,) if kept else ())


def cold_starts(results: Results) -> Table:
    """What comes before the steady state; see :func:`workbench.compare.cold.cold_rows`."""
    return Table(COLD, tuple(cold.cold_rows(results)), empty="Nothing was measured.")


def disturbances(results: Results) -> Table:
    """What disturbed the measuring; see :func:`workbench.compare.noise.noise_rows`."""
    return Table(NOISE, tuple(noise.noise_rows(results)), empty="Nothing was measured.")


COSTS = (
    VARIANT,
    BATCH,
    Column("peak", NUMBER, "MiB", "Highest resident memory of the engine's process"),
    Column(
        "engine",
        NUMBER,
        "MiB",
        "The part of the peak that came after the library was imported: engine, buffers, test samples",
    ),
    Column("GPU", NUMBER, "MiB", "Memory of the device, by this process"),
    Column("CPU", NUMBER, "ms", "CPU time of one call over all threads of the process"),
    Column("cores used", NUMBER, help="CPU time divided by wall time"),
    Column("", NUMBER, "mJ", "Energy of one call, idle power and other programs included"),
    Column("energy of"),
    Column("", NUMBER, "GFLOP/s", "Operations of the model by the median time; a multiply-add counts as two"),
    Column("limit", NUMBER, "GFLOP/s"),
    Column("% of limit", NUMBER, help="At least this share of what the machine can attain"),
    Column("limited by"),
)
BUILDS = (
    VARIANT,
    BATCH,
    Column("builds", WHOLE),
    Column("medians", unit="ms", help="Median call of each build, in the order in which they were built"),
    Column("fastest", NUMBER, "ms"),
    Column("slowest", NUMBER, "ms"),
    Column("slowest / fastest", NUMBER),
    Column(
        "speed-up", NUMBER, help="Over the baseline, with the 95 % interval over builds",
        format=lambda row: speedup_text(row["verdict"], row["speed-up"], row["low"], row["high"]),
    ),
    Column("low", NUMBER, rank=DATA),
    Column("high", NUMBER, rank=DATA),
    Column("verdict", rank=DATA),
    Column("fastest build", WHOLE),
    Column("engine", rank=PAGE, help="Key of the fastest build's engine in the store"),
)  # fmt: skip
CLOCKS = (
    VARIANT,
    BATCH,
    Column("clock"),
    Column("p50", NUMBER, "ms"),
    Column(
        "times compute",
        NUMBER,
        help="This clock's time divided by that of 'compute' in the same round, median over rounds",
    ),
    Column("low", NUMBER),
    Column("high", NUMBER),
    Column("encloses", rank=DATA),
)
SETTINGS = (Column("engine"), Column("setting"), Column("value"), Column("read from"))
LOSSES = (
    VARIANT,
    Column("by"),
    Column("name"),
    Column("samples", WHOLE),
    *(
        Column(name, NUMBER, format=lambda row, name=name: "–" if absent(row[name]) else f"{row[name]:.2f}")  # type: ignore[misc]
        for name in ("source", "engine", "loss", "low", "high")
    ),
    Column("over budget", FLAG),
)
COLD = (
    VARIANT,
    BATCH,
    Column("import", NUMBER, "s", "Importing the library, while the other variants imported theirs"),
    Column("open", NUMBER, "s", "Opening the engine afterwards, alone"),
    Column("first call", NUMBER, "ms", "The first call of the process at this batch size"),
    Column("steady", NUMBER, "ms", "Median of the timed calls"),
    Column("first / steady", NUMBER),
    Column("launches", WHOLE),
)
NOISE = (
    VARIANT,
    BATCH,
    Column("blocks", WHOLE),
    Column("disturbed", WHOLE, help="Blocks beside threads of another variant"),
    Column("spoiled", WHOLE, help="Blocks that were disturbed from outside"),
    Column("by"),
    Column("outliers", WHOLE, help="Calls beyond the outer fence of their block"),
    Column("others' cores", NUMBER, help="How many cores other programs kept busy, on average"),
    Column("waited", NUMBER, "%", "Share of the blocks' time in which the thread waited for a core"),
    Column("stolen", NUMBER, "%", "Share of the blocks' time that a hypervisor withheld"),
    Column("minor faults", WHOLE),
    Column("major faults", WHOLE),
    Column("switches", WHOLE),
    Column("", unit="MHz", help="Lowest and highest clock after a block"),
)
