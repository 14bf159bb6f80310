from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lab import BROWSER_FLAGS, SHOTS, SMALL, Lab, chromium, jupyter_lab, open_panel, put_notebook

PATIENCE_MS = 20_000
"""How long a page has for what it shows at once on a machine that does nothing else."""


@pytest.fixture(scope="module")  # not longer: Playwright keeps an event loop running, and other tests need their own
def browser() -> Iterator[Any]:
    """Chromium. Where there is none the tests are skipped, except under CI, where that is a failure."""
    path = chromium()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true, and there is no Chromium on this machine (apt-get install chromium)")
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield running
        running.close()


@pytest.fixture
def store_root(store_root: Path, new_store: Callable[[], Path], request: pytest.FixtureRequest) -> Path:
    """The shared store; a second attempt gets one of its own, or it would find done what it is to watch."""
    return store_root if getattr(request.node, "execution_count", 1) == 1 else new_store()


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Lab]]:
    """JupyterLab for a store, started once for each."""
    with ExitStack() as stack:
        yield cache(lambda store: stack.enter_context(jupyter_lab(tmp_path_factory.mktemp("lab"), store)))


@pytest.fixture
def lab(browser: Any, labs: Callable[[Path], Lab], store_root: Path) -> Lab:
    return labs(store_root)


def _wrong(text: str) -> bool:
    """What JupyterLab itself had asked a kernel that was then restarted is canceled, and it says so."""
    return "Canceled future for" not in text


@pytest.fixture(scope="module")
def tabs(browser: Any) -> Iterator[Any]:
    """What pages share: JupyterLab's scripts are fetched and compiled once."""
    context = browser.new_context(viewport={"width": 1280, "height": 2400})
    yield context
    context.close()


@pytest.fixture
def provoked() -> list[str]:
    """Parts of errors that a test brings about in the console; it adds them."""
    return []


@pytest.fixture
def page(tabs: Any, provoked: list[str], request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page 1280 pixels wide and tall enough for the whole panel; a dialog or an error in the console fails the test."""
    page = tabs.new_page()
    dialogs: list[str] = []
    errors: list[str] = []

    def answer(dialog: Any) -> None:
        if dialog.type == "beforeunload":  # a notebook that was not saved is left: a person says yes
            dialog.accept()
        else:
            dialogs.append(dialog.message)
            dialog.dismiss()

    page.on("dialog", answer)
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" and _wrong(said.text) else None)
    page.on("pageerror", lambda error: errors.append(str(error)) if _wrong(str(error)) else None)
    yield page
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{request.node.name}.png")
    page.close()
    assert dialogs == []
    assert [each for each in errors if not any(part in each for part in provoked)] == []


@pytest.fixture
def panel(page: Any, lab: Lab, request: pytest.FixtureRequest) -> Any:
    """The panel of a fresh notebook for the demo."""
    return open_panel(page, lab, put_notebook(lab, f"{request.node.name}.ipynb", **SMALL))
