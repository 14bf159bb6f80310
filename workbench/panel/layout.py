"""How the panel is laid out: steps from left to right, one page at a time, and the buttons that are there on each."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from workbench.panel import view, widgets
from workbench.store import Store
from workbench.system.machine import this_machine

STEPS = {
    "Model": "What is to run faster. The built-in demo needs nothing; press Run when you like.",
    "Data": "Samples to calibrate INT8 with, to time with, and to compare answers on.",
    "Configure": "Every combination of backend, precision and batch is one row.",
    "Run": "One row per variant and batch. It goes on when this page is closed; engines are built once and kept.",
    "Compare": "What came of it, against any baseline and within your limits.",
    "Layers": "What an engine is made of.",
    "Export": "The same without this panel, and the results as files.",
    "History": "Earlier runs in this store, and those that are running now.",
}
RUN, COMPARE = list(STEPS).index("Run"), list(STEPS).index("Compare")


# In a notebook a key that is pressed in a list or on a slider is JupyterLab's: an arrow goes to another cell, D twice deletes one.
# It leaves alone what has this attribute, which no widget can be given; the line stands in an element, as in panel_export.
KEYS = (
    "const panel=this.closest('.wb');if(panel)panel.addEventListener('focusin',event=>{"
    "if(event.target.matches('select,.noUi-handle'))event.target.dataset.lmSuppressShortcuts='true'})"
)


class Layout:
    """The frame around the pages. Choosing a step is done by the browser alone, however busy the kernel is."""

    def __init__(self, *, remeasure: bool) -> None:
        self.problem, self.plan, self.state, self.message, self.outdated = (widgets.HTML() for _ in range(5))
        self.run = widgets.Button(
            description="Run",
            icon="play",
            button_style="primary",
            tooltip="Build what is missing, time all variants in turn, and compare their answers",
            css="wb-benchmark",
        )
        self.build = widgets.Button(
            description="Build only", icon="cube", tooltip="Build the engines, without measuring", css="wb-build"
        )
        self.cancel = widgets.Button(
            description="Cancel all",
            icon="stop",
            disabled=True,
            tooltip="Stop now; what was finished is kept",
            css="wb-cancel",
        )
        self.again = widgets.Checkbox(
            description="Measure again",
            value=remeasure,
            indent=False,
            tooltip="Time again what an earlier run has timed already; engines are not built again",
            css="wb-check",
        )
        self.steps = widgets.ToggleButtons(
            options=[f"{number} {title}" for number, title in enumerate(STEPS, start=1)],
            tooltips=list(STEPS.values()),
            css="wb-steps",
        )
        self.pages = widgets.VBox(css="wb-pages")

    def widget(self, pages: dict[str, list[Any]], store: Store) -> Any:
        """Everything, with these contents of the pages."""
        self.pages.children = [
            widgets.VBox([widgets.HTML(view.page_top(title, STEPS[title])), *pages[title]], css="wb-page")
            for title in STEPS
        ]
        actions = widgets.Box([self.run, self.build, self.cancel, self.again, self.state], css="wb-actions")
        style = Path(__file__).with_name("panel.css").read_text(encoding="utf-8") + _chosen(len(STEPS))
        return widgets.VBox([
            widgets.HTML(f'<style onload="{escape(KEYS)}">{style}</style>'),
            widgets.HTML(view.top(this_machine(), store.root)),
            self.steps,
            widgets.VBox([actions, self.problem, self.plan, self.message, self.outdated], css="wb-bar"),
            self.pages,
        ], css="wb")  # fmt: skip

    def show(self, step: int) -> None:
        self.steps.index = step


def _chosen(steps: int) -> str:
    """Rules that show the page of the pressed step: all pages stay drawn, because drawing one anew takes the browser a second."""
    return "".join(
        f".wb:has(> .wb-steps button:nth-child({number}).mod-active) > .wb-pages > :nth-child({number}) {{ display: flex; }}\n"
        for number in range(1, steps + 1)
    )
