from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import recorded
from recorded import BASE, PEER, block, engine, failed, measured, results, seen, sweep, timing
from recorded import frame_of as table

from workbench.compare.formats import speedup_text
from workbench.compare.pairs import comparison
from workbench.display.results_table import COLUMNS
from workbench.display.table import WIDTH
from workbench.errors import InputError
from workbench.panel import parts, tables
from workbench.records import NOT_BUILT, Ended, Failure, Launch, Region, Result, Row, Status, Surroundings, Verdict


def steady(milliseconds: float, batch: int = 1, *, drift: dict[int, float] | None = None, rounds: int = 8, **changes):
    """A timing whose block medians are exactly ``milliseconds``, times the drift of that round."""
    factors = [(drift or {}).get(number, 1.0) for number in range(rounds)]
    blocks = tuple(block(number, [milliseconds * factor] * 9) for number, factor in enumerate(factors))
    return replace(timing(1.0, batch, rounds=1, calls=1), blocks=blocks, **changes)


def pair(ours, theirs) -> Row:
    """The peer's row, compared with the baseline's."""
    rows = [replace(measured(BASE), timing=theirs), replace(measured(PEER), timing=ours)]
    (row,) = [row for row in comparison(results(rows)).rows if row.result is rows[1]]
    return row


def test_speed_up_is_baseline_over_variant():
    row = pair(ours=steady(2.0), theirs=steady(5.0))
    assert (row.speedup, row.low, row.high) == pytest.approx((2.5, 2.0, 3.125))  # 25 % wider: a single launch
    assert row.verdict is Verdict.FASTER
    row = pair(ours=steady(5.0), theirs=steady(2.0))
    assert (row.speedup, row.verdict) == (pytest.approx(0.4), Verdict.SLOWER)


def test_a_drift_that_both_share_changes_nothing():
    drift = {number: 1 + number for number in range(8)}
    row = pair(ours=steady(2.0, drift=drift), theirs=steady(5.0, drift=drift))
    assert (row.low, row.high) == pytest.approx((2.0, 3.125))


def test_a_speed_up_that_is_not_the_quotient_of_the_medians_is_explained():
    """The first half of the rounds is slow for both, and the baseline has lost its quick rounds."""
    slow = dict.fromkeys(range(5), 3.0)
    noisy = {number: 3.0 if number < 5 else 1.0 for number in range(8)}

    def notes(ours, theirs):
        rows = [replace(measured(BASE), timing=theirs), replace(measured(PEER), timing=ours)]
        return results(rows).table().notes

    explained = "A speed-up compares blocks that took turns"
    assert not any(text.startswith(explained) for text in notes(steady(2.0, drift=slow), steady(5.0, drift=slow)))
    unlike = steady(2.0, drift=noisy | {3: 1.0, 4: 1.0})
    assert any(text.startswith(explained) for text in notes(unlike, steady(5.0, drift=noisy)))


@pytest.mark.parametrize(("most", "one"), [(0.9, 1.1), (1.1, 0.9)])
def test_an_interval_with_1_inside_is_not_a_verdict(most, one):
    drift = dict.fromkeys(range(7), most) | {7: one}
    row = pair(ours=steady(1.0, drift=drift), theirs=steady(1.0))
    assert row.speedup == pytest.approx(1 / most)
    assert row.low < 1 < row.high
    assert row.verdict is Verdict.CANNOT_TELL
    assert row.why == (
        "the interval of the speed-up includes 1: in a single launch one engine may differ from itself by up to 25%"
    )


def test_rounds_are_paired_by_number_and_only_where_both_were_quiet():
    ours, theirs = steady(2.0), steady(5.0)
    loud = replace(ours.blocks[0], samples_ns=(1,) * 9, quiet=False)
    alone = replace(theirs.blocks[1], round=77, samples_ns=(1,) * 9)
    row = pair(
        ours=replace(ours, blocks=(*ours.blocks[1:], loud)),
        theirs=replace(theirs, blocks=(theirs.blocks[0], alone, *theirs.blocks[2:])),
    )
    assert (row.low, row.high) == pytest.approx((2.0, 3.125))
    assert row.verdict is Verdict.FASTER


