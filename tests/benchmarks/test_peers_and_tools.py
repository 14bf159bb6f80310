"""What the benchmarks against others say of the figures they found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from recorded import measured, results

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import peers
import tools
from record import interval_verdict

ROUNDS = 10


def times(us: float, noise: float) -> list[float]:
    """Nanoseconds of every round, so far to both sides in turn."""
    return [us * 1e3 * (1 + (noise if number % 2 else -noise)) for number in range(ROUNDS)]


def found(noise: float = 0.001, **us: float) -> dict[str, str]:
    """The last column for each tool of OpenVINO's engine; their medians are 100 µs where nothing else is said."""
    names = {"compute": peers.COMPUTE, "host": peers.HOST, "bound": peers.BOUND, "copied": peers.COPIED}
    medians = dict.fromkeys(peers.TOOLS[peers.OPENVINO], 100.0) | {names[key]: value for key, value in us.items()}
    rounds = {name: times(value, noise if name.startswith(peers.OURS) else 0) for name, value in medians.items()}
    return {row[1]: row[-1] for row in peers.rows({peers.OPENVINO: rounds})}


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((1.0, 0.99, 1.01), "yes"),
        ((1.01, 0.99, 1.03), "cannot tell"),
        ((1.03, 0.97, 1.05), "cannot tell"),
        ((1.05, 1.03, 1.08), "no"),
        ((0.9, 0.85, 0.97), "no"),
    ],
)
def test_the_whole_interval_answers(interval, word):
    assert interval_verdict(interval, 0.98, 1.02) == f"within target: {word}"


def test_a_noisy_ratio_is_neither_within_nor_explained():
    assert found(compute=101)[peers.COMPUTE] == "within target: yes"
    assert found(0.04, compute=101)[peers.COMPUTE] == "within target: cannot tell"
    assert found(0.04, compute=103)[peers.COMPUTE] == "within target: cannot tell"
    # Python's own call is not known to take more than the tightest
    assert found(compute=106)[peers.COMPUTE] == "within target: no"
    said = found(compute=106, bound=105)[peers.COMPUTE]
    assert said.startswith("within target: no; Python's own call of the library takes +5.0 (+5.0 to +5.0) µs")


def test_host_to_host_is_judged_against_those_that_copy_too():
    said = found(copied=105, host=106)[peers.HOST]
    assert said.startswith("within target: no; against 'Python loop, compiled(x)' the ratio is 1.060 (1.0")
    assert found(host=101)[peers.HOST].startswith("within target: yes; against")


def test_a_row_without_a_ratio_says_why():
    few = results([measured("tensorflow fp32", timing_rounds=5), measured("openvino fp32", timing_rounds=5)])
    reported = tools.section("resnet50", 32, few)
    assert reported.rows[1][3] == "cannot tell"
    assert "5 usable rounds, at least 6 are needed" in reported.rows[1][-1]
    assert (
        "12 rounds in which all take turns in the first launch, 6 in every further one, 4 s for each" in reported.method
    )
