"""What a search is to find, and what it has measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from workbench.records import EngineSpec, split_address
from workbench.settings.experiment import Experiment
from workbench.settings.table import SETTINGS

THROUGHPUT, LATENCY, ENERGY = "throughput", "latency", "energy"
OBJECTIVES = (THROUGHPUT, LATENCY, ENERGY)
SHARE, FEWEST, MEASURE_S = 0.1, 12, 0.3
"""Share of the points that is measured, the fewest points, and seconds for each point, where nothing else is given."""
RACE = "last race"
"""The phase in which the best points take turns."""
GROUPS = ("Model", "Data", "Engines", "Precision", "Measuring", "Accuracy", "Limits")
WITHOUT = (
    "threads",
    "streams",
    "builds",
    "baseline",
    "until",
    "within",
    "max_measure_s",
    "clocks",
    "roofline",
    "layers",
    "protocol",
)
FIELDS = tuple(name for name, setting in SETTINGS.items() if setting.group in GROUPS and name not in WITHOUT)
"""Settings of an experiment that have an effect on a search."""


def point_s(objective: str, addresses: Iterable[str]) -> float:
    """Seconds for each point, where none are given: for energy on a GPU so many that the counter of the board can be read in each round.

    >>> point_s(ENERGY, ["onnxruntime"]), round(point_s(ENERGY, ["onnxruntime:cuda"]))
    (0.3, 26)
    """
    from workbench import backends
    from workbench.system.energy import LEAST_PERIODS
    from workbench.system.nvml import BoardEnergy

    modes = [split_address(address) for address in addresses]
    if objective != ENERGY or not any(mode in backends.get(name).devices for name, mode, _ in modes):
        return MEASURE_S
    return 1.1 * Experiment().plan.rounds * LEAST_PERIODS * BoardEnergy.period_s


def searched(experiment: Experiment, measure_s: float = MEASURE_S) -> Experiment:
    """The experiment with the settings that have an effect on a search, all others being the defaults; each point is timed for so long."""
    kept = {name: getattr(experiment, name) for name in FIELDS}
    return Experiment(**{**kept, "measure_s": measure_s, "max_measure_s": measure_s})


@dataclass(frozen=True)
class Point:
    """One setting: a variant with its threads and streams, at one batch size."""

    spec: EngineSpec
    batch: int

    @property
    def pair(self) -> tuple[str, str]:
        """Backend and precision, on which accuracy depends."""
        return self.spec.address, self.spec.asked

    @property
    def features(self) -> tuple[str, ...]:
        """Its coordinates, as texts: equal texts are one value."""
        spec = self.spec
        level = "default" if spec.optimization_level is None else str(spec.optimization_level)
        return spec.address, spec.asked, level, str(spec.threads), str(spec.streams), str(self.batch)

    @property
    def name(self) -> str:
        streams = f", {self.spec.streams} streams" if self.spec.streams > 1 else ""
        return f"{self.spec.label} @{self.batch}, {self.spec.threads} thread{'s' * (self.spec.threads > 1)}{streams}"


@dataclass(frozen=True)
class Wanted:
    """The objective and the limits."""

    objective: str = THROUGHPUT
    latency_s: float = math.inf  # of a call, its median
    memory_bytes: float = math.inf  # of the process that runs the engine, at most

    @property
    def energy(self) -> bool:
        """Whether the cost of a call is its energy, and not its time."""
        return self.objective == ENERGY

    def value(self, cost: Any, batch: Any) -> Any:
        """What is maximised: samples per second or per joule, or calls per second where the least latency is wanted; of arrays each.

        Args:
            cost: of a call, in seconds, or in joules where the least energy is wanted.
            batch: samples of a call.
        """
        return 1 / cost if self.objective == LATENCY else batch / cost


class MeasuredPoint(NamedTuple):
    """A point that was measured; ``call_s`` is ``None`` where it could not be."""

    call_s: float | None
    low_s: float | None = None  # of its interval
    high_s: float | None = None
    memory_bytes: int = 0
    problem: str = ""
    reused: bool = False  # an earlier search had measured it
    samples_per_s: float = 0.0
    joules: float | None = None  # of a call; None where no counter was read

    def cost(self, wanted: Wanted) -> float | None:
        """What the objective counts of a call: seconds or joules."""
        return self.joules if wanted.energy else self.call_s

    def holds(self, wanted: Wanted) -> bool:
        """Whether it is within the limits."""
        return (
            self.cost(wanted) is not None
            and self.call_s is not None
            and self.call_s <= wanted.latency_s
            and self.memory_bytes <= wanted.memory_bytes
        )
