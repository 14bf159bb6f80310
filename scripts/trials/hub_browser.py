"""Users of JupyterHub in a real browser: each logs in on the hub's page, opens the notebook in JupyterLab, runs all its cells and presses Run.

The pages are looked at in turn, while all runs go on at once. A picture of each page is written when its user has logged in, when the panel is
there, when it shows a wait, and at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import recording

SHOTS = recording.REPOSITORY / "reports" / "hub"
NOTEBOOK = "workbench.ipynb"
CHROMIUM = "/usr/bin/chromium"
LIMIT_MS = 300_000
MEASURE_LIMIT_S = 600.0
LOOK_MS = 200


@dataclass
class Visit:
    """One user's page, and what it has shown."""

    name: str
    page: Any
    waits: list[str] = field(default_factory=list)
    said: str = ""
    errors: list[str] = field(default_factory=list)

    def picture(self, what: str) -> None:
        self.page.screenshot(path=SHOTS / f"{self.name}-{what}.png")


def hand_out(env: Path, name: str, home: Path, asked: dict[str, Any]) -> None:
    """The notebook in a user's home, written by the user's own command, with these parameters."""
    words = ["runuser", "-u", name, "--", env / "bin" / "workbench", "notebook", home / NOTEBOOK]
    own = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
    }  # nothing of this trial's own places, which only root can write
    subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, cwd=home, env=own)
    notebook = json.loads((home / NOTEBOOK).read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    cell["source"] = [*cell["source"], *(f"\n{key} = {value!r}" for key, value in asked.items())]
    (home / NOTEBOOK).write_text(json.dumps(notebook), encoding="utf-8")


def visits(hub: str, passwords: dict[str, str]) -> list[Visit]:
    """All users log in, come as far as the panel, and then measure at once; what each has seen."""
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        found = [_log_in(browser, hub, name, password) for name, password in passwords.items()]
        for visit in found:
            _open_notebook(visit)
        for visit in found:
            _run_all_cells(visit)
        for visit in found:
            visit.page.locator(".wb-benchmark").first.click()
        _watch(found)
        browser.close()
    return found


def _log_in(browser: Any, hub: str, name: str, password: str) -> Visit:
    """By the form; the server of the user then starts, and JupyterLab opens."""
    page = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
    visit = Visit(name, page)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.goto(f"{hub}/hub/login", timeout=LIMIT_MS)
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("#login_submit")
    return visit


def _open_notebook(visit: Visit) -> None:
    """In JupyterLab's list of files."""
    file = visit.page.locator(f'.jp-DirListing-item:has-text("{NOTEBOOK}")')
    file.wait_for(timeout=LIMIT_MS)
    visit.picture("1-logged-in")
    file.dblclick()
    visit.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=LIMIT_MS)


def _run_all_cells(visit: Visit) -> None:
    """By the menu, until the panel is there; JupyterLab may drop cells while it connects to a kernel that is new."""
    panel = visit.page.locator(".wb-benchmark").first
    for patience_ms in (60_000, 60_000, LIMIT_MS):
        _idle(visit.page)
        visit.page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
        visit.page.locator('.lm-Menu-itemLabel:text-is("Run All Cells")').click()
        try:
            panel.wait_for(timeout=patience_ms)
        except Exception:
            if patience_ms == LIMIT_MS:
                raise
        else:
            break
    _idle(visit.page)
    panel.scroll_into_view_if_needed()
    visit.picture("2-panel")


def _idle(page: Any) -> None:
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=LIMIT_MS)
    page.wait_for_timeout(1000)


def _watch(found: list[Visit]) -> None:
    """Read the line below the buttons of each page until all runs have ended."""
    deadline = time.monotonic() + MEASURE_LIMIT_S
    going_on = list(found)
    while going_on and time.monotonic() < deadline:
        for visit in tuple(going_on):
            text = _text(visit.page, ".wb-state")
            if "before you" in text and text not in visit.waits:
                if not visit.waits:
                    visit.page.wait_for_timeout(500)  # until the rows are drawn, too
                    visit.picture("3-waits")
                visit.waits.append(text)
            if not text and (said := _text(visit.page, ".wb-outcome")):
                visit.said = said
                going_on.remove(visit)
        found[0].page.wait_for_timeout(LOOK_MS)
    for visit in found:
        visit.picture("4-end")


def _text(page: Any, what: str) -> str:
    """The text of an element as it is now; "" where there is none."""
    return next(iter(page.locator(what).all_inner_texts()), "")
