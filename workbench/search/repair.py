"""Repair of a quantized model: which units must stay in FP32 so that its quality holds, and which of those models is fastest.

Runs in a child process. From several starts (everything in INT8, layers with weights only, one kind of them only) units are
taken out, those first that harm most, alone or for the size of their weights; how many is found by bisection, which takes
quality to rise with every unit left out, and so every answer is tried, never concluded. What is within the budget is then
timed against FP32 in turns; layers that are slower in INT8 than in FP32 are left out as well; and the fastest are judged by
the guard on samples that no step has seen. Where none of them holds there, more units are left out, up to the size that is
still worth it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from workbench.accuracy.guard import could_show, judge
from workbench.choices.budget import POINTS, Budget
from workbench.errors import InputError, WorkbenchError
from workbench.models.describe import counted
from workbench.precision.mixed import Unit
from workbench.records import Accuracy, EngineRecord, Precision, Verdict
from workbench.search.found import Repair, Tried
from workbench.search.sensitivity import ALONE, Sensitivity, Study
from workbench.search.slow import slow_units
from workbench.search.trial import quality, race

MIN_SIZE = 1.3
"""How many times smaller than FP32 the file must be."""
FINALISTS = 5
"""Models that are timed against FP32 at once."""
SAVED_BYTES = 3
"""What a weight takes less in INT8 than in FP32."""


class Start(NamedTuple):
    """Units in INT8 from which some are left out, the first of them first."""

    name: str
    order: tuple[Unit, ...]
    harm: str  # by what they are in this order, in words

    def without(self, count: int) -> str:
        return f"{self.name}, without the {count} {self.harm}"


class Search:
    """One search; :meth:`run` is the whole of it."""

    def __init__(
        self,
        study: Study,
        *,
        budget: Budget,
        min_size: float = MIN_SIZE,
        limit_s: float = 600.0,
        say: Callable[[str], None],
    ) -> None:
        self._study = study
        self._quantizer, self._bench, self._fp32 = study.quantizer, study.bench, study.fp32
        self._seen, self._unseen = study.seen, study.unseen
        self._feeds = study.seen.samples.feeds(0, study.bench.batch)
        self._budget, self._min_size = budget, min_size
        self._limit_s, self._say = limit_s, say
        self._began = time.monotonic()
        self._tried: dict[frozenset[str], Tried] = {}
        self._edges: dict[Start, int] = {}
        whole = self._seen.fp32
        if budget.kind == POINTS and whole.value is not None and not whole.share:
            raise InputError(
                f"The budget is '{budget}', and {whole.metric} is no share. Give it as '1 %' or in the metric's own unit, such as 0.02."
            )

    def run(self, found: Sensitivity) -> Repair:
        """Search with what is known of each unit's damage."""
        for start in self._starts(self._damage(found)):
            self._thin_out(start)
        finalists = self._timed(self._ranked(self._tried.values()))
        self._confirm(self._timed(self._without_slow(finalists) + finalists))
        if self._wanting():
            self._confirm(self._timed(self._safer()))
        winner = self._winner()
        return Repair(
            backend=self._bench.backend,
            metric=found.metric,
            budget=str(self._budget),
            samples=found.samples,
            unseen=self._unseen.samples.count,
            fp32_quality=found.fp32_quality,
            fp32_confirmed=self._unseen.fp32_quality,
            found=winner,
            why="" if winner else self._why(found),
            tried=tuple(self._tried.values()),
            seconds=time.monotonic() - self._began,
            keep=self._nodes(winner) if winner else (),
            sensitivity=found,
        )

    def _nodes(self, tried: Tried) -> tuple[str, ...]:
        """All nodes of the units that stay in FP32, their activations too, by their names in the model that was given."""
        prepared = (name for unit in self._quantizer.units if unit.name in tried.excluded for name in unit.nodes)
        return tuple(dict.fromkeys(map(self._quantizer.original, prepared)))

    def _starts(self, damage: Mapping[str, float]) -> list[Start]:
        """Where the search begins, and in which orders it leaves units out."""
        units = list(self._quantizer.units)
        weighted = [unit for unit in units if unit.weighted]
        kinds = dict.fromkeys(unit.op for unit in weighted)
        sets = {"everything": units, "layers with weights": weighted}
        if len(kinds) > 1:
            sets |= {f"{op} only": [unit for unit in weighted if unit.op == op] for op in kinds}

        def alone(unit: Unit) -> float:
            return -damage[unit.name]

        def for_its_size(unit: Unit) -> float:
            return -damage[unit.name] / max(1, unit.weight_elements)

        starts = [Start(name, tuple(sorted(each, key=alone)), "most sensitive") for name, each in sets.items()]
        by_size = tuple(sorted(weighted, key=for_its_size))
        return [*starts, Start("layers with weights", by_size, "most sensitive for their size")]

    def _damage(self, found: Sensitivity) -> dict[str, float]:
        """For each unit how much noise INT8 in it alone makes, as a share of the outputs' power. A unit that was not tried alone
        has that of its kind; one without either, or without any, has none.
        """
        kinds = {each.what: each.sqnr_db for each in found.kinds if each.way == ALONE}
        alone = {each.what: each.sqnr_db for each in found.units if each.way == ALONE}
        noise = {unit.name: alone.get(unit.name, kinds.get(unit.op)) for unit in self._quantizer.units}
        return {name: 0.0 if value is None else 10 ** (-value / 10) for name, value in noise.items()}

    def _thin_out(self, start: Start) -> None:
        """Leave out as few units as bring the quality within the budget, found by bisection."""
        if self._try(start.name, start.order).within:
            self._edges[start] = 0
            return
        low, high = 0, len(start.order)  # out of the budget without so few; within it without so many (all is FP32)
        while high - low > 1 and not self._late():
            middle = (low + high) // 2
            if self._try(start.without(middle), start.order[middle:]).within:
                high = middle
            else:
                low = middle
        self._edges[start] = high

    def _safer(self) -> list[Tried]:
        """From where each start came within the budget on towards the last size that is wanted: half-way, and all of it."""
        made = []
        for start, edge in self._edges.items():
            most = max((k for k in range(len(start.order)) if self._small_enough(start.order[k:])), default=0)
            made += [
                self._try(start.without(count), start.order[count:])
                for count in sorted({(edge + most + 1) // 2, most})
                if edge < count <= most and not self._late(1.5)
            ]
        return self._ranked(made)

    def _small_enough(self, units: Sequence[Unit]) -> bool:
        """By the weights alone; the file that is written tells the rest."""
        left = self._fp32.size_bytes - SAVED_BYTES * sum(unit.weight_elements for unit in units)
        return self._fp32.size_bytes >= self._min_size * left

    def _try(self, name: str, units: Sequence[Unit]) -> Tried:
        key = frozenset(unit.name for unit in units)
        if key not in self._tried:
            self._say(name)
            excluded = tuple(unit.name for unit in self._quantizer.units if unit.name not in key)
            try:
                outcome = self._seen.tried(units)
                ratio = self._fp32.size_bytes / outcome.size_bytes
                lost, allowed = self._loss(outcome.scored)
                found = Tried(name, excluded, outcome.quality, within=lost <= allowed, size_ratio=ratio, lost=lost)
            except WorkbenchError as error:
                found = Tried(name, excluded, 0.0, within=False, size_ratio=0.0, error=error.message)
            self._tried[key] = found
        return self._tried[key]

    def _loss(self, scored: Accuracy) -> tuple[float, float]:
        """What was lost and what may be, in one unit."""
        judged = judge(scored, self._budget)
        return judged.loss or 0.0, judged.allowed

    def _late(self, times: float = 1.0) -> bool:
        return time.monotonic() - self._began > times * self._limit_s

    def _ranked(self, models: Iterable[Tried]) -> list[Tried]:
        """Those within the budget and small enough, with most in INT8 first."""
        good = [each for each in models if each.within and each.size_ratio >= self._min_size]
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

    def _without_slow(self, models: list[Tried]) -> list[Tried]:
        """The fastest model again, without the units that its backend's own profiler shows to be slower in INT8."""
        fastest = max(models, key=lambda each: each.speed.ratio if each.speed else 0, default=None)
        if fastest is None or self._late():
            return []
        slow = slow_units(self._study, self._units(fastest), self._feeds)
        made = []
        for share in (1.0, 0.5):
            left_out = {unit.name for unit in slow[: round(len(slow) * share)]}
            if left_out:
                units = [unit for unit in self._units(fastest) if unit.name not in left_out]
                made.append(self._try(f"{fastest.name}, without {len(left_out)} that are slower in INT8", units))
        return self._ranked(made)

    def _confirm(self, models: Sequence[Tried]) -> None:
        """Judge models on unseen samples, the fastest first, until one is shown to hold the budget."""
        for each in sorted(models, key=lambda one: -(one.speed.ratio if one.speed else 0)):
            if each.speed is not None and each.speed.word != Verdict.SLOWER and self._confirmed(each).shown:
                return

    def _confirmed(self, each: Tried) -> Tried:
        self._say("scoring the fastest on unseen samples")
        scored = self._unseen.tried(self._units(each)).scored
        confirmed = replace(each, confirmed=quality(scored), judged=judge(scored, self._budget))
        self._keep(confirmed)
        return confirmed

    def _wanting(self) -> bool:
        """Whether it is worth leaving out more: nothing holds, or nothing is shown to where so many samples could show it."""
        winner = self._winner()
        return winner is None or (not winner.shown and could_show(self._unseen.fp32, self._budget))

    def _winner(self) -> Tried | None:
        held = [
            each for each in self._tried.values() if each.holds and each.speed and each.speed.word != Verdict.SLOWER
        ]
        return max(held, key=lambda each: (each.shown, each.speed.ratio if each.speed else 0), default=None)

    def _why(self, found: Sensitivity) -> str:
        """Why there is no answer, with the figures that come nearest, and what was left untried."""
        untried = f" {counted(len(found.untried), 'layer')} could not be tried alone within the limit of time."
        return self._nothing() + (untried if found.untried else "")

    def _nothing(self) -> str:
        every = [each for each in self._tried.values() if not each.error]
        if not every:
            return f"None of {counted(len(self._tried), 'mixed model')} could be built: {self._any().told}."
        judged = [each.judged for each in every if each.judged is not None and each.judged.loss is not None]
        if judged:
            best = min(judged, key=lambda each: each.loss or 0.0)
            return (
                f"Of {counted(len(judged), 'mixed model')} within the budget and not slower none kept it on "
                f"{self._unseen.samples.count} unseen samples: the best of them lost {best.loss:.4f}, where "
                f"{best.allowed:.4f} may be lost."
            )
        tried = f"None of {counted(len(every), 'mixed model')} that were tried"
        good = [each for each in every if each.within]
        if not good:
            best_yet = min(every, key=lambda each: each.lost)
            return f"{tried} is within the budget of {self._budget}; nearest: {best_yet.told}."
        small = [each for each in good if each.size_ratio >= self._min_size]
        if not small:
            best_yet = max(good, key=lambda each: each.size_ratio)
            return f"{tried} is within the budget and {self._min_size} times smaller; nearest: {best_yet.told}."
        best_yet = max(small, key=lambda each: each.speed.ratio if each.speed else 0)
        return f"{tried} is within the budget, small enough and not slower than FP32 here; fastest: {best_yet.told}."

    def _any(self) -> Tried:
        return next(iter(self._tried.values()))
