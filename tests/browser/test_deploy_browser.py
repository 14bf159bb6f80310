"""A variant is deployed from the panel, served, and watched in it, by real clicks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import programs
import pytest
from clicks import LONG_MS, cell, go, measure, run_cell, shot
from lab import SMALL, SPARE_CELL, Lab, look
from playwright.sync_api import Locator, Page, expect
from working_thread import in_thread

from workbench.data.dataset import digits
from workbench.deploy.rules import Windows
from workbench.runs.pipeline import run
from workbench.serving import installed as triton
from workbench.serving import prometheus
from workbench.serving.monitoring import monitored
from workbench.serving.server import Server, served
from workbench.serving.watch import Watch, watched_folder
from workbench.settings.experiment import Experiment

pytestmark = [pytest.mark.browser, pytest.mark.long]
CONTRAST = 4.5
ROW = "onnxruntime int8 @1"


@contextmanager
def blends(server: Server) -> Iterator[None]:
    """Requests with two digits one over the other, some of which INT8 answers otherwise than FP32, until the end of the block."""
    draw, images = np.random.default_rng(0), digits()[2].inputs["image"]

    def ask(ended: threading.Event) -> None:
        with closing(server.http()) as client:
            while not ended.wait(0.01):
                share = draw.random(dtype=np.float32)
                first, second = (images[place : place + 1] for place in draw.integers(0, len(images), 2))
                client.infer({"image": share * first + (1 - share) * second})

    with in_thread(ask):
        yield


@pytest.fixture
def kept(store_root: Path) -> None:
    """The panel's run is in the store already."""
    programs.needed(triton.installed, prometheus.installed)
    run(Experiment(**SMALL), store=store_root)


@pytest.mark.usefixtures("kept")  # before the panel
def test_a_variant_is_deployed_served_and_watched(panel: Locator, page: Page, lab: Lab) -> None:
    measure(panel)
    go(panel, "Export")
    panel.get_by_label("Variant", exact=True).select_option(ROW)
    expect(panel.get_by_label("Folder", exact=True)).to_have_value("deployment-onnxruntime-int8-1")
    panel.get_by_label("Folder", exact=True).fill("made")
    panel.get_by_label("Also over the budget").check()
    panel.locator(".wb-deploy").click()
    expect(panel.get_by_text(f"{ROW} was deployed to made")).to_be_visible(timeout=LONG_MS)
    expect(panel.get_by_label("Deployment", exact=True)).to_have_value("made")
    place = lab.root / "made"
    expect(panel.locator(".wb-copyable code").filter(has_text=f"monitor {place}")).to_be_visible()
    panel.locator(".wb-watch").click()
    expect(panel.get_by_role("alert")).to_contain_text(re.compile(r"Prometheus at port \d+ cannot be reached"))
    watch = Watch(watched_folder(place), shadow_every=1, window=50, window_s=2.0)
    with (
        served(place, watch=watch) as server,
        monitored(place, metrics_port=server.ports.metrics, port=0, windows=Windows(10, 2, 1)) as found,
        blends(server),
    ):
        watched(panel, page, found.prometheus.port)


def watched(panel: Locator, page: Page, port: int) -> None:
    """The graphs are drawn by themselves again and again, while the kernel takes other work, until they are ended."""
    panel.get_by_label("Port of Prometheus").fill(str(port))
    panel.locator(".wb-watch").click()
    graphs = panel.get_by_alt_text("Graphs of monitoring over time")
    expect(graphs).to_be_visible(timeout=LONG_MS)
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(panel.locator(".wb-monitor .wb-message")).to_contain_text(re.compile("No alert fires|Alerts: Workbench"))
    expect(panel.get_by_text("Answers that differ from those of the source")).to_be_visible(timeout=LONG_MS)
    expect(panel.locator(".wb-monitor figure").first).to_be_visible()
    expect(panel.locator(".wb-monitor")).not_to_contain_text("<h4>")
    drawn = graphs.get_attribute("src")
    expect(graphs).not_to_have_attribute("src", drawn or "", timeout=LONG_MS)
    expect(run_cell(page, SPARE_CELL)).to_contain_text("42", timeout=LONG_MS)
    expect(cell(page, SPARE_CELL)).not_to_contain_text("Error")
    look(page)
    shot(panel, "7-export-deploy")
    section = panel.locator(".wb-page:visible")
    assert section.evaluate("section => looks.cut(section)") == []
    assert section.evaluate(f"section => looks.dim(section, {CONTRAST})") == []
    panel.locator(".wb-end-watch").click()
    expect(graphs).to_have_count(0)
    expect(panel.locator(".wb-end-watch")).not_to_be_visible()
