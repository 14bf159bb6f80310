"""Durations: compact in memory, on disk where the store has them, and equal to what was measured."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import psutil
import pytest
import recorded

from workbench.records import Timing, from_json, to_json
from workbench.runs.timings import SAMPLES, keep_timing, recall_timing
from workbench.stats.durations import Durations
from workbench.system.memory import status


def test_durations_are_a_sequence_of_whole_numbers():
    some = Durations([5, 3, 9])
    assert (len(some), some[0], some[-1], list(some), min(some)) == (3, 5, 9, [5, 3, 9], 3)
    assert some == (5, 3, 9) == some
    assert some != [5, 3]
    assert some != "abc"
    assert some[1:] == [3, 9]
    assert hash(some) == hash(Durations((5, 3, 9)))
    assert np.median(some) == 5
    assert np.asarray(some, dtype=np.float64).dtype == np.float64
    assert copy.deepcopy(some) == pickle.loads(pickle.dumps(some)) == some
    assert repr(some) == "Durations([5, 3, 9])"


def test_a_timing_from_json_is_compact_and_equal():
    timing = recorded.timing(1.0)
    again = from_json(Timing, to_json(timing))
    assert again == timing
    assert {type(part) for part in (again.warm_up_ns, *(block.samples_ns for block in again.blocks))} == {Durations}
    assert to_json(again) == to_json(timing)
    assert again.median_s == timing.median_s


def test_a_timing_comes_back_from_the_store_as_it_was(store):
    timing = recorded.timing(1.0)
    kept = keep_timing(store, "k", timing)
    assert kept == timing == recall_timing(store, "k")
    assert kept.block_medians_s == timing.block_medians_s
    every = np.load(store.path("timing", "k") / SAMPLES)
    assert every.tolist() == [*timing.warm_up_ns, *(value for block in timing.blocks for value in block.samples_ns)]


def test_durations_are_read_after_their_file_was_removed(store):
    kept = keep_timing(store, "k", recorded.timing(1.0))
    (store.path("timing", "k") / SAMPLES).unlink()
    assert kept == recorded.timing(1.0)
    assert recall_timing(store, "k") is None


def test_a_file_of_something_else_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(5))
    with pytest.raises(ValueError, match=r"holds \(5,\) of int64, not 6 whole numbers"):
        Durations.on_disk(tmp_path / "x.npy", [2, 4])
    np.save(tmp_path / "y.npy", np.ones(6))
    with pytest.raises(ValueError, match="of float64"):
        Durations.on_disk(tmp_path / "y.npy", [2, 4])


def test_no_durations_at_all(store):
    timing = replace(recorded.timing(1.0), warm_up_ns=(), blocks=())
    assert keep_timing(store, "k", timing) == timing


def test_many_timings_take_next_to_no_memory(store):
    """Sixty of a hundred thousand calls each are 48 MB as bytes, and 240 MB as Python's numbers."""
    draw = np.random.default_rng(0)
    timing = recorded.timing(1.0, rounds=12, calls=1)
    kept = []
    before = 0
    for number in range(65):
        blocks = tuple(
            replace(block, samples_ns=Durations(draw.integers(5_000, 50_000, 8_333).tolist()))
            for block in timing.blocks
        )
        kept.append(keep_timing(store, str(number), replace(timing, blocks=blocks)))
        if number == 4:
            before = status()["VmRSS"]
    medians = {one.median_s for one in kept}
    assert len(medians) > 1
    assert psutil.Process().memory_info().rss - before < 12 * 2**20
