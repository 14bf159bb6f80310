"""Checks of drawn figures."""

from __future__ import annotations

from matplotlib.figure import Figure


def check_whole(name: str, figure: Figure) -> None:
    """Nothing of a figure lies outside its page."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) > -0.02, (name, box)
    assert box.x1 < width + 0.02, (name, box)
    assert box.y1 < height + 0.02, (name, box)
