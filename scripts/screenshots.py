"""The README's pictures, from the real thing: ``make report && .venv/bin/python scripts/screenshots.py``.

``docs/panel.png`` is the panel in JupyterLab with a run that was recorded on a GPU; ``docs/latency.png`` is a figure of the report.

``scripts/screenshots.py --matrix FOLDER`` writes instead a picture of every page of the panel for each size of the window, theme and
zoom, to be looked at. With ``--axe FILE``, the path of ``axe.min.js`` of the npm package axe-core, it prints what that finds serious on
the pages of the panel, and on the report of ``--report FILE``.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REPORT = ROOT / "reports" / "workbench.ipynb"
RECORDED = ROOT / "notebooks" / "lessons" / "data" / "digits_h200.wbrun"
LIMIT_MS = 600_000

sys.path.insert(0, str(ROOT / "tests" / "browser"))


def panel(target: Path) -> None:
    """Open a run of the history by clicks; the picture is of the page Compare down to the table's rows of TensorRT."""
    from lab import BROWSER_FLAGS, chromium, jupyter_lab, open_panel, put_notebook
    from playwright.sync_api import sync_playwright

    from workbench.runs.travel import import_run
    from workbench.store import Store

    store = Path(tempfile.gettempdir()) / "workbench"  # a place that may be seen: the panel shows its path
    shutil.rmtree(store, ignore_errors=True)
    run = import_run(RECORDED, Store(store).prepare()).run
    with (
        tempfile.TemporaryDirectory() as scratch,
        jupyter_lab(Path(scratch), store) as lab,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 4000})
        shown = open_panel(page, lab, put_notebook(lab, "workbench.ipynb", run=run), patience_ms=60_000)
        shown.locator(".wb-plots .wb-canvas").first.wait_for(timeout=LIMIT_MS)
        page.wait_for_timeout(3000)
        shown.locator(".wb-top").scroll_into_view_if_needed()
        rows = shown.locator(".wb-table:visible").first.locator("tr")
        whole, after = shown.bounding_box(), rows.filter(has_text="onnxruntime").first.bounding_box()
        assert whole
        assert after
        clip = {**whole, "height": after["y"] - whole["y"]}
        page.screenshot(path=target, clip=clip)
        browser.close()


def _store() -> Path:
    """A store with the trained demo in a place that may be seen."""
    store = Path(tempfile.gettempdir()) / "workbench"
    shutil.rmtree(store, ignore_errors=True)  # or the panel would show an earlier run
    shutil.copytree(ROOT / ".workbench" / "demo", store / "demo", dirs_exist_ok=True)
    return store


def figure(name: str, target: Path) -> None:
    """One figure of the first screen of the report that ``make report`` left."""
    notebook = nbformat.read(REPORT, as_version=4)
    cell = next(cell for cell in notebook.cells if "summary" in cell.metadata.get("tags", ()))
    page = "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)
    png = re.search(rf'<img alt="Plot of {name}[^"]*" src="data:image/png;base64,([^"]+)"', page)
    assert png
    target.write_bytes(base64.b64decode(png[1]))


SIZES = ((1280, 800), (1920, 1080))
LOOKS = (*(("Light", width, height, 1.0) for width, height in SIZES), *(("Dark", width, height, 1.0) for width, height in SIZES),
         ("Light", 1280, 800, 1.5))  # fmt: skip
AXE = """async selector => {
    const found = await axe.run(selector, {resultTypes: ['violations']});
    return found.violations.filter(each => ['serious', 'critical'].includes(each.impact)).map(
        each => `${each.id} (${each.nodes.length}): ${each.nodes[0].html.slice(0, 160)}`);
}"""


def matrix(folder: Path, axe: Path | None, report: Path | None) -> None:
    """Pictures of all pages after a run of the demo; prints what axe-core finds."""
    from lab import BROWSER_FLAGS, SMALL, chromium, jupyter_lab, menu, open_panel, put_notebook
    from playwright.sync_api import sync_playwright

    from workbench.panel.layout import STEPS

    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        jupyter_lab(Path(scratch), _store()) as lab,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        shown = open_panel(page, lab, put_notebook(lab, "workbench.ipynb", **SMALL), patience_ms=60_000)
        shown.locator(".wb-benchmark").click()
        shown.locator(".wb-run").first.wait_for(timeout=LIMIT_MS)
        page.screenshot(path=folder / "while-it-runs.png")
        shown.locator(".wb-plots .wb-canvas").first.wait_for(timeout=LIMIT_MS)
        page.wait_for_timeout(2000)
        for theme, width, height, zoom in LOOKS:
            if (page.locator("body").get_attribute("data-jp-theme-light") == "true") != (theme == "Light"):
                menu(page, "Settings", "Theme", f"JupyterLab {theme}")
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate(f"document.body.style.zoom = {zoom}")
            for step in STEPS:
                shown.locator(".wb-steps button", has_text=step).click()
                shown.evaluate("panel => panel.scrollIntoView()")
                page.wait_for_timeout(500)
                page.screenshot(path=folder / f"{step.lower()}-{width}-{theme.lower()}-{zoom * 100:.0f}.png")
                if axe and zoom == 1.0 and width == SIZES[0][0]:
                    page.evaluate(axe.read_text(encoding="utf-8"))
                    _print_found(f"{step}, {theme}", page.evaluate(AXE, ".wb"))
        if axe and report:
            page.goto(report.resolve().as_uri())
            page.evaluate(axe.read_text(encoding="utf-8"))
            _print_found("report", page.evaluate(AXE, "body"))
            page.screenshot(path=folder / "report.png")
        browser.close()


def _print_found(where: str, found: list[Any]) -> None:
    for each in found or ["nothing serious"]:
        print(f"{where}: {each}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", type=Path, metavar="FOLDER")
    for option in ("--axe", "--report"):
        parser.add_argument(option, type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.matrix:
        matrix(options.matrix, options.axe, options.report)
        sys.exit()
    DOCS.mkdir(exist_ok=True)
    panel(DOCS / "panel.png")
    figure("latency", DOCS / "latency.png")
    print(f"wrote {DOCS / 'panel.png'} and {DOCS / 'latency.png'}")
