"""The field of the time limit of runs, with what is wrong with it below it."""

from __future__ import annotations

from typing import Any

from workbench.errors import InputError
from workbench.panel import view, widgets
from workbench.panel.settings import control
from workbench.settings.table import RUN_SETTINGS

SETTING = RUN_SETTINGS["minutes"]


class TimeLimit(widgets.VBox):  # type: ignore[misc]
    """It belongs to the runs that are started, not to the experiment: presets and *Undo* leave it as it is."""

    def __init__(self) -> None:
        self.field = control(SETTING, "")
        self._hint = widgets.HTML()
        super().__init__([self.field, self._hint], css="wb-control wb-time-limit")
        self.field.observe(lambda _: self._mark(), "value")
        self._mark()

    def write(self, minutes: Any) -> None:
        """Show this limit.

        Raises:
            InputError: it cannot be one.
        """
        self.field.value = SETTING.parse(minutes)

    @property
    def minutes(self) -> str:
        """The limit in minutes; "" for none, and for what cannot be one."""
        return "" if self.wrong() else str(SETTING.parse(self.field.value))

    def wrong(self) -> dict[str, str]:
        """A sentence by the name of the setting where the limit cannot be used."""
        try:
            SETTING.parse(self.field.value)
        except InputError as error:
            return {SETTING.name: error.message.replace(f"'{SETTING.name}'", f"'{SETTING.label}'")}
        return {}

    def _mark(self) -> None:
        wrong = self.wrong().get(SETTING.name, "")
        (self.field.add_class if wrong else self.field.remove_class)("wb-wrong")
        self._hint.value = view.at_field(wrong) or view.hint(self.field.tooltip)
