"""The button of a row, in every state of the row and of the run; and a row that waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import recorded

from workbench.panel.rows import Lines, RowLine
from workbench.records import Event, Status

RESULT = recorded.measured("onnxruntime fp32")
OPEN = {Status.PLANNED, Status.PREPARING, Status.BUILDING, Status.MEASURING, Status.SCORING}


def button(status: Status, *, running: bool = True, measures: bool = True, runnable: bool = True) -> str:
    """What the button says; "" where there is none to press."""
    engine = replace(RESULT.engine, runnable=runnable)
    line = RowLine(replace(RESULT, status=status, engine=engine), lambda _: None)
    line.draw(running=running, measures=measures)
    return "" if line.button.disabled else line.button.description


@pytest.mark.parametrize("status", Status)
def test_a_row_offers_what_can_be_done_with_it(status: Status) -> None:
    assert button(status) == ("Cancel" if status in {*OPEN, Status.BUILT} else "")
    again = {Status.FAILED, Status.CANCELLED}
    assert button(status, running=False, measures=False) == ("Retry" if status in again else "")


def test_a_built_row_cannot_be_cancelled_where_nothing_follows() -> None:
    assert button(Status.BUILT, measures=False) == ""
    assert button(Status.BUILT, runnable=False) == ""


def test_a_row_is_asked_to_end_once() -> None:
    asked: list[str] = []
    line = RowLine(replace(RESULT, status=Status.SCORING), asked.append)
    line.draw(running=True, measures=True)
    line.button.click()
    line.ending = True
    line.draw(running=True, measures=True)
    assert line.button.disabled
    assert asked == [RESULT.row]


def test_a_row_with_times_is_done_when_it_is_scored() -> None:
    line = RowLine(replace(RESULT, status=Status.DONE, accuracy=None), lambda _: None)
    line.draw(running=True, measures=True)
    assert ">timed<" in line._text.value.replace(" ", "").replace("…", "")
    line.draw(running=False, measures=False)  # the run has ended, for instance without labels
    assert "timed" not in line._text.value
    line.result = RESULT
    line.draw(running=True, measures=True)
    assert "done" in line._text.value


def test_a_built_row_that_waits_to_be_measured_says_so() -> None:
    lines = Lines(lambda _: None)
    lines.measures = True

    def shown(event: Event, *, running: bool = True) -> str:
        lines.apply(event)
        lines.draw(running=running)
        return lines.widget.children[0].children[0].children[0].value

    built = replace(RESULT, status=Status.BUILT, timing=None, accuracy=None)
    assert "built</span>" in shown(Event("built", built))
    wait = Event("waiting for anna: measuring", detail=True, wait=True, rows=(RESULT.row,))
    assert "waiting</span>" in shown(wait)
    assert "measuring</span>" in shown(Event("measuring", replace(built, status=Status.MEASURING)))
    assert "waiting</span>" not in shown(wait, running=False)
