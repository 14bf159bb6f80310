from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import recorded
from drawn import check_whole
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from recorded import PEERS, accuracy, block, failed, measured, results, sweep, timing

from workbench.display.plots import accuracy as accuracy_plot
from workbench.display.plots import canvas, figures
from workbench.records import Region, TimingPlan
from workbench.settings.experiment import Experiment

BASE = "tensorflow fp32"
PEER = "onnxruntime int8"


def exact(label, batch, milliseconds, **changes):
    """A row whose every call took one of ``milliseconds``, the same in every round."""
    blocks = tuple(block(number, milliseconds) for number in range(12))
    return replace(measured(label, batch, **changes), timing=replace(timing(1, batch, calls=1), blocks=blocks))


def test_latency_data_in_milliseconds_fastest_first():
    spread = np.linspace(1, 101, 101)
    rows = [exact(BASE, 1, spread), exact(PEER, 1, spread / 10), exact(BASE, 8, spread * 4), failed("openvino fp32")]
    data = figures.latency_data(results(rows))
    assert (data.batch, data.baseline) == (1, BASE)
    assert [row.name for row in data.rows] == [PEER, BASE]
    row = data.rows[1]
    assert row.median == pytest.approx(51)
    assert row.middle == pytest.approx((26, 76), rel=0.01)
    assert row.span == pytest.approx((6, 96), rel=0.01)
    assert row.p99 == pytest.approx(100, rel=0.01)
    assert row.rounds == pytest.approx((51,) * 12)


def test_latency_panels_share_their_rows_and_leave_gaps():
    rows = [exact(BASE, 1, [2, 3]), exact(PEER, 1, [1]), exact(BASE, 8, [4])]
    data = figures.latency_data(results(rows), 8)
    assert [(row.name, row.median) for row in data.rows] == [(PEER, None), (BASE, pytest.approx(4))]
    ax = Figure().subplots()
    figures.draw_latency(data, ax)
    assert [text.get_text() for text in ax.texts] == ["–", "4.00", "median"]


def test_a_small_sample_shows_no_percentile_that_it_cannot_carry():
    few = replace(timing(1), blocks=tuple(block(number, [1.0]) for number in range(10)))
    (row,) = figures.latency_data(results([replace(measured(BASE), timing=few)])).rows
    assert (row.middle, row.span, row.p99, len(row.rounds)) == (None, None, None, 10)


def test_throughput_data_in_samples_per_second():
    rows = [exact(BASE, 8, [4.0]), exact(BASE, 1, [2.0]), exact(PEER, 1, [1.0])]
    rows.append(exact("openvino fp32", 1, [0.1]))
    lines = {line.name: line for line in figures.throughput_data(results(rows)).lines}
    assert list(lines) == ["openvino fp32", BASE, PEER]  # fastest first
    assert lines[BASE].batches == (1, 8)
    assert lines[BASE].samples_per_s == pytest.approx((500, 2000))
    assert lines[PEER].samples_per_s == pytest.approx((1000,))


def test_variants_stand_in_the_order_that_is_given():
    found = results([exact(BASE, 1, [2.0]), exact(PEER, 1, [1.0]), exact("openvino fp32", 1, [0.1])])
    for order, names in (
        ((), ["openvino fp32", PEER, BASE]),
        ((BASE, PEER), [BASE, PEER, "openvino fp32"]),
        (("gone", PEER), [PEER, "openvino fp32", BASE]),
    ):
        assert [row.name for row in figures.latency_data(found, 1, order).rows] == names
        assert [line.name for line in figures.throughput_data(found, order).lines] == names


def test_the_bars_of_throughput_are_over_launches():
    blocks = tuple(replace(block(number, [1.0 + number]), launch=number) for number in range(3))
    row = replace(measured(BASE), timing=replace(timing(1), blocks=blocks))
    (line,) = figures.throughput_data(results([row])).lines
    assert line.samples_per_s == pytest.approx((500,))
    assert line.spans == (pytest.approx((1000 / 3, 1000)),)


def test_fixed_shapes_make_one_line():
    rows = [exact(BASE, b, [1.0], spec=recorded.spec(BASE, batch=b, batches=(b,))) for b in (1, 8)]
    (line,) = figures.throughput_data(results(rows)).lines
    assert (line.name, line.batches) == (BASE, (1, 8))


def scored(label, milliseconds, right, batch=1, **changes):
    return exact(label, batch, [milliseconds], right=right, **changes)


