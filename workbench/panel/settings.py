"""The panel's controls for the settings of an experiment, made from the table of settings."""

from __future__ import annotations

from typing import Any

from workbench.panel import widgets
from workbench.panel.checks import labelled
from workbench.panel.fields import YES_NO, Chips, field
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import Choice, Integer, Integers, Number, Setting, YesNo
from workbench.settings.table import SETTINGS

SEPARATE = ("model", "data", "backends", "precisions")
"""Settings whose controls are more than one field: the form makes them."""
COMBOBOXES = ("signature",)
"""Texts for which the panel finds suggestions while it is used."""
DROPDOWNS = ("baseline",)
"""Texts of which the panel knows all values."""


def settings(experiment: Experiment) -> dict[str, Any]:
    """One control per remaining setting, under its name."""
    return {
        name: control(setting, getattr(experiment, name)) for name, setting in SETTINGS.items() if name not in SEPARATE
    }


def tip(setting: Setting) -> str:
    """The help as the panel writes it below the control."""
    text = setting.help[:1].upper() + setting.help[1:]
    none = setting.word(setting.default[0]) if isinstance(setting, Integers) else setting.none
    return labelled(f"{text}; {none}: {setting.empty}" if setting.empty else text)


def held(setting: Setting, value: Any) -> Any:
    """A value of an experiment as the setting's control holds it."""
    if _chips(setting):
        return list(value)
    return setting.parameter(value)


def control(setting: Setting, value: Any) -> Any:
    """The control that suits the setting's kind."""
    common = (setting.label, tip(setting), held(setting, value))
    if isinstance(setting, Integers) and _chips(setting):
        return Chips(setting, common[1], value)
    if isinstance(setting, YesNo):
        return field(widgets.Dropdown, *common, options=YES_NO)
    if isinstance(setting, Choice):
        none = [] if setting.default else [(setting.empty, "")]
        return field(widgets.Dropdown, *common, options=[*none, *((each, each) for each in setting.choices)])
    if setting.name in DROPDOWNS:
        chosen = [(value, value)] if value else []
        return field(widgets.Dropdown, *common, options=[("automatic", ""), *chosen])
    if isinstance(setting, Integer):
        return field(widgets.IntText, *common, continuous_update=True)
    if isinstance(setting, Number):
        return field(widgets.FloatText, *common, continuous_update=True)
    return _text(setting, common)


def _text(setting: Setting, common: tuple[str, str, Any]) -> Any:
    if setting.suggestions or setting.name in COMBOBOXES:
        loads = setting.name in COMBOBOXES  # the model is read with it: not at every key
        return field(widgets.Combobox, *common, options=setting.suggestions, continuous_update=not loads)
    placeholder = f"such as {setting.example}" if setting.example else setting.empty
    return field(widgets.Text, *common, placeholder=placeholder)


def _chips(setting: Setting) -> bool:
    return isinstance(setting, Integers) and bool(setting.usual)
