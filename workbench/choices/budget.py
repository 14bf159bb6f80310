"""How much worse than its source a rewritten model may be, as a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import InputError

NONE = "none"
POINTS, RELATIVE, FLIPS, ABSOLUTE = "points", "relative", "flips", "absolute"
_SPELLED = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(points?|%\s*flips|%|)", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """How much worse than the source model a variant may be."""

    amount: float
    kind: str

    def __str__(self) -> str:
        amount = f"{self.amount:g}"
        ends = {POINTS: " points", RELATIVE: " % of the source's metric", FLIPS: " % of the answers", ABSOLUTE: ""}
        return amount + ends[self.kind]


def budget_of(text: str) -> Budget | None:
    """The budget that a text spells; ``None`` for "none" or nothing.

    ``0.5 points``: of a metric in percent. ``1 %``: of the source model's metric. ``2 % flips``: of the answers may be others
    than the source's, right or wrong. ``0.02``: in the metric's own unit (shares: 0 to 1).

    Raises:
        InputError: it spells none of these.
    """
    text = str(text).strip()
    if text.lower() in ("", NONE):
        return None
    found = _SPELLED.fullmatch(text)
    if found is None:
        raise InputError(
            f"'budget' is a number with its unit; found '{text}'. Give for example '0.5 points', '1 %', '2 % flips', '0.02' (in "
            "the metric's own unit) or 'none'."
        )
    unit = found[2].lower().replace(" ", "")
    kinds = {"": ABSOLUTE, "%": RELATIVE, "%flips": FLIPS}
    return Budget(float(found[1]), kinds.get(unit, POINTS))
