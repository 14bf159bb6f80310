"""Uploads, saved notebooks and the Voilà page, by real clicks."""

from __future__ import annotations

import base64
from pathlib import Path

import onnx
import pytest
from clicks import go, shot
from lab import SMALL, Lab, look, menu, open_panel, voila
from playwright.sync_api import Locator, Page, expect
from small_model import small_onnx

from workbench.panel.layout import STEPS
from workbench.panel.saved_notebook import save_notebook
from workbench.settings.experiment import Experiment
from workbench.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.long]
LONG_MS = 180_000
CONTRAST = 4.5
"""Of the luminances of text and background, at least: WCAG 2.2, success criterion 1.4.3, level AA."""
NOT_DRAWN = """panel => [...panel.querySelectorAll('i.fa')].filter(each => {
    const mask = getComputedStyle(each).maskImage;
    return each.className.includes('fa-') && !mask.startsWith('url("data:image/svg');
}).map(each => each.className)"""
"""Icons that Voilà's page would leave blank."""
DRAWN = """() => [...document.querySelectorAll('.wb-canvas canvas')].some(each => each.width && each.checkVisibility() &&
    each.getContext('2d').getImageData(0, 0, each.width, each.height).data.some(Boolean))"""
"""Whether a figure's canvas is not blank."""
DROP = """(zone, [name, content]) => {
    const bytes = Uint8Array.from(atob(content), char => char.charCodeAt(0)), transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    zone.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
"""A file that a person lets go over a field."""
OTHERWISE = {"budget": "1 %", "metric": "f1"}
"""Settings that judge the results again."""


def test_uploads_sound_and_corrupt(panel: Locator, page: Page, tmp_path: Path) -> None:
    """Sixteen mebibytes of weights, more than a message may have; before that the same file cut short, dropped on the field."""
    path = tmp_path / "mine.onnx"
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2048, 2048], bytes(2**24), raw=True)
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2048]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "mine", sides[:1], sides[1:], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(path.read_bytes()[: 2**18])
    go(panel, "Model")
    panel.get_by_role("button", name="Upload").first.click()
    expect(panel.locator(".wb-bar .wb-hint", has_text="no file was uploaded yet")).to_be_visible()
    zone = panel.locator(".wb-upload:visible")
    for file, reported in ((corrupt, "corrupt.onnx"), (path, "")):
        if reported:
            zone.evaluate(DROP, [file.name, base64.b64encode(file.read_bytes()).decode()])
        else:
            zone.locator("input").set_input_files(file)
            expect(panel.locator(".wb-sending:visible")).to_contain_text("of 16.0 MiB")
        expect(panel.get_by_text(f"Uploaded: {file.name}")).to_be_visible(timeout=60_000)
        expect(panel.get_by_role("alert")).to_have_count(0, timeout=20_000)
        panel.locator(".wb-load").click()
        if reported:
            expect(panel.get_by_role("alert")).to_contain_text(reported, timeout=60_000)
            shot(panel, "1-model-corrupt-upload")
        expect(panel.locator(".wb-load")).to_be_enabled(timeout=60_000)
    expect(panel.locator(".wb-facts:visible")).to_contain_text("4,194,304", timeout=60_000)
    panel.get_by_role("button", name="Path", exact=True).first.click()
    panel.get_by_label("Model path").fill(str(tmp_path / "m"))
    panel.get_by_role("button", name="Browse").first.click()
    panel.locator(".wb-browse:visible select").select_option("mine.onnx")
    expect(panel.get_by_label("Model path")).to_have_value(str(path))
    expect(panel.locator(".wb-browse:visible")).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_a_saved_notebook_by_keyboard_on_a_wide_screen_with_large_text_and_in_the_dark(
    page: Page, lab: Lab, store_root: Path
) -> None:
    save_notebook(Experiment(**SMALL | OTHERWISE), lab.root / "saved.ipynb", Store(store_root))  # as the button does
    panel = open_panel(page, lab, "saved.ipynb")
    go(panel, "Configure")
    panel.get_by_role("button", name="More settings").click()
    for name, value in OTHERWISE.items():
        expect(panel.get_by_label(name.title(), exact=True)).to_have_value(value)
    # while an earlier run is opened the buttons are disabled, and the keyboard passes over them
    expect(panel.locator("button.wb-benchmark")).to_be_enabled(timeout=60_000)
    go(panel, "Model")
    panel.locator(".wb-steps button").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(panel.locator(".wb-page h3:visible")).to_have_text("Configure")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    for _ in range(12):  # over the other steps to Run
        page.keyboard.press("Tab")
        if "wb-benchmark" in page.evaluate("document.activeElement.className"):
            break
    assert "wb-benchmark" in page.evaluate("document.activeElement.className")
    page.keyboard.press("Tab")
    assert "wb-build" in page.evaluate("document.activeElement.className")
    seen_whole_and_in_the_dark(panel, page)


def seen_whole_and_in_the_dark(panel: Locator, page: Page) -> None:
    """On every page nothing is cut off or lies upon another, and in both themes every text stands out from its background."""
    look(page)
    wrong = []
    for theme, width, zoom in (("Light", 1920, 1.0), ("Dark", 1280, 1.0), ("Dark", 1280, 1.5)):
        if (page.locator("body").get_attribute("data-jp-theme-light") == "true") != (theme == "Light"):
            menu(page, "Settings", "Theme", f"JupyterLab {theme}")
            expect(page.locator("body[data-jp-theme-light=false]")).to_have_count(1)
        page.set_viewport_size({"width": width, "height": 2400})
        page.evaluate(f"document.body.style.zoom = {zoom}")
        for step in STEPS:
            go(panel, step)
            expect(panel.locator(".wb-page:visible h3")).to_have_text(step)
            with_all_unfolded(panel, step)
            if theme == "Dark" or step == "Compare":
                shot(panel, f"{theme.lower()}-{step.lower()}-{width}px-{zoom * 100:.0f}")
            at = (theme, step, width, zoom)
            wrong += [(*at, each) for each in panel.evaluate("(panel, large) => looks.cut(panel, large)", zoom > 1)]
            wrong += [(*at, each) for each in panel.evaluate(f"panel => looks.dim(panel, {CONTRAST})")]
    assert wrong == []


def with_all_unfolded(panel: Locator, step: str) -> None:
    panel.evaluate("""panel => {
        panel.querySelectorAll('details').forEach(each => { each.open = true });
        panel.querySelectorAll('.wb-fold:not(.mod-active)').forEach(each => each.checkVisibility() && each.click());
    }""")
    lines = panel.locator(".wb-history option")
    if step == "Compare" and panel.locator(".wb-limit:visible").count():
        panel.locator(".wb-limit input[type=checkbox]").last.check()
    if step == "History" and lines.count() > 1:
        panel.locator(".wb-history select").select_option(lines.all_inner_texts()[:2])
        panel.locator(".wb-compare-runs").click()
        expect(panel.locator(".wb-remarks, .wb-message:visible").last).to_be_visible()


def test_voila_shows_the_panel_without_code_and_runs_it(page: Page, tmp_path: Path) -> None:
    asked = {"backends": "onnxruntime", "precisions": "fp32", "batches": "1", "measure_s": 0.1}
    model = small_onnx(tmp_path / "small.onnx")
    with voila(tmp_path, tmp_path / "store", model=model, data="random", **asked) as url:
        elsewhere: list[str] = []
        origin = url.partition("/?")[0]
        page.on("request", lambda asked: elsewhere.append(asked.url) if not asked.url.startswith(origin) else None)
        page.goto(f"{origin}/")
        expect(page.locator(".wb")).to_have_count(0)  # without the token there is no kernel and no panel
        assert "/login" in page.url
        page.goto(url)
        panel = page.locator(".wb").first
        panel.wait_for(timeout=60_000)
        expect(page.get_by_text("workbench.show")).to_have_count(0)
        panel.get_by_role("button", name="Upload").first.click()
        panel.locator(".wb-upload:visible input").set_input_files(model)
        expect(panel.get_by_text("Uploaded: small.onnx")).to_be_visible(timeout=60_000)
        go(panel, "Configure")
        expect(panel.locator(".wb-page h3:visible")).to_have_text("Configure")
        assert elsewhere == []
        assert panel.evaluate(NOT_DRAWN) == []
        shot(panel, "voila")
        panel.locator(".wb-benchmark").click()
        expect(panel.locator('.wb-table tr[data-status="done"]')).to_have_count(1, timeout=LONG_MS)
        expect(panel.locator(".wb-message").first).to_contain_text("1 done.")
        page.wait_for_function(DRAWN)
        # a table cell may stay lower than the panel, which then scrolls inside the page
        assert panel.locator("xpath=..").evaluate("each => getComputedStyle(each).overflowY") == "visible"
        shot(panel, "voila-results")
        page.goto("about:blank")  # the server goes first, and the page would complain of it
