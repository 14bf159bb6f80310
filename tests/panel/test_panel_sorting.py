"""A table sorted by its heads."""

from __future__ import annotations

import re
from dataclasses import replace

import recorded

from workbench.experiment import Experiment
from workbench.panel.compare import ComparePage
from workbench.panel.layers import _table
from workbench.panel.sorting import Column, Line, SortedTable

COLUMNS = (Column("Variant"), Column("Speed", "higher is better", numeric=True, largest_first=True))
LINES = [
    Line("<tr><td>slow</td></tr><tr><td>its note</td></tr>", {"Variant": "slow", "Speed": 1.0}),
    Line("<tr><td>failed</td></tr>", {"Variant": "failed", "Speed": None}),
    Line("<tr><td>fast</td></tr>", {"Variant": "fast", "Speed": 9.0}),
    Line("<tr><td>also fast</td></tr>", {"Variant": "also fast", "Speed": 9.0}),
]


def order(table: SortedTable) -> list[str]:
    return re.findall(r"<td>(.*?)</td>", table.value)


def told(table: SortedTable) -> list[str]:
    return [*(head.description for head in table.heads.values()), *re.findall(r'aria-sort="(\w+)">(\w+)', table.value)]


def test_a_head_sorts_reverses_and_gives_the_first_order_back() -> None:
    table = SortedTable(COLUMNS, "nothing yet")
    table.show(LINES)
    assert order(table) == ["slow", "its note", "failed", "fast", "also fast"]
    assert told(table) == ["Variant", "Speed"]
    table.heads["Speed"].click()
    assert order(table) == ["fast", "also fast", "slow", "its note", "failed"]
    assert told(table) == ["Variant", "Speed ▼", ("descending", "Speed")]
    assert table.heads["Speed"].tooltip == "Higher is better. Press to reverse"
    table.heads["Speed"].click()
    assert order(table) == ["slow", "its note", "fast", "also fast", "failed"]  # what has no value stays last
    assert told(table) == ["Variant", "Speed ▲", ("ascending", "Speed")]
    table.heads["Speed"].click()
    assert order(table)[0] == "slow"
    assert told(table) == ["Variant", "Speed"]


def test_another_head_begins_anew_and_what_was_chosen_stays_when_lines_change() -> None:
    table = SortedTable(COLUMNS, "nothing yet")
    table.show(LINES)
    table.heads["Speed"].click()
    table.heads["Variant"].click()
    assert told(table) == ["Variant ▲", "Speed", ("ascending", "Variant")]
    table.show(LINES[:3])
    assert order(table) == ["failed", "fast", "slow", "its note"]
    table.show([])
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
        assert ("less is better" in page.table.heads["Accuracy"].tooltip) == (not higher)
    page.show(recorded.results(rows), Experiment(), {})
    assert page.table.by == "Accuracy"  # what was chosen stays


def test_layers_become_lines_without_empty_columns() -> None:
    import pandas as pd

    frame = pd.DataFrame({"layer": ["<b>", "a"], "ms": [2.0, None], "tactic": ["", ""], "GFLOP/s": [None, None]})
    columns, lines = _table(frame)
    assert [(each.name, each.numeric) for each in columns] == [("layer", False), ("ms", True)]
    assert lines[0].html == '<tr><td>&lt;b&gt;</td><td class="wb-n">2.00</td></tr>'
    table = SortedTable(columns, "")
    table.show(lines)
    table.heads["ms"].click()
    table.heads["ms"].click()
    assert [line.keys["layer"] for line in table._sorted()] == ["<b>", "a"]
