"""The rule of a gate: from timings of both sides to an outcome with its interval.

The verdict is that of every comparison (:mod:`workbench.measure.verdict`). All rows of a gate share its error probability. Where the
verdict is "slower" the row is worse. Where it is not, the row is no worse only if the interval excludes a slowdown of
:attr:`GateLimits.excluded`: a wide interval is no evidence that nothing changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from workbench.gating.outcome import GateLimits, GateOutcome
from workbench.measure.verdict import Evidence, Judged, judged
from workbench.records import Verdict


class RowOutcome(NamedTuple):
    """An outcome, the slowdown (new time divided by old time) with its interval, and the reason."""

    outcome: GateOutcome
    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


def outcomes(evidences: Sequence[Evidence], limits: GateLimits) -> list[RowOutcome]:
    """The outcome of every row that was measured in turn; ``evidences`` are of the new side against the old.

    Example:
        >>> slower = Evidence((-0.05, -0.052, -0.049, -0.051), (0.95,) * 24, 1, 24, 0, 0, 0)
        >>> [found.outcome.value for found in outcomes([slower], GateLimits())]
        ['worse']

    """
    shifted = [_shifted(each, limits.allowed) for each in evidences]
    return [outcome_of(each, limits) for each in judged(shifted)]


def outcome_of(judged: Judged, limits: GateLimits) -> RowOutcome:
    """The outcome of a verdict whose new times were divided by 1 + ``limits.allowed``."""
    if judged.speedup is None or judged.low is None or judged.high is None:
        return RowOutcome(GateOutcome.CANNOT_TELL, why=judged.why)
    slowdown, low, high = ((1 + limits.allowed) / value for value in (judged.speedup, judged.high, judged.low))
    highest = (1 + limits.allowed) * (1 + limits.excluded)
    if judged.verdict == Verdict.SLOWER:
        return RowOutcome(GateOutcome.WORSE, slowdown, low, high)
    if high < highest:
        return RowOutcome(GateOutcome.NO_WORSE, slowdown, low, high)
    why = f"a slowdown of {highest - 1:.1%} is not excluded".replace("%", " %")
    return RowOutcome(GateOutcome.CANNOT_TELL, slowdown, low, high, why)


def _shifted(evidence: Evidence, allowed: float) -> Evidence:
    """The evidence as if the new side's times were divided by 1 + ``allowed``."""
    return evidence._replace(
        launches=tuple(each + math.log1p(allowed) for each in evidence.launches),
        ratios=tuple(each * (1 + allowed) for each in evidence.ratios),
    )
