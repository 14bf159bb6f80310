"""The figures of rows as points: latency against throughput, and two chosen numbers; what the panel shades in figures."""

from __future__ import annotations

from dataclasses import replace

import recorded
from matplotlib.figure import Figure

from workbench.compare.limits import Limits
from workbench.display.plots import scatter
from workbench.display.plots.figures import figures
from workbench.display.plots.tradeoff import point_text, tradeoff_data
from workbench.panel.figures import canvas, marks_of, scatter_marks, shade


def made():
    rows = [
        recorded.measured(name, median_ms=ms, batch=batch)
        for name, batch, ms in (
            ("onnxruntime fp32", 1, 1.0),
            ("onnxruntime fp32", 8, 4.0),
            ("openvino fp32", 1, 2.0),
            ("openvino fp32", 8, 3.0),
        )
    ]
    return recorded.results(rows, baseline="onnxruntime fp32")


def test_the_front_holds_the_rows_that_none_beats_in_both() -> None:
    points = tradeoff_data(made()).points
    assert [(each.name, each.batch) for each in points if each.on_front] == [
        ("onnxruntime fp32", 1),
        ("openvino fp32", 8),
    ]
    assert all(each.low_ms <= each.ms <= each.high_ms for each in points)
    assert point_text(points[0]).startswith("onnxruntime fp32 at batch 1: ")


def test_the_figure_is_among_the_others_and_has_every_row() -> None:
    drawn = figures(made())
    (ax,) = drawn["tradeoff"].axes
    assert [text.get_text() for text in ax.texts].count("8") == 2
    assert [text.get_fontweight() for text in ax.get_legend().get_texts()] == ["bold", "normal"]


def test_two_chosen_numbers_have_a_point_for_each_row_that_has_both() -> None:
    results = made()
    assert {"p50 ms", "samples/s", "speed-up"} <= set(scatter.numbers(results))
    assert "low" not in scatter.numbers(results)
    data = scatter.scatter_data(results, "samples/s", "p50 ms")
    assert [(each.name, each.batch, round(each.x), each.y) for each in data.points] == [
        (row.spec.variant, row.batch, round(row.timing.samples_per_s), row.timing.median_s * 1e3)
        for row in results.measured
    ]
    assert [len(each) for each in scatter_marks(results, "samples/s", "p50 ms")] == [4]
    (ax,) = scatter.scatter_figure(results, "samples/s", "p50 ms").axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("samples/s", "p50 ms")
    assert [text.get_fontweight() for text in ax.get_legend().get_texts()] == ["bold", "normal"]


def test_axes_without_a_common_row_and_with_negative_numbers_are_drawn() -> None:
    (empty,) = scatter.scatter_figure(made(), "load samples/s", "p50 ms").axes
    assert [text.get_text() for text in empty.texts] == ["No row has both numbers."]
    below = scatter.scatter_data(made(), "p50 ms", "p50 ms")
    points = tuple(each._replace(y=place - 1.0) for place, each in enumerate(below.points))
    ax = Figure().subplots()
    scatter.draw_scatter(below._replace(points=points), ax)
    assert ax.get_yscale() == "linear"


def test_what_does_not_keep_a_limit_is_shaded_once_and_axes_stay() -> None:
    results = made()
    figure = figures(results)["tradeoff"]
    (ax,) = figure.axes
    before = (ax.get_xlim(), ax.get_ylim())

    def shaded() -> list[float]:
        return [patch.get_extents().width for patch in ax.patches if patch.get_gid() == "limit"]

    for limits, count in ((Limits(latency_s=2e-3), 1), (Limits(latency_s=3e-3), 1), (Limits(), 0)):
        shade("tradeoff", figure, results, limits)
        assert len(shaded()) == count
        assert (ax.get_xlim(), ax.get_ylim()) == before


def test_the_pointer_is_followed_by_the_name_of_what_it_is_over() -> None:
    results = replace(made())
    figure = figures(results)["tradeoff"]
    shown = canvas(figure, marks_of("tradeoff", results), 900)
    shown.draw()
    (ax,) = figure.axes
    point = tradeoff_data(results).points[0]
    x, y = ax.transData.transform((point.ms, point.samples_per_s))
    from matplotlib.backend_bases import MouseEvent

    shown.callbacks.process("motion_notify_event", MouseEvent("motion_notify_event", shown, x, y))
    (note,) = [text for text in figure.texts if text.get_visible() and text.get_zorder() == 99]
    assert note.get_text() == point_text(point)
    assert round(figure.get_figwidth() * figure.dpi) == 900
    shown.close()
