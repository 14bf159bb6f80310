"""Notes of rows: each once, by number, with ranges where only figures differ."""

from __future__ import annotations

from workbench.compare.remarks import Remark
from workbench.display.notes import numbered


def busy(count: int, calls: str = "2.9") -> Remark:
    return Remark(f"{count} of 12 blocks were spoiled; int8 @8 took {calls} times the median", ranges=True)


def test_notes_are_numbered_in_the_order_in_which_they_come():
    rows = [[Remark("first")], [Remark("second"), Remark("first")], []]
    assert numbered(rows) == (["first", "second"], ["1", "1, 2", ""])


def test_notes_that_differ_in_their_figures_are_one_with_ranges():
    notes, marks = numbered([[busy(9)], [busy(12, "1.2")], [busy(10)], []])
    assert notes == ["9 to 12 of 12 blocks were spoiled; int8 @8 took 1.2 to 2.9 times the median"]
    assert marks == ["1", "1", "1", ""]


def test_figures_of_other_notes_stay_with_their_rows():
    assert numbered([[Remark("GPU memory 10 MiB")], [Remark("GPU memory 20 MiB")]])[1] == ["1", "2"]


def test_numbers_in_names_keep_notes_apart():
    rows = [[Remark("int8 was slow", ranges=True)], [Remark("int4 was slow", ranges=True)]]
    assert len(numbered(rows)[0]) == 2


def test_a_note_of_every_row_comes_first_and_marks_none():
    notes, marks = numbered([[Remark("own"), busy(12)], [busy(9)]])
    assert notes[0].startswith("All rows: 9 to 12 of 12")
    assert marks == ["2", ""]


def test_a_single_row_has_numbered_notes():
    assert numbered([[busy(9)]])[1] == ["1"]


def test_ranges_go_by_value():
    notes, _ = numbered([[busy(9, "1,000")], [busy(9, "20.5")], []])
    assert "20.5 to 1,000 times" in notes[0]
