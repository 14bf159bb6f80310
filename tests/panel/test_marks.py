"""Marks in the table of the page Compare: the winner, what cannot be distinguished from it, and what the marks stand for."""

from __future__ import annotations

from dataclasses import replace

import recorded

from workbench.compare.limits import Limits, choose_row
from workbench.compare.noise import in_short
from workbench.panel.compare import _star
from workbench.panel.tables import Shown, _variant


def timed(*milliseconds: float):
    names = ("onnxruntime fp32", "openvino fp32", "litert fp32", "litert int8", "openvino int8")
    rows = [
        recorded.measured(name, timing=recorded.timing(each)) for name, each in zip(names, milliseconds, strict=False)
    ]
    return recorded.results(rows, baseline=names[0])


def test_what_cannot_be_distinguished_from_the_winner_is_marked_beside_it():
    results = timed(8, 1.001, 1, 4)
    choice = choose_row(results, Limits())
    stars = [_star(choice, row) for row in results.rows]
    assert sorted(stars) == ["", "", "tied", "winner"]
    marks = [_variant(Shown(row, None, star=star))[-1].text for row, star in zip(results.rows, stars, strict=True)]
    assert sorted(marks[1:3]) == ["≈ the winner", "★ winner"]
    assert [_star(choose_row(timed(8, 8.001, 8), Limits()), row) for row in results.rows].count("tied") == 0


def test_busy_rows_are_named_where_they_are_few():
    results = timed(8, 1, 4)

    def busy(row):
        blocks = tuple(replace(block, quiet=False) for block in row.timing.blocks)
        return replace(row, timing=replace(row.timing, blocks=blocks))

    rows = (busy(results.rows[0]), *results.rows[1:])
    assert "in most rounds of onnxruntime fp32 @1, so that" in in_short(replace(results, rows=rows))
    assert "of all rows" in in_short(replace(results, rows=tuple(map(busy, results.rows))))
