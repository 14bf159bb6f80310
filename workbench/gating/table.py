"""The rows of a gate as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.compare.formats import ABSENT
from workbench.display.table import NUMBER, WHOLE, Column, Table

if TYPE_CHECKING:
    from workbench.gating.outcome import Gate
    from workbench.records import Result

ORDER = {"worse": 0, "cannot tell": 1, "no worse": 2}


def table(gate: Gate) -> Table:
    """A row for each variant and batch, what is worse first."""
    rows: list[dict[str, Any]] = [
        {
            "Variant": row.variant,
            "Batch": row.batch,
            "Old ms": _median_ms(row.old),
            "New ms": _median_ms(row.new),
            "Change": row.change or ABSENT,
            "Outcome": str(row.outcome),
            "Why": row.why,
        }
        for row in sorted(gate.rows, key=lambda row: ORDER[row.outcome])
    ]
    columns = (
        Column("Variant"),
        Column("Batch", WHOLE),
        Column("Old", NUMBER, "ms"),
        Column("New", NUMBER, "ms"),
        Column("Change", help="time of the new side against the old, with its interval"),
        Column("Outcome"),
        Column("Why", note=True),
    )
    return Table(columns, tuple(rows), notes=notes(gate), empty="No row was measured.")


def notes(gate: Gate) -> tuple[str, ...]:
    how = "measured in turn" if gate.in_turn else "against a recorded run, not in turn: only large differences are seen"
    limits = f"A slowdown up to {gate.limits.allowed:.1%} is accepted; " if gate.limits.allowed else ""
    rule = f"'no worse' excludes a slowdown of {(1 + gate.limits.allowed) * (1 + gate.limits.excluded) - 1:.1%}"
    return (
        f"Old: {gate.old}. New: {gate.new}; {how}.",
        f"{limits}{rule}. Change: new time against old, with its interval.".replace("%", " %"),
        f"Machine: {gate.machine.label}.",
    )


def _median_ms(row: Result | None) -> float | None:
    return row.timing.median_s * 1e3 if row and row.timing else None