def test_accuracy_data_and_its_front():
    rows = [
        scored(BASE, 8.0, 960),
        scored(PEER, 1.0, 940),
        scored("openvino int8", 2.0, 930),  # slower and worse than PEER
        scored("openvino fp32", 4.0, 960),  # as right as the baseline, and faster
        scored("tensorflow:predict fp32", 0.5, 990),  # fast and right, but no fair call
        scored("onnxruntime fp16", 3.0, 940),  # no better than PEER
        scored(BASE, 80.0, 960, batch=8),
    ]
    data = accuracy_plot.accuracy_data(results(rows))
    assert (data.batch, data.labelled, data.samples) == (1, True, 1000)
    assert [point.name for point in data.points if point.on_front] == [PEER, "openvino fp32"]
    assert [point.name for point in data.points if point.aside] == ["tensorflow:predict fp32"]
    last = data.points[-1]
    assert (last.name, last.ms_per_sample, last.value) == (BASE, pytest.approx(8), pytest.approx(96))
    assert last.low < 96 < last.high
    assert accuracy_plot.accuracy_data(results(rows), 8).points[0].ms_per_sample == pytest.approx(10)


def test_without_labels_agreement_is_drawn_and_the_axis_says_so():
    rows = [scored(BASE, 2.0, None), replace(scored(PEER, 1.0, None), accuracy=accuracy(None, agree=970))]
    data = accuracy_plot.accuracy_data(results(rows))
    assert data.labelled is False
    assert [point.value for point in data.points] == pytest.approx([97.0, 99.0])
    ax = Figure().subplots()
    accuracy_plot.draw_accuracy(data, ax)
    assert ax.get_ylabel() == "same answer as the source model (%)\nno labels were given"


def test_every_axis_carries_its_unit_and_wide_ranges_are_logarithmic():
    ax = Figure().subplots()
    figures.draw_latency(figures.latency_data(sweep()), ax)
    assert (ax.get_xlabel(), ax.get_xscale()) == ("time of one call (ms)", "log")
    ax = Figure().subplots()
    figures.draw_latency(figures.latency_data(sweep([BASE, "openvino fp32"], baseline=BASE)), ax)
    assert ax.get_xscale() == "linear"
    ax = Figure().subplots()
    figures.draw_throughput(figures.throughput_data(sweep()), ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch size (samples per call)", "throughput (samples/s)")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "8", "32"]
    ax = Figure().subplots()
    figures.draw_throughput(figures.throughput_data(sweep(batches=(8,))), ax)
    assert (ax.get_xlabel(), ax.get_title(loc="left")) == ("throughput (samples/s)", "batch 8")
    ax = Figure().subplots()
    accuracy_plot.draw_accuracy(accuracy_plot.accuracy_data(sweep()), ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("median time per sample (ms), batch 1", "top-1 accuracy (%)")
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[0] == "Pareto front, in bold"
    assert names[-1].startswith("tensorflow:predict fp32  96.0 %")
    assert names[-1].endswith(" *")


def test_no_two_variants_look_alike_even_without_color():
    looks = canvas.looks(sweep())
    assert len({(look.marker, look.fill, look.line) for look in looks.values()}) == len(PEERS) + 1
    assert looks[BASE].color == "#000000"
    assert looks["openvino int8"].color == looks["openvino fp32"].color


def test_a_figure_is_missing_where_there_is_nothing_to_draw():
    assert figures.figures(results([failed(BASE)])) == {}
    assert figures.figures(results([])) == {}
    assert set(figures.figures(results([replace(measured(BASE), accuracy=None)]))) == {
        "latency", "throughput", "tradeoff", "distribution", "calls",
    }  # fmt: skip
    assert set(figures.figures(sweep())) == {"latency", "throughput", "tradeoff", "accuracy", "distribution", "calls"}


LONG = [f"openvino:a-mode-with-quite-a-long-name-{n} {p}" for n in range(3) for p in ("fp32", "fp16", "bf16", "int8")]
PAGES = {
    "one variant": lambda: sweep(["onnxruntime fp32"], batches=(8,), baseline="onnxruntime fp32"),
    "twelve variants, four batches": lambda: sweep(batches=(1, 8, 32, 128)),
    "seven batches": lambda: sweep([BASE, PEER], batches=(1, 2, 4, 8, 16, 32, 64)),
    "long names": lambda: results([measured(name, b, median_ms=b + 1) for name in LONG for b in (1, 8)]),
    "hostile name": lambda: sweep(name="日本 $a_{$ <b>\n\x00 " + "W" * 200),
    "long machine": lambda: replace(sweep(), machine=replace(recorded.MACHINE, cpu="A long processor name " * 6)),
}


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cut_off(page):
    for name, figure in figures.figures(PAGES[page]()).items():
        check_whole(name, figure)


def test_axes_legend_and_notes_keep_apart():
    figure = figures.figures(sweep([BASE, PEER], batches=(1, 2, 4, 8, 16, 32, 64)))["latency"]
    figure.draw_without_rendering()
    title, about, note = (text.get_window_extent() for text in figure.texts)
    legend = figure.legends[0].get_window_extent()
    axes = [ax.get_tightbbox() for ax in figure.axes]
    assert figure.texts[-1].get_text() == "\nMeasured too, and left out here: batch 32."
    assert note.height / 2 + note.y0 <= legend.y0 + 2
    assert legend.y1 <= min(box.y0 for box in axes)
    assert max(box.y1 for box in axes) <= about.y0 < about.y1 <= title.y0


def test_heading_says_model_machine_region_and_threads():
    row = measured(BASE, spec=recorded.spec(BASE, threads=2))
    got = replace(results([row], name="mobilenet"), plan=TimingPlan(region=Region.COMPUTE))
    figure = figures.figures(got)["latency"]
    assert figure.texts[0].get_text() == "Latency · mobilenet"
    assert figure.texts[1].get_text() == (
        "AMD EPYC 9B14, 2 cores, 24 GiB, no GPU, Linux 6.1; compute only (inputs already in place); threads: 2"
    )


def test_a_notebook_shows_a_sharp_picture_with_a_text():
    figure = figures.figures(sweep([BASE], batches=(1,)))["throughput"]
    data, about = figure._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert about["image/png"]["width"] == 960
    assert about["image/png"]["alt"].startswith("Throughput · digits-cnn. AMD EPYC")
    json.dumps([data, about])


def test_the_readers_own_style_is_left_alone_and_not_used():
    with mpl.rc_context():
        mpl.rcParams.update({"figure.facecolor": "black", "font.size": 30, "axes.grid": True})
        before = dict(mpl.rcParams)
        figure = figures.figures(sweep([BASE], batches=(1,)))["latency"]
        assert dict(mpl.rcParams) == before
    assert figure.get_facecolor() == (1, 1, 1, 1)


@pytest.mark.long
def test_pyplot_is_not_loaded():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import recorded; from workbench.display.plots import figures; "
        "[f.savefig('/dev/null', format='png') for f in figures.figures(recorded.sweep(batches=(1,))).values()]; "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(Path(__file__).parents[2])], check=False).returncode == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1, allow_subnormal=False), max_size=12), st.floats(0.001, 0.08))
