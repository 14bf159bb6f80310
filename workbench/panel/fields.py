"""The kinds of controls that the panel is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import traitlets

from workbench.panel import widgets
from workbench.panel.arrival import Late
from workbench.settings.kinds import Integers, whole

YES_NO = (("yes", True), ("no", False))


def field(kind: Any, label: str, tip: str, value: object, *, css: str = "", **more: Any) -> Any:
    """One labelled control; its label stands above it."""
    style = {"description_width": "initial"}
    return kind(description=label, tooltip=tip, value=value, style=style, css=f"wb-field {css}", **more)


def button(text: str, icon: str, tip: str, css: str = "", **more: Any) -> Any:
    """One button."""
    return widgets.Button(description=text, icon=icon, tooltip=tip, css=css, **more)


def checkbox(text: str, tip: str, value: object = False, css: str = "", **more: Any) -> Any:
    """One checkbox; its label stands beside it."""
    return widgets.Checkbox(description=text, tooltip=tip, value=value, indent=False, css=f"wb-check {css}", **more)


class Chips(widgets.VBox):  # type: ignore[misc]
    """Several whole numbers: a chip for each of the usual ones and those that were typed, pressed where it is wanted."""

    value: Any = traitlets.List()
    disabled = traitlets.Bool(False)

    def __init__(self, setting: Integers, tip: str, value: Iterable[int]) -> None:
        self.explanation = tip
        self.chips: dict[int, Any] = {}
        self._setting = setting
        self._quiet = False  # while this writes to its own controls
        self.row = widgets.Box(css="wb-chips")
        # ipywidgets has a kind with chips of its own, whose input no keyboard reaches
        self.other = widgets.Text(
            description=f"{setting.label}, another",
            placeholder="another, then Enter",
            tooltip=tip,
            continuous_update=False,
            css="wb-chip-input",
        )
        super().__init__([widgets.HTML(f'<span class="wb-label">{setting.label}</span>'), self.row])
        self.other.observe(lambda _: self._read(), "value")
        self.observe(lambda _: self._write(), ["value", "disabled"])
        self.value = list(value)
        self._write()

    def _read(self) -> None:
        """From what is pressed and typed to ``value``; what cannot be one of its numbers stays where it was typed, and becomes no chip."""
        if self._quiet:
            return
        pressed = [number for number, chip in self.chips.items() if chip.value]
        typed = [part.strip() for part in self.other.value.split(",") if part.strip()]
        numbers = [self._setting.words.get(part.lower(), whole(part)) for part in typed]
        known = [
            number for number in numbers if number is not None and self._setting.low <= number <= self._setting.high
        ]
        if len(known) == len(typed):
            pressed, typed = pressed + known, []
        self.value = sorted(set(pressed)) + typed

    def _write(self) -> None:
        self._quiet = True
        wanted = {number for number in self.value if isinstance(number, int)}
        if typed := [number for number in self.value if not isinstance(number, int)]:
            self.other.value = ",".join(map(str, typed))
        elif self.other.value:
            self.other.value = ""
        if missing := (set(self._setting.usual) | wanted) - self.chips.keys():
            for number in missing:
                word = self._setting.word(number)
                chip = widgets.ToggleButton(description=word, tooltip=f"{self._setting.label}: {word}", css="wb-chip")
                self.chips[number] = chip
                chip.observe(lambda _: self._read(), "value")
            self.chips = dict(sorted(self.chips.items()))
            self.row.children = [*self.chips.values(), self.other]
        for number, chip in self.chips.items():
            chip.value = number in wanted
            chip.icon = "check" if chip.value else ""
            chip.disabled = self.disabled
        self.other.disabled = self.disabled
        self._quiet = False


class Fold(widgets.VBox):  # type: ignore[misc]
    """A button that shows and hides what belongs to it, which is announced to the browser when it is shown first."""

    def __init__(self, title: str, children: Iterable[Any]) -> None:
        self.button = widgets.ToggleButton(description=title, css="wb-fold")
        self.inside = Late(children, css="wb-folded")
        super().__init__([self.button, self.inside])
        self.button.observe(lambda _: self._show(), "value")
        self._show()

    def _show(self) -> None:
        self.button.icon = "caret-down" if self.button.value else "caret-right"
        if self.button.value:
            self.inside.fill()
        widgets.show(self.inside, self.button.value)
