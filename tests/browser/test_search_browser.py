"""A search for the best setting from the panel, by real clicks: it outlives its kernel, and its answer opens as a run."""

from __future__ import annotations

import re

import pytest
from clicks import LONG_MS, await_end, go, shot, shown_run
from lab import SMALL, Lab, look, menu, open_panel, put_notebook
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.long]
CONTRAST = 4.5
BEST = re.compile("The best is onnxruntime (fp32|int8) @1")


def put(panel: Locator, label: str, value: str) -> None:
    control = panel.get_by_label(label, exact=True)
    control.fill(value)
    control.press("Tab")


def test_a_search_outlives_its_kernel_and_its_answer_opens_as_a_run(lab: Lab, page: Page) -> None:
    panel = open_panel(page, lab, put_notebook(lab, "search.ipynb", **SMALL))
    go(panel, "Configure")
    panel.get_by_role("button", name="Search for the best setting").click()
    put(panel, "Latency limit, ms", "500")
    put(panel, "Accuracy budget", "2 points")
    expect(panel.get_by_label("Budget", exact=True)).to_have_value("0.5 points")
    panel.locator(".wb-search").click()
    expect(panel.locator(".wb-tried tbody tr").first).to_be_visible(timeout=LONG_MS)
    shot(panel, "3-search-while-it-runs")
    page.evaluate("document.querySelectorAll('.wb').forEach(panel => panel.dataset.before = 'yes')")
    menu(page, "Kernel", "Restart Kernel and Run All Cells…")
    page.locator(".jp-Dialog button", has_text="Restart").click()
    panel = page.locator(".wb:not([data-before])").first
    panel.wait_for(timeout=LONG_MS)
    go(panel, "Configure")
    expect(panel.get_by_text(BEST)).to_be_visible(timeout=LONG_MS)
    expect(panel.get_by_label("Latency limit, ms", exact=True)).to_have_value("500")
    expect(panel.get_by_label("Accuracy budget", exact=True)).to_have_value("2 points")
    section = panel.locator(".wb-page:visible")
    for text in (
        "What was tried",
        "the first of onnxruntime int8",
        "The Pareto front of latency and throughput",
        "All points were measured",
    ):
        expect(section).to_contain_text(text)
    expect(section).to_contain_text(re.compile(r"×\d\.\d+ \[\d\.\d+, \d+\.\d+\] (faster|slower|cannot tell) against"))
    look(page)
    shot(panel, "3-search")
    assert section.evaluate("section => looks.cut(section)") == []
    assert section.evaluate(f"section => looks.dim(section, {CONTRAST})") == []
    opened(panel)
    cancelled(panel)


def opened(panel: Locator) -> None:
    """The answer is compared in an ordinary run, for which nothing is built again."""
    before = shown_run(panel)
    panel.locator(".wb-open-best").click()
    await_end(panel, before)
    expect(panel.locator(".wb-table tr[data-row]")).to_have_count(2)
    expect(panel.locator(".wb-outcome").first).to_contain_text("built 0 (reused 2), measured 2")
    go(panel, "History")
    expect(panel.get_by_label("Runs", exact=True).locator("option").first).to_contain_text("done")


def cancelled(panel: Locator) -> None:
    """What was found before a cancellation stays."""
    go(panel, "Configure")
    panel.locator("button", has_text="Undo").click()  # the settings before those of the answer
    expect(panel.get_by_role("checkbox", name="int8", exact=True)).to_be_checked()
    put(panel, "Seconds for each point", "3")
    panel.locator(".wb-search").click()
    expect(panel.locator(".wb-search-state")).to_contain_text("1 of 2 points", timeout=LONG_MS)
    panel.locator(".wb-end-search").click()
    expect(panel.get_by_text("The search was cancelled. The best so far is")).to_be_visible(timeout=LONG_MS)
    expect(panel.locator(".wb-open-best")).to_be_enabled()
