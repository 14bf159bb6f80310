"""Numbers as text: digits, missing values, intervals and verdicts."""

from __future__ import annotations

import math
from typing import Any

from workbench.records import Verdict

ABSENT = "–"


def absent(value: Any) -> bool:
    """Whether a value is missing: ``None``, or a float that is not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def ms(seconds: float | None) -> float | None:
    """Seconds in milliseconds; ``None`` stays."""
    return None if seconds is None else seconds * 1e3


def digits(value: float | None) -> str:
    """Three significant digits, never in powers of ten: 0.240, 8.42, 61.3, 1,230.

    >>> digits(1234.5), digits(0.24), digits(None)
    ('1,234', '0.240', '–')
    """
    if value is None or not math.isfinite(value):
        return ABSENT if value is None or math.isnan(value) else f"{value}"
    return f"{value:,.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    if value == 0:
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def interval(value: float | None, low: float | None, high: float | None, unit: str = "") -> str:
    """``97.1 % [96.0, 98.0]``, or with three significant digits where there is no unit."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:.1f}{unit} [{low:.1f}, {high:.1f}]" if unit else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def speedup_text(verdict: str, speedup: float | None, low: float | None, high: float | None) -> str:
    """``×2.10 [2.05, 2.16] faster``, with as many decimals as it takes to see that the interval leaves out 1."""
    if verdict == Verdict.BASELINE or speedup is None or low is None or high is None or math.isnan(low):
        return verdict or ABSENT
    value, ends = speedup_parts(verdict, speedup, low, high)
    return f"×{value} {ends} {verdict}"


def speedup_parts(verdict: str, speedup: float, low: float, high: float) -> tuple[str, str]:
    """The ratio and its interval, ``2.10`` and ``[2.05, 2.16]``, with the digits of :func:`speedup_text`."""
    decimals = _decimals(speedup)
    bound = low if verdict == Verdict.FASTER else high
    while verdict != Verdict.CANNOT_TELL and decimals < 5 and float(f"{bound:.{decimals}f}") == 1:
        decimals += 1
    return f"{speedup:.{decimals}f}", f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def score_text(metric: str, value: float | None, low: float | None, high: float | None) -> str:
    """``f1 93.10 [91.2, 94.8]``; nothing for top-1, which has a separate column."""
    if value is None or math.isnan(value) or metric == "top-1":
        return ABSENT
    ends = "" if absent(low) else f" [{low:.4g}, {high:.4g}]"
    return f"{metric} {value:.4g}{ends}"


def shortened(text: str, width: int) -> str:
    """Cut in the middle: the ends of a variant's name, backend and precision, say most."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def seconds(s: float) -> str:
    """A latency in milliseconds with three significant digits."""
    ms = s * 1e3
    return f"{ms:,.{3 if ms < 1 else 2 if ms < 10 else 1 if ms < 100 else 0}f} ms"


def duration(s: float) -> str:
    return f"{s:.1f} s" if s < 100 else f"{s / 60:.0f} min"


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"
