"""The clocks of one engine, from records by hand and from a real session."""

from __future__ import annotations

import numpy as np
import peaked
import pytest
from recorded import measured, results

from workbench.display.tables import CLOCKS
from workbench.timing import observe


def test_each_clock_is_a_multiple_of_compute_in_the_same_round():
    table = results([measured("onnxruntime fp32", timing_clocks=peaked.CLOCKS)]).clocks().frame()
    assert tuple(table.columns) == tuple(each.name for each in CLOCKS)
    assert table["clock"].tolist() == ["host-to-host", "library", "compute"]
    assert table["p50 ms"].tolist() == pytest.approx([2.45, 2.2, 2.0])
    assert table["times compute"].tolist()[:2] == pytest.approx([1.225, 1.1])
    assert table["low"].tolist()[:2] == pytest.approx([1.225, 1.1])
    assert table[["times compute", "low", "high"]].isna().all(axis=1).tolist() == [False, False, True]


def test_without_compute_or_enough_rounds_there_is_no_multiple():
    alone = results([measured("tensorflow:predict fp32", timing_clocks=peaked.CLOCKS[:1])]).clocks().frame()
    assert alone["times compute"].isna().all()
    few = tuple(type(clock)(clock.name, "", clock.rounds_ns[:5]) for clock in peaked.CLOCKS)
    assert results([measured("onnxruntime fp32", timing_clocks=few)]).clocks().frame()["times compute"].isna().all()


def test_results_without_clocks_give_an_empty_table():
    assert results([measured("onnxruntime fp32")]).clocks().frame().empty


class Layered:
    """A session whose three calls say which of them was made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def run(self, feeds):
        self.made.append("host-to-host")

    def stage(self, feeds):
        return lambda: self.made.append("compute")

    def library_call(self, feeds):
        return lambda: self.made.append("library"), "its own call"


def test_the_clocks_take_turns_in_random_order():
    session = Layered()
    found = observe.clocks(session, {"x": np.zeros(1)}, compute=True, rounds=8, block_s=0.0005, seed=1)
    assert [(clock.name, len(clock.rounds_ns)) for clock in found] == [
        ("host-to-host", 8), ("library", 8), ("compute", 8),
    ]  # fmt: skip
    assert found[1].encloses == "its own call"
    assert all(samples and min(samples) > 0 for clock in found for samples in clock.rounds_ns)
    turns = [name for name, before in zip(session.made, [None, *session.made], strict=False) if name != before][3:]
    thirds = [tuple(turns[start : start + 3]) for start in range(0, 24, 3)]
    assert len(set(thirds)) > 1  # another order in another round


def test_what_cannot_be_staged_has_no_compute():
    found = observe.clocks(Layered(), {}, compute=False, rounds=1, block_s=0.0005, seed=0)
    assert [clock.name for clock in found] == ["host-to-host", "library"]
