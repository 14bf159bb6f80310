import re
from dataclasses import replace

import pytest
import recorded
import recorded_load
from drawn import check_whole
from recorded_load import loaded, opened

from workbench.display.plots import figures, load
from workbench.settings.experiment import Experiment

BASE, PEER = "tensorflow fp32", "onnxruntime fp32"


def test_curves_hold_throughput_latency_and_knee():
    data = load.callers_data(recorded_load.sweep(), batch=8)
    assert (data.title, data.load, data.baseline) == ("batch 8", "callers at once", BASE)
    assert [curve.name for curve in data.curves] == [PEER, BASE]  # highest throughput first
    slow = data.curves[1]
    assert slow.load == (1, 2, 4)
    assert slow.samples_per_s == pytest.approx((100, 195, 200), rel=0.01)
    assert slow.mean_ms == pytest.approx((80, 82, 160), rel=0.03)
    assert slow.knee == 1


def test_batches_come_from_the_latency_rounds():
    data = load.batches_data(recorded.sweep([BASE], batches=(1, 8, 32)))
    (curve,) = data.curves
    assert curve.load == (1, 8, 32)
    assert curve.mean_ms[0] == pytest.approx(0.81, rel=0.05)
    assert curve.samples_per_s[1] == pytest.approx(8e3 / curve.mean_ms[1])


def test_rates_hold_interval_and_limit():
    data = load.rate_data(recorded_load.sweep(), batch=1)
    assert (data.percent, data.limit_ms) == (99, 20)
    first, second = data.lines[0].points
    assert (first.rate, first.answer, second.answer) == (50, "holds", "does not hold")
    assert first.low < first.ms < first.high < 20 < second.low


def test_figures_of_load_come_only_where_there_is_load():
    own = {"load", "rates"}
    without, with_load = figures.figures(recorded.sweep([BASE, PEER])), figures.figures(recorded_load.sweep())
    assert not own & set(without)
    assert set(with_load) == own | set(without)
    single = recorded.results([loaded(BASE, 1, [(2, 100)])])
    assert "load" not in figures.figures(single)  # one point is no curve


def test_axes_say_what_and_in_which_unit():
    figure = load.load_figures(recorded_load.sweep())["load"]
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
    assert labels[0] == ("callers at once", "throughput (samples/s)")
    assert labels[1][0] == "mean time of a call (ms)"
    assert labels[-2][0] == "batch size (samples per call)"
    legend = figure.axes[1].get_legend()
    text = legend.get_texts()[1].get_text()
    assert re.fullmatch(r"tensorflow fp32\nmost (199|20\d) at 4, knee at 2", text)
    rates = load.load_figures(recorded_load.sweep())["rates"]
    assert rates.axes[0].get_ylabel() == "p99 of latency, from arrival (ms)"


@pytest.mark.parametrize(("batches", "labels"), [((1,), (BASE,)), ((1, 2, 4, 8, 16), tuple(recorded.PEERS)[::2])])
def test_nothing_is_cut_off(batches, labels):
    for name, figure in load.load_figures(recorded_load.sweep(batches, labels)).items():
        check_whole(name, figure)


def test_another_region_than_that_of_the_heading_is_reported():
    got = replace(recorded_load.sweep(), plan=Experiment(protocol="trtexec-11").plan)
    for figure in load.load_figures(got).values():
        assert "Load was timed over the region host-to-host." in figure.texts[-1].get_text()


def test_a_percentile_of_too_few_queries_is_not_drawn():
    short = opened(100, 10)
    few = tuple(type(s)(s.latencies_ns[:20], 0, s.busy, s.late_ns, s.wall_s) for s in short.stretches)
    row = loaded(BASE, 1, [(1, 100)], open=(type(short)(100, 2, 0.02, 99.0, 0, 1200, few),))
    assert "rates" not in load.load_figures(recorded.results([row]))
