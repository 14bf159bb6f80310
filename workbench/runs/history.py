"""How long builds and other steps took here before, as the store has it; nothing where it has nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workbench.plan.step import Kind as Kinds
from workbench.plan.step import Step
from workbench.records import EngineSpec, from_json
from workbench.store import MANIFEST, Store, parsed

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
        self._steps: dict[str, dict[str, list[float]]] = {}  # by artefact and step

    def durations(self) -> dict[Kind, list[float]]:
        """Seconds of every build in the store."""
        found: dict[Kind, list[float]] = {}
        for folder in (self._store.root / "engine").glob("[0-9a-f]*"):
            if folder.name not in self._read:
                self._read[folder.name] = _facts(folder / MANIFEST)
            if known := self._read[folder.name]:
                found.setdefault(known[0], []).append(known[1])
        return found

    def seconds(self, step: Step) -> float | None:
        """The median of what steps of this kind took in this store, of whatever model; ``None`` where there were none.

        Builds are distinguished by backend and precision. Measurements take what the settings say, which is not looked up here.
        """
        if step.kind == Kinds.BUILD:
            found = self.durations().get(kind_of(step.spec), [])
        else:
            if step.artefact not in self._steps:
                self._steps[step.artefact] = _made_in(self._store.root / step.artefact)
            took, names = self._steps[step.artefact], {step.kind, step.artefact}
            found = [seconds for name in names for seconds in took.get(name, [])]
        return statistics.median(found) if found else None

    def sum_s(self, steps: Iterable[Step]) -> float | None:
        """What these steps took before, in seconds, one after another; ``None`` where that is not known of all of them."""
        took = [self.seconds(step) for step in steps]
        known = [seconds for seconds in took if seconds is not None]
        return sum(known) if len(known) == len(took) else None

    def estimate(self, to_build: Iterable[EngineSpec]) -> Estimate:
        """For these variants, each by the median of earlier builds of its kind, of whatever model."""
        durations = self.durations()
        specs = set(to_build)
        known = [durations[kind_of(spec)] for spec in specs if kind_of(spec) in durations]
        builds = {kind_of(spec): len(durations[kind_of(spec)]) for spec in specs if kind_of(spec) in durations}
        return Estimate(sum(map(statistics.median, known)), len(known), len(specs), sum(builds.values()))


def kind_of(spec: EngineSpec) -> Kind:
    return spec.address, spec.asked


def _made_in(folder: Path) -> dict[str, list[float]]:
    """Seconds by step of the artefacts in a folder of the store, as their manifests have it."""
    found: dict[str, list[float]] = {}
    for path in folder.glob(f"[0-9a-f]*/{MANIFEST}"):
        step, seconds = _made(path)
        if step:
            found.setdefault(step, []).append(seconds)
    return found


def _made(path: Path) -> tuple[str, float]:
    """The step that made an artefact and its seconds; "" where its manifest cannot be read or is of another version."""
    try:
        made = parsed(path)["made"]
        seconds = float(made["s"])
    except Exception:
        return "", 0.0
    return (str(made["step"]), seconds) if 0 <= seconds < math.inf else ("", 0.0)


def _facts(path: Path) -> tuple[Kind, float] | None:
    try:
        facts = parsed(path)["facts"]
        return kind_of(from_json(EngineSpec, facts["spec"])), float(facts["build_s"])
    except Exception:  # a file that cannot be read, or is of another version, is left out
        return None
