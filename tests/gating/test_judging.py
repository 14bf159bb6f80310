"""The rule of a gate, on evidence whose answer is known."""

import numpy as np
import pytest

from workbench.gating.judging import outcomes
from workbench.gating.outcome import Gate, GateLimits, GateOutcome, GateRow
from workbench.measure.verdict import Evidence, between_sessions


def evidence(slowdown: float, spread: float, launches: int = 8) -> Evidence:
    logs = tuple(-np.log(slowdown) + spread * np.linspace(-1.5, 1.5, launches))
    return Evidence(logs, tuple(np.exp(logs)), 1, launches, 0, 0, 0)


@pytest.mark.parametrize(
    ("slowdown", "spread", "limits", "expected"),
    [
        (1.05, 0.005, GateLimits(), GateOutcome.WORSE),
        (0.9, 0.005, GateLimits(), GateOutcome.NO_WORSE),
        (1.0, 0.005, GateLimits(), GateOutcome.NO_WORSE),
        (1.0, 0.1, GateLimits(), GateOutcome.CANNOT_TELL),  # a wide interval is no evidence that nothing changed
        (1.05, 0.005, GateLimits(allowed=0.05), GateOutcome.NO_WORSE),
        (1.12, 0.005, GateLimits(allowed=0.05), GateOutcome.WORSE),
        (1.0, 0.005, GateLimits(excluded=0.001), GateOutcome.CANNOT_TELL),
    ],
)
def test_an_outcome_follows_from_the_interval(slowdown, spread, limits, expected):
    (found,) = outcomes([evidence(slowdown, spread)], limits)
    assert found.outcome == expected
    assert found.low < found.slowdown < found.high
    assert found.slowdown == pytest.approx(slowdown, rel=0.1)


def test_all_rows_share_the_probability_of_a_false_alarm():
    one = evidence(1.03, 0.01, launches=5)
    alone = outcomes([one], GateLimits())[0]
    among = outcomes([one, *[evidence(1.0, 0.01, 5)] * 29], GateLimits())[0]
    assert alone.outcome == GateOutcome.WORSE
    assert among.outcome != GateOutcome.WORSE
    assert among.high - among.low > alone.high - alone.low


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((GateOutcome.NO_WORSE, GateOutcome.WORSE, GateOutcome.CANNOT_TELL), GateOutcome.WORSE),
        ((GateOutcome.NO_WORSE, GateOutcome.CANNOT_TELL), GateOutcome.CANNOT_TELL),
        ((GateOutcome.NO_WORSE,), GateOutcome.NO_WORSE),
        ((), GateOutcome.CANNOT_TELL),
    ],
)
def test_the_worst_row_decides(rows, expected):
    made = tuple(GateRow("a", number, outcome) for number, outcome in enumerate(rows))
    assert Gate(made, "", "", True, GateLimits(), None, None, "").outcome == expected


@pytest.mark.parametrize(("factor", "word"), [(1.0, "cannot tell"), (1.5, "slower"), (0.6, "faster")])
def test_what_was_not_measured_in_turn_shows_large_differences_only(factor, word):
    import recorded

    old, new = recorded.timing(1.0, rounds=24), recorded.timing(factor, rounds=24, seed=1)
    found = between_sessions(new, old)
    assert found.verdict == word
    assert found.high / found.low > 1.25**2  # one launch each: the allowance of a single launch, on both sides
