"""Layers for people: groups, changes of format, two engines side by side, and the table that sorts without scripts."""

from __future__ import annotations

import re

import pytest

from workbench.compare import layer_view
from workbench.display import layer_tables
from workbench.display.plots import layers as plots_layers
from workbench.display.plots.canvas import sheet
from workbench.records.layers import LayerProfile, LayerTime


def layer(name, op, kind, precision, us, origin=(), scope=""):
    return LayerTime(name, op, kind, precision, (us * 1000,) * 3, origin=origin, scope=scope)


def profile(label, *layers, plain_us=100, profiled_us=120):
    return LayerProfile(
        "key", label, 4, layers, (profiled_us * 1000,) * 3, (plain_us * 1000,) * 3, "a profiler", "test samples", "now"
    )


FP32 = profile(
    "ort fp32",
    layer("conv+relu", "Conv", "weights", "fp32", 60, ("Conv__1", "a/Relu"), "conv"),
    layer("pool", "MaxPool", "other", "fp32", 10, ("Pool",), "pool"),
    layer("dense", "Gemm", "weights", "fp32", 20, ("d/MatMul", "d/Add"), "dense"),
)
INT8 = profile(
    "ort int8",
    layer("q", "QuantizeLinear", "convert", "fp32", 5),
    layer("conv", "QLinearConv", "weights", "int8", 20, ("Conv__1",), "conv"),
    layer("pool", "MaxPool", "other", "int8", 10, ("Pool",), "pool"),
    layer("dq", "DequantizeLinear", "convert", "int8", 5),
    layer("relu", "Relu", "other", "fp32", 2, ("a/Relu",), "act"),
    layer("dense", "Gemm", "weights", "fp32", 20, ("d/MatMul/MatMulAddFusion",), "dense"),
)


def test_the_profilers_own_cost_is_reported():
    assert FP32.overhead == pytest.approx(0.2)
    assert FP32.layers_s == pytest.approx(90e-6)
    assert INT8.share("convert") == pytest.approx(10 / 62)
    assert "3 layers take 0.09 ms of a call at batch 4" in layer_view.summary(FP32)
    assert "0.1 ms without profiling and 0.12 ms with it (+20%)" in layer_view.summary(FP32)


def test_groups_are_sums_the_longest_first():
    table = layer_view.grouped(INT8, "op")
    assert list(table["op"][:2]) == ["QLinearConv", "Gemm"]
    assert list(table["ms"][:2]) == pytest.approx([0.020, 0.020])
    assert table["share %"].sum() == pytest.approx(100)
    assert dict(zip(*layer_view.grouped(INT8, "precision")[["precision", "layers"]].to_numpy().T, strict=True)) == {
        "int8": 3,
        "fp32": 3,
    }


def test_changes_of_format_with_what_they_take():
    table = layer_view.transitions(INT8)
    assert table[["after", "before", "from", "to", "through"]].to_numpy().tolist() == [
        ["the inputs", "conv", "", "int8", "QuantizeLinear"],
        ["conv", "dense", "int8", "fp32", "DequantizeLinear"],
    ]
    assert list(table["ms"]) == pytest.approx([0.005, 0.005])
    assert len(layer_view.transitions(FP32)) == 0


def test_two_engines_by_the_nodes_that_their_layers_stand_for():
    table = layer_view.aligned(FP32, INT8)
    rows = table.set_index("model layer")
    # the convolution and its activation are one layer here and two there: one row
    assert rows.loc["conv", "nodes"] == "Conv__1, a/Relu"
    assert rows.loc["conv", "layers, ort int8"] == "QLinearConv, Relu"
    assert rows.loc["conv", "ms, ort fp32"] == pytest.approx(0.060)
    assert rows.loc["conv", "ms, ort int8"] == pytest.approx(0.022)
    assert rows.loc["conv", "ratio"] == pytest.approx(60 / 22)
    assert rows.loc["conv", "format, ort int8"] == "int8, fp32"
    assert rows.loc["dense", "difference ms"] == pytest.approx(0)
    assert list(rows.index) == ["conv", "pool", "dense", "(convert between formats)"]
    assert rows.loc["(convert between formats)", "difference ms"] == pytest.approx(0.010)
    # nothing is lost: every layer is in exactly one row
    assert table["ms, ort int8"].sum() == pytest.approx(0.062)


def test_engines_without_common_nodes_are_compared_by_the_models_own_layers():
    tensorflow = profile("tf fp32", layer("net/conv/Conv2D", "Conv2D", "weights", "", 80, (), "conv"))
    rows = layer_view.aligned(tensorflow, FP32).set_index("model layer")
    assert rows.loc["conv", "ratio"] == pytest.approx(80 / 60)
    assert rows.loc["pool", "ms, tf fp32"] == 0


def test_the_table_sorts_without_scripts_and_escapes_names():
    evil = profile("x", *FP32.layers, layer("<script>", "<b>", "other", "", 30))
    text = layer_tables.profile_html(evil)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    rows = re.findall(r'<div style="(--o0:[^"]*)" role="row">', text)
    orders = [dict(re.findall(r"--o(\d):(\d+)", row)) for row in rows]
    assert [order["0"] for order in orders] == ["1", "2", "3", "4"]
    assert [order["1"] for order in orders] == ["1", "4", "3", "2"]  # by time: 60, 10, 20, 30 µs
    assert "#wb-layers-0-1:checked~.wb-layer-grid>div{order:var(--o1)}" in text


def test_of_many_layers_the_shortest_are_left_out_and_reported(monkeypatch):
    monkeypatch.setattr(layer_tables, "SHOWN", 2)
    text = layer_tables.profile_html(FP32).partition("<h4>")[2].partition("<details")[0]
    assert "The 1 layers that take the least time are left out here." in text
    assert ">pool<" not in text


def test_layers_as_bars():
    data = plots_layers.layers_data(INT8, bars=3)
    assert [(bar.name, bar.precision, round(bar.ms, 3)) for bar in data.bars] == [
        ("conv", "int8", 0.020),
        ("pool", "int8", 0.010),
        ("dense", "fp32", 0.020),
        ("3 shorter layers", "", 0.012),
    ]
    ax = sheet(3, "alt").subplots()
    plots_layers.draw_layers(data, ax)
    assert ax.get_title("left") == "ort int8, batch 4: 0.100 ms a call"
    assert "(ms)" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "int8", "fp32", "compute with weights", "other",
    ]  # fmt: skip


def test_two_engines_as_bars_by_what_differs_most():
    data = plots_layers.pair_data(FP32, INT8, bars=2)
    assert [(bar.name, round(bar.first_ms, 3), round(bar.second_ms, 3)) for bar in data.bars] == [
        ("conv", 0.060, 0.022),
        ("(convert between formats)", 0.0, 0.010),
    ]
    assert data.others == 2
    ax = sheet(3, "alt").subplots()
    plots_layers.draw_pair(data, ax)
    assert ax.get_xlabel() == "time of ort int8 minus that of ort fp32 (ms)"
    assert "2 groups that differ less are left out" in ax.get_title("left")
