"""What disturbed the measuring: for every row the counts of its blocks, and what the system saw around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.records import Results, Timing


def noise_rows(results: Results) -> list[dict[str, Any]]:
    """One row per measured row.

    ``disturbed``: blocks beside threads of another variant; ``spoiled``: blocks that something outside spoiled, with the
    reasons in ``by`` (the rule is that of :attr:`workbench.records.Block.spoiled`). ``outliers``: calls beyond the outer fence
    of their block. ``others' cores``: how many cores other programs kept busy, on average. ``waited %``, ``stolen %``: of the
    blocks' time, spent ready without a core, and withheld by a hypervisor. Faults and involuntary switches are the whole
    row's. ``MHz``: lowest and highest clock after a block. Missing where the system does not report it.
    """
    return [
        {"variant": row.spec.label, "batch": row.batch, **_counts(row.timing)} for row in results.measured if row.timing
    ]


MOST = 0.5
"""Share of a row's blocks beyond which it counts as disturbed."""
NAMED = 4
"""So many rows are named at most."""


def in_short(results: Results) -> str:
    """One sentence about all rows, where most blocks of some were disturbed or spoiled; "" where none were."""
    timed = [(row.row, row.timing) for row in results.measured if row.timing]
    busy = [
        name
        for name, each in timed
        if each.blocks and each.noisy_blocks + sum(each.spoiled_blocks.values()) > MOST * len(each.blocks)
    ]
    if not busy:
        return ""
    which = ", ".join(busy) if len(busy) <= NAMED else f"{len(busy)} of {len(timed)} rows"
    which = "all rows" if len(busy) == len(timed) else which
    return (
        f"The machine was busy with other work in most rounds of {which}, so that the intervals are wide. Measure again when it is "
        "quiet, or for longer."
    )


def _counts(timing: Timing) -> dict[str, Any]:
    seen = [(block.around, block.wall_s) for block in timing.blocks if block.around]
    wall_s = sum(seconds for _, seconds in seen)
    spoiled = timing.spoiled_blocks
    clocks = [around.mhz for around, _ in seen if around.mhz]

    def total(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    def share(values: Iterable[float | None], of: float) -> float | None:
        found = total(values)
        return None if found is None or not wall_s else found / wall_s * of

    return {
        "blocks": len(timing.blocks),
        "disturbed": timing.noisy_blocks,
        "spoiled": sum(spoiled.values()),
        "by": ", ".join(f"{why} {count}" for why, count in spoiled.items()),
        "outliers": timing.outliers,
        "others' cores": share((around.others_cpu_s for around, _ in seen), 1),
        "waited %": share((around.waited_s for around, _ in seen), 100),
        "stolen %": share((around.stolen_s for around, _ in seen), 100),
        "minor faults": total(around.minor_faults for around, _ in seen),
        "major faults": total(around.major_faults for around, _ in seen),
        "switches": total(around.involuntary_switches for around, _ in seen),
        "MHz": " to ".join(dict.fromkeys(f"{mhz:,.0f}" for mhz in (min(clocks), max(clocks)))) if clocks else "",
    }
