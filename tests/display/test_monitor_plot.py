"""The graphs of monitoring show the time that was asked for, whatever Prometheus has of it."""

from __future__ import annotations

import pytest

from workbench.display.plots.monitor import Drawn, Graph, monitor_figure


def test_graphs_have_one_axis_of_time_and_single_points_are_seen() -> None:
    lines = (Drawn("answered", (-5.0,), (0.25,)), Drawn("refused", (-30.0, 0.0), (0.0, float("nan"))))
    figure = monitor_figure((Graph("Errors", "percentunit", lines), Graph("Drift", "none", ())), 900.0)
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim() == (-15, 0)
    assert first.get_xlabel() == second.get_xlabel() == "minutes before now (0: now)"
    points = [line.get_xydata().tolist() for line in first.lines]
    assert points == [[[pytest.approx(-5 / 60), 25.0]], [[-0.5, 0.0]]]
    assert [line.get_marker() for line in first.lines] == [".", "."]
    assert [text.get_text() for text in second.texts] == ["nothing yet"]


def test_a_long_legend_has_columns() -> None:
    lines = tuple(Drawn(str(number), (-5.0, 0.0), (1.0, 1.0)) for number in range(10))
    (ax,) = (ax for ax in monitor_figure((Graph("Predicted classes", "", lines),), 60.0).axes if ax.lines)
    assert ax.get_legend()._ncols == 3
