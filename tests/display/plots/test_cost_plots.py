"""The roofline and the clocks: data to the digit, then labels and units."""

from __future__ import annotations

from dataclasses import replace

import peaked
import pytest
from drawn import check_whole
from matplotlib.figure import Figure
from recorded import measured

from workbench.display.plots import costs, figures

ROWS = [
    measured(label, batch, median_ms=ms * batch, timing_clocks=peaked.CLOCKS)
    for label, ms in (("tensorflow fp32", 0.8), ("onnxruntime fp32", 0.2), ("onnxruntime int8", 0.05))
    for batch in (1, 64)
]


def axes():
    return Figure(figsize=(8, 5)).subplots()


def test_roofs_and_slopes_are_the_best_that_were_measured():
    data = costs.roofline_data(peaked.results(*ROWS))
    assert data.roofs == {"fp32": pytest.approx(100), "int8": pytest.approx(400)}
    assert data.slopes == {"L2": pytest.approx(100), "memory": pytest.approx(20)}
    shares = [max(spot.share for spot in line.spots) for line in data.lines]
    assert shares == sorted(shares, reverse=True)
    spots = next(line for line in data.lines if line.name == "onnxruntime fp32").spots
    assert [spot.batch for spot in spots] == [1, 64]
    assert spots[0].intensity == pytest.approx(1e6 / (4 * (250_000 + 794)))
    assert spots[1].gflops == pytest.approx(5, rel=0.1)


def test_a_format_that_no_row_computes_in_has_no_roof():
    assert list(costs.roofline_data(peaked.results(ROWS[0])).roofs) == ["fp32"]


def test_the_roofline_names_its_axes_roofs_and_shares():
    ax = axes()
    costs.draw_roofline(costs.roofline_data(peaked.results(*ROWS)), ax)
    assert ax.get_xlabel() == "operations per byte of weights, inputs and outputs (FLOP/byte, at most)"
    assert ax.get_ylabel() == "10⁹ operations per second"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    texts = [text.get_text() for text in ax.texts]
    assert {"fp32 100", "int8 400", "L2 100 GB/s", "memory 20.0 GB/s"} <= set(texts)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert all(text.endswith(" %") for text in legend)
    low, high = ax.get_ylim()
    assert low < min(line.get_ydata().min() for line in ax.lines[-3:])
    assert high > 400


def test_slopes_that_are_about_the_same_share_a_name():
    assert costs._named({"L2": 95.5, "L3": 90.4, "memory": 30.3}) == [
        ("L2 95.5, L3 90.4 GB/s", 95.5), ("memory 30.3 GB/s", 30.3),
    ]  # fmt: skip


def test_clocks_are_multiples_of_compute_whose_time_stands_beside():
    data = costs.clocks_data(peaked.results(*ROWS))
    assert (data.batch, len(data.names), len(data.reads)) == (1, 3, 9)
    ax = axes()
    costs.draw_clocks(data, ax)
    assert ax.get_xlabel() == "time of one call / that of compute in the same round"
    assert [text.get_text() for text in ax.texts] == ["2.00"] * 3 + ["compute, ms"]
    drawn = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert drawn == pytest.approx([1.225] * 3)


def test_a_variant_without_compute_stands_in_brackets():
    row = measured("tensorflow:predict fp32", timing_clocks=peaked.CLOCKS[:1])
    ax = axes()
    costs.draw_clocks(costs.clocks_data(peaked.results(row)), ax)
    assert ax.texts[0].get_text() == "(2.45)"


def test_the_figures_are_there_where_they_were_asked_for():
    everything = peaked.results(*ROWS)
    assert {"roofline", "clocks"} <= set(figures.figures(everything))
    bare = replace(everything, peaks=None, rows=(measured("onnxruntime fp32"),))
    assert not {"roofline", "clocks"} & set(figures.figures(bare))


@pytest.mark.parametrize("count", [1, 14])
def test_nothing_is_cut_off(count):
    rows = [
        measured(f"openvino:a-mode-with-quite-a-long-name-{n} fp32", batch, timing_clocks=peaked.CLOCKS)
        for n in range(count)
        for batch in (1, 8, 32)
    ]
    found = figures.figures(peaked.results(*rows))
    for name in ("roofline", "clocks"):
        check_whole(name, found[name])
