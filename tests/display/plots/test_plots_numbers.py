"""Figures of number formats: their data to the digit, and what is drawn of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from recorded import failed, measured, results

from workbench.display.plots import numbers as plots_numbers


def sized(label, size_bytes):
    row = measured(label)
    return replace(row, engine=replace(row.engine, size_bytes=size_bytes))


def drawn(draw, data):
    ax = Figure().subplots()
    draw(data, ax)
    return ax


def margin(ax):
    return [text.get_text() for text in ax.texts]


def test_steps_are_thinned_out_and_keep_their_ends():
    numbers = np.arange(1, 10_001, dtype=float)
    few, many = plots_numbers.steps_data(
        {"few": (np.array([1.0, 2.0]), np.array([1.0, 2.0])), "many": (numbers, numbers / 8)}
    )
    assert few == ("few", (1.0, 2.0), (1.0, 2.0))
    assert len(many.magnitudes) == 400
    assert (many.magnitudes[0], many.magnitudes[-1], many.steps[-1]) == (1.0, 10_000.0, 1250.0)
    ax = drawn(plots_numbers.draw_steps, (few, many))
    assert [line.get_text() for line in ax.get_legend().get_texts()] == ["few", "many"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_figure_of_steps_shows_what_lies_between_its_ends():
    numbers = np.array([0.5, 1.0, 2.0, 4.0])
    fig = plots_numbers.steps_figure({"all": (numbers, numbers)}, low=1.0, high=2.0)
    assert list(fig.axes[0].lines[0].get_xdata()) == [1.0, 2.0]


def test_ranges_say_what_they_cut():
    values = np.array([[0.0, 1.0], [2.0, 10.0]])
    data = plots_numbers.ranges_data(values, {"all": (0, 10), "most": (0, 5)}, {"all": 30.0, "most": 40.5})
    assert data.bars == (("all", 0, 10, 0.0, 30.0), ("most", 0, 5, 0.25, 40.5))
    assert (sum(data.counts), data.edges[0], data.edges[-1]) == (4, 0.0, 10.0)
    ax = drawn(plots_numbers.draw_ranges, data)
    assert margin(ax) == ["30.0 dB, 0.00% cut", "40.5 dB, 25.00% cut"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all", "most"]
    assert drawn(plots_numbers.draw_histogram, data).get_yscale() == "log"


def test_noise_is_a_mark_for_each_way():
    data = plots_numbers.noise_data({"conv": {"u8": 44.0, "s8": 38.0}, "dense": {"u8": 40.0, "s8": 40.0}})
    assert data == (("u8", "s8"), (("conv", (44.0, 38.0)), ("dense", (40.0, 40.0))))
    ax = drawn(plots_numbers.draw_noise, data)
    assert margin(ax) == ["6.0 dB apart", "0.0 dB apart"]
    assert [list(line.get_xdata()) for line in ax.lines if line.get_label() in data.ways] == [
        [44.0, 40.0],
        [38.0, 40.0],
    ]


def test_sizes_are_compared_with_fp32_of_the_same_engine():
    rows = [
        sized("onnxruntime fp32", 400_000),
        sized("onnxruntime int8", 100_000),
        sized("openvino bf16", 400_000),
        sized("litert fp32", 200_000),
        sized("litert fp16", 201_000),
        sized("litert int8", 300_000),
        failed("openvino fp32"),
    ]
    data = plots_numbers.sizes_data(results(rows))
    assert [(bar.name, bar.smaller and pytest.approx(bar.smaller)) for bar in data] == [
        ("onnxruntime fp32", 1.0),
        ("onnxruntime int8", 4.0),
        ("openvino bf16", None),
        ("litert fp32", 1.0),
        ("litert fp16", 200 / 201),
        ("litert int8", 200 / 300),
    ]
    assert margin(drawn(plots_numbers.draw_sizes, data)) == [
        "0.400 MB",
        "0.100 MB, 4.00 times smaller",
        "0.400 MB",
        "0.200 MB",
        "0.201 MB, as large",
        "0.300 MB, 1.50 times larger",
    ]


def test_figures_tell_those_who_cannot_see_them_what_they_are():
    values = np.linspace(0, 1, 50)
    fig = plots_numbers.ranges_figure(values, {"minmax": (0, 1)}, {"minmax": 50.0}, "A tensor")
    assert fig.alt == "A tensor"
    assert plots_numbers.noise_figure({"a": {"u8": 1.0}}).alt == "Signal to quantization noise by tensor"
    assert plots_numbers.sizes_figure(results([sized("litert fp32", 10)])).alt == "Size of every engine"
