"""Figures of other rows or another baseline: drawn when they are looked at, and not between two clicks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import recorded

from workbench.panel.plots import Plots
from workbench.records import Results

FIRST, SECOND = "onnxruntime fp32", "openvino fp32"


@pytest.fixture
def made() -> Results:
    return recorded.results([recorded.measured(label) for label in (FIRST, SECOND)], baseline=FIRST)


@pytest.fixture
def plots(made: Results) -> Plots:
    found = Plots()
    found.show(made, made.figures())
    return found


def test_only_the_figure_that_is_looked_at_is_drawn_again(plots: Plots, made: Results) -> None:
    before = plots.drawn
    plots.follow(replace(made, baseline=SECOND))
    plots.drawing.wait(30)
    assert list(plots.drawn) == ["latency"]
    assert plots.drawn["latency"] is not before["latency"]
    plots.figure.value = "tradeoff"
    plots.drawing.wait(30)
    assert list(plots.drawn) == ["latency", "tradeoff"]
    assert [name for name, box in plots._boxes.items() if box.layout.display != "none"] == ["tradeoff"]
    plots.figure.value = "chosen"
    plots.follow(made)
    plots.drawing.wait(30)
    assert (list(plots.drawn), list(plots._boxes)) == ([], ["chosen"])


def test_a_figure_without_data_for_the_rows_that_are_left_is_not_shown(plots: Plots, made: Results) -> None:
    plots.figure.value = "accuracy"
    plots.follow(replace(made, rows=tuple(replace(row, accuracy=None) for row in made.rows[1:]), baseline=SECOND))
    plots.drawing.wait(30)
    assert not plots.drawing.busy
    assert plots.row.children == ()
    plots.figure.value = "latency"
    plots.drawing.wait(30)
    assert list(plots._boxes) == ["latency"]
    plots.figure.value = "accuracy"
    plots.drawing.wait(30)
    assert plots._boxes["latency"].layout.display == "none"


def test_clicks_in_quick_succession_are_followed_by_one_drawing(plots: Plots, made: Results) -> None:
    async def click() -> None:
        plots.follow(replace(made, baseline=SECOND))
        plots.follow(made)
        plots.follow(replace(made, baseline=SECOND), (SECOND, FIRST))
        assert not plots.drawing.busy
        plots._pause.now()
        assert plots.drawing.busy
        await plots.drawing._reader

    asyncio.run(click())
    assert plots._order == (SECOND, FIRST)
    assert list(plots.drawn) == ["latency"]


def test_a_picture_that_a_browser_asks_for_twice_is_drawn_once(plots: Plots) -> None:
    (canvas,) = (box.children[0] for box in plots.row.children)
    drawn: list[object] = []
    canvas.mpl_connect("draw_event", drawn.append)
    canvas.draw()
    canvas.draw()
    assert len(drawn) == 1
    canvas.figure.axes[0].set_xlim(0, 1)
    canvas.draw()
    assert len(drawn) == 2