def test_too_few_usable_rounds_is_not_a_verdict_and_says_so():
    quiet = steady(2.0)
    noisy = replace(quiet, blocks=tuple(replace(b, quiet=b.round < 4) for b in quiet.blocks))
    row = pair(ours=noisy, theirs=steady(5.0))
    assert (row.verdict, row.speedup, row.low, row.high) == (Verdict.CANNOT_TELL, None, None, None)
    assert row.why == "4 usable rounds, at least 6 are needed (4 of 8 were disturbed)"
    assert pair(ours=steady(2.0, rounds=3), theirs=steady(5.0)).why == "3 usable rounds, at least 6 are needed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"group": "two"},
            "group differs: 'two' here, 'one' for the baseline (not measured in turn with each other)",
        ),
        ({"region": Region.COMPUTE}, "region differs: 'compute' here, 'host-to-host' for the baseline"),
        ({"batch": 8}, "batch differs: '8' here, '1' for the baseline"),
    ],
)
def test_what_must_not_be_compared_is_refused_naming_key_and_both_values(changes, reason):
    rows = [replace(measured(BASE), timing=steady(5.0)), replace(measured(PEER), timing=steady(2.0, **changes))]
    compared = comparison(results(rows))
    assert compared.refused == ((f"{PEER} @1", reason),)
    assert [row.result.row for row in compared.rows] == [f"{BASE} @1"]
    frame = table(results(rows))
    assert math.isnan(frame["speed-up"][1])
    assert (frame["verdict"][1], frame["note"][1]) == ("", f"not compared: {reason}")


def test_the_baseline_is_the_one_of_the_same_batch():
    rows = [measured(label, batch, median_ms=1) for label in (BASE, PEER) for batch in (1, 8)]
    times = {(BASE, 1): 3.0, (PEER, 1): 1.0, (BASE, 8): 8.0, (PEER, 8): 4.0}
    rows = [replace(row, timing=steady(times[row.spec.label, row.batch], row.batch)) for row in rows]
    found = {(row.result.row, row.verdict): row.speedup for row in comparison(results(rows)).rows}
    assert found == {
        (f"{BASE} @1", Verdict.BASELINE): 1.0,
        (f"{BASE} @8", Verdict.BASELINE): 1.0,
        (f"{PEER} @1", Verdict.FASTER): pytest.approx(3.0),
        (f"{PEER} @8", Verdict.FASTER): pytest.approx(2.0),
    }


@pytest.mark.parametrize("asked", ["", PEER, f"{PEER} b8"])
def test_fixed_shapes_share_one_baseline_name(asked):
    rows = [
        measured(label, batch, spec=recorded.spec(label, batch=batch, batches=(batch,)))
        for label in (BASE, PEER)
        for batch in (1, 8)
    ]
    compared = comparison(results(rows), asked)
    assert compared.baseline == (PEER if asked else BASE)
    anchors = [row.result.spec.label for row in compared.rows if row.verdict is Verdict.BASELINE]
    assert anchors == [f"{compared.baseline} b1", f"{compared.baseline} b8"]
    assert list(table(results(rows))["variant"]) == [f"{BASE} b1", f"{BASE} b8", f"{PEER} b1", f"{PEER} b8"]


def test_an_unknown_baseline_lists_what_was_measured():
    rows = [measured(BASE), measured(PEER), failed("onnxruntime bf16")]
    with pytest.raises(InputError) as caught:
        comparison(results(rows), "onnx fp32")
    assert str(caught.value) == (
        "Cannot compare with the baseline 'onnx fp32': there is no such variant. "
        "Choose from: tensorflow fp32, onnxruntime fp32."
    )
    with pytest.raises(InputError, match="'onnxruntime bf16': it was not measured"):
        table(results(rows), "onnxruntime bf16")
    with pytest.raises(InputError, match="'mine fp32': there is no such variant"):
        comparison(results(rows, baseline="mine fp32"))


