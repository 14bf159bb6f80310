"""A table sorted by its heads."""

from __future__ import annotations

import re
from dataclasses import replace

import recorded

from workbench.display.table import NUMBER, Column, Table
from workbench.panel.compare import ComparePage
from workbench.panel.sorting import SortedTable
from workbench.settings.experiment import Experiment

COLUMNS = (
    Column("Variant"),
    Column("Speed", NUMBER, help="higher is better", format=lambda row: "", always=True, largest_first=True),
    Column("note", note=True),
)
TABLE = Table(
    COLUMNS,
    (
        {"Variant": "slow", "Speed": 1.0, "note": "its note"},
        {"Variant": "failed", "Speed": None},
        {"Variant": "fast", "Speed": 9.0},
        {"Variant": "also fast", "Speed": 9.0},
    ),
)


def order(table: SortedTable) -> list[str]:
    return re.findall(r"<td(?: colspan=\"2\")?>(.*?)</td>", table.value)


def reported(table: SortedTable) -> list[str]:
    return [*(head.description for head in table.heads.values()), *re.findall(r'aria-sort="(\w+)">(\w+)', table.value)]


def test_a_head_sorts_reverses_and_gives_the_first_order_back() -> None:
    table = SortedTable("nothing yet")
    table.show(TABLE)
    assert order(table) == ["slow", "its note", "failed", "fast", "also fast"]
    assert reported(table) == ["Variant", "Speed"]
    table.heads["Speed"].click()
    assert order(table) == ["fast", "also fast", "slow", "its note", "failed"]
    assert reported(table) == ["Variant", "Speed ▼", ("descending", "Speed")]
    assert table.heads["Speed"].tooltip == "Higher is better. Press to reverse"
    table.heads["Speed"].click()
    assert order(table) == ["slow", "its note", "fast", "also fast", "failed"]  # what has no value stays last
    assert reported(table) == ["Variant", "Speed ▲", ("ascending", "Speed")]
    table.heads["Speed"].click()
    assert order(table)[0] == "slow"
    assert reported(table) == ["Variant", "Speed"]


def test_another_head_starts_again_and_what_was_chosen_stays_when_lines_change() -> None:
    table = SortedTable("nothing yet")
    table.show(TABLE)
    table.heads["Speed"].click()
    table.heads["Variant"].click()
    assert reported(table) == ["Variant ▲", "Speed", ("ascending", "Variant")]
    table.show(replace(TABLE, rows=TABLE.rows[:3]))
    assert order(table) == ["failed", "fast", "slow", "its note"]
    table.show(replace(TABLE, rows=()))
    assert table.value == '<div class="wb-empty">nothing yet</div>'
    assert {head.layout.display for head in table.heads.values()} == {"none"}


def test_the_first_press_on_the_accuracy_puts_the_best_first(store) -> None:
    """Which is the largest share of right answers, and the smallest error."""
    page = ComparePage(store)
    for higher, best in ((False, "onnxruntime fp32"), (True, "openvino fp32"), (False, "onnxruntime fp32")):
        rows = [
            replace(
                recorded.measured(label),
                accuracy=replace(recorded.accuracy(), value=value, higher_is_better=higher, metric="rmse"),
            )
            for label, value in (("tensorflow fp32", 0.2), ("onnxruntime fp32", 0.1), ("openvino fp32", 0.3))
        ]
        page.show(recorded.results(rows), Experiment(), {})
        page.table.heads["Accuracy"].click()
        assert page.table.by == "Accuracy"
        assert re.search(r'data-row="(.*?) @1"', page.table.value)[1] == best
        assert ("lower is better" in page.table.heads["Accuracy"].tooltip) == (not higher)
    page.show(recorded.results(rows), Experiment(), {})
    assert page.table.by == "Accuracy"  # what was chosen stays


def test_layers_become_lines_without_empty_columns() -> None:
    import pandas as pd

    frame = pd.DataFrame({"layer": ["<b>", "a"], "ms": [2.0, None], "tactic": ["", ""], "GFLOP/s": [None, None]})
    table = SortedTable("")
    table.show(Table.of(frame))
    assert [*table.heads] == ["layer", "ms"]
    assert '<tr class="wb-first"><td>&lt;b&gt;</td><td class="wb-n">2.00</td></tr>' in table.value
    table.heads["ms"].click()
    table.heads["ms"].click()
    assert order(table) == ["&lt;b&gt;", "a"]
