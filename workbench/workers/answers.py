"""What an environment answers: ``python -m workbench.workers.answers`` under its interpreter reads questions and writes answers, a line
of JSON each, until its input is closed. Nothing heavy is imported.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from workbench import backends
from workbench.environments.start import NEEDS, TOOLS
from workbench.protocols import Availability, Profiler, unavailable
from workbench.records import EngineSpec, Model, Region, from_json, to_json
from workbench.system.machine import version_of


def facts() -> dict[str, Any]:
    """What is installed, and which backends are ready."""
    states = {address: _state(address) for address in backends.addresses()}
    every = [backends.get(name) for name in backends.names()]
    names = {name for each in every for name in (*each.distributions, *getattr(each, "build_imports", ()))}
    return {
        "version": platform.python_version(),
        "architecture": platform.machine(),
        "packages": {name: version for name in sorted({*names, *NEEDS, *TOOLS}) if (version := version_of(name))},
        "ready": [address for address, able in states.items() if able],
        "unready": {address: able.reason for address, able in states.items() if not able},
    }


def _state(address: str) -> Availability:
    name, _, mode = address.partition(":")
    backend = backends.get(name)
    able = backend.status(mode)
    packages = (*backend.imports, *getattr(backend, "build_imports", ()))
    missing = [package for package in packages if find_spec(package.partition(".")[0]) is None]
    return able if not able or not missing else unavailable(f"the package '{missing[0]}' is not installed")


def supports(spec: Any, model: Any) -> Availability:
    what = from_json(EngineSpec, spec)
    return backends.get(what.backend).supports(what, from_json(Model, model))


def measures(spec: Any, region: str) -> Availability:
    what = from_json(EngineSpec, spec)
    return backends.get(what.backend).measures(what, Region(region))


def profiles(spec: Any) -> Availability:
    what = from_json(EngineSpec, spec)
    backend = backends.get(what.backend)
    return backend.profiles(what) if isinstance(backend, Profiler) else Availability(ok=False, reason="has no profiler")


QUESTIONS: dict[str, Callable[..., Any]] = {each.__name__: each for each in (facts, supports, measures, profiles)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is not an answer
    for line in sys.stdin:
        asked = json.loads(line)
        found = QUESTIONS[asked.pop("ask")](**asked)
        print(json.dumps({"answer": found if isinstance(found, dict) else to_json(found)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
