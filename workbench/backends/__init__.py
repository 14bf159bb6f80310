"""Engine libraries: a folder for each, and backends of other packages. The folders and the entry points are the registry.

To add a backend to this package, create a folder whose ``backend.py`` has an object ``BACKEND``, of a class derived from
:class:`workbench.backends.base.BaseBackend`, whose ``name`` is the folder's. Import the library only inside ``build``,
``open`` and ``preflight``. To add one from another package, register such an object under the entry point group
``workbench.backends`` (:mod:`workbench.backends.plugins`; ``examples/onnx_reference_backend`` is an example). The panel, the
command line and the contract suite in ``tests/contract.py`` find both. Backends never import each other, and code outside
this package does not name one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from workbench.backends import elsewhere, plugins
from workbench.backends.elsewhere import Elsewhere
from workbench.environments import registry
from workbench.errors import InputError, WorkbenchError
from workbench.protocols import DEFAULT_RANK, Availability, Backend, HasBuildOptions
from workbench.records import CPU, EngineSpec, Model, Precision, split_address
from workbench.system.machine import version_of


@cache
def own() -> tuple[str, ...]:
    """Names of the backends that are part of this package."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg))


@cache
def _plugins() -> plugins.Plugins:
    return plugins.discover(own())


@cache
def names() -> tuple[str, ...]:
    """Names of all backends that can be used, in the order in which they are shown: by rank, this package's first."""
    return tuple(sorted((*own(), *_plugins().backends), key=lambda name: (get(name).rank, name not in own(), name)))


def broken() -> dict[str, str]:
    """Backends of other packages that cannot be used: by name, a sentence with the reason."""
    return _plugins().broken


def get(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        InputError: it does not exist, or its package is broken; the text gives the reason, and lists the existing ones.
    """
    if name in own():
        backend: Backend = importlib.import_module(f"{__name__}.{name}.backend").BACKEND
        return backend
    if name in _plugins().backends:
        return _plugins().backends[name]
    raise _unknown(name)


def _unknown(address: str) -> InputError:
    name, mode, _ = split_address(address)
    choose = f"Choose from: {', '.join((*addresses(), *in_environments()))}."
    if name in broken():
        return InputError(f"{broken()[name]} {choose}")
    if name in names():
        return InputError(f"The backend '{name}' has no mode '{mode}'. {choose}")
    return InputError(
        f"Unknown backend '{name}': it is not part of the workbench, and no installed package provides it. {choose}"
    )


def title(name: str) -> str:
    """The title of a backend; the name itself if the backend is not installed, as for results of another machine."""
    return get(name).title if name in names() else name


def failed(name: str, cause: Exception) -> Availability:
    """The answer for a backend of another package that raised ``cause``; re-raises what is not a fault of that package."""
    if name in own() or isinstance(cause, WorkbenchError):
        raise cause
    return plugins.refusal(cause)


def addresses() -> tuple[str, ...]:
    """Every ``backend`` and ``backend:mode`` that an experiment can have."""
    return tuple(f"{name}:{mode}" if mode else name for name in names() for mode in get(name).modes)


def of(spec: EngineSpec) -> Backend | Elsewhere:
    """Who answers what this variant's library can do: the backend, or the environment in which it lives."""
    return Elsewhere(spec.backend, spec.environment) if spec.environment else get(spec.backend)


def state(address: str) -> Availability:
    """Whether what an address names is ready."""
    name, mode, environment = split_address(address)
    return of(EngineSpec(name, Precision.FP32, mode, environment=environment)).status(mode)


def versions(spec: EngineSpec) -> list[str]:
    """Versions that decide what a build of this variant gives: of its backend's distributions and builders."""
    names_ = (*get(spec.backend).distributions, *get(spec.backend).builders)
    return elsewhere.versions(spec.environment, *names_) if spec.environment else [version_of(name) for name in names_]


def rank(spec: EngineSpec) -> int:
    """The order of preference of a variant as the baseline if none is set: the rank of its backend in the plain mode."""
    return DEFAULT_RANK if spec.mode or spec.backend not in names() else get(spec.backend).rank


def reference(model: Model) -> tuple[str, Precision] | None:
    """The backend whose plain mode represents the source model, and its precision; ``None``: none runs it without conversion.

    A backend whose precision is that in which the model is stored is preferred.
    """
    able = [(name, asked) for name in names() if (asked := get(name).reference_for(model)) is not None]
    return min(able, key=lambda each: each[1] != model.quantized, default=None)


def searching() -> tuple[str, ...]:
    """Names of the backends that can search mixed precision; the first is the default."""
    return tuple(name for name in names() if get(name).searches_mixed_precision)


def packages() -> tuple[str, ...]:
    """The names of the packages whose versions affect what all backends build and refuse, sorted."""
    found = (name for each in map(get, names()) for name in (*each.distributions, *each.builders))
    return tuple(sorted(set(found)))


def device(spec: EngineSpec) -> str:
    """The device of engines of this variant: ``cpu`` or ``cuda:0``."""
    return get(spec.backend).devices.get(spec.mode, CPU)


def modules(spec: EngineSpec) -> list[str]:
    """Modules to import before an engine of this variant is opened, so that the timed opening does not include them."""
    backend = get(spec.backend)
    return [*backend.imports, *backend.mode_imports.get(spec.mode, ())]


def check(address: str, *, here: bool = False) -> None:
    """Raise :class:`InputError` unless ``address`` names a backend, one of its modes, and an environment if any.

    With ``here`` an environment is refused: the caller needs this Python.
    """
    name, mode, environment = split_address(address)
    if (f"{name}:{mode}" if mode else name) not in addresses():
        raise _unknown(address)
    if address.endswith(("@", ":")):
        raise InputError(f"'{address}' ends where a name is missing. Write BACKEND[:MODE][@ENVIRONMENT].")
    if environment and here:
        raise InputError(
            f"This runs in this Python only, and '{address}' names an environment. Leave out '@{environment}'."
        )
    if environment:
        registry.named(environment)


def in_environments() -> tuple[str, ...]:
    """Addresses of what was ready in each environment when it was added."""
    return tuple(f"{address}@{one.name}" for one in registry.known().values() for address in one.ready)


def check_options(asked: Iterable[str]) -> None:
    """Raise :class:`InputError` for a build option that no backend has."""
    known = [name for each in map(get, names()) if isinstance(each, HasBuildOptions) for name in each.build_options]
    for option in asked:
        if not any(option == name or (name.endswith("=") and option.startswith(name)) for name in known):
            raise InputError(f"No backend has the build option '{option}'. Choose from: {', '.join(known)}.")
