from dataclasses import replace

import pytest
import recorded
import recorded_load
from recorded_load import closed, load, loaded, opened, run

from workbench.compare import load_table
from workbench.display import load_tables
from workbench.records import ClosedLoop, LoadPlan, Verdict

BASE, PEER = "tensorflow fp32", "onnxruntime fp32"


def names(columns):
    return tuple(each.name for each in columns)


def texts(results) -> str:
    return "\n".join(table.text() for table in results.load())


def pages(results) -> str:
    return "".join(table.html() for table in results.load())


def test_throughput_is_compared_under_the_same_number_of_callers():
    got = recorded.results([loaded(BASE, 1, [(1, 100), (2, 110)]), loaded(PEER, 1, [(1, 100), (2, 200)])])
    rows = load_table.load_comparison(got)
    assert [(row.loop.concurrency, row.verdict) for row in rows] == [
        (1, Verdict.BASELINE), (2, Verdict.BASELINE), (1, Verdict.CANNOT_TELL), (2, Verdict.FASTER),
    ]  # fmt: skip
    assert rows[3].speedup == pytest.approx(200 / 110, rel=0.01)
    assert 1.2 * rows[3].low < rows[3].speedup < rows[3].high / 1.2  # 25 % for the one launch
    near = recorded.results([loaded(BASE, 1, [(1, 100)]), loaded(PEER, 1, [(1, 120)])])
    assert load_table.load_comparison(near)[1].verdict == Verdict.CANNOT_TELL
    other = load_table.load_comparison(got, baseline=PEER)
    assert other[1].verdict == Verdict.SLOWER


def test_nothing_is_compared_that_did_not_take_turns_or_is_not_there():
    got = recorded.results([loaded(BASE, 1, [(1, 100)]), loaded(PEER, 1, [(1, 200), (2, 300)], group="another")])
    first, second = load_table.load_comparison(got)[1:]
    assert (first.verdict, first.why) == (None, "not compared: not measured in turn with the baseline")
    assert (second.verdict, second.why) == (None, "the baseline was not measured under this load")
    few = replace(load(1), closed=(closed(1, 100, rounds=3),))
    row = load_table.load_comparison(
        recorded.results([loaded(BASE, 1, [(1, 100)]), replace(recorded.measured(PEER), load=few)])
    )
    assert row[1].verdict == Verdict.CANNOT_TELL
    assert row[1].why == "3 usable rounds, at least 6 are needed"


def test_the_table_has_throughput_latency_scaling_and_the_knee():
    got = recorded_load.sweep(batches=(8,))
    frame = load_tables.closed_loops(got).frame()
    assert tuple(frame.columns) == names(load_tables.CLOSED)
    base = frame[frame["variant"] == BASE]
    assert base["callers"].tolist() == [1, 2, 4]
    assert (base["samples/s"] / base["queries/s"]).tolist() == pytest.approx([8, 8, 8])
    assert base["scaling"].tolist() == pytest.approx([1, 1.95, 2], rel=0.01)
    assert base["knee"].tolist() == ["", "knee", ""]
    assert base["mean ms"].tolist() == pytest.approx([80, 82, 160], rel=0.03)
    assert base["verdict"].tolist() == ["baseline"] * 3
    assert base["cores"].tolist() == pytest.approx([1, 2, 2])
    main = got.table().frame()
    assert main["callers"].tolist() == [4, 4]
    assert main["load samples/s"].tolist() == pytest.approx([200, 400], rel=0.01)


def test_a_failure_under_load_is_a_line_and_costs_no_latency():
    row = loaded(PEER, 1, [(1, 100)])
    failed = replace(
        row.load, closed=(*row.load.closed, ClosedLoop(2, failure="This engine is for one caller at a time."))
    )
    got = recorded.results([loaded(BASE, 1, [(1, 90), (2, 95)]), replace(row, load=failed)])
    frame = load_tables.closed_loops(got).frame()
    assert frame["note"].tolist()[-1] == "This engine is for one caller at a time."
    assert got.table().frame()["p50 ms"].notna().all()
    assert "one caller at a time" in texts(got)


def test_rates_tell_the_interval_the_answer_and_an_overload():
    early = opened(400, 90)
    early = replace(early, stretches=tuple(replace(s, busy=0.99, ended_early=True) for s in early.stretches[:1]))
    got = recorded.results([loaded(BASE, 1, [(1, 100)], open=(opened(50, 10), early))])
    frame = load_tables.open_loops(got).frame()
    assert tuple(frame.columns) == names(load_tables.OPEN)
    assert frame["answer"].tolist() == ["holds", "does not hold"]
    assert frame["low ms"][0] < frame["ms"][0] < frame["high ms"][0]
    assert frame[["ms", "low ms", "high ms"]].loc[1].isna().all()  # 200 queries in one stretch know no p99
    assert frame["busy %"].tolist() == pytest.approx([50, 99])
    assert frame["note"].tolist() == [
        "",
        "overloaded: callers were busy 99% of the time, so the queue only grew; ended after 200 of 1200 queries: too many were late already",
    ]


def test_a_search_is_reported_in_a_sentence():
    plan = LoadPlan(search=True)
    rows = [
        loaded(BASE, 1, [(1, 100)], plan=plan, open=(opened(50, 10), opened(60, 30))),
        loaded(PEER, 1, [(1, 100)], plan=plan, search_note="Half of the calls took longer than the limit even alone."),
    ]
    assert load_table.searched(recorded.results(rows)) == [
        "tensorflow fp32 @1: holds the limit up to 50.0 queries/s, and not at 60.0.",
        "onnxruntime fp32 @1: no rate was found that holds the limit. Half of the calls took longer than the limit even alone.",
    ]


def test_loadgen_is_called_unofficial_and_its_own_summary_is_kept():
    bad = run(valid=False, reasons=("Min duration satisfied: no",))
    got = recorded.results([loaded(BASE, loadgen=run()), loaded(PEER, loadgen=bad)])
    frame = load_tables.loadgen(got).frame()
    assert frame["result"].tolist() == ["valid", "invalid"]
    assert frame["samples/s"].tolist() == [812.5, 812.5]
    assert frame["note"].tolist()[1] == "2 at once; Min duration satisfied: no"
    assert "LoadGen, unofficial" in texts(got)
    page = pages(got)
    assert "own summary" in page
    assert "Samples per second: 812.5" in page


def test_names_are_escaped_and_nothing_is_said_in_a_sentence():
    row = loaded(BASE, 1, [(1, 100)])
    hostile = replace(row.load, closed=(ClosedLoop(2, failure="<script>alert(1)</script>"),))
    assert "<script" not in pages(recorded.results([replace(row, load=hostile)]))
    empty = recorded.results([recorded.measured(BASE)])
    assert texts(empty) == load_tables.NOTHING
    assert load_tables.NOTHING.replace("'", "&#39;") in pages(empty)
    assert tuple(load_tables.closed_loops(empty).frame().columns) == names(load_tables.CLOSED)
