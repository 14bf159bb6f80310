"""The panel in a real JupyterLab, by real clicks."""

from __future__ import annotations

import re
import time
from typing import Any

import onnx
import pytest
from conftest import SHOTS
from lab import SPARE_CELL, Lab
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "<img src=x onerror=alert(1)>"
LONG_MS = 180_000


def choose(panel: Locator, *, batches: str = "1") -> None:
    """Untick all but ONNX Runtime in FP32 and INT8."""
    for title in ("TensorFlow", "TensorFlow · xla", "TensorFlow · predict", "OpenVINO", "TensorRT · rtx"):
        box = panel.get_by_label(title, exact=True)
        if box.is_enabled():
            box.uncheck()
    for precision in ("fp16", "bf16"):
        panel.get_by_label(precision, exact=True).uncheck()
    panel.get_by_label("Batch sizes").fill(batches)
    expect(panel.locator("pre").first).to_contain_text("-r backends onnxruntime")
    expect(panel.locator("pre").first).to_contain_text(f"-r batches {batches}")


def rows(panel: Locator, status: str) -> Locator:
    return panel.locator(f'tr[data-status="{status}"]')


def cell(page: Page, source: str) -> Locator:
    line = page.locator(".cm-line", has_text=re.compile(f"^{re.escape(source)}$"))
    return page.locator(".jp-CodeCell", has=line)


def run_cell(page: Page, source: str) -> Locator:
    found = cell(page, source)
    found.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return found


def test_build_and_benchmark_by_clicks(panel: Locator, page: Page) -> None:
    expect(cell(page, 'view.display("table")')).to_contain_text("Nothing has been run yet")
    expect(panel.locator(".wb-cancel")).to_be_disabled()
    choose(panel)
    panel.locator(".wb-load").click()
    expect(panel.locator(".wb-facts")).to_contain_text("float32 [? × 28 × 28 × 1]", timeout=LONG_MS)
    expect(panel.locator(".wb-plan")).to_contain_text("2 variants to build, 2 rows to measure")

    panel.locator(".wb-build").click()
    expect(panel.locator(".wb-state")).to_be_visible()
    expect(panel.locator(".wb-load")).to_be_disabled()
    expect(panel.get_by_label("Batch sizes")).to_be_disabled()
    expect(rows(panel, "built")).to_have_count(2, timeout=LONG_MS)
    expect(panel.locator(".wb-message")).to_contain_text("2 built.", timeout=LONG_MS)
    expect(panel.locator(".wb-plots img")).to_have_count(0)

    panel.locator(".wb-benchmark").click()
    expect(rows(panel, "done")).to_have_count(2, timeout=LONG_MS)
    expect(panel.locator(".wb-plots img")).to_have_count(3, timeout=LONG_MS)
    for picture in panel.locator(".wb-plots img").all():
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 500
    expect(rows(panel, "done").nth(1)).to_contain_text(re.compile(r"[\d.]+ ms.*int8.*9\d\.\d%"))
    expect(run_cell(page, 'view.display("table")')).to_contain_text("onnxruntime int8")
    expect(run_cell(page, 'view.display("latency")').locator(".jp-OutputArea img")).to_be_visible()
    shot(panel, "panel-after-benchmark")


def test_cancel_in_mid_run_and_a_free_kernel(panel: Locator, page: Page) -> None:
    choose(panel)
    panel.get_by_label("Seconds per row").fill("90")
    panel.get_by_label("Seconds per row").press("Enter")
    expect(panel.locator("pre").first).to_contain_text("-p measure_s 90")
    panel.locator(".wb-benchmark").click()
    expect(rows(panel, "measuring").first).to_be_visible(timeout=LONG_MS)

    asked = time.monotonic()
    expect(run_cell(page, SPARE_CELL).locator(".jp-OutputArea")).to_contain_text("42", timeout=5_000)
    assert time.monotonic() - asked < 5
    expect(panel.locator(".wb-cancel")).to_be_enabled()  # the run was still going
    shot(panel, "panel-while-measuring")

    panel.locator(".wb-cancel").click()
    expect(rows(panel, "cancelled")).to_have_count(2, timeout=15_000)
    expect(panel.locator(".wb-message")).to_contain_text("2 cancelled.")
    expect(panel.locator(".wb-benchmark")).to_be_enabled()
    expect(panel.locator(".wb-state")).to_have_count(0)


def test_a_bad_batch_is_a_sentence(panel: Locator, page: Page) -> None:
    panel.get_by_label("Batch sizes").fill("0")
    expect(panel.get_by_role("alert")).to_have_text(
        "Batch sizes must be whole numbers from 1 to 65536; found 0. Choose for example 1,8,32."
    )
    expect(panel.locator(".wb-benchmark")).to_be_disabled()
    expect(panel.locator(".wb-build")).to_be_disabled()
    expect(page.get_by_text("Traceback")).to_have_count(0)
    shot(panel, "panel-bad-batch")
    panel.get_by_label("Batch sizes").fill("1")
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(panel.locator(".wb-benchmark")).to_be_enabled()


def test_a_hostile_path_is_text(panel: Locator, page: Page) -> None:
    panel.get_by_role("button", name="Path").first.click()
    panel.get_by_label("Model path").fill(HOSTILE)
    expect(panel.locator("pre").first).to_contain_text(HOSTILE)
    panel.locator(".wb-load").click()
    expect(panel.get_by_role("alert")).to_contain_text(HOSTILE, timeout=30_000)
    expect(page.locator("img[src=x]")).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)
    shot(panel, "panel-hostile-path")


def test_an_uploaded_model_is_loaded(panel: Locator, page: Page, lab: Lab, tmp_path: Any) -> None:
    """One mebibyte of weights, through the browser and the kernel's socket."""
    path = tmp_path / "mine.onnx"
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [512, 512], bytes(2**20), raw=True)
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 512]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "mine", sides[:1], sides[1:], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    panel.get_by_role("button", name="Upload").first.click()
    expect(panel.get_by_role("alert")).to_contain_text("No file was uploaded yet")
    panel.locator(".wb-upload").first.wait_for()
    with page.expect_file_chooser() as chooser:
        panel.locator(".wb-upload").first.click()
    chooser.value.set_files(path)
    expect(panel.get_by_role("alert")).to_have_count(0, timeout=20_000)
    panel.locator(".wb-load").click()
    expect(panel.locator(".wb-facts")).to_contain_text("262,144", timeout=60_000)


def shot(panel: Locator, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    panel.page.wait_for_timeout(300)  # let the browser draw what it was told
    panel.screenshot(path=SHOTS / f"{name}.png")
