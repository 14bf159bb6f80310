"""Repair a quantized model: find the units that must stay in FP32 to keep its quality, and the fastest of such models.

Runs in a child process. The search has several starts (everything in INT8, only layers with weights, only layers of one kind).
From each, units are left out in the order of their damage, alone or relative to the size of their weights. The number of units to
leave out is found by bisection, which assumes that quality rises with every unit left out; every answer is therefore
verified. The models within the budget are timed against FP32, interleaved; layers that are slower in INT8 than in FP32 are
left out as well. The guard judges the fastest models on unseen samples. If none of them holds the budget there, more units
are left out, down to the smallest useful compression.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from workbench.accuracy.budget import POINTS, Budget
from workbench.accuracy.guard import could_show, judge
from workbench.errors import InputError, WorkbenchError
from workbench.models.describe import counted
from workbench.precision.mixed import Unit
from workbench.records import EngineRecord, Precision, Verdict
from workbench.search.mixed_precision.records import Repair, Tried
from workbench.search.mixed_precision.sensitivity import ALONE, Sensitivity, Study
from workbench.search.mixed_precision.slow import slow_units
from workbench.search.mixed_precision.trial import quality, race

MIN_SIZE = 1.3
"""The file of a result must be at least this many times smaller than FP32's."""
FINALISTS = 5
"""The number of models that are timed together against FP32."""
SAVED_BYTES = 3
"""Bytes that a weight takes less in INT8 than in FP32."""


class Start(NamedTuple):
    """Units in INT8, in the order in which they are left out."""

    name: str
    order: tuple[Unit, ...]
    harm: str  # a description of the order

    def without(self, count: int) -> str:
        return f"{self.name}, without the {count} {self.harm}"


