"""Every share of a limit, by hand."""

from __future__ import annotations

from dataclasses import replace

import peaked
import pytest
from peaked import PEAKS
from recorded import engine, measured, on_gpu, spec

from workbench.compare.roofline import placed
from workbench.records import Peak, RealizedPrecision, from_json, to_json

IO = 4 * (784 + 10)


def one(row, **changes):
    (spot,) = placed(peaked.results(row, **changes))
    return spot


def exactly(label: str, batch: int, median_ms: float, **changes):
    """A row all of whose calls took the same time."""
    row = measured(label, batch, median_ms=median_ms, **changes)
    blocks = tuple(replace(block, samples_ns=(int(median_ms * 1e6),)) for block in row.timing.blocks)
    return replace(row, timing=replace(row.timing, blocks=blocks))


def test_a_large_batch_is_bound_by_computing():
    spot = one(exactly("onnxruntime fp32", 64, 1.28))
    assert spot.flops == 64e6
    assert spot.bytes == 4 * 250_000 + 64 * IO
    assert spot.achieved == pytest.approx(50e9)
    assert (spot.format, spot.bound, spot.attainable) == ("fp32", "compute", 100e9)
    assert spot.share == pytest.approx(0.5)


def test_a_single_sample_is_bound_by_the_memory_that_holds_its_weights():
    spot = one(exactly("onnxruntime fp32", 1, 0.1))
    assert spot.bytes == 1_000_000 + IO  # just more than the cache
    assert spot.bound == "memory"
    assert spot.attainable == pytest.approx(20e9 * 1e6 / spot.bytes)
    assert spot.share == pytest.approx(10e9 / spot.attainable)


def test_int8_weights_are_a_quarter_and_lie_in_the_cache():
    spot = one(exactly("onnxruntime int8", 1, 0.1))
    assert spot.bytes == 250_000 + IO
    assert (spot.format, spot.bound) == ("int8", "L2")
    assert spot.attainable == pytest.approx(100e9 * 1e6 / spot.bytes)


def test_where_formats_are_mixed_the_faster_peak_and_the_smaller_weights_count():
    mixed = engine(spec("onnxruntime int8"), realized=RealizedPrecision({"fp32": 3, "int8": 3}, "test"))
    spot = one(exactly("onnxruntime int8", 64, 1.0, engine=mixed))
    assert (spot.format, spot.bytes) == ("int8", 250_000 + 64 * IO)


@pytest.mark.parametrize(
    ("row", "changes", "why"),
    [
        (measured("openvino bf16"), {}, "no peak was measured for bf16: the CPU has none of avx512_bf16"),
        (measured("onnxruntime fp32"), {"flops": None}, "the model's operations could not be counted"),
        (on_gpu("onnxruntime:cuda fp32"), {}, "peaks of a GPU are not measured"),
    ],
)
def test_a_row_without_a_limit_says_why(row, changes, why):
    spot = one(row, **changes)
    assert (spot.share, spot.why_not) == (None, why)


def test_without_peaks_there_is_no_limit():
    (spot,) = placed(replace(peaked.results(measured("onnxruntime fp32")), peaks=None))
    assert spot.why_not == "the machine's peaks were not measured (roofline = true does it)"


def test_the_nearest_place_that_holds_the_bytes_is_taken():
    assert PEAKS.nearest(1_000_000).what == "L2"
    assert PEAKS.nearest(1_000_001).per_s == pytest.approx(20e9)  # the faster of the two loops
    assert replace(PEAKS, transfer=()).nearest(1) is None
    assert PEAKS.best("fp32").per_s == pytest.approx(100e9)
    assert PEAKS.best("fp16") is None


@pytest.mark.parametrize(
    ("samples", "disturbed"), [((0.01, 0.0104, 0.0105, 0.05), False), ((0.01, 0.0101, 0.0106), True)]
)
def test_a_peak_that_was_reached_but_once_is_known(samples, disturbed):
    found = replace(PEAKS, compute=(Peak("fp32", 1e9, samples, "a loop"),))
    assert found.disturbed == disturbed
    assert from_json(type(found), to_json(found)) == found


def test_a_worse_loop_for_the_same_thing_does_not_have_to_be_steady():
    better, worse = Peak("fp32", 1e9, (0.01,) * 3, "a loop"), Peak("fp32", 1e9, (0.02, 0.03, 0.04), "another")
    assert not replace(PEAKS, compute=(worse, better)).disturbed


def test_threads_that_took_turns_on_one_core_are_known():
    together = tuple(replace(peak, samples_s=(0.01,) * 3, cores_busy=1.9) for peak in PEAKS.compute)
    transfer = tuple(replace(peak, samples_s=(0.01,) * 3, cores_busy=1.9) for peak in PEAKS.transfer)
    assert not replace(PEAKS, threads=2, compute=together, transfer=transfer).disturbed
    apart = (replace(together[0], cores_busy=1.0), *together[1:])
    assert replace(PEAKS, threads=2, compute=apart, transfer=transfer).disturbed
