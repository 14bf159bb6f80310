"""Engine libraries, one file each; the folder is the registry.

To add one, put ``<name>.py`` here with an object ``BACKEND`` that fulfils :class:`workbench.protocols.Backend`, and
whose ``name`` is the file's. Import the library only inside ``build`` and ``open``. The panel, the command line and
the contract suite in ``tests/contract.py`` find it by themselves. Backends never import each other.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from workbench.errors import InputError
from workbench.protocols import Backend, HasBuildOptions
from workbench.records import CPU, EngineSpec


@cache
def names() -> tuple[str, ...]:
    """Names of all backends, in the order in which they are shown: TensorFlow, the baseline, first."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(found, key=lambda name: name != "tensorflow"))


def get(name: str) -> Backend:
    """The backend of this name.

    Raises:
        InputError: there is none; the text lists those that exist.
    """
    if name not in names():
        raise InputError(f"Unknown backend '{name}'. Choose from: {', '.join(addresses())}.")
    backend: Backend = importlib.import_module(f"{__name__}.{name}").BACKEND
    return backend


def addresses() -> tuple[str, ...]:
    """Every ``backend`` and ``backend:mode`` that an experiment can name."""
    return tuple(f"{name}:{mode}" if mode else name for name in names() for mode in get(name).modes)


def device(spec: EngineSpec) -> str:
    """Where engines of this variant run: ``cpu`` or ``cuda:0``."""
    return get(spec.backend).devices.get(spec.mode, CPU)


def modules(spec: EngineSpec) -> list[str]:
    """What a worker imports before it opens an engine of this variant, so that the opening is timed without it."""
    backend = get(spec.backend)
    return [*backend.imports, *backend.mode_imports.get(spec.mode, ())]


def check(address: str) -> None:
    """Raise :class:`InputError` unless ``address`` names a backend and one of its modes."""
    if address not in addresses():
        raise InputError(f"Unknown backend '{address}'. Choose from: {', '.join(addresses())}.")


def check_options(asked: Iterable[str]) -> None:
    """Raise :class:`InputError` for a build option that no backend has."""
    known = [name for each in map(get, names()) if isinstance(each, HasBuildOptions) for name in each.build_options]
    for option in asked:
        if not any(option == name or (name.endswith("=") and option.startswith(name)) for name in known):
            raise InputError(f"No backend has the build option '{option}'. Choose from: {', '.join(known)}.")
