"""How the panel is laid out: steps from left to right, one page at a time, and the buttons that are there on each."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Any

from workbench.display.html import tag
from workbench.panel import view, widgets
from workbench.panel.arrival import Arrival, Late
from workbench.panel.fields import button, checkbox
from workbench.panel.order_button import OrderButton
from workbench.panel.work import BackgroundWork
from workbench.store import Store
from workbench.system.machine import this_machine

STEPS = {
    "Model": "The model to measure. The built-in demo needs no files: press Run.",
    "Data": "Samples to calibrate INT8 with, to time with, and to compare answers on.",
    "Configure": "Every combination of backend, precision and batch is one row.",
    "Run": "One row per variant and batch. A run continues when this page is closed; engines are built once and kept.",
    "Compare": "The results against a baseline of your choice, filtered by your limits.",
    "Layers": "What an engine is made of.",
    "Export": "The report, how to repeat the run without this panel, the results as files, and the deployment of a variant.",
    "History": "Earlier runs in this store, and those that are running now.",
}
RUN, COMPARE = list(STEPS).index("Run"), list(STEPS).index("Compare")


# In a notebook a key that is pressed in a list or on a slider is JupyterLab's: an arrow goes to another cell, D twice deletes one.
# It leaves alone what has this attribute, which no widget can be given; the line stands in an element, as in view.
KEYS = (
    "const panel=this.closest('.wb');if(panel)panel.addEventListener('focusin',event=>{"
    "if(event.target.matches('select,.noUi-handle'))event.target.dataset.lmSuppressShortcuts='true'});"
    # a browser asks for the permission to notify only where a person has just pressed something
    "if(panel)panel.addEventListener('change',event=>{if(event.target.closest('.wb-notify')&&event.target.checked"
    "&&window.Notification)Notification.requestPermission()})"
)
NOTIFY = (
    "if(window.Notification&&Notification.permission==='granted')"
    "new Notification('Inference Workbench',{body:this.dataset.text})"
)


class Layout:
    """The frame around the pages. Choosing a step is done by the browser alone, however busy the kernel is."""

    def __init__(self, *, remeasure: bool) -> None:
        self.problem, self.plan, self.state, self.message, self.outdated = (widgets.HTML() for _ in range(5))
        tip = "Build what is missing, time all variants in turn, and compare their answers"
        self.run = button("Run", "play", tip, "wb-benchmark", button_style="primary")
        self.build = button("Build only", "cube", "Build the engines, without measuring", "wb-build")
        self.cancel = button("Cancel all", "stop", "Stop now; what was finished is kept", "wb-cancel", disabled=True)
        tip = (
            "Build nothing more, time and score what is built at least once, and end with that; Run goes on from there"
        )
        self.finish = button("Finish now", "flag-checkered", tip, "wb-finish", disabled=True)
        tip = "Time again what an earlier run has timed already; engines are not built again"
        self.again = checkbox("Measure again", tip, remeasure)
        self.order = OrderButton(self.again)
        tip = "A notification of the browser when a run has ended; the browser asks for the permission first"
        self.notice = checkbox("Notify me", tip, css="wb-notify")
        self._notices, self._notified = widgets.HTML(), 0
        self.steps = widgets.ToggleButtons(
            options=[f"{number} {title}" for number, title in enumerate(STEPS, start=1)],
            tooltips=list(STEPS.values()),
            css="wb-steps",
        )
        self.pages = widgets.VBox(css="wb-pages")
        self.arrival = Arrival()

    def widget(self, pages: dict[str, list[Any]], store: Store) -> Any:
        """Everything, with these contents of the pages."""
        contents = [Late(pages[title]) for title in STEPS]
        self.pages.children = [
            widgets.VBox([widgets.HTML(view.page_top(title, STEPS[title])), inside], css="wb-page")
            for title, inside in zip(STEPS, contents, strict=True)
        ]
        contents[0].fill()
        self.steps.observe(lambda change: contents[change["new"]].fill(), "index")
        actions = widgets.Box(
            [self.run, self.build, self.cancel, self.finish, self.again, self.notice, self.state], css="wb-actions"
        )
        style = Path(__file__).with_name("panel.css").read_text(encoding="utf-8") + _chosen(len(STEPS))
        whole = widgets.VBox([
            widgets.HTML(f'<style onload="{escape(KEYS)}">{style}</style>'),
            widgets.HTML(view.top(this_machine(), store.root)),
            self.steps,
            widgets.VBox([actions, self.problem, self.plan, self.message, self.order, self.outdated], css="wb-bar"),
            self.pages,
            self._notices,
            self.arrival,
        ], css="wb")  # fmt: skip
        self.arrival.follow([inside.fill for inside in contents[1:]])
        return whole

    def follow(self, work: BackgroundWork, *, measures: bool) -> None:
        """Bring the buttons and the line of the state up to date with the work that goes on; ``measures``: it is a run."""
        for control in (self.build, self.run, self.again):
            control.disabled = work.busy or bool(self.problem.value)
        self.cancel.disabled = not work.busy or work.cancel.is_set()
        self.finish.disabled = self.cancel.disabled or not measures or work.finish.is_set()
        elapsed_s = max(0.0, time.time() - work.since_s)
        self.state.value = view.state(work.phase, work.progress, elapsed_s) if work.busy else ""

    def notify(self, text: str) -> None:
        """Show a notification of the browser, where that was asked for and the browser allows it."""
        if self.notice.value:
            self._notified += 1  # an equal text would not be drawn again
            self._notices.value = tag("style", f"/* {self._notified} */", data_text=text, onload=NOTIFY)

    def say(self, text: str, kind: str) -> None:
        """Show a message in place of what the last run has found."""
        self.order.hide()
        self.message.value = view.message(text, kind)

    def show(self, step: int) -> None:
        self.steps.index = step


def _chosen(steps: int) -> str:
    """Rules that show the page of the pressed step: all pages stay drawn, because the browser takes a second to draw one again."""
    return "".join(
        f".wb:has(> .wb-steps button:nth-child({number}).mod-active) > .wb-pages > :nth-child({number}) {{ display: flex; }}\n"
        for number in range(1, steps + 1)
    )