def test_a_baseline_that_failed_leaves_a_table_that_says_why():
    rows = [failed(BASE, message="Out of memory."), measured(PEER), measured(PEER, 8)]
    verdicts = [(row.verdict, row.why) for row in comparison(results(rows)).rows]
    assert verdicts == [
        (Verdict.CANNOT_TELL, "the baseline tensorflow fp32 failed at batch 1: Out of memory."),
        (Verdict.CANNOT_TELL, "the baseline tensorflow fp32 was not measured at batch 8"),
    ]
    assert table(results(rows))["note"][0] == "Out of memory"


def test_nothing_measured_is_not_an_error():
    planned = Result(spec=recorded.spec(BASE), batch=1)
    for rows in ([], [planned, failed(PEER)]):
        got = results(rows)
        assert comparison(got).rows == ()
        assert len(table(got)) == len(rows)
        assert got.table().html()
        assert got.table().text().startswith("variant" if rows else "There are no results.")
    assert results([planned, failed(PEER)]).table().text().splitlines()[-2:] == [
        "[1] planned",
        "[2] failed: This CPU has no kernel for bf16 convolution",
    ]


def test_what_is_not_possible_is_reported_once_per_reason_below_the_numbers():
    def refused(label, batch, why):
        return Result(spec=recorded.spec(label), batch=batch, status=Status.UNSUPPORTED, failure=Failure("plan", why))

    rows = [measured(BASE), measured(BASE, 8)]
    rows += [
        refused(f"{PEER.split(maxsplit=1)[0]} {kind}", batch, "no kernels")
        for kind in ("fp16", "bf16")
        for batch in (1, 8)
    ]
    assert results(rows).table().text().splitlines()[-1] == "Not possible here: onnxruntime: no kernels"
    got = results([*rows, measured(PEER)])
    assert got.table().text().splitlines()[-1] == "Not possible here: onnxruntime fp16, onnxruntime bf16: no kernels"
    assert got.table().text().count("no kernels") == 1
    (shown,) = parts.PARTS["table"](got, None)
    assert "fp16" not in shown._repr_html_()  # the report has a section of its own for it
    assert len(table(got)) == 7


def test_what_was_not_built_for_lack_of_time_is_one_note_without_rows():
    late = [
        replace(measured(PEER, batch), status=Status.CANCELLED, engine=None, timing=None, accuracy=None,
                failure=Failure(NOT_BUILT, "the time limit of 2 minutes left no time to build it"))
        for batch in (1, 8)
    ]  # fmt: skip
    found = results([measured(BASE, 1), *late]).table()
    assert [row["variant"] for row in found.rows] == ["tensorflow fp32"]
    assert found.text().splitlines()[-1].startswith("Not built: ")
    assert found.text().count("left no time to build it") == 1
    assert len(found.records()) == 3


def test_a_note_that_all_batches_share_is_reported_once():
    rows = [replace(measured(BASE, batch), engine=engine(recorded.spec(BASE), note="not run")) for batch in (1, 8)]
    assert results(rows).table().text().splitlines()[-1] == "[1] All rows: not run"


def test_table_holds_every_row_in_its_own_units():
    quick = replace(measured(PEER, 8, right=957), timing=steady(4.0, 8))
    rows = [replace(measured(BASE, 8), timing=steady(10.0, 8)), quick, failed("onnxruntime bf16", 8)]
    frame = table(results(rows))
    assert tuple(frame.columns) == tuple(each.name for each in COLUMNS)
    assert list(frame["status"]) == ["done", "done", "failed"]
    row = frame.iloc[1].to_dict()
    assert row["p50 ms"] == pytest.approx(4.0)
    assert row["queries/s"] == pytest.approx(250.0)
    assert row["samples/s"] == pytest.approx(2000.0)
    assert (row["speed-up"], row["verdict"]) == (pytest.approx(2.5), "faster")
    assert (row["asked"], row["built"]) == ("fp32", "fp32")
    assert (row["top-1 %"], row["agree %"], row["fixed"], row["broken"]) == (pytest.approx(95.7), 99.0, 3, 6)
    assert row["acc low"] < 95.7 < row["acc high"]
    assert (row["peak MiB"], row["engine MB"], row["build s"]) == (310.0, 0.612, 1.25)
    assert frame["note"][2] == "This CPU has no kernel for bf16 convolution"
    assert frame.loc[2, ["p50 ms", "speed-up", "top-1 %", "fixed", "peak MiB", "engine MB"]].isna().all()