class RepairSearch:
    """One search; :meth:`run` does all of it."""

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
        self._quantizer, self._setup, self._fp32 = study.quantizer, study.setup, study.fp32
        self._seen, self._unseen = study.seen, study.unseen
        self._feeds = study.seen.samples.feeds(0, study.setup.batch)
        self._budget, self._min_size = budget, min_size
        self._limit_s, self._say = limit_s, say
        self._began = time.monotonic()
        self._tried: dict[frozenset[str], Tried] = {}
        self._edges: dict[Start, int] = {}
        whole = self._seen.fp32
        if budget.kind == POINTS and whole.value is not None and not whole.share:
            raise InputError(
                f"The budget is '{budget}', and {whole.metric} is not a share. Give it as '1 %' or in the metric's own unit, such as 0.02."
            )

    def run(self, sensitivity: Sensitivity) -> Repair:
        """Run the search with the measured damage of each unit."""
        for start in self._starts(self._damage(sensitivity)):
            self._thin_out(start)
        finalists = self._timed(self._ranked(self._tried.values()))
        self._confirm(self._timed(self._without_slow(finalists) + finalists))
        if self._wanting():
            self._confirm(self._timed(self._safer()))
        winner = self._winner()
        return Repair(
            backend=self._setup.backend,
            metric=sensitivity.metric,
            budget=str(self._budget),
            samples=sensitivity.samples,
            unseen=self._unseen.samples.count,
            fp32_quality=sensitivity.fp32_quality,
            fp32_confirmed=self._unseen.fp32_quality,
            best=winner,
            why="" if winner else self._why(sensitivity),
            tried=tuple(self._tried.values()),
            seconds=time.monotonic() - self._began,
            keep=self._nodes(winner) if winner else (),
            sensitivity=sensitivity,
        )

    def _nodes(self, tried: Tried) -> tuple[str, ...]:
        """All nodes of the units that stay in FP32, their activations too, by their names in the source model."""
        prepared = (name for unit in self._quantizer.units if unit.name in tried.excluded for name in unit.nodes)
        return tuple(dict.fromkeys(map(self._quantizer.original, prepared)))

    def _starts(self, damage: Mapping[str, float]) -> list[Start]:
        """The starts of the search, with the orders in which units are left out."""
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

    def _damage(self, sensitivity: Sensitivity) -> dict[str, float]:
        """The noise of INT8 in each unit alone, as a share of the outputs' power. A unit that was not tried alone has the noise
        of its kind; a unit with neither value, or with equal outputs, has none.
        """
        kinds = {each.what: each.sqnr_db for each in sensitivity.kinds if each.way == ALONE}
        alone = {each.what: each.sqnr_db for each in sensitivity.units if each.way == ALONE}
        noise = {unit.name: alone.get(unit.name, kinds.get(unit.op)) for unit in self._quantizer.units}
        return {name: 0.0 if value is None else 10 ** (-value / 10) for name, value in noise.items()}

    def _thin_out(self, start: Start) -> None:
        """Find by bisection the smallest number of units to leave out for a quality within the budget."""
        if self._try(start.name, start.order).within:
            self._edges[start] = 0
            return
        low, high = 0, len(start.order)  # numbers left out: outside the budget, within it (all FP32)
        while high - low > 1 and not self._late():
            middle = (low + high) // 2
            if self._try(start.without(middle), start.order[middle:]).within:
                high = middle
            else:
                low = middle
        self._edges[start] = high

    def _safer(self) -> list[Tried]:
        """Models with more units left out than each start needs: half-way to the smallest useful compression, and all the way."""
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
        """Whether the weights alone are small enough; the written file is checked later."""
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
                judged = judge(outcome.scored, self._budget)
                lost = judged.loss or 0.0
                within = lost <= judged.allowed
                found = Tried(name, excluded, outcome.quality, within=within, size_ratio=ratio, lost=lost)
            except WorkbenchError as error:
                found = Tried(name, excluded, 0.0, within=False, size_ratio=0.0, error=error.message)
            self._tried[key] = found
        return self._tried[key]

    def _late(self, times: float = 1.0) -> bool:
        return time.monotonic() - self._began > times * self._limit_s

    def _ranked(self, models: Iterable[Tried]) -> list[Tried]:
        """The models within the budget that are small enough, those with most units in INT8 first."""
        good = [each for each in models if each.within and each.size_ratio >= self._min_size]
        return sorted(good, key=lambda each: len(each.excluded))[:FINALISTS]

    def _units(self, tried: Tried) -> list[Unit]:
        return [unit for unit in self._quantizer.units if unit.name not in tried.excluded]

    def _timed(self, models: list[Tried]) -> list[Tried]:
        """The same models with their speed against FP32, timed interleaved."""
        if not models:
            return []
        models = list({each.excluded: each for each in models}.values())
        self._say(f"timing {len(models)} models and FP32, interleaved")
        records = [self._built(each, f"final-{number}") for number, each in enumerate(models)]
        speeds = race(self._setup, (self._fp32, *records), self._feeds)
        timed = [replace(each, speed=speed) for each, speed in zip(models, speeds[1:], strict=True)]
        for each in timed:
            self._keep(each)
        return timed

    def _keep(self, each: Tried) -> None:
        self._tried[frozenset(unit.name for unit in self._units(each))] = each

    def _built(self, each: Tried, name: str) -> EngineRecord:
        path = self._quantizer.write(self._setup.folder / f"{name}.onnx", self._units(each))
        return self._setup.built(path, Precision.INT8, name)

    def _without_slow(self, models: list[Tried]) -> list[Tried]:
        """Variants of the fastest model without the units that are slower in INT8 by the backend's profiler."""
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
        """Judge models on unseen samples, the fastest first, until the interval of one is within the budget."""
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
        """Whether to leave out more units: no model is within the budget, or for none is it shown although the samples suffice."""
        winner = self._winner()
        return winner is None or (not winner.shown and could_show(self._unseen.fp32, self._budget))

    def _winner(self) -> Tried | None:
        held = [
            each for each in self._tried.values() if each.holds and each.speed and each.speed.word != Verdict.SLOWER
        ]
        return max(held, key=lambda each: (each.shown, each.speed.ratio if each.speed else 0), default=None)

    def _why(self, sensitivity: Sensitivity) -> str:
        """Why no model was found, with the nearest figures and the number of untried layers."""
        untried = f" {counted(len(sensitivity.untried), 'layer')} could not be tried alone within the time limit."
        return self._nothing() + (untried if sensitivity.untried else "")

    def _nothing(self) -> str:
        every = [each for each in self._tried.values() if not each.error]
        if not every:
            first = next(iter(self._tried.values()))
            return f"None of {counted(len(self._tried), 'mixed model')} could be built: {first.summary}."
        judged = [each.judged for each in every if each.judged is not None and each.judged.loss is not None]
        if judged:
            best = min(judged, key=lambda each: each.loss or 0.0)
            return (
                f"Of {counted(len(judged), 'mixed model')} within the budget and not slower, none stayed within it on "
                f"{self._unseen.samples.count} unseen samples: the best of them lost {best.loss:.4f}; "
                f"the budget allows {best.allowed:.4f}."
            )
        tried = f"None of {counted(len(every), 'mixed model')} that were tried"
        good = [each for each in every if each.within]
        if not good:
            best_yet = min(every, key=lambda each: each.lost)
            return f"{tried} is within the budget of {self._budget}; nearest: {best_yet.summary}."
        small = [each for each in good if each.size_ratio >= self._min_size]
        if not small:
            best_yet = max(good, key=lambda each: each.size_ratio)
            return f"{tried} is within the budget and {self._min_size} times smaller; nearest: {best_yet.summary}."
        best_yet = max(small, key=lambda each: each.speed.ratio if each.speed else 0)
        return f"{tried} is within the budget, small enough and not slower than FP32 here; fastest: {best_yet.summary}."
