"""The accuracy budget: how much worse than the source model a variant may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import InputError

NONE = "none"
POINTS, RELATIVE, FLIPS, ABSOLUTE = "points", "relative", "flips", "absolute"
WHOLE_POINTS = 0.5
"""A plain number from here on, for a metric from 0 to 1, is taken for points or percent without their unit."""
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
    """The budget in a text; ``None`` for "none" or an empty text.

    ``0.5 points``: of a metric in percent. ``1 %``: of the source model's metric. ``2 % flips``: this share of the answers may
    differ from the source's, right or wrong. ``0.02``: in the metric's own unit (shares: 0 to 1).

    Example:
        >>> str(budget_of("0.5 points"))
        '0.5 points'
        >>> budget_of("none") is None
        True

    Raises:
        InputError: the text has none of these forms.
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


def budget_for(text: str, *, share: bool) -> Budget | None:
    """The budget in a text, for a metric that is a ``share`` from 0 to 1 or is not.

    Raises:
        InputError: as :func:`budget_of`, or a plain number that is nearly all of a share, where points were probably meant.
    """
    found = budget_of(text)
    if found is None or found.kind != ABSOLUTE or not share or found.amount < WHOLE_POINTS:
        return found
    points = f"{found.amount:g} point{'s' * (found.amount != 1)}"
    raise InputError(
        f"'budget' is {found}, which for a metric from 0 to 1 is a loss of {100 * found.amount:g} points. Give '{points}' or "
        f"'{found.amount / 100:g}' if {points} were meant, or '{100 * found.amount:g} points' for that loss."
    )
