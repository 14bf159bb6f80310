"""Declaration of a setting as a field of a dataclass, so that type checkers know the type of its value."""

from __future__ import annotations

from dataclasses import field, fields, replace
from typing import Any

from workbench.settings.kinds import Setting

KEY = "setting"
"""Key of a field's :class:`Setting` in the field's metadata."""


def declared(setting: Setting) -> Any:
    """A dataclass field for this setting."""
    return field(default=setting.default, metadata={KEY: setting})


def table_of(kind: type) -> dict[str, Setting]:
    """The settings of a class by name, in the order of its bases, with their names, groups and labels filled in.

    A class names its group with a class variable ``GROUP``.
    """
    by_name = {each.name: each.metadata[KEY] for each in fields(kind) if KEY in each.metadata}
    found: dict[str, Setting] = {}
    for base in kind.__mro__:
        group = vars(base).get("GROUP", "")
        for name in vars(base).get("__annotations__", {}):
            if name in by_name:
                label = by_name[name].label or name.replace("_", " ").capitalize()
                found[name] = replace(by_name[name], name=name, group=group, label=label)
    return found
