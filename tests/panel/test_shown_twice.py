"""A panel that two cells display, and of which nothing arrives."""

from __future__ import annotations

import asyncio
from typing import Any

import IPython.display
import pytest

from workbench.panel import arrival, widgets


class Cell:
    """What ``display`` returns for a cell: the names under which a box was displayed in it."""

    def __init__(self, box: Any) -> None:
        self.names = [box.model_id]

    def update(self, box: Any) -> None:
        self.names.append(box.model_id)


def test_a_panel_without_a_sign_is_displayed_again_in_both_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PATIENCE_S", 0.02)
    cells: list[Cell] = []

    def display(box: Any, *, display_id: bool) -> Cell:
        assert display_id
        cells.append(Cell(box))
        return cells[-1]

    monkeypatch.setattr(IPython.display, "display", display)

    async def shown() -> tuple[Any, Any, Any]:
        sign, button = arrival.Arrival(), widgets.Button(description="Run")
        box = widgets.VBox([button, sign])
        style = button.style
        sign.display(box)
        sign.display(box)
        await asyncio.sleep(0.3)  # for all tries
        return style, button, sign

    style, button, sign = asyncio.run(shown())
    assert [len(cell.names) for cell in cells] == [1 + arrival.TRIES] * 2
    assert cells[0].names == cells[1].names
    assert len(set(cells[0].names)) == 1 + arrival.TRIES
    assert button.style is not style  # the style that buttons share is announced again too
    assert not sign.seen
