"""The parameters cell of a notebook for papermill, and a check for unknown parameters."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from workbench.errors import InputError
from workbench.settings.table import RUN_SETTINGS, SETTINGS

INJECTED = "# Parameters"
"""The first line of the cell that papermill inserts after the parameters cell."""
FIRST_LINE = "# The settings with their defaults; papermill -p NAME VALUE replaces them"
"""JupyterLab shows this line of the folded cell, and makes the page as wide as it is."""
UNREADABLE = "=#"
"""Characters at which papermill's reader of a parameters cell stops."""


def parameters_cell(values: Mapping[str, Any] | None = None, only: Iterable[str] = ()) -> str:
    """The source of a parameters cell: a comment, and ``name: type = value  # help`` for every setting, or for those in ``only``.

    ``values`` replace defaults.
    """
    known, chosen = SETTINGS | RUN_SETTINGS, set(only)
    lines = [FIRST_LINE]
    for name, setting in known.items():
        if chosen and name not in chosen:
            continue
        value = (values or {}).get(name, setting.parameter(setting.default))
        help_ = setting.described(example=not set(UNREADABLE) & set(setting.example))
        lines.append(f"{name}: {setting.annotation} = {_literal(value)}  # {help_}")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A Python literal with double quotes, as this repository's formatter writes it."""
    text = repr(value)
    if isinstance(value, str) and '"' not in value and text.startswith("'") and "\\" not in text:
        return f'"{value}"'
    return text


def check_injected(cells: Iterable[str]) -> None:
    """Refuse a parameter that was given to papermill and is not a setting; ``cells`` are the sources of the executed cells.

    Raises:
        InputError: the message has the closest names.
    """
    for source in cells:
        if source.lstrip().startswith(INJECTED):
            for name in _assigned(source):
                check_name(name)


def check_name(name: str) -> None:
    """Check that a setting exists.

    Raises:
        InputError: it does not; the message has the closest names.
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
