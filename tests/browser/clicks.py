"""What a user does in the panel, for its tests in a browser."""

from __future__ import annotations

import re

from lab import SHOTS
from playwright.sync_api import Locator, Page, expect

LONG_MS = 180_000


def go(panel: Locator, step: str) -> None:
    panel.locator(".wb-steps button", has_text=step).click()


def shown_run(panel: Locator) -> str:
    """What the panel calls the run that it shows, which may be an earlier one; "" for none."""
    expect(panel.locator(".wb-benchmark")).to_be_enabled(timeout=LONG_MS)
    outcome = panel.locator(".wb-outcome b")
    return str(outcome.first.text_content()) if outcome.count() else ""


def await_end(panel: Locator, before: str) -> None:
    """Wait for the results of a run that began after ``before`` was shown; the rows of that one are done too."""
    expect(panel.locator(".wb-outcome b").first).not_to_have_text(before, timeout=LONG_MS)


def measure(panel: Locator) -> None:
    """Press Run, and wait for the results."""
    before = shown_run(panel)
    panel.locator(".wb-benchmark").click()
    await_end(panel, before)


def rows(panel: Locator, status: str) -> Locator:
    return panel.locator(f'.wb-run[data-status="{status}"]')


def cell(page: Page, source: str) -> Locator:
    line = page.locator(".cm-line", has_text=re.compile(f"^{re.escape(source)}$"))
    return page.locator(".jp-CodeCell", has=line)


def run_cell(page: Page, source: str) -> Locator:
    found = cell(page, source)
    found.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return found


def shot(panel: Locator, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    panel.page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    panel.screenshot(path=SHOTS / f"{name}.png")
