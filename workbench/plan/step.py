"""A plan as data: rows, and the keyed steps that lead to their results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from workbench.records import EngineSpec, Result, from_json
from workbench.store import key_of


class Kind(StrEnum):
    """What a step does, with the store's folder for its result."""

    artefact: str

    def __new__(cls, value: str, artefact: str) -> Self:
        kind = str.__new__(cls, value)
        kind._value_, kind.artefact = value, artefact
        return kind

    TRAIN = "train", "demo"
    COPY = "copy", "original"
    READ = "read", "model"
    SAMPLES = "samples", "samples"
    SAVED_MODEL = "convert", "saved_model"
    EXPORT = "export", "onnx"
    REWRITE = "rewrite", "onnx"
    FIX = "fix shapes", "onnx"
    BUILD = "build", "engine"
    EXAMINE = "examine", "examination"
    EVALUATE = "run samples", "outputs"
    SCORE = "score", "accuracy"
    MEASURE = "measure", "timing"
    LOAD = "measure load", "load"
    PEAKS = "measure peaks", "peaks"
    LAYERS = "time layers", "layers"


@dataclass(frozen=True)
class Step:
    """One thing to make. ``arguments`` holds JSON values only, so that another process can carry the step out."""

    kind: Kind
    what: str  # for people: "INT8 for CPUs (minmax calibration)"
    key: str  # of the result in the store; "" where it is not known yet
    needs: tuple[str, ...] = ()  # the ids of steps whose results are read
    arguments: dict[str, Any] = field(default_factory=dict)
    unknown: str = ""  # what the key depends on that is not known yet

    @cached_property
    def id(self) -> str:
        """Names the step within its plan. It does not change when the key becomes known."""
        return f"{self.kind}:{key_of(needs=self.needs, arguments=self.arguments)[:16]}"

    @property
    def artefact(self) -> str:
        """The store's folder for the result."""
        return self.kind.artefact

    @property
    def spec(self) -> EngineSpec:
        """The variant of a step to build an engine."""
        return from_json(EngineSpec, self.arguments["spec"])


@dataclass(frozen=True)
class Plan:
    """What a run is to do: every row, possible or not, and the steps in an order in which each follows what it needs."""

    rows: tuple[Result, ...]
    steps: tuple[Step, ...]

    @cached_property
    def by_id(self) -> dict[str, Step]:
        return {step.id: step for step in self.steps}

    def of(self, *kinds: Kind) -> tuple[Step, ...]:
        """The steps of these kinds."""
        return tuple(step for step in self.steps if step.kind in kinds)

    @cached_property
    def engines(self) -> dict[EngineSpec, Step]:
        """The step that builds each variant."""
        return {step.spec: step for step in self.of(Kind.BUILD)}


def merged(*chains: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of these chains, each once, in their order."""
    return tuple({step.id: step for chain in chains for step in chain}.values())
