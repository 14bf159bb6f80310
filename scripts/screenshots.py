"""The README's pictures, from the real thing: ``make report && .venv/bin/python scripts/screenshots.py``.

``docs/panel.png`` is the panel in JupyterLab after a click on Run; ``docs/latency.png`` is a figure of the report.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REPORT = ROOT / "reports" / "workbench.ipynb"
LIMIT_MS = 600_000

sys.path.insert(0, str(ROOT / "tests" / "browser"))


def panel(target: Path) -> None:
    """Run the demo by clicks; the picture is of the page Compare down to its first figure."""
    from lab import BROWSER_FLAGS, chromium, jupyter_lab, open_panel, put_notebook
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as scratch,
        jupyter_lab(Path(scratch), _store()) as lab,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 4000})
        notebook = put_notebook(
            lab, "workbench.ipynb", backends="tensorflow,tensorflow:xla,onnxruntime,openvino", batches="1,8"
        )
        shown = open_panel(page, lab, notebook)
        shown.locator(".wb-load").click()
        shown.locator(".wb-facts").wait_for(timeout=LIMIT_MS)
        shown.locator(".wb-benchmark").click()
        shown.locator(".wb-plots .wb-canvas").first.wait_for(timeout=LIMIT_MS)
        page.wait_for_timeout(3000)
        shown.locator(".wb-top").scroll_into_view_if_needed()
        whole, plots = shown.bounding_box(), shown.locator(".wb-plots").bounding_box()
        assert whole
        assert plots
        clip = {**whole, "height": plots["y"] + plots["height"] - whole["y"]}
        page.screenshot(path=target, clip=clip)
        browser.close()


def _store() -> Path:
    """A store with the trained demo in a place that may be seen: the panel shows its path."""
    store = Path(tempfile.gettempdir()) / "workbench"
    shutil.rmtree(store, ignore_errors=True)  # or the panel would show an earlier run
    shutil.copytree(ROOT / ".workbench" / "demo", store / "demo", dirs_exist_ok=True)
    return store


def figure(name: str, target: Path) -> None:
    """One figure of the report that ``make report`` left."""
    notebook = nbformat.read(REPORT, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.source == f'view.display("{name}")')
    png = next(output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    target.write_bytes(base64.b64decode(png))


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    figure("latency", DOCS / "latency.png")
    panel(DOCS / "panel.png")
    print(f"wrote {DOCS / 'latency.png'} and {DOCS / 'panel.png'}")
