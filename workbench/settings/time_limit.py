"""The time limit of a run, in minutes."""

from __future__ import annotations

import math
from typing import Any

from workbench.errors import InputError
from workbench.settings.kinds import shown

LONGEST = 43_200
"""30 days."""


def minutes_of(value: Any) -> str:
    """Minutes as text; "" for no limit.

    >>> minutes_of(5), minutes_of("2.5"), minutes_of(None)
    ('5', '2.5', '')

    Raises:
        InputError: it is not a number of minutes.
    """
    text = "" if value is None else str(value).strip()
    if text == "":
        return ""
    try:
        number = math.nan if isinstance(value, bool) else float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= LONGEST:
        raise InputError(
            f"'minutes' must be a number above 0 and at most {LONGEST}, or empty for no time limit; found {shown(value)}. "
            "Choose for example 5."
        )
    return f"{number:.10g}"


def limit_s(minutes: Any) -> float | None:
    """The limit in seconds; ``None`` where there is none.

    Raises:
        InputError: as :func:`minutes_of`.
    """
    text = minutes_of(minutes)
    return float(text) * 60 if text else None
