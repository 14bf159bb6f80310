"""The controls of ipywidgets as the panel uses them: those that look alike share one layout and one style.

A kernel announces every object with a message of its own, and each control brings a layout and a style: for a whole panel more than
a thousand messages at once. On a busy machine the browser once did not find an object that others referred to, and drew none of them.
"""

from __future__ import annotations

from typing import Any

import ipywidgets

_made: dict[tuple[Any, ...], Any] = {}


def _shared(kind: Any, **values: Any) -> Any:
    """The one object of this kind with these values; a new one after the old was closed (``Widget.close_all``)."""
    key = (kind, *sorted(values.items()))
    if key not in _made or _made[key].comm is None:
        _made[key] = kind(**values)
    return _made[key]


def layout(**values: str) -> Any:
    """The layout with these values, which may be shared: nothing may be changed in it."""
    return _shared(ipywidgets.Layout, **values)


def show(widget: Any, yes: object = True) -> None:
    """Draw it or leave it out."""
    widget.layout = layout() if yes else layout(display="none")


def keep_place(widget: Any, yes: object) -> None:
    """Draw it, or leave its place empty."""
    widget.layout = layout() if yes else layout(visibility="hidden")


class _Lean:
    """``css``: names of classes for the style sheet, separated by spaces. A ``style`` may be given by its values."""

    def __init__(self, *args: Any, css: str = "", **given: Any) -> None:
        traits = type(self).class_traits()  # type: ignore[attr-defined]
        for name in {"layout", "style"} & set(traits):
            given[name] = _shared(traits[name].klass, **given.get(name, {}))
        if css:
            given["_dom_classes"] = css.split()
        super().__init__(*args, **given)


class Box(_Lean, ipywidgets.Box): ...  # type: ignore[misc]


class GridBox(_Lean, ipywidgets.GridBox): ...  # type: ignore[misc]


class HBox(_Lean, ipywidgets.HBox): ...  # type: ignore[misc]


class VBox(_Lean, ipywidgets.VBox): ...  # type: ignore[misc]


class HTML(_Lean, ipywidgets.HTML): ...  # type: ignore[misc]


class Button(_Lean, ipywidgets.Button): ...  # type: ignore[misc]


class Checkbox(_Lean, ipywidgets.Checkbox): ...  # type: ignore[misc]


class Combobox(_Lean, ipywidgets.Combobox): ...  # type: ignore[misc]


class Dropdown(_Lean, ipywidgets.Dropdown): ...  # type: ignore[misc]


class FileUpload(_Lean, ipywidgets.FileUpload): ...  # type: ignore[misc]


class FloatLogSlider(_Lean, ipywidgets.FloatLogSlider): ...  # type: ignore[misc]


class FloatSlider(_Lean, ipywidgets.FloatSlider): ...  # type: ignore[misc]


class FloatText(_Lean, ipywidgets.FloatText): ...  # type: ignore[misc]


class IntText(_Lean, ipywidgets.IntText): ...  # type: ignore[misc]


class SelectMultiple(_Lean, ipywidgets.SelectMultiple): ...  # type: ignore[misc]


class Text(_Lean, ipywidgets.Text): ...  # type: ignore[misc]


class ToggleButton(_Lean, ipywidgets.ToggleButton): ...  # type: ignore[misc]


class ToggleButtons(_Lean, ipywidgets.ToggleButtons): ...  # type: ignore[misc]
