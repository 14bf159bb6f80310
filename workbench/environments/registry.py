"""Environments by name: other Python interpreters with their own libraries, in which engines are built and run.

They are kept in the user's configuration folder, as ``environments.json`` beside the signing key: a run names an environment, and the
name stands for the same interpreter in every store. What was found in it when it was added is kept too, so that a library that was
changed since then is noticed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import InputError, StoreError, writing
from workbench.records import from_json, to_json
from workbench.store.keys import config_folder

FILE = "environments.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True)
class Environment:
    """One interpreter and what was found in it."""

    name: str
    python: str  # the interpreter, or a program that behaves as one
    version: str  # Python's
    architecture: str  # as platform.machine() writes it
    packages: dict[str, str] = field(default_factory=dict)  # version by distribution
    ready: tuple[str, ...] = ()  # addresses that it can build and run
    unready: dict[str, str] = field(default_factory=dict)  # the others, and why
    added_at: str = ""  # UTC, ISO 8601

    def changed(self, now: Mapping[str, str]) -> list[str]:
        """The packages whose versions changed since it was added, as text."""
        return [
            f"{name} was {self.packages.get(name) or 'absent'} and is {now.get(name) or 'absent'}"
            for name in sorted({*self.packages, *now})
            if self.packages.get(name, "") != now.get(name, "")
        ]


def known() -> dict[str, Environment]:
    """All environments by name, in the order in which they were added.

    Raises:
        StoreError: the file cannot be read.
    """
    place = config_folder() / FILE
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return {name: from_json(Environment, one) for name, one in found.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except Exception as cause:
        raise StoreError(
            f"The list of environments in {place} cannot be read. Remove the file, and add them again."
        ) from cause


def named(name: str) -> Environment:
    """The environment of this name.

    Raises:
        InputError: it does not exist; the text lists those that do.
    """
    found = known()
    if name not in found:
        others = f"Choose from: {', '.join(found)}, or add it" if found else "Add it"
        raise InputError(
            f"There is no environment '{name}'. {others}: workbench environment add {name} /path/to/python"
        )
    return found[name]


def that_has(package: str) -> Environment | None:
    """The environment that was added first of those in which a package is installed; one whose interpreter is gone only where no other is."""
    found = [each for each in known().values() if package in each.packages]
    return next((each for each in found if os.access(each.python, os.X_OK)), found[0] if found else None)


def check_name(name: str) -> None:
    """Raise :class:`InputError` unless ``name`` can stand in an address such as ``onnxruntime:cuda@name``."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"An environment's name is of small letters, digits and . _ -, and begins with a letter or digit; found '{name}'."
        )


def keep(environment: Environment) -> None:
    """Add an environment, or replace the one of its name."""
    _write({**known(), environment.name: environment})


def remove(name: str) -> None:
    """Forget an environment; its interpreter is not touched.

    Raises:
        InputError: no environment has this name.
    """
    named(name)
    _write({other: one for other, one in known().items() if other != name})


def _write(environments: Mapping[str, Environment]) -> None:
    place = config_folder() / FILE
    with writing(place, "variable XDG_CONFIG_HOME"):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_suffix(".part")
        text = json.dumps({name: to_json(one) for name, one in environments.items()}, indent=1)
        draft.write_text(text + "\n", encoding="utf-8")
        Path(draft).replace(place)