def test_a_percentile_is_missing_where_the_sample_cannot_carry_it():
    row = replace(measured(BASE), timing=steady(1.0, rounds=8))  # 72 calls: enough for p95, not for p99
    frame = table(results([row]))
    assert frame["p95 ms"][0] == pytest.approx(1.0)
    assert math.isnan(frame["p99 ms"][0])
    assert "p99 ms" not in seen(results([row]).table()).columns


def test_notes_tell_of_disturbed_blocks_and_of_the_engine():
    noisy = steady(2.0)
    noisy = replace(noisy, blocks=(replace(noisy.blocks[0], quiet=False), *noisy.blocks[1:]))
    of = recorded.spec(PEER)
    row = replace(measured(PEER), timing=noisy, engine=recorded.engine(of, note="Built for another GPU."))
    frame = table(results([replace(measured(BASE), timing=steady(1.0)), row]))
    assert frame["note"][1] == "Built for another GPU; 1 of 8 blocks were disturbed"


def test_a_mean_far_above_the_median_is_reported():
    even, uneven = steady(2.0), steady(2.0)
    first = uneven.blocks[0]
    held_up = replace(first, samples_ns=(first.samples_ns[0] * 500, *first.samples_ns[1:]))
    uneven = replace(uneven, blocks=(held_up, *uneven.blocks[1:]))
    rows = [replace(measured(BASE), timing=even), replace(measured(PEER), timing=uneven)]
    notes = table(results(rows))["note"]
    assert notes[0] == ""
    assert re.search(
        r"; calls took [\d.]+ times the median on average, because some were held up; samples/s is computed from the median$",
        notes[1],
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (("faster", 2.1, 2.05, 2.16), "×2.10 [2.05, 2.16] faster"),
        (("faster", 18.23, 17.9, 18.5), "×18.2 [17.9, 18.5] faster"),
        (("faster", 1.004, 1.0004, 1.008), "×1.0040 [1.0004, 1.0080] faster"),
        (("slower", 0.01331, 0.0131, 0.0134), "×0.0133 [0.0131, 0.0134] slower"),
        (("slower", 0.99, 0.98, 0.9996), "×0.9900 [0.9800, 0.9996] slower"),
        (("cannot tell", 1.0, 0.98, 1.03), "×1.00 [0.98, 1.03] cannot tell"),
        (("cannot tell", math.nan, math.nan, math.nan), "cannot tell"),
        (("baseline", 1.0, math.nan, math.nan), "baseline"),
        (("", math.nan, math.nan, math.nan), "–"),
    ],
)
def test_speed_up_in_words_never_rounds_away_its_own_verdict(values, text):
    assert speedup_text(*values) == text


def test_display_table_is_escaped_compact_and_right_aligned():
    hostile = "<img src=x onerror=alert(1)>"
    of = replace(recorded.spec(PEER), backend=hostile)
    rows = [measured(BASE, median_ms=12.34), measured(PEER, median_ms=1234.5, spec=of), failed(PEER, message=hostile)]
    shown = results(rows).table()
    html, data = shown.html(), seen(shown)
    assert hostile not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 3  # in the cell, its title and the note
    assert data["p50 ms"].iloc[2] == "–"
    assert data["p50 ms"].iloc[1].startswith("1,2")
    assert data["top-1 accuracy"].iloc[0] == "96.0 % [94.6, 97.0]"
    assert re.search(r'<td class="wb-n">1,2\d\d</td>', html)


@pytest.mark.parametrize("labels", [True, False])
def test_text_table_fits_the_terminal(labels):
    rows = list(sweep(labels=labels).rows)
    long = recorded.spec("a-backend-with-a-long-name:and-a-mode-with-a-long-name int8")
    rows.append(measured("x int8", 32, spec=long, median_ms=60, right=960 if labels else None))
    rows.append(failed(PEER, 64, message="word " * 60))
    text = results(rows).table().text()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "a-backend-with" in text
    assert ("top-1 accuracy" in text) is labels
    assert re.search(rf"^{PEER} +64 .* 2\n", text, re.MULTILINE)
    assert "\n[2] failed: word word" in text


