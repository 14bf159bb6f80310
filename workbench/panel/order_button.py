"""The button that takes over the order of the classes with which the answers of a run are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workbench.compare.advice import fitting_order
from workbench.panel import widgets
from workbench.panel.fields import button
from workbench.records import Results
from workbench.settings.experiment import Experiment


class OrderButton(widgets.VBox):  # type: ignore[misc]
    """Shown while the last run has found another order; :func:`workbench.compare.advice.fitting_order` decides that."""

    def __init__(self, again: Any) -> None:
        """``again`` is the checkbox of measuring again, which is cleared."""
        tip = "Number the classes in the order that the message names, and make the scores again; nothing else is measured again"
        self.button = button("Use this order of the classes", "check", tip, "wb-use-order")
        self._take: Callable[[], None] = lambda: None
        self._again = again
        self.button.on_click(lambda _: self._pressed())
        super().__init__([self.button])
        self.hide()

    def _pressed(self) -> None:
        self._again.value = False
        self._take()

    def hide(self) -> None:
        """There is nothing to take over."""
        widgets.show(self, False)

    def offer(self, results: Results, ran: Experiment, run: Callable[[Experiment], None]) -> None:
        """Show the button where these results have found an order; ``run`` is called with the experiment that has it."""
        order = fitting_order(results)
        self._take = lambda: run(replace(ran, class_order=order))
        widgets.show(self, order)
