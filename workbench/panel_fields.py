"""The kinds of controls that the panel is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets
import traitlets

from workbench.experiment import MAX_BATCH

YES_NO = (("yes", True), ("no", False))
SMALLEST_WORKSPACE, LARGEST_WORKSPACE = 4, 17  # powers of two, in MiB: 16 MiB to 128 GiB
FIRST_WORKSPACE_MIB = 1024


def field(kind: Any, label: str, tip: str, value: object, **more: Any) -> Any:
    """One labelled control; its label stands above it."""
    control = kind(description=label, tooltip=tip, value=value, style={"description_width": "initial"}, **more)
    return control.add_class("wb-field")


def batch_chips(label: str, tip: str, value: Iterable[int]) -> Any:
    """A chip for each number, with room to type another one; the browser refuses what is no batch size."""
    chips = widgets.IntsInput(value=list(value), min=1, max=MAX_BATCH, allow_duplicates=False, tooltip=tip)
    chips.description = label  # the kind has none of its own; the label is drawn beside it
    return chips.add_class("wb-chips")


class Fold(widgets.VBox):  # type: ignore[misc]
    """A button that shows and hides what belongs to it."""

    def __init__(self, title: str, children: Iterable[Any], *, unfolded: bool = False) -> None:
        self.button = widgets.ToggleButton(description=title, value=unfolded).add_class("wb-fold")
        self.inside = widgets.VBox([*children]).add_class("wb-folded")
        super().__init__([self.button, self.inside])
        self.button.observe(lambda _: self._show(), "value")
        self._show()

    def _show(self) -> None:
        self.button.icon = "caret-down" if self.button.value else "caret-right"
        self.inside.layout.display = None if self.button.value else "none"


class Workspace(widgets.VBox):  # type: ignore[misc]
    """A number of MiB: automatic (0), or chosen on a slider of powers of two."""

    value = traitlets.Int(0)
    disabled = traitlets.Bool(False)

    def __init__(self, label: str, tip: str, value: int) -> None:
        self.explanation = tip
        self.automatic = widgets.Checkbox(description="automatic", value=value == 0, indent=False, tooltip=tip)
        self.automatic.add_class("wb-check")
        self.slider = widgets.FloatLogSlider(
            value=value or FIRST_WORKSPACE_MIB,
            base=2,
            min=min(SMALLEST_WORKSPACE, max(value, 1).bit_length() - 1),
            max=max(LARGEST_WORKSPACE, value.bit_length()),
            step=1,
            readout_format=",.0f",
            description=f"{label}, size",
            continuous_update=False,
        ).add_class("wb-slider")
        super().__init__([widgets.HTML(f'<span class="wb-label">{label}</span>'), self.automatic, self.slider])
        self.value = value
        self.automatic.observe(lambda _: self._read(), "value")
        self.slider.observe(lambda _: self._read(), "value")
        self.observe(lambda _: self._write(), ["value", "disabled"])
        self._write()

    def _read(self) -> None:
        self.value = 0 if self.automatic.value else round(self.slider.value)

    def _write(self) -> None:
        self.automatic.disabled = self.disabled
        self.slider.disabled = self.disabled
        self.slider.layout.display = "none" if self.automatic.value else None
        automatic = self.value == 0
        if self.automatic.value != automatic:
            self.automatic.value = automatic
        if not automatic and round(self.slider.value) != self.value:
            self.slider.value = self.value
