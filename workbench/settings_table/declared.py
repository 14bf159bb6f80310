"""How a setting is declared: as a field of a dataclass, so that its type is known where the value is read."""

from __future__ import annotations

from dataclasses import field, fields, replace
from typing import Any

from workbench.settings_table.kinds import Setting

KEY = "setting"
"""In a field's metadata: its :class:`Setting`."""


def declared(setting: Setting) -> Any:
    """The field of a dataclass that this setting is."""
    return field(default=setting.default, metadata={KEY: setting})


def table_of(kind: type) -> dict[str, Setting]:
    """The settings of a class by name, class by class in the order of its bases, each with its name and its group.

    A class names its group with a class variable ``GROUP``.
    """
    by_name = {each.name: each.metadata[KEY] for each in fields(kind) if KEY in each.metadata}
    found: dict[str, Setting] = {}
    for base in kind.__mro__:
        group = vars(base).get("GROUP", "")
        for name in vars(base).get("__annotations__", {}):
            if name in by_name:
                found[name] = replace(by_name[name], name=name, group=group)
    return found
