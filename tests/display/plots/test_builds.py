"""Latency and build time against a setting of the build."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from recorded import engine, measured, results, spec

from workbench.display.plots import builds, canvas, figures


def row(label: str, seconds: float, batch: int = 1, **settings: int):
    made = measured(label, batch)
    asked = spec(label, **settings)
    return replace(made, spec=asked, engine=replace(engine(asked), build_s=seconds))


def test_values_ascend_with_the_default_first_and_other_variants_are_left_out():
    rows = [
        row("onnxruntime fp32", 3.0, optimization_level=3),
        row("onnxruntime fp32", 1.0, optimization_level=0),
        row("onnxruntime fp32", 2.0),
        row("onnxruntime fp32", 9.0, batch=8, optimization_level=0),
        row("openvino fp32", 5.0),
    ]
    data = builds.build_data(results(rows), "optimization_level")
    assert (data.batch, data.values) == (1, ("default", "0", "3"))
    (line,) = data.lines
    assert line.name == "onnxruntime fp32"
    assert [(point.value, point.build_s) for point in line.points] == [("default", 2.0), ("0", 1.0), ("3", 3.0)]
    assert line.points[0].latency_ms == pytest.approx(rows[2].timing.median_s * 1e3)
    assert builds.build_data(results(rows), "workspace_bytes") is None
    assert builds.build_data(results(rows[-1:]), "optimization_level") is None


def test_two_settings_give_two_figures_and_a_line_for_each_combination():
    rows = [
        row("tensorrt fp16", level + size / 64, optimization_level=level, workspace_bytes=size * 2**20)
        for level in (0, 3)
        for size in (64, 256)
    ]
    found = figures.figures(results(rows))
    assert {"optimization level", "workspace"} <= set(found)
    for name in ("optimization level", "workspace"):
        assert len(found[name].axes) == 2
        assert [ax.get_ylabel() for ax in found[name].axes] == ["median latency (ms)", "build time (s)"]
    data = builds.build_data(results(rows), "workspace_bytes")
    assert data.values == ("64 MiB", "256 MiB")
    assert [line.name for line in data.lines] == ["tensorrt fp16 level 0", "tensorrt fp16 level 3"]
    left, right = Figure().subplots(1, 2)
    builds.draw_latency(data, left)
    builds.draw_build_time(data, right)
    assert [list(line.get_ydata()) for line in right.lines] == [[1.0, 4.0], [4.0, 7.0]]
    assert [text.get_text() for text in right.get_xticklabels()] == ["64 MiB", "256 MiB"]


def test_variants_of_different_levels_look_different():
    rows = [row("onnxruntime fp32", 1.0), row("onnxruntime fp32", 1.0, optimization_level=0)]
    styles = canvas.looks(results(rows))
    assert len(set(styles.values())) == 2
