"""Which calls a timing's figures rest on, and whether a percentile of them is known: decided by the record alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import recorded
from recorded import block, measured, on_gpu, results, timing
from recorded import frame_of as table

from workbench.compare.limits import Limits, choose_row
from workbench.compare.pairs import comparison
from workbench.display.plots.calls import tail_data
from workbench.display.plots.figures import figures, latency_data
from workbench.measure.verdict import laps_of
from workbench.panel import tables
from workbench.records import Region, Surroundings, Verdict
from workbench.runs.archive import _record

WAITING = Surroundings(cores=2, waited_s=0.09, worked_s=0.09)


def means_over(runs):
    row = on_gpu("onnxruntime:cuda fp32", timing_calls=400)
    of = row.timing
    return replace(row, timing=replace(of, region=Region.DEVICE, device=replace(of.device, runs=runs)))


def test_of_means_over_several_runs_no_reader_shows_a_percentile():
    row = means_over(8)
    shown = results([row], baseline=row.spec.label)
    assert row.timing.percentile_s(50) == row.timing.median_s
    assert [row.timing.percentile_s(percent) for percent in (5, 25, 75, 90, 95, 99)] == [None] * 6
    assert row.timing.no_percentile(99) == "each time is the mean over 8 runs"
    (cells,) = table(shown).to_dict("records")
    assert np.isnan([cells["p90 ms"], cells["p95 ms"], cells["p99 ms"]]).all()
    assert cells["p50 ms"] > 0
    assert tables.table([tables.Shown(row)]).rows[0]["p95 ms"] is None
    figure = latency_data(shown).rows[0]
    assert (figure.middle, figure.span, figure.p99) == (None, None, None)
    assert figures(shown)
    assert tail_data(shown) == ()
    columns = _record(row, shown, "run")["columns"]
    assert columns["p50_ms"] > 0
    assert columns["p90_ms"] is columns["p99_ms"] is None
    out = choose_row(shown, Limits(latency_s=1.0, percent=95)).out
    assert out[row.row] == "p95 is not known: each time is the mean over 8 runs"


def test_of_single_calls_all_readers_show_the_same_percentile():
    row = means_over(1)
    shown = results([row], baseline=row.spec.label)
    p99 = row.timing.percentile_s(99) * 1e3
    assert table(shown)["p99 ms"][0] == latency_data(shown).rows[0].p99 == pytest.approx(p99)
    assert _record(row, shown, "run")["columns"]["p99_ms"] == pytest.approx(p99)
    assert len(tail_data(shown)) == 1


def test_several_calls_in_flight_have_a_median_and_a_throughput_only():
    several = timing(2.0, calls=400, streams=4)
    assert several.percentile_s(95) is None
    assert several.no_percentile(95) == "4 calls were in flight at once"
    assert several.queries_per_s == pytest.approx(1 / several.samples_s.mean())


def busy(ms, *, waits, rounds=12, calls=10):
    """Calls of ``ms`` milliseconds; in the rounds of ``waits`` each call waited as long again for a core."""
    blocks = []
    for number in range(rounds):
        waited = number in waits
        one = block(number, [ms * (2 if waited else 1)] * calls)
        waited_s = calls * ms * 1e-3 if waited else 0.0
        blocks.append(replace(one, around=Surroundings(cores=2, waited_s=waited_s, worked_s=calls * ms * 1e-3)))
    return replace(timing(1.0, rounds=1, calls=1), blocks=tuple(blocks))


@pytest.mark.parametrize("waits", [range(7), range(12), range(3), (0, 2, 4, 6, 8, 10, 11)])
def test_on_a_busy_machine_median_throughput_and_speed_up_of_a_row_agree(waits):
    """The row waits for a core in most rounds and the baseline in none: its calls are 1.5 times as fast all the same."""
    rows = [
        replace(measured("tensorflow fp32"), timing=busy(15.0, waits=())),
        replace(measured("onnxruntime fp32"), timing=busy(10.0, waits=waits)),
    ]
    base, ours = table(results(rows)).to_dict("records")
    assert comparison(results(rows)).rows[1].speedup == pytest.approx(1.5, rel=1e-3)
    assert ours["speed-up"] == pytest.approx(1.5, rel=1e-3)
    assert base["p50 ms"] / ours["p50 ms"] == pytest.approx(1.5, rel=1e-3)
    assert ours["samples/s"] / base["samples/s"] == pytest.approx(1.5, rel=1e-3)
    assert ours["samples/s"] == pytest.approx(1e3 / ours["p50 ms"])


def test_a_machine_asleep_within_a_block_does_not_lower_the_throughput():
    calm = timing(2.0, calls=60)
    first = replace(calm.blocks[0], samples_ns=(*calm.blocks[0].samples_ns[:-1], 20_000_000_000), wall_s=20.1)
    asleep = replace(calm, blocks=(first, *calm.blocks[1:]))
    assert asleep.samples_per_s == pytest.approx(calm.samples_per_s, rel=0.01)


def test_disturbed_and_spoiled_blocks_are_left_out_unless_nothing_else_is_there():
    calm = timing(1.0, rounds=6, calls=20)
    loud = tuple(replace(each, samples_ns=(9_000_000,) * 20, quiet=False) for each in calm.blocks[:2])
    mixed = replace(calm, blocks=(*loud, *calm.blocks[2:]))
    assert mixed.counted == calm.blocks[2:]
    assert mixed.median_s == pytest.approx(1e-3, rel=0.1)
    assert mixed.percentile_s(95) < 2e-3
    only = replace(calm, blocks=loud)
    assert only.counted == loud
    assert only.median_s == pytest.approx(9e-3)
    outside = Surroundings(cores=2, others_cpu_s=9.0)
    few = tuple(replace(each, around=outside) for each in calm.blocks[:2])
    assert replace(calm, blocks=(*few, *calm.blocks[2:])).counted == calm.blocks[2:]
    most = tuple(replace(each, around=outside) for each in calm.blocks[:4])
    assert replace(calm, blocks=(*most, *calm.blocks[4:])).counted == (*most, *calm.blocks[4:])


def test_a_block_with_a_pause_is_left_out_also_where_most_blocks_are_spoiled():
    calm = timing(1.0, rounds=6, calls=20)
    busy = tuple(replace(each, around=Surroundings(cores=2, others_cpu_s=9.0)) for each in calm.blocks)
    stopped = replace(busy[0], samples_ns=(*busy[0].samples_ns[:-1], 20_000_000_000), wall_s=20.1, asked_s=0.02)
    asleep = replace(busy[1], around=Surroundings(cores=2, slept_s=30.0))
    found = replace(calm, blocks=(stopped, asleep, *busy[2:]))
    assert found.counted == busy[2:]
    assert found.percentile_s(95) < 2e-3
    assert {0, 1}.isdisjoint(number for number, lap in laps_of(found.blocks).items() if lap.quiet)
    alone = replace(calm, blocks=(stopped,))
    assert alone.counted == (stopped,)


def test_percentiles_are_in_order_on_a_busy_machine():
    found = busy(10.0, waits=range(9), calls=60)
    values = [found.percentile_s(percent) for percent in (5, 25, 50, 75, 90, 95, 99)]
    assert values == sorted(values)
    assert values[2] == pytest.approx(found.median_s)
    assert values[-1] > values[2]  # a caller waits for the slow calls


def test_a_protocol_counts_every_call():
    calm = timing(1.0, rounds=4, calls=100)
    loud = replace(calm.blocks[0], quiet=False, samples_ns=(5_000_000,) * 100)
    ruled = replace(calm, blocks=(loud, *calm.blocks[1:]), protocol="trtexec-10")
    assert ruled.counted == ruled.blocks
    assert ruled.median_s == float(np.median(ruled.samples_s))
    assert ruled.queries_per_s == pytest.approx(1 / ruled.samples_s.mean())


def test_a_row_says_so_where_the_medians_and_the_verdict_are_the_other_way_round():
    """The baseline went on being measured while the machine was twice as fast."""
    slow = [block(number, [10.0] * 5) for number in range(12)]
    later = [block(number, [5.0] * 5) for number in range(12, 60)]
    ours = [block(number, [7.0] * 5) for number in range(12)]
    empty = timing(1.0, rounds=1, calls=1)
    rows = [
        replace(measured("tensorflow fp32"), timing=replace(empty, blocks=(*slow, *later))),
        replace(measured("onnxruntime fp32"), timing=replace(empty, blocks=tuple(ours))),
    ]
    row = comparison(results(rows)).rows[1]
    assert row.verdict is Verdict.FASTER
    assert row.note.startswith("the speed of the machine changed during the measurement")
    assert recorded.results(rows).rows[1].timing.median_s > rows[0].timing.median_s
