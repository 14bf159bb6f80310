"""The backends that are ready on this machine, as ``workbench doctor`` lists them."""

from __future__ import annotations

from typing import NamedTuple

from workbench import backends
from workbench.protocols import Availability, unavailable
from workbench.records import EngineSpec, Precision, Region, split_address
from workbench.system.machine import version_of


class BackendState(NamedTuple):
    """One line of the list."""

    name: str  # the address, or the name of a broken plug-in
    title: str
    able: Availability
    not_run: str = ""  # why engines are built, but not run here


def states() -> list[BackendState]:
    """Every backend, and those of its modes that need a GPU; then those of environments, and the broken backends of other packages."""
    found = []
    for address in backends.addresses():
        name, _, mode = address.partition(":")
        backend = backends.get(name)
        if mode and mode not in backend.devices:
            continue  # its requirements are those of the plain mode
        found.append(_state(address, f"{backend.title} {mode}".strip()))
    for address in backends.in_environments():
        name, mode, environment = split_address(address)
        title = " ".join(filter(None, [backends.get(name).title, mode, f"@{environment}"]))
        found.append(_state(address, title))
    return found + [BackendState(name, name, unavailable(reason)) for name, reason in backends.broken().items()]


def _state(address: str, title: str) -> BackendState:
    name, mode, environment = split_address(address)
    spec = EngineSpec(name, Precision.FP32, mode, environment=environment)
    able = backends.state(address)
    return BackendState(
        address, title, able, backends.of(spec).measures(spec, Region.HOST_TO_HOST).reason if able else ""
    )


def problems() -> list[Availability]:
    """The faults of installed libraries."""
    found = (backends.get(name).problem() for name in backends.names())
    return [each for each in found if not each]


def libraries() -> list[str]:
    """The installed packages of each backend, or its first package if none is installed."""
    found: dict[str, None] = {}
    for name in backends.names():
        packages = backends.get(name).distributions
        found |= dict.fromkeys([each for each in packages if version_of(each)] or packages[:1])
    return list(found)
