"""What a new user meets first, and what stays after a reload."""

from __future__ import annotations

import pytest
from clicks import measure
from lab import SMALL, Lab, menu, open_panel, put_notebook
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONG_MS = 240_000


def test_the_panel_is_on_the_screen_after_run_all_and_one_more_click_gives_results(page: Page, lab: Lab) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    panel = open_panel(page, lab, put_notebook(lab, "first.ipynb", **SMALL))
    run = panel.locator(".wb-benchmark")
    expect(run).to_be_in_viewport(ratio=1)
    notebook = page.locator(".jp-Notebook .jp-WindowedPanel-outer")
    assert notebook.evaluate("each => each.scrollWidth - each.clientWidth") == 0  # it is not wider than the window
    measure(panel)
    expect(panel.locator('.wb-table tr[data-status="done"]')).to_have_count(2)
    outcome = panel.locator(".wb-outcome")
    expect(outcome).to_contain_text("2 done. Batch 1: ")
    assert outcome.bounding_box()["height"] < 40


@pytest.mark.long
def test_a_plain_reload_after_further_runs_shows_the_panel_again(page: Page, lab: Lab) -> None:
    panel = open_panel(page, lab, put_notebook(lab, "reload.ipynb", **SMALL, remeasure=True))
    for _ in range(2):
        panel.locator(".wb-benchmark").click()
        expect(panel.locator(".wb-cancel")).to_be_enabled()
        expect(panel.locator(".wb-benchmark")).to_be_enabled(timeout=LONG_MS)
        expect(panel.locator(".wb-canvas canvas").first).to_be_visible(timeout=30_000)
    menu(page, "File", "Save Notebook")
    page.wait_for_timeout(2000)
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    expect(page.locator(".wb-table tr[data-row]").first).to_be_attached(timeout=60_000)
    expect(page.locator(".wb-benchmark")).to_be_visible()


@pytest.mark.long
def test_wrong_values_are_marked_at_their_fields_and_presets_are_taken_back(page: Page, lab: Lab) -> None:
    panel = open_panel(page, lab, put_notebook(lab, "fields.ipynb", **SMALL))
    panel.locator(".wb-steps button", has_text="Configure").click()
    for label in ("Precision, batch and workspace", "Batch sizes", "Workspace (MiB)"):
        expect(panel.get_by_text(label, exact=True).first).to_be_visible()
    _take_back_what_is_being_typed(panel)
    chips = panel.locator(".wb-chips").first
    chips.locator("input").fill("0")
    chips.locator("input").press("Enter")
    assert "0" not in [chip.strip() for chip in chips.locator(".wb-chip").all_inner_texts()]
    expect(panel.locator(".wb-at-field:visible")).to_contain_text("'Batch sizes' must be whole numbers")
    expect(panel.locator(".wb-benchmark")).to_be_disabled()
    chips.locator("input").fill("")
    chips.locator("input").press("Enter")
    expect(panel.locator(".wb-at-field:visible")).to_have_count(0)
    _report_a_path_that_is_not_there(panel)
    panel.get_by_role("button", name="For a paper").click()
    expect(panel.locator(".wb-chip.mod-active", has_text="32")).to_be_visible()
    panel.get_by_role("button", name="Undo").click()
    expect(panel.locator(".wb-chip.mod-active", has_text="32")).to_have_count(0)


def _take_back_what_is_being_typed(panel: Locator) -> None:
    """The field has the focus still: nothing was confirmed by Enter or by leaving it."""
    undo = panel.get_by_role("button", name="Undo")
    expect(undo).to_be_disabled()
    for label in ("Budget", "Threads"):
        each = panel.get_by_label(label, exact=True)
        if not each.is_visible():
            panel.locator(".wb-page:visible").get_by_role("button", name="More settings").click()
        before = each.input_value()
        each.press("End")
        each.press_sequentially("1")
        expect(undo).to_be_enabled()
        expect(each).to_be_focused()
        undo.click()
        expect(each).to_have_value(before)
        expect(undo).to_be_disabled()


def _report_a_path_that_is_not_there(panel: Locator) -> None:
    """At its field and at once, also after another edit; then the demo is chosen again."""
    steps = panel.locator(".wb-steps button")
    steps.filter(has_text="Model").click()
    panel.locator(".wb-page:visible").get_by_role("button", name="Path", exact=True).click()
    path = panel.get_by_label("Model path")
    path.fill("gone.onnx")
    path.press("Tab")
    said = "There is nothing at 'gone.onnx' on the machine where this notebook runs."
    expect(panel.locator(".wb-at-field:visible")).to_contain_text(said)
    expect(panel.locator(".wb-benchmark")).to_be_disabled()
    steps.filter(has_text="Configure").click()
    budget = panel.get_by_label("Budget", exact=True)
    before = budget.input_value()
    for value in ("1 %", before):
        budget.fill(value)
        budget.press("Tab")
    steps.filter(has_text="Model").click()
    expect(panel.locator(".wb-at-field:visible")).to_contain_text(said)
    panel.get_by_role("button", name="Built-in demo").click()
    expect(panel.locator(".wb-at-field:visible")).to_have_count(0)
    steps.filter(has_text="Configure").click()
