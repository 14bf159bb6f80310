"""The controls of ipywidgets as the panel uses them: those that look alike share one layout and one style.

A kernel announces every object with a message of its own, and a browser takes them in one after another; where one of them is lost, it
draws none of the others. A control is therefore announced when something that is displayed refers to it, and not when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import ipywidgets

_LOOKS = ("layout", "style")
_made: dict[tuple[Any, ...], Any] = {}
_keys: WeakKeyDictionary[Any, tuple[Any, ...]] = WeakKeyDictionary()


def _shared(kind: Any, **values: Any) -> Any:
    """The one object of this kind with these values; a new one after the old was closed (``Widget.close_all``)."""
    key = (kind, *sorted(values.items()))
    if key not in _made or _made[key].comm is None:
        _made[key] = kind(**values)
        _keys[_made[key]] = key
    return _made[key]


def _take_shared(widget: Any) -> None:
    """Give a widget that is not announced the layout and the style that are shared now, in the place of earlier ones."""
    for name in filter(widget.has_trait, _LOOKS):
        key = _keys.get(getattr(widget, name))
        if key:
            setattr(widget, name, _shared(key[0], **dict(key[1:])))


def layout(**values: str) -> Any:
    """The layout with these values, which may be shared: nothing may be changed in it."""
    return _shared(ipywidgets.Layout, **values)


def show(widget: Any, yes: object = True) -> None:
    """Draw it or leave it out."""
    widget.layout = layout() if yes else layout(display="none")


def keep_place(widget: Any, yes: object) -> None:
    """Draw it, or leave its place empty."""
    widget.layout = layout() if yes else layout(visibility="hidden")


def offer(control: Any, options: Iterable[Any], value: Any) -> None:
    """Give a control other options, and choose one, in one message: a browser that had them in two could undo what a person
    chose between them.
    """
    with control.hold_sync():
        control.options = options
        control.value = value


def close(widget: Any) -> None:
    """Close a widget and all below it. Each is taken out of its parent first.

    A page that is reloaded asks every widget that is not closed for its state, and a parent with a closed child has none: then the
    page shows no widget at all.
    """
    children = tuple(getattr(widget, "children", ()))
    if children:
        widget.children = ()
    for child in children:
        close(child)
    widget.close()


def renew(*several: Any) -> None:
    """Take back what was announced of these widgets and of all below them: the next display announces it under other names.

    The same holds for the layouts and styles that widgets share, of which any may be what was lost.
    """
    _made.clear()
    for widget in several:
        _take_back(widget)


def _take_back(widget: Any) -> None:
    for child in getattr(widget, "children", ()):
        _take_back(child)
    if widget.comm is None:
        return
    widget.close()
    del widget._repr_mimebundle_  # which a closed widget has no more
    widget._model_id = None  # noqa: SLF001
    if not isinstance(widget, _Lean):
        _take_shared(widget)
        widget.open()


class _Lean:
    """``css``: names of classes for the style sheet, separated by spaces. A ``style`` may be given by its values."""

    _model_id: str | None
    comm: Any

    def open(self) -> None:
        """Do nothing: ``model_id`` announces the widget."""

    @property
    def model_id(self) -> str:
        """The name under which a browser knows this widget, which is announced first."""
        if self.comm is None:
            _take_shared(self)
            super().open()  # type: ignore[misc]
        return str(self.comm.comm_id)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        _ = self.model_id
        return super()._repr_mimebundle_(**options)  # type: ignore[misc]

    def __init__(self, *args: Any, css: str = "", **given: Any) -> None:
        traits = type(self).class_traits()  # type: ignore[attr-defined]
        for name in filter(traits.__contains__, _LOOKS):
            given[name] = _shared(traits[name].klass, **given.get(name, {}))
        if css:
            given["_dom_classes"] = css.split()
        super().__init__(*args, **given)


def _lean(kind: Any) -> Any:
    return type(kind.__name__, (_Lean, kind), {})


Box = _lean(ipywidgets.Box)
GridBox = _lean(ipywidgets.GridBox)
HBox = _lean(ipywidgets.HBox)
VBox = _lean(ipywidgets.VBox)
HTML = _lean(ipywidgets.HTML)
Button = _lean(ipywidgets.Button)
Checkbox = _lean(ipywidgets.Checkbox)
Combobox = _lean(ipywidgets.Combobox)
Dropdown = _lean(ipywidgets.Dropdown)
Select = _lean(ipywidgets.Select)
FloatLogSlider = _lean(ipywidgets.FloatLogSlider)
FloatSlider = _lean(ipywidgets.FloatSlider)
FloatText = _lean(ipywidgets.FloatText)
IntText = _lean(ipywidgets.IntText)
SelectMultiple = _lean(ipywidgets.SelectMultiple)
Text = _lean(ipywidgets.Text)
ToggleButton = _lean(ipywidgets.ToggleButton)
ToggleButtons = _lean(ipywidgets.ToggleButtons)
