"""Records of a gate: the outcome of each row and of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from workbench.records import Machine, Result, TimingPlan


class GateOutcome(StrEnum):
    """Whether the new side is slower than the old one."""

    NO_WORSE = "no worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class GateLimits:
    """What counts as worse and as no worse, each as a share of the old time: 0.05 is 5 %."""

    allowed: float = 0.0  # a slowdown up to this is accepted
    excluded: float = 0.05  # "no worse" excludes a slowdown of this much beyond the accepted one


@dataclass(frozen=True)
class GateRow:
    """One variant at one batch size, old against new."""

    variant: str
    batch: int
    outcome: GateOutcome
    why: str = ""
    slowdown: float | None = None  # new time divided by old time: above 1 is slower
    low: float | None = None
    high: float | None = None
    old: Result | None = None
    new: Result | None = None

    @property
    def name(self) -> str:
        """As in a table of results: ``onnxruntime fp32 @1``."""
        return f"{self.variant} @{self.batch}"

    @property
    def change(self) -> str:
        """The slowdown with its interval: ``+5.1 % [+4.2 %, +6.0 %]``; "" where it is not known."""
        if self.slowdown is None or self.low is None or self.high is None:
            return ""
        middle, low, high = (f"{(value - 1) * 100:+.1f} %" for value in (self.slowdown, self.low, self.high))
        return f"{middle} [{low}, {high}]"


@dataclass(frozen=True)
class Gate:
    """All rows of a gate, what was compared, and how."""

    rows: tuple[GateRow, ...]
    old: str  # what the old side is, in words
    new: str
    in_turn: bool  # False: the old side is a recorded run
    limits: GateLimits
    machine: Machine
    plan: TimingPlan
    began_at: str  # UTC, ISO 8601
    wall_s: float = 0.0

    @property
    def outcome(self) -> GateOutcome:
        """Worse if a row is; else "cannot tell" if a row is, or where there are no rows."""
        found = {row.outcome for row in self.rows}
        if GateOutcome.WORSE in found:
            return GateOutcome.WORSE
        return GateOutcome.NO_WORSE if found == {GateOutcome.NO_WORSE} else GateOutcome.CANNOT_TELL

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        worse = [f"{row.name} {row.change or row.why}" for row in self.rows if row.outcome == GateOutcome.WORSE]
        open_ = [row.name for row in self.rows if row.outcome == GateOutcome.CANNOT_TELL]
        if worse:
            return f"Worse: {'; '.join(worse)}."
        if open_ or not self.rows:
            return f"Cannot tell: {', '.join(open_) or 'no row was measured on both sides'}."
        return f"No worse: {len(self.rows)} row{'s' * (len(self.rows) != 1)}."
