"""Labels in another order of the classes: a warning while the run goes on, and a button that takes the order over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clicks import await_end, go, measure, shot, shown_run
from lab import SMALL, Lab, look, open_panel, put_notebook
from playwright.sync_api import Page, expect
from small_model import small_onnx

pytestmark = [pytest.mark.browser, pytest.mark.long]


def test_the_order_of_the_classes_is_taken_over_by_a_click(lab: Lab, page: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((120, 4), dtype=np.float32)
    x = np.eye(4, dtype=np.float32)[np.arange(120) % 3] * 3 + noise
    np.savez(tmp_path / "data.npz", x=x, y=np.array([2, 0, 1])[x.argmax(1)])
    files = {"model": small_onnx(tmp_path / "model.onnx"), "data": str(tmp_path / "data.npz"), "precisions": "fp32"}
    panel = open_panel(page, lab, put_notebook(lab, "order.ipynb", **{**SMALL, **files}))
    measure(panel)
    go(panel, "Run")
    expect(panel.locator(".wb-page:visible")).to_contain_text("in the order 2, 0, 1. If that is so, set 'class_order'")
    shot(panel, "order-warning")
    go(panel, "Compare")
    look(page)
    shot(panel, "order-offer")
    assert panel.locator(".wb-use-order").evaluate(
        "button => button.scrollWidth <= button.clientWidth"
    )  # all of its text
    take, before = panel.get_by_role("button", name="Use this order of the classes"), shown_run(panel)
    take.click()
    await_end(panel, before)
    expect(take).to_be_hidden()
    expect(panel.locator(".wb-page:visible")).to_contain_text("100.0%")
    shot(panel, "order-taken")
