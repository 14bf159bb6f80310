"""What the pages of the panel can do, in one run of the demo."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from clicks import go, shot
from lab import SMALL, Lab, open_panel, put_notebook
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.long]

LONG_MS = 240_000
SEEN = """() => new Promise(done => {
    const phases = [];
    const watch = new MutationObserver(() => {
        const bar = document.querySelector('.wb-phases'), now = bar && bar.querySelector('.wb-now');
        const median = document.querySelector('.wb-so-far');
        const state = bar && [now.textContent, bar.getAttribute('aria-valuenow'), median ? 'median' : ''].join(' ');
        if (state && phases.at(-1) !== state) phases.push(state);
        if (document.querySelector('.wb-table tr[data-status=done]')) { watch.disconnect(); done(phases); }
    });
    watch.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
    document.querySelector('.wb-benchmark').click();
})"""
"""Presses Run, and gives what the bar showed until there were results: the phase, its value, and whether medians were shown."""

STEPS_OF_LOAD = """() => new Promise(done => {
    const steps = [];
    const watch = new MutationObserver(() => {
        const state = document.querySelector('.wb-state');
        const step = state && state.textContent.split(' · ').at(-1);
        if (step && steps.at(-1) !== step) steps.push(step);
        if (!state && document.querySelector('.wb-graph')) { watch.disconnect(); done(steps); }
    });
    watch.observe(document.body, {subtree: true, childList: true, characterData: true});
    document.querySelector('.wb-load').click();
})"""
"""Presses Load, and gives the steps that were named until the model had been looked at."""


@pytest.fixture
def store_root(new_store: Callable[[], Path]) -> Path:
    """A store of its own: nothing is built or timed yet."""
    return new_store()


def test_progress_graph_layers_and_history(page: Page, lab: Lab) -> None:
    panel = open_panel(page, lab, put_notebook(lab, "pages.ipynb", **SMALL | {"measure_s": 2.0, "max_measure_s": 2.0}))
    the_graph_is_walked_through(panel)
    one_bar_goes_over_all_phases(panel, page)
    two_engines_stand_side_by_side(panel)
    a_run_is_named_found_and_deleted(panel)


def the_graph_is_walked_through(panel: Locator) -> None:
    steps = panel.page.evaluate(STEPS_OF_LOAD)
    assert any(step.startswith("converting") for step in steps), steps
    assert len(steps) > 1, steps  # which of the shorter ones are seen depends on the machine
    panel.locator(".wb-graph summary").first.click(timeout=LONG_MS)
    walk = panel.locator(".wb-walk").first
    svg = walk.locator("svg")
    before = svg.bounding_box()
    walk.get_by_role("button", name="Larger").click()
    assert svg.bounding_box()["width"] == pytest.approx(before["width"] * 1.25, rel=0.01)
    search = walk.get_by_label("Find in the graph")
    search.fill("conv")
    expect(walk.locator(".wb-found")).to_contain_text(re.compile(r"[1-9]\d* of \d+ boxes"))
    assert walk.locator("g.wb-dim").count() > 0
    search.press("Enter")
    expect(walk.locator(".wb-about")).to_contain_text("Conv")
    expect(walk.locator(".wb-about")).to_contain_text("MFLOPs for one sample")
    expect(walk.locator("g.wb-chosen")).to_have_count(1)
    shot(panel, "1-model-graph")
    search.fill("")


def one_bar_goes_over_all_phases(panel: Locator, page: Page) -> None:
    seen = page.evaluate(SEEN)
    phases = list(dict.fromkeys(each.split()[0] for each in seen))
    order = ("Prepare", "Build", "Measure", "Score")
    assert phases == [each for each in order if each in phases]  # the last one may be too short to be seen
    assert {"Build", "Measure"} <= set(phases)
    assert any(each.endswith("median") for each in seen)
    values = [int(each.split()[1]) for each in seen]
    assert values == sorted(values)
    expect(page.locator(".wb-phases")).to_have_count(
        0, timeout=LONG_MS
    )  # the pages are filled with the results by then


def two_engines_stand_side_by_side(panel: Locator) -> None:
    go(panel, "Layers")
    panel.get_by_label("Engine", exact=True).select_option("onnxruntime fp32")
    panel.get_by_label("Beside").select_option("onnxruntime int8")
    panel.get_by_role("button", name="Time the layers of both engines").click()
    expect(panel.locator(".wb-page:visible .wb-layers tr").nth(2)).to_be_visible(timeout=LONG_MS)
    expect(panel.get_by_role("button", name="Time the layers of")).to_have_count(0)
    panel.locator(".wb-page:visible details > summary", has_text="Graph of the model").click()
    walk = panel.locator(".wb-page:visible .wb-walk")
    conv = walk.locator("g[data-nodes]", has=panel.page.locator("title", has_text="Conv")).first
    fill = conv.locator("rect").first.get_attribute("fill")
    walk.get_by_label("Color by").select_option("time")
    expect(conv.locator("rect").first).not_to_have_attribute("fill", fill)
    conv.click()
    expect(walk.locator(".wb-about")).to_contain_text("% of the call")
    shot(panel, "6-layers-side-by-side")


def a_run_is_named_found_and_deleted(panel: Locator) -> None:
    go(panel, "History")
    lines = panel.locator(".wb-history option")
    expect(lines.first).to_be_attached()
    many = lines.count()  # other tests of this store may have left some
    panel.locator(".wb-history select").select_option(lines.first.inner_text())
    name = panel.get_by_label("Name", exact=True)
    name.fill("first try")
    panel.get_by_label("Note", exact=True).fill("on a laptop")
    panel.locator(".wb-save-label").click()
    expect(lines.first).to_contain_text("first try · 20")
    expect(lines.first).to_contain_text(" · on a laptop")
    shot(panel, "8-history-named")
    panel.locator(".wb-delete-run").click()
    expect(panel.get_by_text("Press again to delete this run")).to_be_visible()
    panel.locator(".wb-delete-run").click()
    expect(lines).to_have_count(many - 1)