def test_names_at_line_ends_never_touch(wanted, gap):
    wanted.sort(reverse=True)
    places = canvas.spread(wanted, gap)
    assert len(places) == len(wanted)
    assert all(upper - lower >= gap - 1e-9 for upper, lower in pairwise(places))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    if all(upper - lower > gap for upper, lower in pairwise(wanted)):
        assert places == pytest.approx(wanted)


def test_numbers_on_log_axes_are_plain():
    ax = Figure().subplots()
    canvas.scale(ax, "x", [0.1, 5000])
    labels = {ax.xaxis.get_major_formatter()(value, 0) for value in (0.1, 1, 1000)}
    assert labels == {"0.1", "1", "1,000"}
    assert math.log10(ax.get_xlim()[1]) > math.log10(5000)


def test_headings_tell_devices_apart():
    rows = [
        measured(BASE),
        recorded.on_gpu("onnxruntime:cuda fp32"),
        recorded.on_gpu("onnxruntime:cuda fp16", timing_streams=4),
    ]
    for figure in figures.figures(results(rows)).values():
        about = figure.texts[1].get_text().replace("\n", " ")
        assert (
            "; DIFFERENT DEVICES: tensorflow fp32 on cpu; onnxruntime:cuda fp32, onnxruntime:cuda fp16 on cuda:0 ("
            in about
        )
        assert "CUDA graph, TF32 allowed; CUDA graph, 4 calls in flight, times are between two answers" in about
    assert "Up to 4 calls are in flight" in figures.figures(results(rows))["throughput"].texts[-1].get_text()
    alone = results(rows[1:2], baseline="onnxruntime:cuda fp32")
    about = figures.figures(alone)["latency"].texts[1].get_text().replace("\n", " ")
    assert about.endswith("; on cuda:0 (CUDA graph, TF32 allowed)")


def test_a_protocol_stands_in_the_heading():
    plan = Experiment(protocol="trtexec-10").plan
    figure = figures.figures(replace(results([recorded.on_gpu("onnxruntime:cuda fp32")]), plan=plan))["latency"]
    about = figure.texts[1].get_text().replace("\n", " ")
    assert "copies in, launches and copies out, each between two CUDA events), by trtexec-10 (block wait)" in about
