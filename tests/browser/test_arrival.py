"""How the panel comes to a page: with few announcements at first, and although a message of the kernel was lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import SMALL, Lab, menu, open_panel, put_notebook, voila
from playwright.sync_api import Locator, Page, WebSocketRoute, expect
from small_model import small_onnx

pytestmark = [pytest.mark.browser, pytest.mark.long]

NOT_FOUND = "Comm not found for comm id"
"""Said where the kernel takes back an announcement that was lost."""
NO_VIEW = "reading 'processLuminoMessage'"
"""Said by JupyterLab for every box in which a widget could not be drawn, until it is repaired."""


def message(frame: str | bytes) -> tuple[str, dict[str, Any]]:
    """Type and content of a message of the kernel, by the protocol "v1.kernel.websocket.jupyter.org"."""
    if isinstance(frame, str):
        return "", {}
    count = int.from_bytes(frame[:8], "little")
    starts = [int.from_bytes(frame[8 * place : 8 * place + 8], "little") for place in range(1, count + 1)]
    header, content = (json.loads(frame[starts[place] : starts[place + 1]]) for place in (1, 4))
    return str(header["msg_type"]), content


def announced(frame: str | bytes) -> bool:
    """Whether a message of the kernel announces a widget."""
    return message(frame)[0] == "comm_open"


def announced_as(name: str) -> Callable[[str | bytes], bool]:
    """Whether a message of the kernel announces the control of this name."""
    return lambda frame: announced(frame) and message(frame)[1]["data"]["state"].get("description") == name


def style_of_buttons(frame: str | bytes) -> bool:
    """Whether a message of the kernel announces the style that buttons share."""
    return announced(frame) and message(frame)[1]["data"]["state"].get("_model_name") == "ButtonStyleModel"


BUILD, RUNS, FILTER = announced_as("Build only"), announced_as("Runs"), announced_as("Filter")
"""A control that is announced before the panel is on the page, and two of the page History, which come later: the second is in a box of its
own.
"""


def all_states(frame: str | bytes) -> bool:
    """Whether a message of the kernel has the states of all widgets, which a page asks for that was reloaded."""
    return message(frame)[1].get("data", {}).get("method") == "update_states"


def lose(page: Page, kind: Callable[[str | bytes], bool], which: int) -> list[int]:
    """Let one message of this kind not arrive; the numbers of those that were sent are added to the list."""
    numbers: list[int] = []

    def route(browser: WebSocketRoute) -> None:
        server = browser.connect_to_server()

        def passed_on(frame: str | bytes) -> None:
            if kind(frame):
                numbers.append(len(numbers) + 1)
                if numbers[-1] == which:
                    return
            browser.send(frame)

        server.on_message(passed_on)

    page.route_web_socket("**/api/kernels/*/channels*", route)
    return numbers


def works(panel: Locator) -> None:
    """Every page has its contents, and the kernel answers."""
    expect(panel.get_by_role("button", name="Build only")).to_be_visible(timeout=60_000)
    for step in ("Configure", "History"):
        panel.locator(".wb-steps button", has_text=step).click()
        expect(panel.locator(".wb-page h3:visible")).to_have_text(step)
    expect(panel.locator(".wb-history select")).to_be_visible(timeout=60_000)
    panel.locator(".wb-steps button", has_text="Configure").click()
    panel.get_by_role("button", name="More settings").click(timeout=60_000)
    expect(panel.get_by_label("Threads")).to_be_visible(timeout=60_000)
    panel.get_by_role("button", name="Quick look").click()
    expect(panel.get_by_role("button", name="Undo")).to_be_enabled()


@pytest.mark.parametrize("kind", [BUILD, RUNS, FILTER, style_of_buttons], ids=["build", "runs", "filter", "style"])
def test_what_does_not_arrive_is_announced_again(
    page: Page,
    lab: Lab,
    provoked: list[str],
    kind: Callable[[str | bytes], bool],
    request: pytest.FixtureRequest,
) -> None:
    provoked += [
        "widget model not found",
        "Could not create a model",
        "Could not process update msg",
        NOT_FOUND,
        NO_VIEW,
    ]
    numbers = lose(page, kind, 1)
    panel = open_panel(
        page, lab, put_notebook(lab, f"lost-{request.node.callspec.id}.ipynb", **SMALL), patience_ms=60_000
    )
    works(panel)
    assert len(numbers) > 1


def test_a_reloaded_page_shows_the_panel_although_the_states_of_its_widgets_were_lost(
    page: Page, lab: Lab, provoked: list[str]
) -> None:
    provoked += ["Control comm did not respond in time", "widget model not found", "Could not", NOT_FOUND]
    numbers = lose(page, all_states, 1)
    open_panel(page, lab, put_notebook(lab, "states.ipynb", **SMALL))
    numbers.clear()
    menu(page, "File", "Save Notebook")
    page.wait_for_timeout(2000)
    page.reload()
    page.locator(".wb .wb-steps").first.wait_for(timeout=180_000)  # it asks every widget then
    works(page.locator(".wb").first)
    assert numbers


@pytest.mark.parametrize(("kind", "times"), [(all_states, 1), (RUNS, 2), (FILTER, 2)], ids=["states", "runs", "filter"])
def test_voila_shows_the_panel_although_a_message_was_lost(
    page: Page, tmp_path: Path, provoked: list[str], kind: Callable[[str | bytes], bool], times: int
) -> None:
    provoked += ["Control comm did not respond in time", "widget model not found", "Could not", NOT_FOUND]
    numbers = lose(page, kind, 1)
    model = small_onnx(tmp_path / "small.onnx")
    with voila(tmp_path, tmp_path / "store", model=model, data="random", backends="onnxruntime") as url:
        page.goto(url)
        page.locator(".wb .wb-steps").first.wait_for(timeout=180_000)
        works(page.locator(".wb").first)
        assert len(numbers) >= times
        page.goto("about:blank")


def test_few_widgets_are_announced_before_the_panel_is_on_the_page(page: Page, lab: Lab) -> None:
    frames: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))  # noqa: PLW0108 - it marks a function
    before: list[int] = []
    page.expose_function("shown", lambda: before.append(sum(map(announced, frames))))
    page.add_init_script("""addEventListener('DOMContentLoaded', () => new MutationObserver((_, seen) => {
        if (document.querySelector('.wb .wb-page')) { seen.disconnect(); shown(); }
    }).observe(document.body, {subtree: true, childList: true}))""")
    panel = open_panel(page, lab, put_notebook(lab, "few.ipynb", **SMALL))
    expect(panel.locator(".wb-heading")).to_have_count(8)
    expect(panel.locator(".wb-page .wb-compare-runs")).to_be_attached(timeout=20_000)
    assert before[0] < 100
    assert sum(map(announced, frames)) > 200  # the other pages have come by themselves
