"""The kinds of controls that the panel is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import traitlets

from workbench.panel import widgets

YES_NO = (("yes", True), ("no", False))
SMALLEST_WORKSPACE, LARGEST_WORKSPACE = 4, 17  # powers of two, in MiB: 16 MiB to 128 GiB
FIRST_WORKSPACE_MIB = 1024
USUAL_BATCHES = (1, 8, 32, 128)


def field(kind: Any, label: str, tip: str, value: object, *, css: str = "", **more: Any) -> Any:
    """One labelled control; its label stands above it."""
    style = {"description_width": "initial"}
    return kind(description=label, tooltip=tip, value=value, style=style, css=f"wb-field {css}", **more)


class Batches(widgets.VBox):  # type: ignore[misc]
    """Batch sizes: a chip for each of the usual ones and those that were typed, pressed where it is wanted."""

    value: Any = traitlets.List()
    disabled = traitlets.Bool(False)

    def __init__(self, label: str, tip: str, value: Iterable[int]) -> None:
        self.explanation = tip
        self.chips: dict[int, Any] = {}
        self._quiet = False  # while this writes to its own controls
        self.row = widgets.Box(css="wb-chips")
        # ipywidgets has a kind with chips of its own, whose input no keyboard reaches
        self.other = widgets.Text(
            description=f"{label}, another",
            placeholder="another, then Enter",
            tooltip=tip,
            continuous_update=False,
            css="wb-chip-input",
        )
        super().__init__([widgets.HTML(f'<span class="wb-label">{label}</span>'), self.row])
        self.other.observe(lambda _: self._read(), "value")
        self.observe(lambda _: self._write(), ["value", "disabled"])
        self.value = list(value)
        self._write()

    def _read(self) -> None:
        """From what is pressed and typed to ``value``; what is no number stays where it was typed, and is found by whoever reads."""
        if self._quiet:
            return
        sizes = [size for size, chip in self.chips.items() if chip.value]
        typed = [part.strip() for part in self.other.value.split(",") if part.strip()]
        if all(part.isdecimal() for part in typed):
            sizes, typed = sizes + [int(part) for part in typed], []
        self.value = sorted(set(sizes)) + typed

    def _write(self) -> None:
        self._quiet = True
        wanted = {size for size in self.value if isinstance(size, int)}
        if typed := [size for size in self.value if not isinstance(size, int)]:
            self.other.value = ",".join(map(str, typed))
        elif self.other.value:
            self.other.value = ""
        if missing := (set(USUAL_BATCHES) | wanted) - self.chips.keys():
            for size in missing:
                chip = widgets.ToggleButton(description=str(size), tooltip=f"batch size {size}", css="wb-chip")
                self.chips[size] = chip
                chip.observe(lambda _: self._read(), "value")
            self.chips = dict(sorted(self.chips.items()))
            self.row.children = [*self.chips.values(), self.other]
        for size, chip in self.chips.items():
            chip.value = size in wanted
            chip.icon = "check" if chip.value else ""
            chip.disabled = self.disabled
        self.other.disabled = self.disabled
        self._quiet = False


class Fold(widgets.VBox):  # type: ignore[misc]
    """A button that shows and hides what belongs to it."""

    def __init__(self, title: str, children: Iterable[Any], *, unfolded: bool = False) -> None:
        self.button = widgets.ToggleButton(description=title, value=unfolded, css="wb-fold")
        self.inside = widgets.VBox([*children], css="wb-folded")
        super().__init__([self.button, self.inside])
        self.button.observe(lambda _: self._show(), "value")
        self._show()

    def _show(self) -> None:
        self.button.icon = "caret-down" if self.button.value else "caret-right"
        widgets.show(self.inside, self.button.value)


class Workspace(widgets.VBox):  # type: ignore[misc]
    """A number of MiB: automatic (0), or chosen on a slider of powers of two."""

    value = traitlets.Int(0)
    disabled = traitlets.Bool(False)

    def __init__(self, label: str, tip: str, value: int) -> None:
        self.explanation = tip
        self.automatic = widgets.Checkbox(
            description="automatic", value=value == 0, indent=False, tooltip=tip, css="wb-check"
        )
        self.slider = widgets.FloatLogSlider(
            value=value or FIRST_WORKSPACE_MIB,
            base=2,
            min=min(SMALLEST_WORKSPACE, max(value, 1).bit_length() - 1),
            max=max(LARGEST_WORKSPACE, value.bit_length()),
            step=1,
            readout_format=",.0f",
            description=f"{label}, size",
            continuous_update=False,
            css="wb-slider",
        )
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
        widgets.show(self.slider, not self.automatic.value)
        automatic = self.value == 0
        if self.automatic.value != automatic:
            self.automatic.value = automatic
        if not automatic and round(self.slider.value) != self.value:
            self.slider.value = self.value
