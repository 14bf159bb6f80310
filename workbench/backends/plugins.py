"""Backends of other packages: objects that installed packages register under the entry point group ``workbench.backends``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, get_type_hints

from workbench.errors import brief
from workbench.protocols import Availability, Backend, unavailable

GROUP = "workbench.backends"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Plugins:
    """The backends of the installed packages."""

    backends: dict[str, Backend] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """By name: why it cannot be used, as a sentence with the package and what to do."""


def discover(taken: Collection[str]) -> Plugins:
    """Load the backends of other packages; ``taken`` are names that they must not have.

    A broken package does not raise an error: its backend is in ``broken``, and the others are not affected.
    """
    plugins = Plugins()
    points: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=GROUP):
        points.setdefault(point.name, []).append(point)
    for name, same in sorted(points.items()):
        owners = sorted({_package(point) for point in same})
        whose = f"The backend '{name}' of the package {' and of '.join(owners)}"
        if name in taken:
            reason = "has the name of a backend of the workbench itself"
        elif len({point.value for point in same}) > 1:
            reason = "is in several packages at once"
        else:
            backend, reason = _loaded(name, same[0])
            if backend is not None:
                plugins.backends[name] = backend
                continue
        plugins.broken[name] = f"{whose} cannot be used: it {reason}. Update the package, or uninstall it."
    return plugins


def _package(point: metadata.EntryPoint) -> str:
    return f"'{point.dist.name} {point.dist.version}'" if point.dist else f"with the module '{point.module}'"


def _loaded(name: str, point: metadata.EntryPoint) -> tuple[Backend | None, str]:
    """The backend and "", or ``None`` and the reason as the end of a sentence that starts with "it"."""
    if not _NAME.fullmatch(name):
        return None, "has a name that is not made of lower-case letters, digits and underscores"
    try:
        backend: Any = point.load()
    except (Exception, SystemExit) as cause:
        return None, f"cannot be imported ({_said(cause)})"
    if isinstance(backend, type):
        return None, f"names the class {backend.__name__}, not an object of it"
    if missing := sorted(member for member in _members() if not hasattr(backend, member)):
        return None, f"lacks {', '.join(missing)}; workbench.backends.base.BaseBackend has defaults for most members"
    if backend.name != name:
        return None, f"has the name '{backend.name}', but its entry point is '{name}'"
    if "" not in backend.modes:
        return None, "has no plain mode ('')"
    try:
        for mode in backend.modes:
            backend.status(mode)
    except Exception as cause:
        return None, f"raises an error in 'status' ({_said(cause)})"
    return backend, ""


def _said(cause: BaseException) -> str:
    return f"{type(cause).__name__}: {brief(cause, 200).rstrip('.')}"


def refusal(cause: Exception) -> Availability:
    """The answer for a variant whose backend raised ``cause`` in ``supports`` or ``measures``."""
    return unavailable(
        f"the backend raised an error when its support for this variant was checked ({_said(cause)})",
        "update the package that provides it",
    )


def _members() -> set[str]:
    """Names of the members of the contract."""
    methods = {name for name in vars(Backend) if callable(getattr(Backend, name)) and not name.startswith("_")}
    return methods | set(get_type_hints(Backend))
