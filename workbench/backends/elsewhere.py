"""What a backend can do in another environment: the questions that depend on installed libraries go to that environment's Python."""

from __future__ import annotations

from workbench.environments import adding, registry
from workbench.environments.asking import UnusableError, ask
from workbench.errors import InputError
from workbench.protocols import AVAILABLE, Availability, unavailable
from workbench.records import EngineSpec, Model, Region, from_json, to_json


class Elsewhere:
    """The part of a backend's contract that the other environment answers."""

    def __init__(self, name: str, environment: str) -> None:
        self._name, self._environment = name, environment

    def status(self, mode: str = "") -> Availability:
        """Whether the environment is as it was added, and the backend is ready there."""
        try:
            environment = registry.named(self._environment)
        except InputError as error:
            return unavailable(error.message.rstrip("."))
        again = f"workbench environment add {environment.name} {environment.python}"
        if problem := adding.problem(environment):
            return unavailable(f"the environment '{environment.name}' cannot be used: {problem}", again)
        address = f"{self._name}:{mode}" if mode else self._name
        if address not in environment.ready:
            reason = environment.unready.get(address, "it does not have this backend")
            return unavailable(f"in the environment '{environment.name}': {reason}", f"install it there, and {again}")
        return AVAILABLE

    def supports(self, spec: EngineSpec, model: Model) -> Availability:
        return self._asked("supports", spec, model=to_json(model))

    def measures(self, spec: EngineSpec, region: Region) -> Availability:
        return self._asked("measures", spec, region=str(region))

    def profiles(self, spec: EngineSpec) -> Availability:
        return self._asked("profiles", spec)

    def _asked(self, what: str, spec: EngineSpec, **more: object) -> Availability:
        try:
            environment = registry.named(self._environment)
            return from_json(Availability, ask(environment, what, spec=to_json(spec), **more))
        except (InputError, UnusableError) as error:
            return unavailable(f"the environment '{self._environment}' cannot be used: {error.message.rstrip('.')}")


def versions(environment: str, *distributions: str) -> list[str]:
    """Of an environment as it was added: Python, and the version of each of these distributions, "" for those that are absent."""
    found = registry.named(environment)
    return [found.version, *(found.packages.get(name, "") for name in distributions)]
