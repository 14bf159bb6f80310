"""Rows of GPUs, of other regions and of several streams in the table of a comparison."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from recorded import BASE, PEER, measured, on_gpu, results, seen
from recorded import frame_of as table

from workbench.compare.pairs import comparison
from workbench.panel import tables
from workbench.records import Region


def test_rows_of_a_gpu_say_so_and_a_ratio_across_devices_too():
    rows = [
        measured(BASE, median_ms=2),
        on_gpu("onnxruntime:cuda fp32"),
        on_gpu("onnxruntime:cuda fp16", throttled=("power cap",)),
    ]
    compared = comparison(results(rows))
    assert [row.across for row in compared.rows] == ["", "cpu", "cpu"]
    frame = table(results(rows))
    assert list(frame["device"]) == ["cpu", "cuda:0", "cuda:0"]
    across = "the ratio is across devices: cuda:0 here, cpu for the baseline"
    reported = (
        "CUDA graph; copies in 0.006 ms, computes 0.061 ms, copies out 0.004 ms; GPU memory 606 MiB; clock 1,980 MHz"
    )
    assert list(frame["note"]) == [
        "",
        f"{across}; {reported}; TF32 allowed",
        f"{across}; {reported}; clocks held down by power cap in 12 of 12 blocks",
    ]
    # on the first screen of a report only what decides about a row
    assert [row["essential"] for row in results(rows).table().rows][1:] == [
        f"{across}; CUDA graph; TF32 allowed",
        f"{across}; CUDA graph; clocks held down by power cap in 12 of 12 blocks",
    ]
    assert "cuda:0" in results(rows).table().text()
    within = comparison(results(rows[1:], baseline="onnxruntime:cuda fp32"))
    assert [row.across for row in within.rows] == ["", ""]


def test_a_ratio_across_devices_is_marked_in_the_panel_too():
    rows = [measured(BASE, median_ms=2), on_gpu("onnxruntime:cuda fp32"), measured(PEER)]
    lines = [tables.table([tables.Shown(judged.result, judged)]).html() for judged in comparison(results(rows)).rows]
    assert ", cpu for the baseline" in lines[1]
    assert not any("for the baseline" in line for line in (lines[0], lines[2]))


def test_without_a_gpu_there_is_no_column_of_devices():
    assert "device" not in seen(results([measured(BASE)]).table()).columns


def test_a_graph_that_was_given_up_is_announced():
    label = "onnxruntime:cuda fp32"
    (note,) = table(results([on_gpu(label, graph_note="the run could not be captured")], baseline=label))["note"]
    assert note.startswith("no CUDA graph: the run could not be captured; ")


def test_means_of_short_runs_have_no_percentiles_of_calls_and_count_by_the_hosts_time():
    row = on_gpu("onnxruntime:cuda fp32", timing_calls=400)
    timing = row.timing
    several = replace(timing, region=Region.DEVICE, device=replace(timing.device, runs=8))
    single = replace(several, device=replace(timing.device, runs=1))
    for kept, shown in ((single, True), (several, False)):
        (cells,) = table(results([replace(row, timing=kept)], baseline=row.spec.label)).to_dict("records")
        assert (cells["p90 ms"] == cells["p90 ms"]) is shown  # a missing number is not itself
    assert "each time is the mean over 8 runs in one graph" in cells["note"]
    wall = sum(block.wall_s for block in several.blocks)
    assert several.queries_per_s == pytest.approx(8 * len(several.samples_s) / wall)


def test_several_calls_in_flight_have_no_latency():
    row = on_gpu("onnxruntime:cuda fp32", timing_streams=4, timing_calls=400)
    (cells,) = table(results([row], baseline=row.spec.label)).to_dict("records")
    assert "4 calls in flight: times are between two answers, not latencies" in cells["note"]
    assert math.isnan(cells["p99 ms"])
    assert cells["samples/s"] > 0


def test_a_protocol_of_trtexec_takes_an_actual_sample_as_percentile():
    (row,) = [on_gpu("onnxruntime:cuda fp32", timing_protocol="trtexec-11", timing_calls=3)]
    assert row.timing.percentile_s(99) in row.timing.samples_s
    assert on_gpu("onnxruntime:cuda fp32", timing_calls=3).timing.percentile_s(99) is None
