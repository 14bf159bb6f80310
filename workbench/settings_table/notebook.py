"""The parameters cell of a notebook, as papermill reads and lists it, and parameters that a notebook does not have."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from workbench.errors import InputError
from workbench.settings_table.table import RUN_SETTINGS, SETTINGS

INJECTED = "# Parameters"
"""The first line of the cell that papermill puts behind the parameters cell."""
UNREADABLE = "=#"
"""Characters at which papermill's reader of a parameters cell stops."""


def parameters_cell(values: Mapping[str, Any] | None = None, only: Iterable[str] = ()) -> str:
    """The source of a parameters cell: ``name: type = value  # help`` for every setting, or for those in ``only``.

    ``values`` replace defaults.
    """
    known, chosen = SETTINGS | RUN_SETTINGS, set(only)
    lines = []
    for name, setting in known.items():
        if chosen and name not in chosen:
            continue
        value = (values or {}).get(name, setting.parameter(setting.default))
        help_ = setting.described(example=not set(UNREADABLE) & set(setting.example))
        lines.append(f"{name}: {setting.annotation} = {_literal(value)}  # {help_}")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A Python literal with double quotes, as the formatter of this repository writes it."""
    text = repr(value)
    if isinstance(value, str) and '"' not in value and text.startswith("'") and "\\" not in text:
        return f'"{value}"'
    return text


def check_injected(cells: Iterable[str]) -> None:
    """Refuse a parameter that papermill was given and that the notebook does not have; ``cells`` are those that were run.

    Raises:
        InputError: with the names that come closest to it.
    """
    for source in cells:
        if source.lstrip().startswith(INJECTED):
            for name in _assigned(source):
                check_name(name)


def check_name(name: str) -> None:
    """Is there such a setting?

    Raises:
        InputError: no; with the names that come closest to it.
    """
    known = [*SETTINGS, *RUN_SETTINGS]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Choose from: {', '.join(known)}."
        raise InputError(f"There is no parameter '{name}'. {hint}")


def _assigned(source: str) -> list[str]:
    """The names that a cell assigns to at its top level."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    found: list[str] = []
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found += [target.id for target in targets if isinstance(target, ast.Name)]
    return found
