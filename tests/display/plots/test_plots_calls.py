from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import recorded
from matplotlib.figure import Figure
from recorded import block, measured, results, sweep, timing

from workbench.display.plots import calls
from workbench.records import Launch, Surroundings

BASE, PEER = "tensorflow fp32", "onnxruntime fp32"


def blocks():
    """Two launches of two blocks each: one call of 40 is an outlier, the third block was spoiled, the fourth disturbed."""
    ordinary = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.0, 1.1, 0.9]
    return (
        replace(block(0, ordinary), began_s=0.0),
        replace(block(1, [*ordinary[:-1], 9.0]), began_s=1.0),
        replace(block(2, ordinary), began_s=5.0, launch=1, around=Surroundings(cores=2, throttles=1)),
        replace(block(3, ordinary, quiet=False), began_s=6.0, launch=1),
    )


def row(label=BASE, **changes):
    return replace(measured(label), timing=replace(timing(1.0, rounds=1), blocks=blocks(), **changes))


def test_every_call_has_its_place_in_time():
    (data,) = calls.calls_data(results([row()]))
    assert (data.name, len(data.ms)) == (BASE, 40)
    assert data.at_s[:3] == pytest.approx([0, 0.001, 0.0021])  # calls follow each other
    assert data.at_s[10] == 1.0
    assert data.ms[19] == 9.0
    assert list(np.flatnonzero(data.outlier)) == [19]
    assert data.launches == (5.0,)
    assert [(begin, why) for begin, _, why in data.disturbed] == [(5.0, "heat"), (6.0, "threads of another variant")]
    assert data.disturbed[0][1] == pytest.approx(5.01)


def test_drawn_are_dots_crosses_gray_and_dashes():
    (data,) = calls.calls_data(results([row()]))
    ax = Figure().subplots()
    calls.draw_calls(data, ax)
    dots, crosses, dashes = ax.lines
    assert (len(dots.get_xdata()), list(crosses.get_ydata()), list(dashes.get_xdata())) == (40, [9.0], [5.0, 5.0])
    assert len(ax.patches) == 2
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("ms", "time since measuring began (s)")


def test_the_tail_holds_every_call_in_ascending_order():
    (data,) = calls.tail_data(results([row()]))
    assert len(data.ms) == 40
    assert list(data.ms) == sorted(data.ms)
    ax = Figure().subplots()
    calls.draw_tail((data,), ax)
    # nine of ten and one is above 1.1 ms: the share of slower calls there is one of forty
    x, y = ax.lines[0].get_data()
    assert y[np.searchsorted(x, 1.2)] == pytest.approx(1 / 40)
    assert [text.get_text() for text in ax.texts] == ["p50", "p90"]  # 40 calls say nothing of p99
    assert ax.get_xlabel() == "time of one call (ms)"


def test_of_many_variants_the_fastest_and_the_baseline_are_shown():
    rows = [measured(f"openvino:m{number:02} fp32", median_ms=1 + number) for number in range(15)]
    rows.append(measured(BASE, median_ms=100))
    data = calls.calls_data(results(rows))
    assert [each.name for each in data] == [f"openvino:m{number:02} fp32" for number in range(11)] + [BASE]
    assert "The 12 fastest of 16 variants and the baseline." in calls.calls_figure(results(rows)).texts[-1].get_text()


def test_the_smallest_batch_unless_one_is_given():
    got = sweep([BASE, PEER], batches=(1, 8))
    (first, *_), (second, *_) = calls.calls_data(got), calls.calls_data(got, 8)
    assert np.median(second.ms) > 2 * np.median(first.ms)


def test_figures_say_how_many_outliers_there_are():
    figure = calls.calls_figure(results([row()]))
    assert "outliers, 1 of 40 calls" in figure.texts[-1].get_text()
    assert len(figure.axes) == 1
    assert recorded.spec(BASE).label in figure.axes[0].get_title(loc="left")


def test_one_launch_more_or_less_is_not_a_difference_to_what_is_cold():
    from workbench.display.tables import cold_starts

    starts = (Launch(3.0, 0.5, (40_000_000, 1)), Launch(5.0, 0.7, (60_000_000, 1)), Launch(4.0, 0.6, (50_000_000, 1)))
    frame = cold_starts(results([row(launches=starts), replace(row(PEER), timing=None)])).frame()
    (line,) = frame.to_dict("records")
    assert (line["import s"], line["open s"], line["first call ms"]) == (4.0, 0.6, 50.0)
    assert line["first / steady"] == pytest.approx(50)
    assert line["launches"] == 3
    older = cold_starts(results([row()])).frame().to_dict("records")[0]
    assert np.isnan(older["import s"])
    assert np.isnan(older["first call ms"])
    assert "<td" in cold_starts(results([row(launches=starts), row(PEER)])).html()
