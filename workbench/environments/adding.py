"""Adding an environment, and looking whether it is still as it was added."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from workbench.environments import registry
from workbench.environments.asking import UnusableError, ask, check_interpreter
from workbench.environments.registry import Environment
from workbench.errors import InputError


def add(name: str, python: str | Path) -> Environment:
    """Probe an interpreter and keep it under ``name``.

    Raises:
        InputError: the name cannot be used, or the interpreter cannot run workers; the text says what to do.
    """
    registry.check_name(name)
    place = os.path.abspath(Path(python).expanduser())  # noqa: PTH100 - links are kept: a venv's python is one
    check_interpreter(place)
    added = Environment(name, place, "", "", added_at=datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        found = ask(added, "facts")
    except UnusableError as error:
        raise InputError(f"The environment '{name}' cannot be used: {error.message}.") from error
    added = replace(added, **found | {"ready": tuple(found["ready"])})
    registry.keep(added)
    return added


def problem(environment: Environment) -> str:
    """Why an environment cannot be used now as it was added, in a few words; "" where it can."""
    try:
        now = ask(environment, "facts")
    except UnusableError as error:
        return error.message
    changed = environment.changed(now["packages"])
    if now["version"] != environment.version:
        changed.insert(0, f"Python was {environment.version} and is {now['version']}")
    return f"it has changed since it was added: {', '.join(changed)}" if changed else ""
