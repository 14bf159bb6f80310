"""How long builds took here before: what the engines in the store tell, and nothing where they tell nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workbench.records import EngineSpec, from_json
from workbench.store import MANIFEST, Store

Kind = tuple[str, str]
"""A backend with its mode, and a precision with the way to it."""


class Estimate(NamedTuple):
    """Seconds for those variants of whose kind there were builds; how many that is of how many, and from how many builds."""

    build_s: float
    known: int
    variants: int
    builds: int


class History:
    """Durations of the builds in a store, by kind. Engines never change: each is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, tuple[Kind, float] | None] = {}

    def durations(self) -> dict[Kind, list[float]]:
        """Seconds of every build in the store."""
        found: dict[Kind, list[float]] = {}
        for folder in (self._store.root / "engine").glob("[0-9a-f]*"):
            if folder.name not in self._read:
                self._read[folder.name] = _facts(folder / MANIFEST)
            if known := self._read[folder.name]:
                found.setdefault(known[0], []).append(known[1])
        return found

    def estimate(self, to_build: Iterable[EngineSpec]) -> Estimate:
        """For these variants, each by the median of earlier builds of its kind, of whatever model."""
        durations = self.durations()
        specs = set(to_build)
        known = [durations[kind_of(spec)] for spec in specs if kind_of(spec) in durations]
        builds = {kind_of(spec): len(durations[kind_of(spec)]) for spec in specs if kind_of(spec) in durations}
        return Estimate(sum(map(statistics.median, known)), len(known), len(specs), sum(builds.values()))


def kind_of(spec: EngineSpec) -> Kind:
    return spec.backend_and_mode, spec.asked


def _facts(path: Path) -> tuple[Kind, float] | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
        return kind_of(from_json(EngineSpec, facts["spec"])), float(facts["build_s"])
    except Exception:  # what cannot be read, or is of another version, tells nothing
        return None
