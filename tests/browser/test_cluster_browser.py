"""A run on the workers of a real cluster, as the page Run of the panel shows it in a browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clicks import LONG_MS, await_end, go, shot, shown_run
from lab import SMALL, Lab, look, open_panel, put_notebook
from playwright.sync_api import Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "trials"))

import clusters

pytestmark = [pytest.mark.browser, pytest.mark.long]
CONTRAST = 4.5
LONG_ENOUGH = {"batches": "1,2,4,8", "measure_s": 5.0, "max_measure_s": 5.0, "cohort": 1}
"""Four parts of about 20 seconds each, so that there is time to look at each state on a busy machine too."""
BOTH_MEASURE = """() => {
    const rows = document.querySelectorAll('.wb-workers tr[data-phase="measure"]');
    return rows.length === 2 && [...rows].map(row => row.textContent);
}"""
"""The lines of both workers when both measure, read at once: the next state replaces them."""
CUT_WITH_A_LONG_PATH = """shown => {
    shown.querySelector('.wb-step').textContent = 'reading /' + 'a'.repeat(300);
    return looks.cut(shown);
}"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    with clusters.Cluster(tmp_path_factory.mktemp("machines"), 2) as started:
        yield started


def test_the_workers_and_the_queue_are_shown_while_a_run_goes_on(
    cluster: clusters.Cluster, lab: Lab, page: Page
) -> None:
    panel = open_panel(page, lab, put_notebook(lab, "cluster.ipynb", **SMALL | LONG_ENOUGH, cluster=cluster.address))
    before = shown_run(panel)
    panel.locator(".wb-benchmark").click()
    go(panel, "Run")
    shown = panel.locator(".wb-workers")
    expect(shown).to_contain_text(re.compile(r"2 of 2 workers busy, [1-4] parts? waits?"), timeout=LONG_MS)
    lines = page.wait_for_function(BOTH_MEASURE, timeout=LONG_MS).json_value()
    assert sorted(re.findall(r"w\d(?= on )", " ".join(lines))) == ["w0", "w1"]
    batches = [set(re.findall(r"@(\d)", line)) for line in lines]
    assert all(len(each) == 1 for each in batches)  # a part has rows of one batch size, and the two have different ones
    assert batches[0] != batches[1]
    assert all("onnxruntime fp32" in line and "onnxruntime int8" in line for line in lines)
    look(page)
    assert shown.evaluate(CUT_WITH_A_LONG_PATH) == []
    assert shown.evaluate(f"shown => looks.dim(shown, {CONTRAST})") == []
    shot(panel, "4-run-on-a-cluster")
    expect(shown).to_contain_text("0 parts wait", timeout=LONG_MS)
    await_end(panel, before)
    expect(panel.locator('.wb-table tr[data-status="done"]')).to_have_count(8, timeout=LONG_MS)
    go(panel, "Run")
    expect(shown).to_have_count(0)
