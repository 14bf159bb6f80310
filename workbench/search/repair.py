"""Repair of a quantized model: which units must stay in FP32 so that its quality holds, and which of those models is fastest.

Runs in a child process. From several starts (everything in INT8, layers with weights only, one kind of them only) units are
taken out in the order of their damage; how many is found by bisection, which takes quality to rise with every unit left out,
and so every answer is tried, never concluded. What is within the budget is then timed against FP32 in turns; layers that are
slower in INT8 than in FP32 are left out as well; and the winner is scored on samples that no step has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.engines.provenance import attributed, plain, source_graph
from workbench.errors import WorkbenchError
from workbench.models.describe import counted
from workbench.precision.mixed import Unit
from workbench.records import EngineRecord, Precision
from workbench.records.layers import LayerTime
from workbench.search.sensitivity import ALONE, Sensitivity, Study
from workbench.search.trial import Speed, race

MIN_SIZE = 1.3
"""How many times smaller than FP32 the file must be."""
FINALISTS = 5
"""Models that are timed against FP32 at once."""
SLOWER = 1.05
"""A layer that takes so many times as long in INT8 is better left in FP32."""
PROFILED_CALLS = 12


@dataclass(frozen=True)
class Tried:
    """One mixed-precision model, and how it did."""

    name: str  # how it came about, in words
    excluded: tuple[str, ...]  # units left in FP32, of those that could be quantized
    quality: float
    within: bool  # the budget
    size_ratio: float  # FP32's file divided by this one's
    speed: Speed | None = None  # against FP32 on the same backend, in turns
    confirmed: float | None = None  # quality on samples that the search has not seen

    @property
    def told(self) -> str:
        """In one line, for people."""
        parts = [f"{self.name}: quality {self.quality:.4f}", f"{self.size_ratio:.2f} times smaller"]
        if self.speed:
            parts.append(f"×{self.speed.ratio:.2f} [{self.speed.low:.2f}, {self.speed.high:.2f}] {self.speed.word}")
        if self.confirmed is not None:
            parts.append(f"{self.confirmed:.4f} on unseen samples")
        return ", ".join(parts)


@dataclass(frozen=True)
class Repair:
    """What a search found, and everything that it tried on the way."""

    backend: str
    metric: str  # what qualities are
    budget: float  # how far below FP32's a quality may be
    samples: int  # of the search
    unseen: int  # of the confirmation
    fp32_quality: float
    fp32_confirmed: float
    found: Tried | None  # the fastest within the budget; None: there is none, and ``why`` says so
    why: str
    tried: tuple[Tried, ...]
    seconds: float
    keep: tuple[
        str, ...
    ] = ()  # names of the nodes to leave in FP32: what ``Experiment.keep`` takes to make this model again
    sensitivity: Sensitivity | None = None  # what the search went by


class Search:
    """One search; :meth:`run` is the whole of it."""

    def __init__(
        self,
        study: Study,
        *,
        budget: float,
        min_size: float = MIN_SIZE,
        limit_s: float = 600.0,
        say: Callable[[str], None],
    ) -> None:
        self._quantizer, self._bench, self._fp32 = study.quantizer, study.bench, study.fp32
        self._seen, self._unseen = study.seen, study.unseen
        self._feeds = study.seen.samples.feeds(0, study.bench.batch)
        self._budget, self._min_size = budget, min_size
        self._limit_s, self._say = limit_s, say
        self._began = time.monotonic()
        self._tried: dict[frozenset[str], Tried] = {}

    def run(self, found: Sensitivity) -> Repair:
        """Search with what is known of each unit's damage."""
        floor = found.fp32_quality - self._budget
        fp32_confirmed = self._unseen.fp32_quality
        damage = self._damage(found)
        for name, units in self._starts().items():
            self._thin_out(name, units, damage, floor)
        finalists = self._timed(self._ranked())
        finalists = self._timed(self._without_slow(finalists, floor) + finalists)
        winner, why, losses = None, self._nothing(floor), []
        for each in sorted(finalists, key=lambda one: -(one.speed.ratio if one.speed else 0)):
            if each.speed is None or each.speed.word == "slower":
                continue
            confirmed = self._confirmed(each)
            if confirmed.confirmed is not None and confirmed.confirmed >= fp32_confirmed - self._budget:
                winner, why = confirmed, ""
                break
            losses.append(fp32_confirmed - (confirmed.confirmed or 0))
            why = (
                f"Of {counted(len(losses), 'mixed model')} within the budget and not slower none kept it on "
                f"{self._unseen.samples.count} unseen samples: the best of them lost {min(losses):.4f}, where "
                f"{self._budget:.4f} may be lost."
            )
        return Repair(
            backend=self._bench.backend,
            metric=found.metric,
            budget=self._budget,
            samples=found.samples,
            unseen=self._unseen.samples.count,
            fp32_quality=found.fp32_quality,
            fp32_confirmed=fp32_confirmed,
            found=winner,
            why=why,
            tried=tuple(self._tried.values()),
            seconds=time.monotonic() - self._began,
            keep=self._nodes(winner) if winner else (),
            sensitivity=found,
        )

    def _nodes(self, tried: Tried) -> tuple[str, ...]:
        """All nodes of the units that stay in FP32, their activations too."""
        return tuple(name for unit in self._quantizer.units if unit.name in tried.excluded for name in unit.nodes)

    def _starts(self) -> dict[str, list[Unit]]:
        """Where the search begins: sets of units by a name in words."""
        units = list(self._quantizer.units)
        weighted = [unit for unit in units if unit.weighted]
        starts = {"everything": units, "layers with weights": weighted}
        kinds = dict.fromkeys(unit.op for unit in weighted)
        if len(kinds) > 1:
            starts |= {f"{op} only": [unit for unit in weighted if unit.op == op] for op in kinds}
        return starts

    def _damage(self, found: Sensitivity) -> dict[str, float]:
        """For each unit how much it should be spared, the largest first: the noise that it makes alone, in negative decibels.
        A unit that was not tried alone has that of its kind; one without either comes last.
        """
        kinds = {each.what: each.sqnr_db for each in found.kinds if each.way == ALONE}
        alone = {each.what: each.sqnr_db for each in found.units if each.way == ALONE}
        noise = {unit.name: alone.get(unit.name, kinds.get(unit.op)) for unit in self._quantizer.units}
        return {name: -1000.0 if value is None else -value for name, value in noise.items()}

    def _thin_out(self, name: str, units: list[Unit], damage: Mapping[str, float], floor: float) -> None:
        """Leave out as few of the worst units as bring the quality within the budget, found by bisection."""
        order = sorted(units, key=lambda unit: -damage[unit.name])
        if self._try(name, units, floor).within:
            return
        low, high = 0, len(order)  # out of the budget without so few; within it without so many (nothing left is FP32)
        while high - low > 1 and not self._late():
            middle = (low + high) // 2
            if self._try(f"{name}, without the {middle} most sensitive", order[middle:], floor).within:
                high = middle
            else:
                low = middle

    def _try(self, name: str, units: Sequence[Unit], floor: float) -> Tried:
        key = frozenset(unit.name for unit in units)
        if key not in self._tried:
            self._say(name)
            every = [unit.name for unit in self._quantizer.units]
            excluded = tuple(unit for unit in every if unit not in key)
            try:
                outcome = self._seen.tried(units)
                ratio = self._fp32.size_bytes / outcome.size_bytes
                found = Tried(name, excluded, outcome.quality, outcome.quality >= floor, ratio)
            except WorkbenchError as error:
                found = Tried(f"{name} ({error.message})", excluded, -1.0, within=False, size_ratio=0.0)
            self._tried[key] = found
        return self._tried[key]

    def _late(self) -> bool:
        return time.monotonic() - self._began > self._limit_s

    def _ranked(self) -> list[Tried]:
        """Those within the budget and small enough, with most in INT8 first."""
        good = [each for each in self._tried.values() if each.within and each.size_ratio >= self._min_size]
        return sorted(good, key=lambda each: len(each.excluded))[:FINALISTS]

    def _units(self, tried: Tried) -> list[Unit]:
        return [unit for unit in self._quantizer.units if unit.name not in tried.excluded]

    def _timed(self, models: list[Tried]) -> list[Tried]:
        """The same models with their speed against FP32, all in turns."""
        if not models:
            return []
        models = list({each.excluded: each for each in models}.values())
        self._say(f"timing {len(models)} models and FP32 in turns")
        records = [self._built(each, f"final-{number}") for number, each in enumerate(models)]
        speeds = race(self._bench, (self._fp32, *records), self._feeds)
        timed = [replace(each, speed=speed) for each, speed in zip(models, speeds[1:], strict=True)]
        for each in timed:
            self._keep(each)
        return timed

    def _keep(self, each: Tried) -> None:
        self._tried[frozenset(unit.name for unit in self._units(each))] = each

    def _built(self, each: Tried, name: str) -> EngineRecord:
        path = self._quantizer.write(self._bench.folder / f"{name}.onnx", self._units(each))
        return self._bench.built(path, Precision.INT8, name)

    def _without_slow(self, models: list[Tried], floor: float) -> list[Tried]:
        """The fastest model again, without the units that its backend's own profiler shows to be slower in INT8."""
        fastest = max(models, key=lambda each: each.speed.ratio if each.speed else 0, default=None)
        if fastest is None or self._late():
            return []
        slow = self._slow_units(fastest)
        made = []
        for share in (1.0, 0.5):
            left_out = {unit.name for unit in slow[: round(len(slow) * share)]}
            if left_out:
                units = [unit for unit in self._units(fastest) if unit.name not in left_out]
                name = f"{fastest.name}, without {len(left_out)} that are slower in INT8"
                made.append(self._try(name, units, floor))
        return [each for each in made if each.within and each.size_ratio >= self._min_size]

    def _slow_units(self, model: Tried) -> list[Unit]:
        """Units in INT8 that take longer than in FP32, conversions beside them included; the worst first."""
        fp32 = self._layer_seconds(self._fp32, self._quantizer.prepared)
        path = self._bench.folder / "slow.onnx"
        self._quantizer.write(path, self._units(model))
        mixed = self._layer_seconds(self._bench.built(path, Precision.INT8, "slow"), path)
        lost = []
        for unit in self._units(model):
            before = sum(fp32.get(plain(name), 0.0) for name in unit.nodes)
            after = sum(mixed.get(plain(name), 0.0) for name in unit.nodes)
            if before and after > SLOWER * before:
                lost.append((after - before, unit))
        return [unit for _, unit in sorted(lost, key=lambda pair: -pair[0])]

    def _layer_seconds(self, record: EngineRecord, onnx: Any) -> dict[str, float]:
        """Median seconds by plain node name; a layer that stands for several nodes is shared out evenly. Empty where the
        backend tells nothing.
        """
        from workbench.backends import get
        from workbench.protocols import Profiler
        from workbench.timing import benchmark

        backend = get(record.spec.backend)
        if not isinstance(backend, Profiler) or not backend.profiles(record.spec):
            return {}
        with backend.profiled(self._bench.folder / record.key, record) as session:
            call = session.stage(self._feeds)
            benchmark.warm_up(call, 0.1)
            session.begin()
            for _ in range(PROFILED_CALLS):
                call()
                session.collect()
            told = session.end()
        layers, _ = attributed(told.layers, source_graph(onnx), told.words)
        return _shared(layers)

    def _confirmed(self, each: Tried) -> Tried:
        self._say("scoring the fastest on unseen samples")
        confirmed = replace(each, confirmed=self._unseen.tried(self._units(each)).quality)
        self._keep(confirmed)
        return confirmed

    def _nothing(self, floor: float) -> str:
        """Why there is no answer, with the figures that come nearest."""
        good = [each for each in self._tried.values() if each.within]
        if not good:
            best = max(self._tried.values(), key=lambda each: each.quality)
            return f"No model is within the budget (quality {floor:.4f}); nearest: {best.told}."
        small = [each for each in good if each.size_ratio >= self._min_size]
        if not small:
            best = max(good, key=lambda each: each.size_ratio)
            return f"Within the budget no model is {self._min_size} times smaller; nearest: {best.told}."
        best = max(small, key=lambda each: each.speed.ratio if each.speed else 0)
        return f"Within the budget and the size every model is slower than FP32 here; fastest: {best.told}."


def _shared(layers: Sequence[LayerTime]) -> dict[str, float]:
    found: dict[str, float] = {}
    for layer in layers:
        for name in layer.origin:
            found[plain(name)] = found.get(plain(name), 0.0) + layer.median_s / len(layer.origin)
    return found
