"""A report on paper: no column of its tables is cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import recorded
from nbformat.v4 import new_code_cell, new_notebook, new_output

from workbench.display.html import join, tag
from workbench.panel.summary import narrow
from workbench.report import page as report

pytestmark = [pytest.mark.browser, pytest.mark.long]
PORTRAIT_PX, LANDSCAPE_PX = 688, 1017
"""A4 without its margins of 14 mm, at 96 pixels per inch."""
BEYOND = """() => [...document.querySelectorAll('.wb-scroll')].map(each =>
    Math.round(each.querySelector('table').getBoundingClientRect().right - each.getBoundingClientRect().right))"""
"""By how many pixels each table is wider than its place."""


@pytest.mark.parametrize(("width", "whole"), [(PORTRAIT_PX, False), (LANDSCAPE_PX, True)])
def test_tables_are_no_wider_than_the_paper(browser: Any, tmp_path: Path, width: int, whole: bool) -> None:
    names = ("tensorflow:predict fp32", "tensorflow:xla fp32")
    rows = [
        recorded.measured(name, 128, median_ms=median_ms) for name, median_ms in zip(names, (1.0, 250.0), strict=True)
    ]
    results = replace(recorded.results(rows, baseline=names[0]), budget="0.5 points")
    table = results.table().html() if whole else tag("div", narrow(results).html(), class_="wb-first-table")
    heading = tag("h2", "All values" if whole else "First", id="all-values" if whole else "first")
    outputs = [new_output("display_data", data={"text/html": str(each)}) for each in (join([heading]), table)]
    nbformat.write(new_notebook(cells=[new_code_cell("", outputs=outputs)]), tmp_path / "report.ipynb")
    report.html_from_notebook(tmp_path / "report.ipynb", tmp_path / "report.html")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    page.emulate_media(media="print")
    beyond = page.evaluate(BEYOND)
    page.close()
    assert beyond
    assert max(beyond) <= 0