def test_variants_without_a_number_come_last_and_batches_stay_together():
    rows = [failed("openvino bf16"), measured(BASE), failed(BASE, 8), measured(PEER)]
    shown = seen(results(rows).table())
    assert list(zip(shown["variant"], shown["batch"], strict=True)) == [
        (BASE, "1"),
        (BASE, "8"),
        (PEER, "1"),
        ("openvino bf16", "1"),
    ]
    assert list(table(results(rows))["variant"]) == ["openvino bf16", BASE, BASE, PEER]


def test_a_status_that_is_not_a_result_shows_in_the_note():
    row = replace(measured(PEER), status=Status.CANCELLED, timing=None, accuracy=None)
    assert seen(results([row]).table())["note"].iloc[0] == "cancelled"


def test_a_row_that_was_cancelled_while_it_was_scored_does_not_say_that_a_time_limit_ended_it():
    timed = steady(2.0, launches=(Launch(1.0, 0.1, (1,)),) * 4, ended=Ended.BUDGET)
    cancelled = replace(measured(PEER), timing=timed, status=Status.CANCELLED, accuracy=None)
    found = results([replace(measured(BASE), timing=steady(2.0)), cancelled])
    note = table(found)["note"][1]
    assert note.startswith("cannot tell: ")
    assert note.endswith("it had been timed when it was cancelled, and was not scored")
    (pair,) = (row for row in comparison(found).rows if row.result is cancelled)
    hints = str(tables.table([tables.Shown(cancelled, pair)]).grid())
    assert "4 launches" in hints
    assert "time limit" not in note + hints


def test_a_busy_machine_is_reported_beside_a_verdict():
    def started(milliseconds, launches, **changes):
        found = steady(milliseconds, rounds=12)
        blocks = (replace(each, launch=each.round * launches // 12, **changes) for each in found.blocks)
        return replace(found, blocks=tuple(blocks))

    busy = Surroundings(cores=2, others_cpu_s=1.0)
    quiet, loud = started(5.0, 4), started(2.0, 4, around=busy)
    assert pair(ours=loud, theirs=quiet).verdict is Verdict.FASTER
    rows = [replace(measured(BASE), timing=quiet), replace(measured(PEER), timing=loud)]
    note = table(results(rows))["note"][1]
    assert note.startswith(
        "other programs kept the machine busy in 12 of 12 rounds; 12 of 12 blocks were spoiled by other"
    )
    few = replace(loud, blocks=(loud.blocks[0], *started(2.0, 4).blocks[1:]))
    assert pair(ours=few, theirs=quiet).note == ""
    alone = pair(ours=started(2.0, 1, around=busy), theirs=started(5.0, 1))
    assert alone.verdict is Verdict.CANNOT_TELL
    assert "1 launch of the process is then too few for a verdict, which needs at least 4: measure longer" in alone.why


def test_what_ended_the_measuring_stands_beside_the_number_of_launches():
    starts = (Launch(1.0, 0.1, (1,)),) * 4
    reported = steady(2.0, launches=starts, ended=Ended.BUDGET)
    rows = [replace(measured(BASE), timing=steady(2.0)), replace(measured(PEER), timing=reported)]
    frame = table(results(rows))
    assert list(frame["launches"]) == [1, 4]
    assert list(frame["ended"]) == ["fixed time", "longest time for a row reached"]
    assert list(seen(results(rows).table())["launches"]) == ["1, fixed time", "4, longest time for a row reached"]
    assert frame["note"][1].endswith("by up to 25% (longest time for a row reached)")


def test_outliers_are_counted_and_left_in():
    calm = steady(2.0)
    slow = replace(calm.blocks[0], samples_ns=(*calm.blocks[0].samples_ns[:-1], 90_000_000))
    rows = [replace(measured(BASE), timing=replace(calm, blocks=(slow, *calm.blocks[1:])))]
    frame = table(results(rows))
    assert frame["outliers"][0] == 1
    assert rows[0].timing.samples_s.max() == pytest.approx(0.09)
