"""The time limit of a run and *Finish now*, by real clicks."""

from __future__ import annotations

import re

import pytest
from clicks import LONG_MS, await_end, go, shot, shown_run
from lab import SMALL, Lab, open_panel, put_notebook
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.long
def test_finish_now_ends_a_run_with_what_it_has_and_a_limit_is_read_at_its_field(lab: Lab, page: Page) -> None:
    endless = {"until": "narrow", "within": 1e-6, "max_measure_s": 3600, "precisions": "fp32"}
    panel = open_panel(page, lab, put_notebook(lab, "finish.ipynb", **SMALL | endless))
    before = shown_run(panel)
    go(panel, "Configure")
    limit = panel.locator(".wb-time-limit")
    limit.locator("input").fill("soon")
    expect(limit.locator(".wb-at-field")).to_contain_text("must be a number above 0")
    expect(panel.locator(".wb-benchmark")).to_be_disabled()
    shot(panel, "3-configure-with-a-wrong-limit")
    limit.locator("input").fill("60")
    expect(panel.locator(".wb-benchmark")).to_be_enabled()
    expect(panel.locator(".wb-finish")).to_be_disabled()
    panel.locator(".wb-benchmark").click()
    expect(panel.locator(".wb-state")).to_contain_text(re.compile("launch [2-9] of at most"), timeout=LONG_MS)
    expect(limit.locator("input")).to_be_disabled()
    shot(panel, "4-run-that-can-be-finished")
    panel.locator(".wb-finish").click()
    await_end(panel, before)
    expect(panel.locator(".wb-message").first).to_contain_text("1 done.")
    warning = panel.locator(".wb-message", has_text="The request to finish ended the run")
    expect(warning.first).to_contain_text(
        "the baseline was measured for less time than planned. Run it again to go on."
    )
